"""One value of the user's each: plain data in, the model's value out, InvalidInput when it makes no sense.

Text may be given as a whole number where that loses nothing (`user: 1000`, `command: [sleep, 10]`). What the
kernel would cut at NUL or a file of ours would split at a newline is refused here.
"""

import os
import re
from collections.abc import Callable

from pycontainer.errors import InvalidInput, did_you_mean
from pycontainer.spec.model import Device, RestartPolicy, SnapshotSchedule, Ulimit
from pycontainer.spec.names import check_image, check_name
from pycontainer.units import MAX_INTEGER, RLIMIT_NAMES, parse_bytes, parse_count, parse_duration_seconds, shown

PROFILES = ("app", "system")
ROOTFS_DRIVERS = ("overlay", "copy")
LEAST_SNAPSHOT_SECONDS, MAX_SNAPSHOTS_KEPT = 10, 1000
HEALTH_ACTIONS = ("none", "restart", "stop")
MAX_HEALTH_SECONDS, MAX_HEALTH_WORDS = 86_400, 1024  # as runtime/healthcheck.py
_HEALTH_URL = re.compile(  # what else a URL may hold would reach somebody else, or the server as two requests
    r"(?:http://(?:localhost|127\.0\.0\.1|\[::1\])(?::(?P<port>[0-9]{1,5}))?|(?P<alone>[0-9]{1,5}))(?P<path>/[!-~]{0,2000})?",
    re.ASCII,
)
MAX_BOOT_ORDER = 1_000_000
_SECURITY_OPTIONS = ("no-new-privileges", "seccomp", "apparmor", "label", "landlock")
_APPARMOR_PROFILE = re.compile(r"[!-~]{1,255}", re.ASCII)
_SELINUX_PART = re.compile(r"(user|role|type|level|filetype)[:=]([A-Za-z0-9_.,:-]{1,255})", re.ASCII)
CAPABILITIES = (  # <linux/capability.h>, as in linux/capabilities.py, which this layer may not import; a test compares
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
)

# What the kernel keeps per IPC namespace; beside these there are `net.*` and `fs.mqueue.*`
IPC_SYSCTLS = (
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
)
OWN_SETTING_SYSCTLS = {"kernel.hostname": "hostname", "kernel.domainname": "domainname"}

MAX_STRING_BYTES = 128 * 1024 - 1  # one argument or variable, with its NUL: MAX_ARG_STRLEN
MAX_PATH_BYTES = 4095  # PATH_MAX holds the NUL
MAX_COMPONENT_BYTES = 255
MAX_HOST_NAME = 63  # the kernel's limit is 64, a DNS label's 63
MAX_CONTAINER_ID_NUMBER = 65535  # each container maps 65536 ids

_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST_NAME = re.compile(rf"{_HOST_LABEL}(?:\.{_HOST_LABEL})*", re.ASCII)
_DNS_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DNS_NAME = re.compile(rf"{_DNS_LABEL}(?:\.{_DNS_LABEL})*\.?", re.ASCII)
_USER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}\$?", re.ASCII)
_SYSCTL = re.compile(r"[a-z0-9_]+(?:\.[A-Za-z0-9_-]+)+", re.ASCII)
_CGROUP_FILE = re.compile(r"[a-z][a-z0-9_]*(\.[A-Za-z0-9_-]+)+")
_ACCESS = re.compile(r"r?w?m?", re.ASCII)


def parse_text(value: object) -> str:
    """Return text, or the digits of a whole number; it holds no NUL and fits one argument of a program."""
    if isinstance(value, bool):
        raise InvalidInput(f"{str(value).lower()} is true or false where text is wanted", hint="quote the value")
    if isinstance(value, int) and value.bit_length() <= 128:
        return str(value)
    if not isinstance(value, str):
        raise InvalidInput(f"{shown(value)} is not text", hint="quote the value")
    if "\0" in value:
        raise InvalidInput(f"{shown(value)} holds a NUL byte")
    try:
        size = len(os.fsencode(value))
    except UnicodeEncodeError:
        raise InvalidInput(f"{shown(value)} cannot be encoded") from None
    if size > MAX_STRING_BYTES:
        raise InvalidInput(f"the text has {size} bytes, more than {MAX_STRING_BYTES}")
    return value


def parse_word(value: object) -> str:
    """Return text that is not empty and prints: no control characters."""
    text = parse_text(value)
    if not text:
        raise InvalidInput("the value is empty", hint="leave the setting out for its default")
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise InvalidInput(f"{shown(text)} holds a control character")
    return text


def parse_bool(value: object) -> bool:
    """Return true or false; the words `true` and `false` are taken too, `yes` and 1 are not."""
    if isinstance(value, bool):
        return value
    if value in ("true", "false"):
        return value == "true"
    raise InvalidInput(f"{shown(value)} is not true or false", hint="write true or false")


def parse_choice(value: object, choices: tuple[str, ...], kind: str) -> str:
    """Return `value` if it is one of `choices`."""
    text = parse_word(value)
    if text not in choices:
        raise InvalidInput(
            f"{shown(text)} is not a {kind}{did_you_mean(text, choices)}", hint=f"write one of {', '.join(choices)}"
        )
    return text


def parse_path(value: object) -> str:
    """Return an absolute path without `.`, repeated or trailing slashes; `..` is refused, links are not looked at."""
    text = parse_word(value)
    if not text.startswith("/"):
        raise InvalidInput(f"{shown(text)} is not an absolute path", hint="write a path that begins with '/'")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidInput(f"{shown(text)} holds '..'", hint="write the path without '..'")
    if any(len(os.fsencode(part)) > MAX_COMPONENT_BYTES for part in parts):
        raise InvalidInput(f"{shown(text)} has a component of more than {MAX_COMPONENT_BYTES} bytes")
    path = "/" + "/".join(parts)
    if len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise InvalidInput(f"the path has more than {MAX_PATH_BYTES} bytes")
    return path


def parse_target(value: object) -> str:
    """Return a path inside at which something may be mounted: not /, /dev, nor anything of /proc and /sys."""
    path = parse_path(value)
    if path in ("/", "/dev") or path.split("/")[1] in ("proc", "sys"):
        raise InvalidInput(f"nothing may be mounted at {path!r}", hint="/, /dev, /proc and /sys are the runtime's own")
    return path


def parse_host_name(value: object) -> str:
    """Return a host name of at most 63 characters. RFC 1123: letters, digits, dashes inside, dots between labels."""
    text = parse_word(value)
    if len(text) > MAX_HOST_NAME or not _HOST_NAME.fullmatch(text):
        raise InvalidInput(
            f"{shown(text)} is not a host name",
            hint=f"use up to {MAX_HOST_NAME} letters, digits and '-', with '.' between labels",
        )
    return text


def parse_domain(value: object) -> str:
    """Return a DNS name of at most 253 characters; underscores are common in it."""
    text = parse_word(value)
    if len(text) > 253 or not _DNS_NAME.fullmatch(text):
        raise InvalidInput(f"{shown(text)} is not a domain name", hint="write a name such as example.org")
    return text


def parse_ip(value: object) -> str:
    """Return an IPv4 or IPv6 address in its canonical form, without a zone."""
    return _parse_address(value, 0)


def parse_ip4(value: object) -> str:
    """Return an IPv4 address."""
    return _parse_address(value, 4)


def parse_ip6(value: object) -> str:
    """Return an IPv6 address in its canonical form, without a zone."""
    return _parse_address(value, 6)


def _parse_address(value: object, version: int) -> str:
    import ipaddress  # 3 ms, and only where an address is given

    kind = {0: "IP", 4: "IPv4", 6: "IPv6"}[version]
    hint = f"write an address such as {'fd00::5' if version == 6 else '10.0.0.5'}"
    text = parse_word(value) if isinstance(value, str) else shown(value)
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise InvalidInput(f"{shown(text)} is not an {kind} address", hint=hint) from None
    if "%" in text or (version and address.version != version):
        raise InvalidInput(f"{shown(text)} is not an {kind} address", hint=hint)
    return str(address)


def parse_user(value: object) -> str:
    """Return `name`, `uid`, `name:group` or `uid:gid`; ids are decimal and lie within the container's 65536."""
    text = parse_word(value)
    hint = f"write name, uid, name:group or uid:gid; ids go from 0 to {MAX_CONTAINER_ID_NUMBER}"
    parts = text.split(":")
    if len(parts) > 2:
        raise InvalidInput(f"{shown(text)} is not a user", hint=hint)
    for part in parts:
        if part.isascii() and part.isdigit():
            if len(part) > 1 and part[0] == "0":
                raise InvalidInput(f"{shown(text)} is not a user: id {part} begins with a zero", hint=hint)
            if len(part) > 5 or int(part) > MAX_CONTAINER_ID_NUMBER:
                raise InvalidInput(f"{shown(text)} is not a user: id {part} is out of range", hint=hint)
        elif not _USER_NAME.fullmatch(part):
            raise InvalidInput(f"{shown(text)} is not a user", hint=hint)
    return text


def parse_variable(value: object) -> tuple[str, str]:
    """Return `NAME=value` as a pair; the value may be empty or hold further `=`."""
    text = parse_text(value)
    name, separator, content = text.partition("=")
    if not separator:
        raise InvalidInput(f"{shown(text)} has no value", hint="write NAME=value")
    if not name:
        raise InvalidInput(f"{shown(text)} has no name before '='", hint="write NAME=value")
    if any(character.isspace() or ord(character) < 32 for character in name):
        raise InvalidInput(f"{shown(name)} holds a blank", hint="write NAME=value")
    return name, content


def parse_label(value: object) -> tuple[str, str]:
    """Return `key=value` as a pair; `key` alone has an empty value."""
    key, _, content = parse_text(value).partition("=")
    if not key or any(character.isspace() or ord(character) < 32 for character in key):
        raise InvalidInput(f"{shown(value)} has no proper key", hint="write key=value")
    return key, content


def parse_hugetlb(value: object) -> tuple[int, int]:
    """Return (bytes of a page, bytes in pages of this size) of `2M=64M`."""
    size, separator, limit = parse_word(value).partition("=")
    if not separator:
        raise InvalidInput(f"{shown(value)} has no limit", hint="write PAGE=SIZE, such as 2M=64M")
    page_bytes = parse_bytes(size)
    if page_bytes & (page_bytes - 1) or page_bytes < 1024:
        raise InvalidInput(f"{shown(size)} is not the size of a page", hint="write a power of two, such as 2M or 1G")
    return page_bytes, parse_bytes(limit, minimum=0)


def parse_cgroup_conf(value: object) -> tuple[str, str]:
    """Return `file=value` of a cgroup v2 file, such as memory.swap.high=67108864."""
    file, separator, content = parse_text(value).partition("=")
    if not separator or not content.strip():
        raise InvalidInput(f"{shown(value)} has no value", hint="write FILE=VALUE, such as misc.max=sev 10")
    if not _CGROUP_FILE.fullmatch(file):
        raise InvalidInput(f"{shown(file)} is not a cgroup file", hint="write CONTROLLER.NAME, such as rdma.max")
    if len(content) > 256 or not content.isascii() or not content.isprintable():
        raise InvalidInput(f"{shown(file)}: {shown(content)} is not one line of ASCII text")
    return file, content


def parse_sysctl(value: object) -> tuple[str, str]:
    """Return `key=value` of a kernel setting that belongs to the container's own namespaces."""
    key, separator, content = parse_text(value).partition("=")
    if not separator or not content:
        raise InvalidInput(f"{shown(value)} has no value", hint="write key=value")
    if key in OWN_SETTING_SYSCTLS:
        raise InvalidInput(f"sysctl {key!r} has a setting of its own", hint=f"use {OWN_SETTING_SYSCTLS[key]}")
    if not _SYSCTL.fullmatch(key):
        raise InvalidInput(f"{shown(key)} is not a sysctl key", hint="write it with dots, such as net.core.somaxconn")
    if key not in IPC_SYSCTLS and not key.startswith(("net.", "fs.mqueue.")):
        hint = f"allowed are net.*, fs.mqueue.*, {', '.join(IPC_SYSCTLS)}"
        raise InvalidInput(
            f"sysctl {key!r} is the whole host's, not a container's{did_you_mean(key, IPC_SYSCTLS)}", hint=hint
        )
    if len(content) > 256 or not content.isascii() or not content.replace("\t", " ").isprintable():
        raise InvalidInput(f"sysctl {key!r}: {shown(content)} is not one line of ASCII text")
    return key, content


def parse_host_entry(value: object) -> tuple[str, str]:
    """Return `name:address`, a line of /etc/hosts, as a pair; an IPv6 address may stand in brackets."""
    name, separator, address = parse_word(value).partition(":")
    if not separator:
        raise InvalidInput(f"{shown(value)} has no address", hint="write name:address")
    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    return parse_domain(name), parse_ip(address)


def parse_capability(value: object) -> str:
    """Return the kernel's name of a capability, `CAP_NET_ADMIN` for `net_admin`; or `ALL`."""
    text = parse_word(value)
    name = text.upper() if text.isascii() else text
    if name == "ALL":
        return name
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    if name not in CAPABILITIES:
        raise InvalidInput(
            f"{shown(text)} is not a capability{did_you_mean(name, CAPABILITIES, prefix='CAP_')}",
            hint="see capabilities(7), or write ALL",
        )
    return name


def parse_profile(value: object) -> str:
    """Return the name of a profile."""
    return parse_choice(value, PROFILES, "profile")


def parse_security_option(value: object) -> tuple[str, str]:
    """Return (name, value) of an option: see docs/spec.md. Of labels the part is in the name: `label:type`, its value.

    The older spelling with a colon is taken too. What a seccomp profile says is looked at when the container is made.
    """
    text = parse_text(value)
    name = re.match("[a-z-]*", text)[0]  # type: ignore[index]
    content = text[len(name) + 1 :]
    if text[len(name) : len(name) + 1] not in ("", "=", ":") or name not in _SECURITY_OPTIONS:
        supported = ", ".join(_SECURITY_OPTIONS)
        raise InvalidInput(f"security option {shown(text)} is not supported", hint=f"supported: {supported}")
    if name == "no-new-privileges":
        return name, "true" if text == name or parse_bool(content) else "false"
    if name == "label":
        return _parse_label_option(content)
    if name != "seccomp":
        return name, _parse_wall(name, content)
    if content in ("builtin", "default"):
        return name, "default"
    if content != "unconfined" and not content.lstrip().startswith("{"):
        hint = "write default, unconfined, or the profile itself; on the command line, the path of its file"
        raise InvalidInput(f"{shown(content)} is not a seccomp profile", hint=hint)
    return name, content.strip()


def _parse_wall(name: str, content: str) -> str:
    if name == "landlock":
        return parse_choice(content, ("default", "unconfined"), "value of landlock")
    if not _APPARMOR_PROFILE.fullmatch(content):
        hint = "write default, unconfined, or the name of a profile that is loaded"
        raise InvalidInput(f"{shown(content)} is not the name of an AppArmor profile", hint=hint)
    return content


def _parse_label_option(content: str) -> tuple[str, str]:
    if content == "disable":
        return "label", content
    match = _SELINUX_PART.fullmatch(content)
    if match is None:
        hint = "write label=disable, or user, role, type, level or filetype, such as label=type:container_t"
        raise InvalidInput(f"{shown(content)} is not a part of an SELinux label", hint=hint)
    return f"label:{match[1]}", match[2]


def parse_restart(value: object) -> RestartPolicy:
    """Return a restart policy: no, or always, unless-stopped, on-failure, each also with :N for at most N times in a row."""
    names = ("no", "always", "unless-stopped", "on-failure")
    if isinstance(value, bool):
        raise InvalidInput(f"{str(value).lower()} is not a restart policy", hint="write one of " + ", ".join(names))
    text = parse_word(value)
    name, separator, retries = text.partition(":")
    name = parse_choice(name, names, "restart policy")
    if not separator:
        return RestartPolicy(name)
    if name == "no":
        raise InvalidInput("restart policy 'no' takes no count", hint="write on-failure:N, always:N, or no alone")
    return RestartPolicy(name, parse_count(retries, maximum=1_000_000))


def parse_onboot(value: object) -> str:
    """Return when to start with the host: yes, no, or last; true and false are yes and no."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return parse_choice(value, ("yes", "no", "last"), "wish for the boot")


def parse_boot_order(value: object) -> int | None:
    """Return a place in the order of the boot, or None for `none`: after all that have one."""
    return None if value == "none" else parse_count(value, minimum=0, maximum=MAX_BOOT_ORDER)


def parse_snapshots(value: object) -> SnapshotSchedule | None:
    """Return when to make snapshots: {every: 1d, keep: 7}, the same as `every=1d,keep=7`, or `none`."""
    hint = "write every=1d,keep=7, or none"
    if value == "none":
        return None
    if isinstance(value, dict):
        pairs = list(value.items())
    else:
        words = [word.partition("=") for word in parse_word(value).split(",")]
        if not all(separator for _, separator, _ in words):
            raise InvalidInput(f"{shown(value)} does not say when to make snapshots", hint=hint)
        pairs = [(key, text) for key, _, text in words]
    if sorted(str(key) for key, _ in pairs) != ["every", "keep"]:
        raise InvalidInput(f"{shown(value)} does not give every and keep, once each", hint=hint)
    given = dict(pairs)
    every_seconds = parse_duration_seconds(given["every"])
    if every_seconds < LEAST_SNAPSHOT_SECONDS:
        raise InvalidInput(
            f"{shown(given['every'])} is too often", hint=f"leave {LEAST_SNAPSHOT_SECONDS} seconds between two"
        )
    return SnapshotSchedule(every_seconds, parse_count(given["keep"], maximum=MAX_SNAPSHOTS_KEPT))


def parse_health_command(value: object) -> tuple[str, ...]:
    """Return the words of Docker's field: CMD-SHELL and a text for the shell, CMD and a list of words, or NONE."""
    if isinstance(value, (list, tuple)):
        words = tuple(parse_text(word) for word in value[:MAX_HEALTH_WORDS])
        if not words or not words[0] or len(value) > MAX_HEALTH_WORDS:
            raise InvalidInput(f"{shown(value)} is not a command", hint="write a program and its arguments, or a text")
        return ("CMD", *words)
    text = parse_text(value)
    if not text.strip():
        raise InvalidInput("the command is empty", hint="write none for no check, or leave it out for the image's")
    return ("NONE",) if text == "none" else ("CMD-SHELL", text)


def parse_health_http(value: object) -> str:
    """Return `PORT/PATH` of `8080`, `8080/healthz` or `http://localhost:8080/healthz`: it is asked for inside."""
    hint = "write PORT/PATH, such as 8080/healthz; it is asked for inside the container, without TLS"
    text = parse_word(value)
    match = _HEALTH_URL.fullmatch(text)
    if match is None:
        raise InvalidInput(f"{shown(text)} is not what can be asked for by HTTP", hint=hint)
    return f"{parse_port(match['alone'] or match['port'] or 80)}{match['path'] or '/'}"


def parse_port(value: object) -> int:
    """Return the number of a port."""
    return parse_count(value, maximum=65535)


def parse_health_seconds(value: object) -> int:
    """Return a duration of at least a second: what is asked of hundreds of containers costs the host something."""
    seconds = parse_duration_seconds(value)
    if not 1 <= seconds <= MAX_HEALTH_SECONDS:
        raise InvalidInput(f"{shown(value)} is out of range", hint="write a duration from 1s to 1d")
    return seconds


def parse_health_period(value: object) -> int:
    """Return a duration of at most a day."""
    seconds = parse_duration_seconds(value)
    if seconds > MAX_HEALTH_SECONDS:
        raise InvalidInput(f"{shown(value)} is out of range", hint="write a duration up to 1d")
    return seconds


def parse_health_action(value: object) -> str:
    """Return what follows when a container is unhealthy: none, restart, or stop."""
    return parse_choice(value, HEALTH_ACTIONS, "health action")


def parse_rootfs_driver(value: object) -> str:
    """Return how the root file system is made: overlay, or copy."""
    return parse_choice(value, ROOTFS_DRIVERS, "root file system driver")


def parse_ulimit(value: object) -> Ulimit:
    """Return `name=soft[:hard]`; one number is both, `unlimited` is no limit. getrlimit(2)"""
    text = parse_word(value)
    name, separator, limits = text.partition("=")
    if name not in RLIMIT_NAMES:
        raise InvalidInput(
            f"{shown(name)} is not a ulimit{did_you_mean(name, RLIMIT_NAMES)}",
            hint=f"the names are {', '.join(RLIMIT_NAMES)}",
        )
    soft, colon, hard = limits.partition(":")
    if not separator or not soft or (colon and not hard):
        raise InvalidInput(f"{shown(text)} has no limit", hint=f"write {name}=SOFT:HARD or {name}=BOTH")
    parsed = _parse_rlimit(soft)
    return Ulimit(name, parsed, _parse_rlimit(hard) if colon else parsed)


def _parse_rlimit(text: str) -> int | None:
    if text == "unlimited":
        return None
    if text == "-1":
        raise InvalidInput("'-1' is not a limit", hint="write unlimited")
    return parse_count(text, minimum=0, maximum=MAX_INTEGER - 1)


def parse_device(value: object) -> Device:
    """Return `host[:inside][:rwm]`: a device node of the host, its path inside (the same) and the access (all)."""
    text = parse_word(value)
    hint = "write /dev/name, /dev/name:/dev/inside or /dev/name:/dev/inside:rwm"
    host, *rest = text.split(":")
    access = rest.pop() if rest and not rest[-1].startswith("/") else "rwm"
    if len(rest) > 1:
        raise InvalidInput(f"{shown(text)} is not a device", hint=hint)
    if not access or not _ACCESS.fullmatch(access):
        raise InvalidInput(
            f"{shown(text)} is not a device: {access!r} is not made of r, w and m, in this order", hint=hint
        )
    host = parse_path(host)
    return Device(host, parse_target(rest[0]) if rest else parse_target(host), access)


def parse_name(value: object) -> str:
    """Return a container's name."""
    return check_name(_text_of_number(value))


def parse_image(value: object) -> str:
    """Return an image's name, in form."""
    return check_image(_text_of_number(value))


def parse_network(value: object) -> str:
    """Return a network's name, or one of the words `host` and `none`."""
    return check_name(_text_of_number(value), "network")


def _text_of_number(value: object) -> object:
    """Return the text that a name of digits only was before YAML took it for a number."""
    return parse_text(value) if isinstance(value, int) and not isinstance(value, bool) else value


def between(minimum: int, maximum: int) -> Callable[[object], int]:
    """Return a parser of whole numbers in a range."""
    return lambda value: parse_count(value, minimum=minimum, maximum=maximum)


def or_unlimited(parse: Callable[[object], object], *, unlimited: object = None) -> Callable[[object], object]:
    """Return a parser that takes the word `unlimited` as well, as the value `unlimited`."""

    def read(value: object) -> object:
        if value == "unlimited":
            return unlimited
        try:
            return parse(value)
        except InvalidInput as error:
            if isinstance(value, str) and value.startswith("-"):  # others have -1 for that
                error.hint = "write 'unlimited' for none"
            raise

    return read
