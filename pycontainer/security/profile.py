"""What a container may do: two profiles, what a spec changes of its profile, and which of the changes loosen it.

    app      one service: eleven capabilities (Podman's), no way to gain any, no namespaces of its own
    system   an instance with its own init: root can install packages, become others, ping, mount, have a firewall. All
             capabilities but those that mean the host; with the user namespace each of them holds inside alone

Masked paths are Docker's newest list and those that tell about the host's memory layout. What an image says never gets here.
"""

from typing import NamedTuple

from pycontainer.linux.capabilities import NAMES, mask
from pycontainer.security.apparmor import PROFILES
from pycontainer.security.seccomp import Policy, default_policy
from pycontainer.security.seccomp_json import parse
from pycontainer.spec.model import ContainerSpec

_EVERYTHING = frozenset(NAMES)
_APP = frozenset(
    {
        "CAP_CHOWN",
        "CAP_DAC_OVERRIDE",
        "CAP_FOWNER",
        "CAP_FSETID",
        "CAP_KILL",
        "CAP_NET_BIND_SERVICE",
        "CAP_SETFCAP",
        "CAP_SETGID",
        "CAP_SETPCAP",
        "CAP_SETUID",
        "CAP_SYS_CHROOT",
    }
)
# CAP_SYS_BOOT stays in: inside of a pid namespace reboot(2) ends the instance alone.
_SYSTEM = _EVERYTHING - {
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_PERFMON",
    "CAP_SYSLOG",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
    "CAP_WAKE_ALARM",
}
MASKED_PATHS = (
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/kpagecgroup",
    "/proc/kpagecount",
    "/proc/kpageflags",
    "/proc/latency_stats",
    "/proc/pagetypeinfo",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/vmallocinfo",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
)
READ_ONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
NET_SYSCTLS = "/proc/sys/net"  # those of the network namespace, which a system has for itself


class Rights(NamedTuple):
    """All that a container may do. `seccomp` None: no filter; `writable_paths` lie below read-only ones.

    `apparmor` is a profile's name, empty for none, `selinux` the parts of a label that were given. `needs_apparmor`: it was
    asked for, so there is no start without. `wants_label`: nobody said that there should be none.
    """

    capabilities: frozenset[str]
    no_new_privs: bool
    seccomp: Policy | None
    masked_paths: tuple[str, ...]
    read_only_paths: tuple[str, ...]
    writable_paths: tuple[str, ...]
    apparmor: str
    needs_apparmor: bool
    selinux: tuple[tuple[str, str], ...]
    wants_label: bool
    hides_abstract_sockets: bool  # those of the host, in a container on the host's network

    @property
    def capability_mask(self) -> int:
        return mask(self.capabilities)


def rights(spec: ContainerSpec, kernel: tuple[int, int]) -> Rights:
    """Return what the container of `spec` may do; InvalidInput for a seccomp profile that is none.

    `kernel` is the version that conditions of such a profile are compared with.
    """
    options = dict(spec.security_opt)
    is_system = spec.profile == "system"
    capabilities = _capabilities(spec, _SYSTEM if is_system else _APP)
    no_new_privs = options.get("no-new-privileges", "false" if is_system or spec.privileged else "true") == "true"
    owns_network = is_system and "host" not in spec.networks
    apparmor = options.get("apparmor", "unconfined" if spec.privileged else "")
    hides_sockets = options.get("landlock", "unconfined" if spec.privileged else "default") == "default"
    is_unlabelled = options.get("label") == "disable"
    parts = tuple((name[6:], value) for name, value in spec.security_opt if name.startswith("label:"))
    return Rights(
        capabilities,
        no_new_privs,
        _seccomp(spec, options.get("seccomp", ""), capabilities, kernel),
        () if spec.privileged else MASKED_PATHS,
        () if spec.privileged else READ_ONLY_PATHS,
        (NET_SYSCTLS,) if owns_network and not spec.privileged else (),
        _apparmor(apparmor, spec.profile),
        apparmor not in ("", "unconfined"),
        () if is_unlabelled else parts,
        not is_unlabelled and not spec.privileged,
        hides_sockets and "host" in spec.networks,
    )


def _apparmor(asked: str, kind: str) -> str:
    if asked == "unconfined":
        return ""
    return PROFILES[kind] if asked in ("", "default") else asked


def loosened(spec: ContainerSpec) -> list[str]:
    """Return, as options that a person would write, what takes more walls down than the profile does; sorted."""
    found = {f"--cap-add {name.removeprefix('CAP_')}" for name in _added(spec)}
    found |= {f"--device {device.host_path}" for device in spec.devices}
    found |= {f"--volume {mount.source}:{mount.target}:idmap" for mount in spec.mounts if mount.idmap}
    if spec.privileged:
        found.add("--privileged")
    if "host" in spec.networks:
        found.add("--network host")
    for name, value in spec.security_opt:
        if value == "unconfined" or (name == "label" and value == "disable"):
            found.add(f"--security-opt {name}={value}")
        elif name == "apparmor" and value not in ("default", PROFILES[spec.profile]):
            found.add(f"--security-opt apparmor={value}")
        elif name in ("label:user", "label:role", "label:type"):  # spc_t, for one, may do anything
            found.add(f"--security-opt label={name[6:]}:{value}")
        elif name == "seccomp" and value.startswith("{"):
            found.add("--security-opt seccomp=own profile")
        elif name == "no-new-privileges" and value == "false" and spec.profile != "system":
            found.add("--security-opt no-new-privileges=false")
    return sorted(found)


def _capabilities(spec: ContainerSpec, given: frozenset[str]) -> frozenset[str]:
    """Return the bounding set; `ALL` may stand in `cap_add` and `cap_drop`, single names win over it."""
    names = _EVERYTHING if spec.privileged or "ALL" in spec.cap_add else given
    if "ALL" in spec.cap_drop:
        names = frozenset()
    return (names - (frozenset(spec.cap_drop) - {"ALL"})) | (frozenset(spec.cap_add) - {"ALL"})


def app_or_system(profile: str) -> frozenset[str]:
    """Return the capabilities that a profile gives."""
    return _SYSTEM if profile == "system" else _APP


def _added(spec: ContainerSpec) -> frozenset[str]:
    return frozenset(spec.cap_add) - app_or_system(spec.profile)


def _seccomp(spec: ContainerSpec, asked: str, capabilities: frozenset[str], kernel: tuple[int, int]) -> Policy | None:
    if asked == "unconfined" or (spec.privileged and not asked):
        return None
    if asked.startswith("{"):
        return parse(asked, capabilities=capabilities, kernel=kernel)
    has_packet_sockets = bool({"CAP_NET_RAW", "ALL"} & set(spec.cap_add)) and "CAP_NET_RAW" in capabilities
    return default_policy(is_system=spec.profile == "system", has_packet_sockets=has_packet_sockets)
