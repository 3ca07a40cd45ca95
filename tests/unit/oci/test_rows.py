"""The order of the child's rows is its security: read from the table, as the kernel will see it."""

import signal
import struct

import pytest

from pycontainer.init.table import MODE_EXACT, Table
from pycontainer.linux.capabilities import NUMBERS
from pycontainer.linux.libc import syscall_number
from pycontainer.oci import rows, state
from pycontainer.oci.config import Capabilities, Process
from pycontainer.oci.rows import Finish, Places

FILTER = (0, bytes(8))
NEW_LISTENER = 8


def process(**fields: object) -> Process:
    made = Process()
    made.args, made.uid, made.gid = ["/bin/true"], 1000, 1000
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def finished(
    who: Process,
    *,
    seccomp: tuple[int, bytes] | None = None,
    parks: bool = True,
    bears: bool = False,
    bears_filtered: bool = False,
) -> tuple[Table, Places]:
    places = Places(preserved=2, namespaces=1)
    table = Table(places.report)
    rows.finish(
        table,
        places,
        Finish(who, executables=[b"/bin/true"], seccomp=seccomp, label=None, keyring="", console="", streams=[]),
        parks=parks,
        bears=bears,
        bears_filtered=bears_filtered,
    )
    return table, places


def numbers(table: Table) -> list[int]:
    return [row.number for row in table.rows]


def steps(table: Table) -> list[str]:
    return [row.step for row in table.rows]


def test_places_are_above_what_is_preserved() -> None:
    places = Places(preserved=3, namespaces=2)
    every = [places.report, places.go, places.listener, places.label, places.root, places.join, *places.namespaces]
    assert every == list(range(6, 14)) and places.above() == 14


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_nothing_is_open_when_the_working_directory_is_entered(no_new_privs: bool) -> None:
    """CVE-2024-21626: but for two FIFOs, which are no directories."""
    table, places = finished(process(no_new_privs=no_new_privs), seccomp=FILTER)
    chdir = numbers(table).index(syscall_number("chdir"))
    closing = [row for row in table.rows[:chdir] if row.number == syscall_number("close_range")]
    assert closing and closing[-1].arguments[:2] == (places.label, 0xFFFFFFFF)
    assert places.label == places.report + 3  # between them `go`, and a listener's place, which is closed by itself
    assert any(
        row.number == syscall_number("close") and row.arguments == (places.listener,) for row in table.rows[:chdir]
    )


def test_who_is_born_in_a_pid_namespace_has_nothing_to_lose() -> None:
    """What lives there sees it: it is confined, and what had the host's descriptors is not there."""
    table, _ = finished(process(no_new_privs=True, terminal=True), seccomp=FILTER, parks=False, bears=True)
    found = numbers(table)
    born = found.index(syscall_number("clone"))
    for name in ("close_range", "setresuid", "capset", "chdir", "prctl"):
        assert found.index(syscall_number(name)) < born and syscall_number(name) not in found[born:], name
    assert found.index(syscall_number("setsid")) > born < found.index(syscall_number("ioctl"))  # they are not inherited


def test_who_is_born_filtered_makes_the_calls_that_were_asked_about() -> None:
    """Without no_new_privs a filter takes CAP_SYS_ADMIN, which whoever is born does not have if it is loaded before."""
    who = process(no_new_privs=False, terminal=True)
    table, _ = finished(who, seccomp=FILTER, parks=False, bears=True, bears_filtered=True)
    found = numbers(table)
    filtered = found.index(syscall_number("seccomp"))
    born = found.index(syscall_number("clone"))
    assert set(found[filtered + 1 : born]) == {syscall_number("prctl"), syscall_number("capset")}
    failing = {syscall_number("write"), syscall_number("exit_group")}
    assert {call[0] for call in rows.calls_of_birth()} == {*found[born:], *failing}
    assert all(list(row.arguments)[: len(call) - 1] == list(call[1:]) for call in rows.calls_of_birth()
               for row in table.rows[born:] if row.number == call[0])  # fmt: skip


def test_a_filter_comes_last_where_it_may() -> None:
    """A rule against any of our own calls does not break them."""
    table, _ = finished(process(no_new_privs=True), seccomp=FILTER)
    assert steps(table)[-2:] == ["seccomp", "execve"]


def test_a_filter_without_no_new_privs_comes_before_its_right_goes() -> None:
    table, _ = finished(process(no_new_privs=False), seccomp=FILTER)
    found = numbers(table)
    at = found.index(syscall_number("seccomp"))
    assert found.index(syscall_number("setresuid")) < at < len(found) - 1 - found[::-1].index(syscall_number("capset"))


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_listener_is_there_while_it_parks_and_not_after(no_new_privs: bool) -> None:
    table, places = finished(process(no_new_privs=no_new_privs), seccomp=(NEW_LISTENER, bytes(8)))
    found = steps(table)
    park = found.index("park")
    loaded = found.index("seccomp")
    assert loaded < park
    freed, load = table.rows[loaded : loaded + 2]
    assert (freed.number, freed.arguments) == (syscall_number("close"), (places.listener,))
    assert (load.number, load.mode, load.expected) == (syscall_number("seccomp"), MODE_EXACT, places.listener)
    after = table.rows[park:]
    assert any(row.number == syscall_number("close") and row.arguments == (places.listener,) for row in after)
    assert "seccomp" not in [row.step for row in after]


def test_it_parks_after_all_that_can_fail() -> None:
    table, _ = finished(process(no_new_privs=True, rlimits=[(7, 10, 20)]), seccomp=FILTER)
    last = len(table.rows) - 1 - steps(table)[::-1].index("park")
    assert set(steps(table)[last + 1 :]) == {"descriptors", "seccomp", "execve"}


def test_ambient_ones_are_those_that_the_kernel_takes() -> None:
    kill, bind = 1 << NUMBERS["CAP_KILL"], 1 << NUMBERS["CAP_NET_BIND_SERVICE"]
    sets = Capabilities(bounding=kill | bind, effective=0, inheritable=bind, permitted=kill | bind, ambient=kill | bind)
    table, _ = finished(process(capabilities=sets))
    raised = [row.arguments[2] for row in table.rows if row.arguments[:2] == (47, 2)]
    assert raised == [NUMBERS["CAP_NET_BIND_SERVICE"]]


def test_without_capabilities_there_are_none() -> None:
    table, _ = finished(process())
    dropped = [
        row.arguments[1] for row in table.rows if row.number == syscall_number("prctl") and row.arguments[0] == 24
    ]
    assert dropped == list(range(len(NUMBERS)))
    (capset,) = [row for row in table.rows if row.number == syscall_number("capset")]
    data = capset.arguments[1]
    assert isinstance(data, bytes) and struct.unpack("6I", data) == (0,) * 6


@pytest.mark.parametrize("no_new_privs", [True, False])
def test_a_listener_is_told_of_before_any_other_call(no_new_privs: bool) -> None:
    """A rule that notifies of chdir, or of capset, has somebody who answers by the time that we call it."""
    table, places = finished(process(no_new_privs=no_new_privs), seccomp=(NEW_LISTENER, bytes(8)))
    loaded = steps(table).index("seccomp")
    loads, tells = table.rows[loaded + 1], table.rows[loaded + 2]
    assert loads.number == syscall_number("seccomp")
    assert (tells.number, tells.arguments) == (syscall_number("write"), (places.report, state.LISTENS, 1))


def test_limits_of_files_do_not_hit_the_console() -> None:
    places = Places(preserved=0, namespaces=0)
    table = Table(places.report)
    who = process(rlimits=[(7, 3, 3)], terminal=True)
    rows.finish(
        table,
        places,
        Finish(who, executables=[b"/bin/true"], seccomp=None, label=None, keyring="", console="/dev/pts/0", streams=[]),
        parks=True,
    )
    found = steps(table)
    assert len(found) - 1 - found[::-1].index("console") < found.index("rlimits")


@pytest.mark.parametrize("becomes_root", [True, False])
def test_the_callers_groups_are_left_behind(becomes_root: bool) -> None:
    """While that is allowed: a user namespace that is joined later may forbid setgroups(2)."""
    table = rows.bridge(
        Places(0, 0), go_read_fd=20, go_write_fd=21, report_fd=22, program_fd=23, moves=[], becomes_root=becomes_root
    )
    assert [row.arguments for row in table.rows if row.number == syscall_number("setgroups")] == [(0, 0)]


def test_the_old_root_loses_nothing_that_is_shared() -> None:
    """The clone is attached after the old root stopped propagating: its umount would take the clone's mounts along."""
    places = Places(preserved=0, namespaces=0)
    table = Table(places.report)
    rows.own_mounts(table, places)
    found = numbers(table)
    order = [
        syscall_number(name) for name in ("unshare", "open_tree", "dup3", "mount", "move_mount", "fchdir", "pivot_root")
    ]
    assert found[: len(order)] == order


def test_what_is_ignored_by_us_or_our_caller_is_not_by_the_program() -> None:
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        table, _ = finished(process())
    finally:
        signal.signal(signal.SIGUSR1, before)
    reset = [row.arguments for row in table.rows if row.number == syscall_number("rt_sigaction")]
    assert all(arguments[1:] == (bytes(32), 0, 8) for arguments in reset)
    assert {signal.SIGPIPE, signal.SIGUSR1} <= {arguments[0] for arguments in reset}
    assert signal.SIGUSR2 not in {arguments[0] for arguments in reset}
