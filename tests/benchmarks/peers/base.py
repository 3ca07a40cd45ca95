"""What a measure may ask of a peer."""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from tests.benchmarks.bed import PAYLOAD, Bed
from tests.benchmarks.runner import Runner
from tests.support.poll import poll_until

VERBS = ("create", "start", "state", "exec", "stop", "delete")
ENGINE_RUNTIME = "/usr/sbin/runc"  # what Podman, containerd and Docker run containers with


class Peer:
    """A way to run the bed's root file system: commands of a runner, which is where they are timed.

    `prepare` makes all that is made once, `close` ends it. What a peer does not have stays as it is here.
    """

    name: ClassVar[str]
    program: ClassVar[str]
    isolation: ClassVar[str]
    """What confines its container, and how that differs from ours."""
    runtime_program: ClassVar[str] = ""
    """The end of a path whose processes stay in the container's namespaces, and belong to the runtime all the same."""
    runner: Runner

    def __init__(self, bed: Bed) -> None:
        self.bed = bed

    @property
    def slug(self) -> str:
        """A name for a container that no other peer of the same world has."""
        return "".join(char for char in self.name if char.isalnum())

    def why_not(self) -> str:
        """Return why it cannot be measured, or nothing."""
        return "" if shutil.which(self.program) else f"{self.program} is not installed"

    def version(self) -> str:
        return self.runner.output(self.program, "--version").splitlines()[0]

    def prepare(self) -> None:
        self.runner = Runner(self.bed.network.inside.argv(), self.bed.environment)

    def close(self) -> None:
        if hasattr(self, "runner"):
            self.runner.close()

    def runs(self) -> Mapping[str, Callable[[], float]]:
        """Return what runs /bin/true to its end: by the name that its row has."""
        raise NotImplementedError

    def steps(self) -> Mapping[str, Callable[[str], float]]:
        """Return what of VERBS it has: takes a container's name, returns seconds."""
        return {}

    def exec_argv(self, name: str, *command: str) -> tuple[str, ...]:
        """Return what runs a command in a container that runs; nothing if there is no such thing."""
        return ()

    def inside(self, name: str, *command: str) -> str:
        """Run a command in a container; return what it wrote."""
        return self.runner.output(*self.exec_argv(name, *command))

    def hold(self, name: str) -> None:
        """Have a container run until `release`."""
        steps = self.steps()
        for verb in ("create", "start"):
            if verb in steps:
                steps[verb](name)

    def release(self, name: str) -> None:
        steps = self.steps()
        steps["stop"](name)
        if "delete" in steps:
            steps["delete"](name)

    def serve(self, port: int) -> None:
        """Begin to start a web server that the host answers for at `port`; it may return before that is up."""
        raise NotImplementedError

    def unserve(self) -> None:
        """End what `serve` began."""
        raise NotImplementedError

    def publish(self, host_port: int, port: int) -> int:
        """Run a container with a published port until `unserve`; return its process, by the runner's numbers."""
        return 0

    def load(self, archive: Path) -> float:
        """Bring in an image and forget it again; return the seconds of the first. The archive is that of `images`."""
        return 0.0


def _bears_payload(pid: int) -> bool:
    """Tell whether a descendant of a process is the payload."""
    try:
        if os.readlink(f"/proc/{pid}/exe").endswith(PAYLOAD):
            return True
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            return any(_bears_payload(int(child)) for child in file.read().split())
    except OSError:
        return False


class Spawned(Peer):
    """A peer whose command stays in the foreground: what it holds and serves are commands that go on."""

    def prepare(self) -> None:
        super().prepare()
        self._held: dict[str, int] = {}

    def argv(self, *command: str, name: str = "it", shares_network: bool = False) -> tuple[str, ...]:
        """Return what runs a command in a new container."""
        raise NotImplementedError

    def runs(self) -> Mapping[str, Callable[[], float]]:
        return {self.name: lambda: self.runner.time(*self.argv("/bin/true"))}

    def hold(self, name: str) -> None:
        pid = self.runner.spawn(*self.argv("/bin/busybox", "sleep", "1000000", name=name, shares_network=True))
        self._held[name] = pid
        poll_until(lambda: _bears_payload(pid), what=f"{name} runs")  # who is killed before may leave a half-made one

    def release(self, name: str) -> None:
        self.runner.end(self._held.pop(name))

    def serve(self, port: int) -> None:
        argv = self.argv("/bin/httpd", "-f", "-p", str(port), "-h", "/www", name="web", shares_network=True)
        self._held["web"] = self.runner.spawn(*argv)

    def unserve(self) -> None:
        self.release("web")
