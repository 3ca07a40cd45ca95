"""The ten descriptors that are lent to a child: in another process, as the monitor is, since they are its lowest."""

import os
import subprocess
import sys
import textwrap

from tests.support.images import CHECKOUT

_BEGIN = """
import os, select, signal, time
from pycontainer.init.birth import Bearer, CLONE_PIDFD
from pycontainer.init.child import GO_FD, PROGRAM_FD, REPORT_FD, STDIO_FDS, bridge
from pycontainer.init.table import Table
from pycontainer.linux.libc import MACHINE, syscall_number
from pycontainer.linux.namespaces import CLONE_FILES
from pycontainer.monitor.lending import Lending
from tests.support.descriptors import is_open

lending = Lending()
assert lending.shares
bearer = Bearer(MACHINE)
others = [os.open("/etc", os.O_PATH) for _ in range(500)]

def target(pid, number):
    return os.readlink(f"/proc/{pid}/fd/{number}")

def resting():
    return [target("self", number) for number in (0, 3, 4, 5, 6, 7, 8, 9)]

def numbers(pid):
    return sorted(map(int, os.listdir(f"/proc/{pid}/fd")))

def own_table(pid):
    give_up = time.monotonic() + 60
    while numbers(pid) != list(range(10)):  # it may have no processor for longer than we wait for it
        assert time.monotonic() < give_up, numbers(pid)
        time.sleep(0.01)

def born(first_row=None, kept=()):
    table = Table(REPORT_FD)
    go_read, go_write = os.pipe2(os.O_CLOEXEC)
    report_read, report_write = os.pipe2(os.O_CLOEXEC)
    if first_row:
        first_row(table)
    bridge(table, go_write_fd=-1, joins=False, executes=True, open_files=(64, 64))
    lending.lend({GO_FD: go_read, REPORT_FD: report_write, PROGRAM_FD: others[0]} | {n: others[1] for n in STDIO_FDS})
    os.close(go_read)
    os.close(report_write)
    pid, pidfd = bearer.bear(table, flags=CLONE_FILES, cgroup_fd=-1, program_fd=others[0], owner=0)
    lending.borrowed(pidfd, list(kept))
    return pid, pidfd, go_write, report_read
"""


def inside(text: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BEGIN + textwrap.dedent(text)],
        cwd=CHECKOUT,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, ""), done


def test_a_child_has_what_was_lent_and_nothing_else() -> None:
    inside("""
        pid, pidfd, go_write, report_read = born()
        lending.take_back()
        assert resting() == ["/dev/null"] * 8
        own_table(pid)
        assert [target(pid, number) for number in (6, 7, 8, 9)] == ["/etc"] * 4
        assert target(pid, GO_FD).startswith("pipe:") and target(pid, REPORT_FD).startswith("pipe:")
        assert target(pid, 4) == target(pid, 5) == "/dev/null"
        os.kill(pid, signal.SIGKILL)
        assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        assert os.read(report_read, 1) == b""  # nobody else holds its end
    """)


def test_what_it_uses_by_number_is_closed_with_the_taking_back() -> None:
    """Not before: until then the child writes to it, or to what would have its number by then."""
    inside("""
        read, write = os.pipe2(os.O_CLOEXEC)
        door = lambda table: table.call("door", syscall_number("write"), write, b"0", 1)
        pid, pidfd, go_write, report_read = born(door, kept=[write])
        lending.take_back_from(report_read)  # of somebody else
        assert is_open(write)
        lending.take_back()
        assert os.read(read, 2) == b"0" and os.read(read, 1) == b""
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        pid, pidfd, go_write, report_read = born(kept=[read])
        os.kill(pid, signal.SIGKILL)
        lending.take_back_from(pidfd)
        assert resting() == ["/dev/null"] * 8
        assert not is_open(read)
        os.waitpid(pid, 0)
    """)


def test_one_that_does_not_get_there_keeps_the_old_table_and_the_next_is_born() -> None:
    inside("""
        from pycontainer.init.table import MODE_IGNORE
        from pycontainer.init.child import _call
        import struct
        slow = lambda table: _call(table, "sleep", "nanosleep", struct.pack("<qq", 3, 0), 0, mode=MODE_IGNORE)
        pid, pidfd, go_write, report_read = born(slow)
        lending.take_back()
        assert resting() == ["/dev/null"] * 8
        assert target(pid, 9) == "/etc" and len(os.listdir(f"/proc/{pid}/fd")) > 500
        for _ in range(3):
            other, other_fd, other_go, other_report = born()
            lending.take_back()
            own_table(other)
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)
            assert os.read(other_report, 1) == b""
        own_table(pid)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    """)


def test_one_that_is_killed_at_once_is_not_waited_for() -> None:
    inside("""
        for _ in range(50):
            pid, pidfd, go_write, report_read = born()
            os.kill(pid, signal.SIGKILL)
            lending.take_back()
            assert resting() == ["/dev/null"] * 8
            os.waitpid(pid, 0)
            assert os.read(report_read, 1) == b""
            for fd in (pidfd, go_write, report_read):
                os.close(fd)
    """)


def test_a_clone_that_failed_leaves_nothing_lent() -> None:
    inside("""
        lending.lend({GO_FD: others[0], PROGRAM_FD: others[1]})
        assert target("self", GO_FD) == "/etc"
        lending.lend({6: others[0]})  # nobody took the first back
        assert target("self", GO_FD) == target("self", PROGRAM_FD) == "/dev/null" and target("self", 6) == "/etc"
        lending.take_back()
        lending.take_back()
        assert resting() == ["/dev/null"] * 8
        log = os.stat(2)
        assert os.path.samestat(os.stat(1), log)
    """)
