"""Runtimes with the command line of runc, ours among them: each verb is a process of its own, and nothing stays running."""

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.benchmarks.bed import SLEEPER, TRUE, Bed
from tests.benchmarks.figures import SUBJECT_OCI
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.runner import CommandFailed
from tests.support.poll import poll_until

_NAMESPACES = "namespaces, cgroups, masked paths as `runc spec` has them; a network namespace with nothing in it"


class Oci(Peer):
    isolation = f"{_NAMESPACES}; no user namespace, no seccomp filter, the root is not a layer of its own"
    path = ""

    def __init__(self, bed: Bed) -> None:
        super().__init__(bed)
        self._root = Path(f"/run/{bed.directory.name}-{self.slug}")
        self._base = (self.path or self.program, "--root", str(self._root))
        self._count = 0

    def why_not(self) -> str:
        return "" if self.path else super().why_not()

    def version(self) -> str:
        return self.runner.output(self._base[0], "--version").splitlines()[0]

    def prepare(self) -> None:
        super().prepare()
        self._bundles = {
            "true": self._bundle("true", TRUE),
            "sleeper": self._bundle("sleeper", SLEEPER),
        }
        try:
            self._run_true()
        except CommandFailed as error:
            raise CommandFailed(f"starts nothing here: {error}") from error

    def close(self) -> None:
        """Remove also what a measure that was cut off has left."""
        super().close()
        for state in self._root.iterdir() if self._root.is_dir() else ():
            delete = self.bed.network.inside.argv(*self._base, "delete", "--force", state.name)
            subprocess.run(delete, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def _bundle(self, name: str, command: tuple[str, ...], *, shares_network: bool = False) -> str:
        """Make a bundle from the default of runc."""
        bundle = Path(self.bed.directory, f"{self.name}-{name}")
        bundle.mkdir(exist_ok=True)
        if not (bundle / "config.json").exists():
            subprocess.run(["runc", "spec", "--bundle", bundle], check=True)
        config = json.loads((bundle / "config.json").read_text())
        config["root"] = {"path": str(self.bed.rootfs), "readonly": False}
        config["process"] |= {"terminal": False, "args": list(command)}
        if shares_network:
            config["linux"]["namespaces"] = [
                each for each in config["linux"]["namespaces"] if each["type"] != "network"
            ]
        (bundle / "config.json").write_text(json.dumps(config))
        return str(bundle)

    def _run_true(self) -> float:
        self._count += 1
        return self.runner.time(*self._base, "run", "--bundle", self._bundles["true"], f"t{self._count}")

    def runs(self) -> Mapping[str, Callable[[], float]]:
        return {self.name: self._run_true}

    def steps(self) -> Mapping[str, Callable[[str], float]]:
        time = self.runner.time
        return {
            "create": lambda name: time(*self._base, "create", "--bundle", self._bundles["sleeper"], name),
            "start": lambda name: time(*self._base, "start", name),
            "state": lambda name: time(*self._base, "state", name),
            "exec": lambda name: time(*self.exec_argv(name, *TRUE)),
            "stop": self._stop,
            "delete": lambda name: time(*self._base, "delete", name),
        }

    def _pid(self, name: str) -> int:
        return int(json.loads(self.runner.output(*self._base, "state", name))["pid"])

    def _stop(self, name: str) -> float:
        """There is no `stop`: SIGTERM, and what its end takes is the container's."""
        seconds = self.runner.time(*self._base, "kill", name, "TERM")
        poll_until(
            lambda: json.loads(self.runner.output(*self._base, "state", name))["status"] == "stopped", what="ends"
        )
        return seconds

    def exec_argv(self, name: str, *command: str) -> tuple[str, ...]:
        return (*self._base, "exec", name, *command)

    def serve(self, port: int) -> None:
        httpd = ("/bin/httpd", "-f", "-p", str(port), "-h", "/www")
        bundle = self._bundle("web", httpd, shares_network=True)
        self._web = self.runner.spawn(*self._base, "run", "--bundle", bundle, "web")

    def unserve(self) -> None:
        self.runner.time(*self._base, "kill", "web", "KILL")
        self.runner.end(self._web, 0)  # it ends with its container


class Runc(Oci):
    name = program = "runc"


class Crun(Oci):
    name = program = "crun"


class Ours(Oci):
    name = SUBJECT_OCI
    program = "pycontainer-oci"
    path = str(Path(sys.executable).with_name("pycontainer-oci"))
    isolation = f"{_NAMESPACES}; what the bundle asks for, as runc"
