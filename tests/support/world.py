"""A world of its own for tests: a `--root` on disk, its supervisor in a private host network, the CLI to drive it."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from pycontainer.paths import HostPaths
from tests.support.forked import Forker
from tests.support.hostns import HostNetwork
from tests.support.poll import SLOWNESS, poll_until

if TYPE_CHECKING:
    from pycontainer import Client

PROGRAM = os.path.join(os.path.dirname(sys.executable), "pycontainer")


class Result(NamedTuple):
    """How a command ended and what it wrote."""

    exit_code: int
    stdout: str
    stderr: str


class World:
    """One `--root`; everything that lives in it ends with `close` and `scrub`."""

    def __init__(self, network: HostNetwork, directory: str = "/var/tmp", *, program: str = PROGRAM) -> None:
        self.network = network
        self.program = program
        self.root = tempfile.mkdtemp(prefix="pct-", dir=directory)  # overlay wants a real file system beneath
        self.paths = HostPaths(self.root)
        self._forker = network.forker
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": self.root,
            "LANG": "C.UTF-8",
            "TERM": "xterm",
            "PYCONTAINER_LXCFS": "off",  # what is installed must not decide what is tested
            "PYCONTAINER_IDLE_SECONDS": str(60 * SLOWNESS),  # a module's world is there while others are tested
        }

    # -- commands

    def argv(self, *arguments: str) -> list[str]:
        """Return the argv of `pycontainer ARGUMENTS` in this world and its host network."""
        return self.network.inside.argv(self.program, "--root", self.root, *arguments)

    def suggested(self, command: str) -> str:
        """Return `pycontainer ...` as it is suggested to who chose this world with `--root`."""
        return command.replace("pycontainer", f"pycontainer --root {self.root}", 1)

    def cli(
        self,
        *arguments: str,
        stdin: str | None = None,
        timeout_seconds: float = 60,
        environment: dict[str, str] | None = None,
        cwd: str | None = None,
    ) -> Result:
        """Run `pycontainer ARGUMENTS` to its end."""
        environment = {**self.environment, **(environment or {})}
        timeout_seconds *= SLOWNESS
        if self._forker is not None and stdin is None and cwd is None:
            result = Result(*self._forker.run(["--root", self.root, *arguments], environment, timeout_seconds))
        else:
            done = subprocess.run(
                self.argv(*arguments),
                capture_output=True,
                text=True,
                errors="surrogateescape",
                check=False,
                cwd=cwd,
                env=environment,
                timeout=timeout_seconds,
                **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
            )
            result = Result(done.returncode, done.stdout, done.stderr)
        assert "Traceback (most recent call last)" not in result.stderr, f"{arguments}: traceback:\n{result.stderr}"
        return result

    @contextlib.contextmanager
    def forking(self) -> Iterator[None]:
        """Meanwhile `cli` and `ok` run the command without the time in which Python starts (forked.py)."""
        before = self._forker
        with Forker(self.network.inside) as self._forker:
            try:
                yield
            finally:
                self._forker = before

    def ok(self, *arguments: str, stdin: str | None = None, timeout_seconds: float = 60) -> str:
        """Run a command that must succeed and return its stdout without the last newline."""
        result = self.cli(*arguments, stdin=stdin, timeout_seconds=timeout_seconds)
        assert result.exit_code == 0, f"{arguments}: exit {result.exit_code}\n{result.stdout}{result.stderr}"
        return result.stdout.removesuffix("\n")

    def refused(self, exit_code: int, *arguments: str, stdin: str | None = None) -> str:
        """Run a command that must be refused with `exit_code`: nothing on stdout, the reason returned."""
        result = self.cli(*arguments, stdin=stdin)
        assert (result.exit_code, result.stdout) == (exit_code, ""), f"{arguments}: {result}"
        assert result.stderr, f"{arguments}: refused without a word"
        return result.stderr

    def popen(self, *arguments: str, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command that goes on; stdout and stderr are pipes unless told otherwise."""
        options = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
        return subprocess.Popen(self.argv(*arguments), env=self.environment, **options)

    def client(self) -> "Client":
        """Return a Python client; the supervisor is started in the host network first."""
        from pycontainer import Client

        self.ok("info")
        return Client(root=self.root)

    # -- what is there

    def inspect(self, container: str) -> dict[str, Any]:
        """Return the one record that `inspect` prints for `container`."""
        record = json.loads(self.ok("inspect", container))
        return dict(record[0] if isinstance(record, list) else record)

    def status(self, container: str) -> str:
        return str(self.inspect(container)["status"])

    def wait_for_status(self, container: str, status: str, *, timeout_seconds: float = 10) -> None:
        poll_until(
            lambda: self.status(container) == status,
            timeout_seconds=timeout_seconds,
            what=f"{container} is {status}",
            interval_seconds=0.1,
        )

    def supervisor_pid(self) -> int:
        with open(self.paths.supervisor_pidfile) as file:
            return int(file.read())

    def import_image(self, directory: str, name: str) -> str:
        """Import a root file system as an image and return its name."""
        self.ok("image", "import", directory, name)
        return name

    # -- the end

    def clear(self) -> None:
        """Remove every container, tenant and volume, so that one test's failure is not the next one's."""
        if os.path.isdir(self.paths.containers_dir) and os.listdir(self.paths.containers_dir):
            ids = self.cli("ps", "-aq").stdout.split()
            if ids:
                self.cli("rm", "-f", *ids)
        if os.path.isdir(self.paths.tenants_dir) and os.listdir(self.paths.tenants_dir):
            tenants = self.cli("tenant", "ls", "-q").stdout.split()
            if tenants:
                self.cli("tenant", "rm", *tenants)
        shutil.rmtree(self.paths.volumes_dir, ignore_errors=True)

    def close(self) -> None:
        """Remove every container and stop the services, as a user would."""
        self.clear()
        if os.path.exists(self.paths.supervisor_socket):
            self.cli("service", "stop")
        poll_until(lambda: not self.processes(), timeout_seconds=10, what=f"processes of {self.root} end")

    def scrub(self) -> None:
        """Remove by force what `close` may have left, so that a defect does not spoil the machine."""
        for pid in self.processes():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        poll_until(lambda: not self.processes(), timeout_seconds=10, what=f"killed processes of {self.root} end")
        with open("/proc/self/mountinfo") as file:
            targets = [line.split()[4] for line in file]
        for target in reversed(targets):
            if target.startswith(self.root + "/"):
                subprocess.run(["umount", "-l", target], check=True)
        for directory in self._cgroups():
            os.rmdir(directory)
        shutil.rmtree(self.root)

    def processes(self) -> list[int]:
        """Return the pids of what belongs to this world: its services, by their command line, and its containers."""
        pids = {pid for pid, command in process_commands() if self.root in command and pid != os.getpid()}
        for directory in self._cgroups():
            with contextlib.suppress(OSError), open(f"{directory}/cgroup.procs") as file:
                pids.update(int(line) for line in file)
        return sorted(pids)

    def _cgroups(self) -> list[str]:
        """Return the cgroup directories of this world, deepest first."""
        walk = os.walk("/sys/fs/cgroup", topdown=False)
        return [directory for directory, _, _ in walk if f"/{self.paths.marker}" in directory]


def process_commands() -> list[tuple[int, str]]:
    """Return pid and command line of every process that has one."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/cmdline", "rb") as file:
                    command = file.read()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if command:
                found.append((int(entry), command.replace(b"\0", b" ").decode(errors="replace").strip()))
    return found


def unique_name(prefix: str = "t") -> str:
    """Return a container name that no other test has."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"
