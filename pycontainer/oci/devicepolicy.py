"""Which devices a container may use: `linux.resources.devices`, a list in which the last entry that names a device decides.

Nothing is allowed to begin with. After the list come, as with runc, the devices that every container has (config-linux.md,
Default Devices), and the right to make nodes of any device, which without the right to open them opens nothing.

v2 holds the list in its order, as a program. v1 knows one rule for all and exceptions from it, so that a list which takes a
part out of an exception (allow c 10:*, then refuse c 10:200) cannot be held there; the kernel would not say so.
"""

from __future__ import annotations

import errno
import os

from pycontainer.cgroup import devices
from pycontainer.cgroup.base import read_file
from pycontainer.cgroup.devicefilter import ACCESS, Rule, program_in_order
from pycontainer.errors import InvalidInput, NotPermitted, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pycontainer.cgroup.base import Cgroup

    Step = tuple[bool, Rule]  # allow, or refuse

DEFAULT = (
    Rule("c", None, None, "m"),
    Rule("b", None, None, "m"),
    Rule("c", 1, 3, "rwm"),  # null
    Rule("c", 1, 5, "rwm"),  # zero
    Rule("c", 1, 7, "rwm"),  # full
    Rule("c", 1, 8, "rwm"),  # random
    Rule("c", 1, 9, "rwm"),  # urandom
    Rule("c", 5, 0, "rwm"),  # tty
    Rule("c", 5, 2, "rwm"),  # ptmx
    Rule("c", 136, None, "rwm"),  # pseudo terminals
)
_MOST = {"major": (1 << 12) - 1, "minor": (1 << 20) - 1}  # MINORBITS, include/linux/kdev_t.h
_WHOLE_HOST = ["0", "0", "4294967295"]  # the uid map of a process that is in no user namespace


def steps(entries: list[dict[str, Any]] | None, where: str) -> list[Step]:
    """Return what the entries say, the defaults after them. `where` is the path of linux.resources; InvalidInput."""
    found = []
    for index, entry in enumerate(entries or ()):
        field = f"{where}.devices[{index}]"
        kind, access = entry.get("type") or "a", entry.get("access")
        if kind not in ("a", "b", "c"):
            raise InvalidInput(f"{field}.type: {kind!r} is none of a, b and c")
        if access is None:
            access = ACCESS
        if not access or not set(access) <= set(ACCESS):
            raise InvalidInput(f"{field}.access: {access!r} is not made of the letters r, w and m")
        major, minor = (_number(entry.get(name), most, f"{field}.{name}") for name, most in _MOST.items())
        found.append(
            (bool(entry["allow"]), Rule(kind, major, minor, "".join(each for each in ACCESS if each in access)))
        )
    return found + [(True, rule) for rule in DEFAULT]


def folded(wanted: list[Step], where: str) -> tuple[bool, list[Rule]]:
    """Return the form of v1: whether all is allowed, and the exceptions from that. Unsupported if it has none."""
    allowed = False
    exceptions: dict[tuple[str, int | None, int | None], str] = {}
    for allow, rule in wanted:
        if rule[:3] == ("a", None, None) and rule.access == ACCESS:
            allowed, exceptions = allow, {}
            continue
        for kind in ("c", "b") if rule.kind == "a" else (rule.kind,):
            devices_named = (kind, rule.major, rule.minor)
            if allow != allowed:
                held = exceptions.get(devices_named, "") + rule.access
                exceptions[devices_named] = "".join(letter for letter in ACCESS if letter in held)
                continue
            for other, held in list(exceptions.items()):
                rest = "".join(letter for letter in held if letter not in rule.access)
                if rest == held or not _overlap(devices_named, other):
                    continue
                if not _covers(devices_named, other):
                    part = Rule(*devices_named, rule.access)
                    raise Unsupported(
                        f"{where}.devices: cgroup v1 cannot {'allow' if allow else 'refuse'} '{part}'"
                        f" as a part of '{Rule(*other, held)}'",
                        hint="name the devices one by one",
                        feature="devices",
                    )
                if rest:
                    exceptions[other] = rest
                else:
                    del exceptions[other]
    return allowed, [Rule(*devices_named, access) for devices_named, access in exceptions.items()]


def hold(cgroup: Cgroup, wanted: list[Step], where: str) -> None:
    """Have the cgroup hold the list; the kernel's state is compared where it shows it.

    A user, and root of a user namespace, may not set this, nor open or make any device beyond his rights: nothing is done.
    NotPermitted, Unsupported.
    """
    try:
        if cgroup.version == 2:
            devices.hold_program(cgroup, program_in_order(wanted))
            return
        allowed, exceptions = folded(wanted, where)
        if not allowed:
            devices.hold(cgroup, exceptions)
            return
        cgroup.write("devices", "devices.allow", "a")
        cgroup.write_each("devices", "devices.deny", list(map(str, exceptions)))
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            raise Unsupported(f"{where}.devices: this host has no devices controller", feature="devices") from error
        if error.errno not in (errno.EPERM, errno.EACCES):
            raise
        if os.geteuid() == 0 and read_file("/proc/self/uid_map").split() == _WHOLE_HOST:
            raise NotPermitted(f"{where}.devices: the kernel refuses it: {os.strerror(error.errno)}") from error


def check(version: int, wanted: list[Step], where: str) -> None:
    """Raise Unsupported if this version cannot hold the list."""
    if version == 1:
        folded(wanted, where)


def _number(value: int | None, most: int, field: str) -> int | None:
    """Return a major or minor number; None, from nothing or -1, is all of them."""
    if value is None or value == -1:
        return None
    if not 0 <= value <= most:
        raise InvalidInput(f"{field}: {value} is no number of a device: they go from 0 to {most}")
    return value


def _covers(some: tuple[str, int | None, int | None], other: tuple[str, int | None, int | None]) -> bool:
    return some[0] == other[0] and all(mine in (None, its) for mine, its in zip(some[1:], other[1:], strict=True))


def _overlap(some: tuple[str, int | None, int | None], other: tuple[str, int | None, int | None]) -> bool:
    pairs = zip(some[1:], other[1:], strict=True)
    return some[0] == other[0] and all(None in (mine, its) or mine == its for mine, its in pairs)
