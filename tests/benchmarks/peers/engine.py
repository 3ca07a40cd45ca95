"""Engines with a daemon or a store of their own, each in a machine of its own (tests/engines/machine.py draws it)."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

from tests.benchmarks.bed import SLEEPER, TRUE
from tests.benchmarks.peers.base import ENGINE_RUNTIME
from tests.benchmarks.peers.dockerlike import DockerLike
from tests.benchmarks.runner import Runner
from tests.engines.containerd import IMAGE as CONTAINERD_IMAGE
from tests.engines.containerd import Containerd
from tests.engines.docker import IMAGE as DOCKER_IMAGE
from tests.engines.docker import Docker
from tests.engines.podman import IMAGE as PODMAN_IMAGE
from tests.engines.podman import Podman
from tests.support.poll import poll_until


class Engine(DockerLike):
    """What Podman and Docker have in common beside their command line."""

    make: ClassVar[Callable[..., Any]]
    engine: Any

    def prepare(self) -> None:
        self.engine = self.make(self.bed.network, ENGINE_RUNTIME)
        self.engine.start(self.source())
        machine = self.engine.machine
        self.runner = Runner(machine.argv(), machine.environment)

    def source(self) -> Path:
        return self.bed.tarball

    def close(self) -> None:
        super().close()
        if hasattr(self, "engine"):
            self.engine.close()

    def publish(self, host_port: int, port: int) -> int:
        published = f"{host_port}:{port}"
        self.runner.time(*self.base, "run", "-d", "--name", "web", "-p", published, self.image, *SLEEPER)
        return int(self.runner.output(*self.base, "inspect", "--format", "{{.State.Pid}}", "web"))

    def load(self, archive: Path) -> float:
        seconds = self.runner.time(*self.base, "load", "--quiet", "--input", str(archive))
        self.runner.time(*self.base, "rmi", "--force", "bench:large")
        return seconds


class PodmanPeer(Engine):
    name = program = "podman"
    make = Podman
    image = PODMAN_IMAGE
    base = ("podman",)
    remove = ("rm", "--force", "--time=0")  # Docker's needs not be told not to wait
    isolation = "namespaces, cgroups, seccomp filter, overlay, network by a bridge; no user namespace; runc and conmon"


class DockerPeer(Engine):
    name = program = "docker"
    make = Docker
    image = DOCKER_IMAGE
    base = ("/usr/bin/docker",)
    isolation = "namespaces, cgroups, seccomp filter, overlay, network by a bridge; no user namespace; runc and a shim"

    def why_not(self) -> str:
        return "" if Path(self.base[0]).exists() else "docker is not installed"


class ContainerdPeer(Engine):
    name = "containerd (ctr)"
    program = "ctr"
    make = Containerd
    image = CONTAINERD_IMAGE
    base = ("ctr",)
    isolation = (
        "namespaces, cgroups, overlay; a network namespace with nothing in it; no user namespace; runc and a shim"
    )

    def source(self) -> Path:
        return self.bed.archive

    def runs(self) -> Mapping[str, Callable[[], float]]:
        return {self.name: self._run()}

    def _run(self, *options: str) -> Callable[[], float]:
        return lambda: self.runner.time("ctr", "run", "--rm", *options, self.image, "true", *TRUE)

    def steps(self) -> Mapping[str, Callable[[str], float]]:
        time = self.runner.time
        return {
            "create": lambda name: time("ctr", "containers", "create", self.image, name, *SLEEPER),
            "start": lambda name: time("ctr", "tasks", "start", "--detach", name),
            "exec": lambda name: time(*self.exec_argv(name, *TRUE)),
            "stop": self._stop,
            "delete": lambda name: time("ctr", "tasks", "rm", name) + time("ctr", "containers", "rm", name),
        }

    def exec_argv(self, name: str, *command: str) -> tuple[str, ...]:
        self._execs = getattr(self, "_execs", 0) + 1
        return ("ctr", "tasks", "exec", "--exec-id", f"e{self._execs}", name, *command)

    def _stop(self, name: str) -> float:
        """There is no `stop`: SIGTERM, and what its end takes is the container's."""
        seconds = self.runner.time("ctr", "tasks", "kill", "--signal", "SIGTERM", name)
        poll_until(lambda: self.engine.status(name) == "STOPPED", what=f"{name} ends")
        return seconds

    def serve(self, port: int) -> None:
        httpd = ("/bin/httpd", "-f", "-p", str(port), "-h", "/www")
        self.runner.time("ctr", "run", "--detach", "--net-host", self.image, "web", *httpd)

    def unserve(self) -> None:
        self.engine.remove("web")

    def publish(self, host_port: int, port: int) -> int:
        return 0

    def load(self, archive: Path) -> float:
        seconds = self.runner.time("ctr", "images", "import", "--base-name", "bench", str(archive))
        names = self.runner.output("ctr", "images", "list", "--quiet").split()
        self.runner.time("ctr", "images", "rm", *[name for name in names if "bench" in name])
        return seconds
