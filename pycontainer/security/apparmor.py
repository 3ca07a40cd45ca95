"""AppArmor: our two profiles, loaded when they are wanted, and what the kernel says of those that are loaded.

    /sys/module/apparmor/parameters/enabled         Y where the kernel enforces
    /sys/kernel/security/apparmor/profiles          all that are loaded: NAME (MODE)
                                  policy/profiles/NAME.N/{name,mode,sha256 or sha1}     the digest is of what was loaded
    run/apparmor/NAME                               of ours: digest of the text, digest that the kernel gave it

A profile is a second wall behind the user namespace, the read-only mounts and the capabilities: what it forbids is forbidden
by those as well, unless one of them has a hole. The kernel's list decides; our note says only which text the digest stands
for, so a profile that somebody unloaded or replaced is loaded again. apparmor.d(5), apparmor_parser(8).
"""

import functools
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pycontainer.errors import Unsupported
from pycontainer.linux.files import read_bounded, write_atomically

PROFILES = {"app": "pycontainer-app", "system": "pycontainer-system"}
PARSER = ("apparmor_parser", "--replace", "--skip-cache", "--quiet")
INSTALL = "apt install apparmor"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PARSER_SECONDS = 60
_MAX_BYTES = 4 << 20

_RULES = (
    "file,",
    "capability,",  # the bounding set says which, the user namespace over what
    "network,",
    "unix,",
    "dbus,",
    # From outside anybody may look and signal; from inside nobody outside can be reached, whatever its user is.
    "signal (receive),",
    "signal (send) peer={name},",
    "ptrace (readby, tracedby),",
    "ptrace (read, trace) peer={name},",
    "deny /proc/sysrq-trigger rwklx,",
    "deny /proc/{{kcore,kmem,kmsg,mem}} rwklx,",
    "deny /proc/kpage{{cgroup,count,flags}} rwklx,",
    "deny /proc/{{acpi,asound,bus,fs,irq,scsi}}/** wklx,",
)
_APP_RULES = ("deny /proc/sys/** wklx,", "deny mount,", "deny umount,", "deny pivot_root,")
_SYSTEM_RULES = ("mount,", "umount,", "pivot_root,")
# What newer parsers mediate and Debian 12's does not know: without the rule it would be forbidden.
_NEWER_RULES = {"app": ("mqueue,",), "system": ("mqueue,", "userns,")}


class Loaded(NamedTuple):
    """A profile as the kernel has it; `mode` is enforce, complain, kill, prompt or unconfined."""

    mode: str
    digest: str  # of the compiled policy, empty where the kernel keeps none


@functools.cache
def profile_text(kind: str, *, newer: bool = False) -> str:
    """Return our profile for containers of profile `kind`, app or system; `newer` with the rules of AppArmor 4.

    attach_disconnected: standard streams come from outside of the container's mounts, and have no path inside.
    """
    name = PROFILES[kind]
    rules = [rule.format(name=name) for rule in _RULES]
    rules += _APP_RULES if kind == "app" else _SYSTEM_RULES
    if kind == "system":
        rules += [f"deny {path} wklx," for path in _all_but("/proc/sys/", "net/")]
    rules += [f"deny {path} wklx," for path in _all_but("/sys/", "fs/cgroup/")]
    rules += _NEWER_RULES[kind] if newer else ()
    body = "".join(f"  {rule}\n" for rule in rules)
    return f"profile {name} flags=(attach_disconnected,mediate_deleted) {{\n{body}}}\n"


def _all_but(base: str, kept: str) -> Iterator[str]:
    """Yield the patterns of all paths below `base` that do not begin with `kept`: the language has no other negation."""
    for position, character in enumerate(kept):
        yield f"{base}{kept[:position]}[^{character}]**"


class AppArmor:
    """The kernel's profiles. `sys_dir` and `parser` are other than usual in tests."""

    def __init__(self, notes_dir: str, *, sys_dir: str = "/sys", parser: Sequence[str] = PARSER) -> None:
        """`notes_dir` is a directory of ours that is gone at boot, as the profiles are."""
        self._notes_dir, self._parser = notes_dir, parser
        self._enabled = f"{sys_dir}/module/apparmor/parameters/enabled"
        self._policy = f"{sys_dir}/kernel/security/apparmor"

    def is_enabled(self) -> bool:
        """Tell whether the kernel has AppArmor switched on."""
        try:
            return read_bounded(self._enabled, 16).strip() == b"Y"
        except FileNotFoundError:
            return False

    def require(self, name: str) -> None:
        """Raise Unsupported unless profile `name`, of somebody else, is loaded."""
        if not self.is_enabled():
            raise Unsupported(
                f"no AppArmor here to confine with profile '{name}'",
                hint="boot a kernel that has it on; 'pycontainer check' says which walls stand",
                feature="apparmor",
            )
        text = read_bounded(f"{self._policy}/profiles", _MAX_BYTES).decode(errors="replace")
        if not any(line.rpartition(" (")[0] == name for line in text.splitlines()):
            raise Unsupported(
                f"AppArmor profile '{name}' is not loaded",
                hint="load it: apparmor_parser --replace FILE; 'aa-status' lists those that are",
                feature="apparmor",
            )

    def why_not(self) -> str:
        """Tell why our profiles could not be loaded now, as far as can be seen without doing it."""
        reason = self._why_hidden()
        return reason or ("" if shutil.which(self._parser[0], path=_PATH) else self._no_parser())

    def ensure(self, kind: str) -> str:
        """Have our profile for `kind` loaded; return why it does not confine, or an empty string."""
        name, text = PROFILES[kind], profile_text(kind)
        if reason := self._why_hidden():
            return reason
        loaded = self.loaded(name)
        if loaded is None or not loaded.digest or self._note(name) != _note(text, loaded):
            if reason := self._load(kind):
                return reason
            loaded = self.loaded(name)
            if loaded is None:
                return f"'{self._parser[0]}' ended well, and profile '{name}' is not loaded"
            os.makedirs(self._notes_dir, mode=0o700, exist_ok=True)
            write_atomically(f"{self._notes_dir}/{name}", _note(text, loaded), sync=False)
        return "" if loaded.mode in ("enforce", "kill") else f"profile '{name}' is in mode {loaded.mode}"

    def loaded(self, name: str) -> Loaded | None:
        """Return profile `name` as the kernel has it now."""
        directory = f"{self._policy}/policy/profiles"
        for entry in os.listdir(directory):
            if entry.rpartition(".")[0] == name:
                return self._read(f"{directory}/{entry}", name)
        return None

    def _why_hidden(self) -> str:
        if not self.is_enabled():
            return "the kernel has no AppArmor, or it is off"
        if not os.path.isdir(f"{self._policy}/policy"):
            return f"'{self._policy}' is not there: mount -t securityfs securityfs /sys/kernel/security"
        return ""

    def _no_parser(self) -> str:
        return f"'{self._parser[0]}' is not installed: {INSTALL}"

    def _read(self, directory: str, name: str) -> Loaded | None:
        try:
            if read_bounded(f"{directory}/name", 4096).decode(errors="replace").strip() != name:
                return None
            mode = read_bounded(f"{directory}/mode", 64).decode().strip()
        except FileNotFoundError:  # it was unloaded just now
            return None
        for algorithm in ("sha256", "sha1"):  # since 6.8, before
            try:
                return Loaded(mode, read_bounded(f"{directory}/{algorithm}", 256).decode().strip())
            except FileNotFoundError:
                continue
        return Loaded(mode, "")

    def _note(self, name: str) -> bytes:
        try:
            return read_bounded(f"{self._notes_dir}/{name}", 4096)
        except FileNotFoundError:
            return b""

    def _load(self, kind: str) -> str:
        """Hand our profile to the parser; return why it failed, or an empty string."""
        reason = ""
        for newer in (True, False):
            try:
                done = subprocess.run(
                    self._parser,
                    input=profile_text(kind, newer=newer).encode(),
                    capture_output=True,
                    env={"PATH": _PATH, "LC_ALL": "C.UTF-8"},
                    timeout=_PARSER_SECONDS,
                    check=False,
                )
            except FileNotFoundError:
                return self._no_parser()
            except (OSError, subprocess.TimeoutExpired) as error:
                return f"'{self._parser[0]}' does not run: {error}"
            if done.returncode == 0:
                return ""
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            reason = f"'{self._parser[0]}' failed: {lines[-1] if lines else f'exit {done.returncode}'}"
        return reason


def _note(text: str, loaded: Loaded) -> bytes:
    return f"{hashlib.sha256(text.encode()).hexdigest()} {loaded.digest}\n".encode()
