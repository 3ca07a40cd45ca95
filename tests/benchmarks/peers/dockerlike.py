"""Docker's command line, which Podman has, and ours as well."""

from collections.abc import Callable, Mapping

from tests.benchmarks.bed import SLEEPER, TRUE
from tests.benchmarks.peers.base import Peer


class DockerLike(Peer):
    """`base` begins each command, `image` is what runs, `remove` takes away a container that may run."""

    base: tuple[str, ...]
    image: str
    remove: tuple[str, ...] = ("rm", "--force")

    def _run(self, *options: str) -> Callable[[], float]:
        return lambda: self.runner.time(*self.base, "run", "--rm", *options, self.image, *TRUE)

    def runs(self) -> Mapping[str, Callable[[], float]]:
        return {self.name: self._run(), f"{self.name}, no network": self._run("--network", "none")}

    def steps(self) -> Mapping[str, Callable[[str], float]]:
        time, base = self.runner.time, self.base
        return {
            "create": lambda name: time(*base, "create", "--name", name, self.image, *SLEEPER),
            "start": lambda name: time(*base, "start", name),
            "exec": lambda name: time(*self.exec_argv(name, *TRUE)),
            "stop": lambda name: time(*base, "stop", name),
            "delete": lambda name: time(*base, "rm", name),
        }

    def exec_argv(self, name: str, *command: str) -> tuple[str, ...]:
        return (*self.base, "exec", name, *command)

    def serve(self, port: int) -> None:
        httpd = ("/bin/httpd", "-f", "-p", "80", "-h", "/www")
        self.runner.time(*self.base, "run", "-d", "--name", "web", "-p", f"{port}:80", self.image, *httpd)

    def unserve(self) -> None:
        self.runner.time(*self.base, *self.remove, "web")
