"""pycontainer: its library in this process, and its command, both with the same world."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar

from pycontainer import Client
from tests.benchmarks.bed import SLEEPER, TRUE, Bed, mount_memory
from tests.benchmarks.figures import SUBJECT_COMMAND, SUBJECT_LIBRARY
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.peers.dockerlike import DockerLike
from tests.benchmarks.runner import Runner
from tests.support.world import PROGRAM, World

_ISOLATION = (
    "namespaces with a user namespace, cgroups with limits, seccomp filter, masked paths, overlay, a network with addresses "
    "and rules"
)


def timed(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


class _Ours(Peer):
    program = PROGRAM
    isolation = _ISOLATION
    base: tuple[str, ...]
    worlds: ClassVar[dict[str, tuple[World, int]]] = {}
    """By the bed's directory: the world, and how many peers use it."""

    def __init__(self, bed: Bed) -> None:
        super().__init__(bed)
        self.world: World | None = None

    def prepare(self) -> None:
        key = str(self.bed.directory)
        self.world, users = self.worlds.get(key) or (self._make_world(), 0)
        self.worlds[key] = self.world, users + 1
        self.runner = Runner(self.bed.network.inside.argv(), self.world.environment)
        if not users:
            self.world.import_image(str(self.bed.rootfs), "busybox")
        self.base = (PROGRAM, "--root", self.world.root)

    def _make_world(self) -> World:
        world = World(self.bed.network)
        # The library would start the next supervisor where it is itself, which is not in the bed's network.
        world.environment["PYCONTAINER_IDLE_SECONDS"] = str(24 * 60 * 60)
        os.mkdir(world.paths.run_dir, 0o750)
        mount_memory(world.paths.run_dir)  # which is /run/pycontainer without a --root
        return world

    def close(self) -> None:
        super().close()
        if self.world is None:
            return
        key = str(self.bed.directory)
        _, users = self.worlds[key]
        self.worlds[key] = self.world, users - 1
        if users == 1:
            del self.worlds[key]
            try:
                self.world.close()
            finally:
                self.world.scrub()


class Command(DockerLike, _Ours):
    name = SUBJECT_COMMAND
    image = "busybox"

    def load(self, archive: Path) -> float:
        seconds = self.runner.time(*self.base, "image", "load", "--input", str(archive))
        self.runner.time(*self.base, "image", "rm", "large")
        return seconds


class Library(_Ours):
    name = SUBJECT_LIBRARY

    def prepare(self) -> None:
        super().prepare()
        assert self.world
        self.host: Client = self.world.client()

    def close(self) -> None:
        if hasattr(self, "host"):
            self.host.close()
        super().close()

    def version(self) -> str:
        return self.runner.output(*self.base, "--version").splitlines()[0]

    def _run(self, **fields: list[str]) -> Callable[[], float]:
        def run() -> float:
            done = []
            seconds = timed(
                lambda: done.append(self.host.run("busybox", TRUE, detach=False, auto_remove=True, **fields))  # type: ignore[call-overload]
            )
            assert done[0].exit_code == 0
            return seconds

        return run

    def runs(self) -> Mapping[str, Callable[[], float]]:
        return {self.name: self._run(), f"{self.name}, no network": self._run(networks=["none"])}

    def steps(self) -> Mapping[str, Callable[[str], float]]:
        host = self.host
        return {
            "create": lambda name: timed(lambda: host.create("busybox", SLEEPER, name=name)),
            "start": lambda name: timed(host.container(name).start),
            "exec": lambda name: timed(lambda: host.container(name).exec(TRUE)),
            "stop": lambda name: timed(host.container(name).stop),
            "delete": lambda name: timed(host.container(name).remove),
        }

    def exec_argv(self, name: str, *command: str) -> tuple[str, ...]:
        return (*self.base, "exec", name, *command)

    def inside(self, name: str, *command: str) -> str:
        done = self.host.container(name).exec(command)
        assert done.exit_code == 0, done
        return done.stdout + done.stderr

    def serve(self, port: int) -> None:
        httpd = ("/bin/httpd", "-f", "-p", "80", "-h", "/www")
        self.host.run("busybox", httpd, name="web", ports={port: 80})

    def unserve(self) -> None:
        self.host.container("web").remove(force=True)

    def publish(self, host_port: int, port: int) -> int:
        container = self.host.run("busybox", SLEEPER, name="web", ports={host_port: port})
        pid = container.info["pid"]
        assert pid
        return pid
