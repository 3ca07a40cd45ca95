"""A machine that an engine has to itself: namespaces over the files of this host.

    processes   the first one is tini, which reaps what engines orphan; when it is killed, all that runs here ends
    mounts      the host's, but: /run and /dev/shm are empty, /proc is of these processes, and what is written beneath
                /etc, /opt, /var/cache, /var/lib and /var/log lands in `directory`/written: every engine keeps its usual
                places, and the host keeps its files
    cgroups     a directory `marker` in each hierarchy, which is the root of all that this machine sees
    network     that of a world (tests/support/hostns.py)

Everything ends with `close`, whatever an engine has left behind; `snapshot` shows what it leaves while it still runs.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
from typing import NamedTuple

from tests.support.hostns import HostNetwork
from tests.support.leaks import Lines, take_snapshot
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import Result

_WRITTEN = ("/etc", "/opt", "/var/cache", "/var/lib", "/var/log")
_EMPTY = ("/run", "/dev/shm")
_FIRST = "tini"

# What no runtime has to clear away. Docker's network namespaces, which a timer collects; Podman's record of the exit of a
# container that never ran, the mount of its storage upon itself, and the cgroups of its pods in hierarchies without
# controllers, which it forgets; our cache of filters, bounded by itself
_NOBODYS = re.compile(
    r"(file|mount): /run/docker/netns/|file: /run/libpod/exits/|mount: /var/tmp/[^/]*/storage/overlay |"
    r"cgroup: .*/(systemd|unified)/pct-engine-[^/]*/libpod_parent/[0-9a-f]{64}$|"
    r"file: /run/pycontainer(/seccomp(/[0-9a-f]{64}\.bpf)?)?$"
)

# $1: the directory, then NAME TYPE OPTIONS of each hierarchy of cgroups, then `--` and the places of _EMPTY and _WRITTEN
_SET_UP = """
read -r pid rest </proc/self/stat # still the host's, so is the number
directory=$1
shift
mount -t proc proc /proc
umount -R /sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
while [ "$1" != -- ]; do
    mkdir "/sys/fs/cgroup/$1"
    mount -t "$2" -o "$3" cgroup "/sys/fs/cgroup/$1"
    shift 3
done
shift
while [ "$1" != -- ]; do
    mount -t tmpfs -o mode=755 tmpfs "$1"
    shift
done
shift
for place; do
    mkdir -p "$directory/written$place" "$directory/work$place"
    mount -t overlay -o "lowerdir=$place,upperdir=$directory/written$place,workdir=$directory/work$place" overlay "$place"
done
hostname machine
echo "$pid" >"$directory/pid"
exec tini -- sleep infinity
"""

# each FILE until `--` takes this shell, which becomes the command
_INTO = 'while [ "$1" != -- ]; do echo $$ >"$1"; shift; done; shift; exec "$@"'


class Hierarchy(NamedTuple):
    """A hierarchy of cgroups: where the host has it mounted, and what mount(8) needs to mount it elsewhere."""

    directory: str
    kind: str
    options: str

    @property
    def name(self) -> str:
        return os.path.basename(self.directory)


def hierarchies() -> list[Hierarchy]:
    """Return the hierarchies of a host with v1 or both versions; there is none beneath others."""
    with open("/proc/cgroups") as file:
        controllers = {line.split()[0] for line in file if not line.startswith("#")}
    found = {}
    with open("/proc/self/mountinfo") as file:
        for line in file:
            directory = line.split()[4]
            kind, _, options = line.split(" - ", 1)[1].split()[:3]
            if kind == "cgroup":
                words = [word for word in options.split(",") if word in controllers or word.startswith("name=")]
                found[directory] = Hierarchy(
                    directory, kind, ",".join(["none", *words] if "name=" in options else words)
                )
            elif kind == "cgroup2":
                found[directory] = Hierarchy(directory, kind, "rw")
    return list(found.values())


class Machine:
    """One machine; made by `start`, ended by `close`."""

    def __init__(self, network: HostNetwork) -> None:
        self.network = network
        self.directory = tempfile.mkdtemp(
            prefix="pct-engine-", dir="/var/tmp"
        )  # overlay wants a real file system beneath
        self.marker = os.path.basename(self.directory)
        self.hierarchies = hierarchies()
        self.init_pid = 0
        self._hosts: frozenset[str] = frozenset()  # mount points that were there when the machine was made
        self._parent: subprocess.Popen[bytes] | None = None
        self.environment = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": self.directory,
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "TMPDIR": f"{self.directory}/tmp",
        }

    def start(self) -> None:
        os.mkdir(f"{self.directory}/tmp")
        with open("/proc/self/mountinfo") as file:
            self._hosts = frozenset(line.split()[4] for line in file)
        for hierarchy in self.hierarchies:
            directory = f"{hierarchy.directory}/{self.marker}"
            os.mkdir(directory)
            for name in ("cpuset.cpus", "cpuset.mems"):  # empty on v1, and then it takes no process
                if hierarchy.kind == "cgroup" and os.path.exists(f"{directory}/{name}"):
                    with open(f"{hierarchy.directory}/{name}") as source, open(f"{directory}/{name}", "w") as target:
                        target.write(source.read())
        words = [word for one in self.hierarchies for word in (one.name, one.kind, one.options)]
        inside = ["sh", "-euc", _SET_UP, "machine", self.directory, *words, "--", *_EMPTY, "--", *_WRITTEN]
        unshare = ["unshare", "--cgroup", "--pid", "--mount", "--uts", "--ipc", "--fork", *inside]
        with open(f"{self.directory}/machine.log", "wb") as log:
            self._parent = subprocess.Popen(
                self._in_cgroup(*self.network.inside.argv(*unshare)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment,
            )
        self.init_pid = poll_until(self._first, what="the machine is up")

    def _first(self) -> int:
        """Return the host's number of the first process, when the machine is whole."""
        assert self._parent
        if self._parent.poll() is not None:
            with open(f"{self.directory}/machine.log") as file:
                raise RuntimeError(f"the machine did not come up: {file.read()}")
        with contextlib.suppress(FileNotFoundError, ValueError), open(f"{self.directory}/pid") as file:
            pid = int(file.read())
            with open(f"/proc/{pid}/comm") as comm:
                return pid if comm.read().strip() == _FIRST else 0
        return 0

    # -- commands

    def _in_cgroup(self, *command: str) -> list[str]:
        files = [f"{hierarchy.directory}/{self.marker}/cgroup.procs" for hierarchy in self.hierarchies]
        return ["sh", "-euc", _INTO, "machine", *files, "--", *command]

    def argv(self, *command: str) -> list[str]:
        """Return the argv that runs `command` as a process of this machine."""
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        return self._in_cgroup("nsenter", f"--target={self.init_pid}", *namespaces, "--", *command)

    def run(self, *command: str, stdin: str | None = None, timeout_seconds: float = 60) -> Result:
        """Run a command to its end, which comes by force when the time is over.

        Its output goes to files: what it leaves running may hold them, and nobody waits for that.
        """
        limit = ("timeout", "--kill-after=2", f"{timeout_seconds * SLOWNESS:g}")
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            done = subprocess.run(
                self.argv(*limit, *command),
                stdout=out,
                stderr=err,
                check=False,
                env=self.environment,
                **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin.encode()}),
            )
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        assert done.returncode not in (124, -9), f"{command}: not within {timeout_seconds * SLOWNESS:g} s: {texts}"
        return Result(done.returncode, *texts)

    def ok(self, *command: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Run a command that must succeed; return its stdout without the last newline."""
        result = self.run(*command, stdin=stdin, timeout_seconds=timeout_seconds)
        assert result.exit_code == 0, f"{command}: exit {result.exit_code}\n{result.stdout}{result.stderr}"
        return result.stdout.removesuffix("\n")

    def spawn(self, *command: str, log: str) -> "subprocess.Popen[bytes]":
        """Start a program that stays; it writes to `directory`/`log`."""
        with open(f"{self.directory}/{log}", "ab") as file:
            return subprocess.Popen(
                self.argv(*command), stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=self.environment
            )

    # -- what is there

    def path(self, inside: str) -> str:
        """Return where the host finds a file of this machine."""
        return f"/proc/{self.init_pid}/root{inside}"

    def write(self, inside: str, text: str) -> None:
        """Write a file of this machine, with the directories that it needs."""
        os.makedirs(os.path.dirname(self.path(inside)), exist_ok=True)
        with open(self.path(inside), "w") as file:
            file.write(text)

    def cgroup_value(self, pid: int, controller: str, name: str) -> str:
        """Return the content of a file of the v1 cgroup that a process of this machine (by its own number) is in."""
        with open(self.path(f"/proc/{pid}/cgroup")) as file:
            paths = {one: line.rstrip("\n").split(":", 2)[2] for line in file for one in line.split(":")[1].split(",")}
        place = next(one.directory for one in self.hierarchies if controller in one.options.split(","))
        with open(f"{place}{paths[controller]}/{name}") as file:
            return file.read().strip()

    def snapshot(self) -> Lines:
        """Return what is in this machine: mounts, cgroups, processes, links, rules, and what lies in /run.

        Without mounts that were the host's, which end with their directories, and whether a bridge has somebody on it.
        """
        lines = []
        with open(f"/proc/{self.init_pid}/mountinfo") as file:
            mounts = [line.split() for line in file]
        lines += [f"mount: {words[4]} {words[words.index('-') + 1]}" for words in mounts if words[4] not in self._hosts]
        lines += [f"cgroup: {directory}" for directory in self._cgroups()]
        lines += [f"process: {pid} {_command(pid)}" for pid in self._processes()]
        run = self.path("/run")
        for parent, directories, files in os.walk(run):
            # The root of a container, of which a mount says enough; compiled filters, which are bounded by themselves.
            directories[:] = [name for name in directories if name not in ("rootfs", "seccomp")]
            lines += [
                f"file: /run{parent.removeprefix(run)}/{name}"
                for name in (*directories, *files)
                if name != "pycontainer"
            ]
        lines += take_snapshot([("the machine", self.network.inside)])
        return frozenset(line.replace(" linkdown", "") for line in lines if not _NOBODYS.match(line))

    def wait_without(self, program: str) -> None:
        """Wait until no process of this machine has `program` in its command line."""
        poll_until(
            lambda: not any(program in _command(pid) for pid in self._processes()),
            timeout_seconds=30,
            interval_seconds=0.1,
            what=f"{program} has ended",
        )

    def remove_cgroups(self, name: str) -> None:
        """Remove the cgroups `name` that no container is in any more, with what is beneath them."""
        for directory in self._cgroups():
            if f"/{self.marker}/{name}/" in f"{directory}/":
                poll_until(lambda one=directory: _remove_cgroup(one), what=f"{directory} goes")  # type: ignore[misc]

    def _cgroups(self) -> list[str]:
        """Return the cgroups of this machine, deepest first."""
        tops = [f"{hierarchy.directory}/{self.marker}" for hierarchy in self.hierarchies]
        return [directory for top in tops for directory, _, _ in os.walk(top, topdown=False)]

    def _processes(self) -> list[int]:
        pids: set[int] = set()
        for directory in self._cgroups():
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs") as file:
                pids.update(int(line) for line in file)
        return sorted(pids)

    # -- the end

    def close(self) -> None:
        """End everything here and look at the host: no process, mount, cgroup or file of this machine stays."""
        for pid in self._processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for directory in self._cgroups():  # SIGKILL waits in a frozen process
            with contextlib.suppress(OSError), open(f"{directory}/freezer.state", "w") as file:
                file.write("THAWED")
        if self._parent:
            self._parent.wait(30 * SLOWNESS)
        poll_until(lambda: not self._processes(), what=f"the processes of {self.directory} end")
        for directory in self._cgroups():
            poll_until(lambda one=directory: _remove_cgroup(one), what=f"{directory} goes")  # type: ignore[misc]
        shutil.rmtree(self.directory)
        with open("/proc/self/mountinfo") as file:
            left = [line for line in file if self.marker in line]
        assert not left, f"mounts reached the host: {left}"


def _remove_cgroup(directory: str) -> bool:
    """Remove one; the kernel lets go of its last process a moment after it has ended."""
    try:
        os.rmdir(directory)
    except OSError:
        return False
    return True


def _command(pid: int) -> str:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    return "(gone)"
