"""Have a cgroup hold which devices may be used in it: the devices controller on v1, a program of ours on v2.

Both belong to the cgroup and go with it, whoever lives or dies. On v2 the kernel asks all programs from this cgroup up to
the root, and each must allow: neither ours nor systemd's (DeviceAllow=) can be widened from beneath. Those beneath inherit.
"""

from __future__ import annotations

import os

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import Layout
from pycontainer.cgroup.devicefilter import Rule, merged, parse, program, rules_of
from pycontainer.errors import Unsupported
from pycontainer.linux import bpf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM_NAME = "pycontainer"
_CACHED_MAX = 64
_cached: dict[bytes, tuple[int, int]] = {}  # instructions -> descriptor, id; most containers share one program
_latest: tuple[tuple[int, tuple[Rule, ...]], tuple[Rule, ...], bytes] = ((0, ()), (), b"")  # asked, and what came of it
_program_refusal: str | None = None  # why the kernel takes none, asked once


def why_no_policy(layout: Layout) -> str:
    """Say why this host cannot hold which devices are used; empty if it can."""
    if not layout.is_v2:
        return "" if "devices" in layout.controllers else "no devices controller"
    return _why_no_program()


def _why_no_program() -> str:
    global _program_refusal
    if _program_refusal is None:
        _program_refusal = ""
        try:
            os.close(bpf.load_device_filter(program(()), PROGRAM_NAME))
        except OSError as error:
            _program_refusal = f"the kernel takes no BPF program for devices ({error.strerror})"
    return _program_refusal


def hold(cgroup: Cgroup, rules: Sequence[Rule]) -> None:
    """Allow what the rules do and nothing else, read it back and compare; nothing is written that is there already.

    A policy that is there changes with no moment in which less or more is allowed than before and after.
    OSError if the kernel refuses, Unsupported if it holds something else or has nothing to hold it with.
    """
    global _latest
    asked = cgroup.version, tuple(rules)
    if _latest[0] != asked:
        rules = merged(rules)
        _latest = asked, rules, program(rules) if cgroup.version == 2 else b""
    _, rules, code = _latest
    if cgroup.version == 2:
        hold_program(cgroup, code)
    elif cgroup.has("devices"):
        _hold_list(cgroup, rules)
    else:
        raise Unsupported(
            "cannot hold which devices are used: this host has no devices controller",
            hint="mount it: mount -t cgroup -o devices none /sys/fs/cgroup/devices",
            feature="devices",
        )


def is_held(cgroup: Cgroup) -> bool:
    """Say whether the kernel refuses anything here. OSError if the cgroup is gone."""
    if cgroup.version == 1:
        return cgroup.has("devices") and parse(cgroup.read("devices", "devices.list")) is not None
    cgroup_fd = _open(cgroup)
    try:
        return bool(_ours(cgroup_fd))
    finally:
        os.close(cgroup_fd)


def held(cgroup: Cgroup) -> tuple[Rule, ...] | None:
    """Return what the kernel allows here; None if that is everything. Unsupported if it does not tell.

    OSError if the cgroup is gone.
    """
    if cgroup.version == 1:
        return parse(cgroup.read("devices", "devices.list")) if cgroup.has("devices") else None
    cgroup_fd = _open(cgroup)
    try:
        ours = _ours(cgroup_fd)
    finally:
        os.close(cgroup_fd)
    if not ours:
        return None
    rules = rules_of(ours[0].instructions)
    if rules is None:
        raise Unsupported(
            "the kernel does not show which devices are allowed",
            hint="it hides programs while net.core.bpf_jit_harden is 2",
            feature="devices",
        )
    return rules


def _hold_list(cgroup: Cgroup, rules: tuple[Rule, ...]) -> None:
    present = parse(cgroup.read("devices", "devices.list"))
    if present == rules:
        return
    wanted = {rule[:3]: rule.access for rule in rules}
    if present is not None and {rule[:3]: rule.access for rule in present} == wanted:
        return
    if present is None:
        cgroup.write("devices", "devices.deny", "a")
    before = {rule[:3]: rule.access for rule in present or ()}
    try:
        cgroup.write_each("devices", "devices.allow", _surplus(wanted, before))
    except PermissionError as error:
        raise Unsupported(
            f"cannot allow the container its devices: {error.strerror}",
            hint="the cgroup above allows fewer devices; see devices.list there",
            feature="devices",
        ) from error
    cgroup.write_each("devices", "devices.deny", _surplus(before, wanted))
    found = parse(cgroup.read("devices", "devices.list"))
    if found is None or {rule[:3]: rule.access for rule in found} != wanted:
        raise _differs(found)


def _surplus(
    some: dict[tuple[str, int | None, int | None], str], others: dict[tuple[str, int | None, int | None], str]
) -> list[str]:
    """Return as lines what `some` allow and `others` do not."""
    rest = [
        Rule(*device, "".join(letter for letter in access if letter not in others.get(device, "")))
        for device, access in some.items()
    ]
    return [str(rule) for rule in rest if rule.access]


def hold_program(cgroup: Cgroup, code: bytes) -> None:
    """Have the cgroup of v2 hold this program, in the place of ours that is there; errors as of `hold`."""
    program_fd, program_id = _loaded(code)
    cgroup_fd = _open(cgroup)
    try:
        present = bpf.attached_device_filters(cgroup_fd)
        if program_id in present:
            return
        ours = _ours(cgroup_fd) if present else []
        if any(each.instructions == code for each in ours):  # another supervisor loaded it
            return
        if cgroup.is_untouched:
            raise _differs(present)
        if ours:
            replaced_fd = bpf.open_program(ours[0].id)
            try:
                bpf.attach_device_filter(cgroup_fd, program_fd, replaced_fd=replaced_fd)
            finally:
                os.close(replaced_fd)
        else:
            bpf.attach_device_filter(cgroup_fd, program_fd)
        if program_id not in (present := bpf.attached_device_filters(cgroup_fd)):
            raise _differs(present)
    finally:
        os.close(cgroup_fd)


def _loaded(code: bytes) -> tuple[int, int]:
    """Return descriptor and id of a program of these instructions, loaded once."""
    if code not in _cached:
        if len(_cached) >= _CACHED_MAX:  # cgroups keep those that they have
            for program_fd, _ in _cached.values():
                os.close(program_fd)
            _cached.clear()
        program_fd = bpf.load_device_filter(code, PROGRAM_NAME)
        _cached[code] = program_fd, bpf.program_info(program_fd).id
    return _cached[code]


def _ours(cgroup_fd: int) -> list[bpf.Program]:
    """Return the programs of this cgroup that bear our name; those of others only narrow what is allowed."""
    found = []
    for program_id in bpf.attached_device_filters(cgroup_fd):
        try:
            program_fd = bpf.open_program(program_id)
        except FileNotFoundError:  # it was just replaced
            continue
        try:
            found.append(bpf.program_info(program_fd))
        finally:
            os.close(program_fd)
    return [each for each in found if each.name == PROGRAM_NAME]


def _open(cgroup: Cgroup) -> int:
    """Open the directory of v2 that is ours, never one beneath it that was delegated (dirfd): root inside may remove that."""
    return os.open(next(iter(cgroup.paths().values())), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)


def _differs(found: object) -> Unsupported:
    return Unsupported(
        f"cannot hold which devices are used: the kernel holds {found}",
        hint="does another program change the cgroup?",
        feature="devices",
        difference=f"the devices allowed are {found}",
    )
