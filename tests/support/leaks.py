"""What the host holds, as lines of text, so that before and after can be compared exactly. LK-01."""

import contextlib
import errno
import os
import stat
from collections.abc import Iterable
from functools import partial

from pycontainer.paths import DEFAULT_STATE_DIR, HostPaths
from tests.support.hostns import NetworkNamespace
from tests.support.netstate import network_lines
from tests.support.world import process_commands
from tests.vm.machine import MARKER

Lines = frozenset[str]
_BOUNDED = ("/run/seccomp", "/run/apparmor", "/lib/events")  # by themselves


def take_snapshot(namespaces: Iterable[tuple[str, NetworkNamespace]] = (), roots: Iterable[str] = ()) -> Lines:
    """Return everything of ours that the host holds: `namespaces` are private host networks, `roots` are worlds.

    With PYCONTAINER_TEST_WHOLE_HOST set, as tests/run.sh does, the whole machine counts. Without it, others may test on
    the same machine: processes, mounts, id ranges and cgroups count if they carry the tag of one of `roots`.
    """
    roots = list(roots)
    lines: list[str] = []
    for collect in (_mounts, _cgroups, _processes, _id_ranges, _loop_devices):
        lines += collect()
    if os.environ.get("PYCONTAINER_TEST_WHOLE_HOST"):
        lines += network_lines("host")
    else:
        lines = [line for line in lines if any(tag in line for tag in _tags(roots))]
    for name, namespace in namespaces:
        lines += namespace.call(partial(network_lines, name))
    for root in roots:
        lines += _files(root)
    return frozenset(lines)


def difference(before: Lines, after: Lines) -> str:
    """Return what came and what went, one per line; empty when nothing did."""
    came = [f"  left behind: {line}" for line in sorted(after - before)]
    went = [f"  gone:        {line}" for line in sorted(before - after)]
    return "\n".join(came + went)


def check_dev_null() -> None:
    """Fail if /dev/null is not what it must be: a mistake with it ruins the machine for everybody."""
    status = os.stat("/dev/null")
    found = (
        stat.S_ISCHR(status.st_mode),
        os.major(status.st_rdev),
        os.minor(status.st_rdev),
        stat.S_IMODE(status.st_mode),
        status.st_uid,
        status.st_gid,
    )
    assert found == (True, 1, 3, 0o666, 0, 0), f"/dev/null was changed: {found}"


def _tags(roots: list[str]) -> list[str]:
    return [tag for root in roots for tag in (root, HostPaths(root).marker)]


def _mounts() -> list[str]:
    lines = []
    for pid in ("1", "self"):
        with open(f"/proc/{pid}/mountinfo") as file:
            lines += [f"mount of {pid}: {line.split()[4]} {line.split(' - ')[1].split()[0]}" for line in file]
    return lines


def _cgroups() -> list[str]:
    found = []
    for path, directories, _ in os.walk("/sys/fs/cgroup"):
        found += [f"cgroup: {path}/{name}" for name in directories if "pycontainer" in f"{path}/{name}"]
    return found


def _processes() -> list[str]:
    """Return those of ours, but for the machines that work beside the tests, what a supervisor keeps as long as it lives, and
    monitors that are about to leave."""
    ours = [(pid, command) for pid, command in process_commands() if "pycontainer" in command and MARKER not in command]
    return [
        f"process: {pid} {command}"
        for pid, command in ours
        if not (_leaves(pid, command) or _is_kept(pid, command) or _is_elsewhere(pid))
    ]


def _leaves(pid: int, command: str) -> bool:
    """Tell whether it is a monitor without a child: where its supervisor was killed, it goes two seconds after all others."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return "pycontainer.monitor.main" in command and not file.read()
    except FileNotFoundError:
        return True


def _is_kept(pid: int, command: str) -> bool:
    """Tell whether it is who closes sockets for a supervisor that lives (supervisor/descriptors.py)."""
    if "descriptor_worker" not in command or not command.endswith(" bury"):
        return False
    try:
        with open(f"/proc/{pid}/stat") as file:
            parent = file.read().rpartition(")")[2].split()[1]
        with open(f"/proc/{parent}/cmdline") as file:
            return "pycontainer.supervisor.main" in file.read()
    except FileNotFoundError:
        return True


def _is_elsewhere(pid: int) -> bool:
    """Tell whether it works in a checkout that is not ours, as do linters and unit tests of who goes on meanwhile."""
    try:
        directory = os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return False
    return directory != os.getcwd() and os.path.isfile(f"{directory}/pycontainer/__init__.py")


def _id_ranges() -> list[str]:
    """Return the claims of all worlds: links that name a container, or files."""
    directory = f"{DEFAULT_STATE_DIR}/idranges"
    if not os.path.isdir(directory):
        return []
    found = []
    for entry in os.scandir(directory):
        with contextlib.suppress(FileNotFoundError):  # another world's, which gave it back just now
            if entry.is_symlink():
                found.append(f"id range: {entry.name} of {os.readlink(entry.path)}")
            elif entry.is_file() and entry.name != ".lock":
                with open(entry.path, "rb") as file:
                    found.append(f"id range: {entry.name} {file.read(200)!r}")
    return found


def _loop_devices() -> list[str]:
    found = []
    for name in os.listdir("/sys/block"):
        try:
            with open(f"/sys/block/{name}/loop/backing_file") as file:
                found.append(f"loop device: {name} {file.read().strip()}")
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno != errno.ENODEV:  # detached between open and read
                raise
    return found


def _files(root: str) -> list[str]:
    found = []
    for path, directories, files in os.walk(root):
        if "/.git" not in path and not path.endswith(_BOUNDED):
            found += [f"file: {path}/{name}" for name in (*directories, *files)]
    return found
