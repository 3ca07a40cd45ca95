"""Engines from Debian's packages, each in a machine of its own, over the runtimes that are to be tested.

PYCONTAINER_TEST_OCI_RUNTIMES names those, with commas: `runc` shows that a test is right, `pycontainer-oci` is what they
are for.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from tests.engines.containerd import Containerd
from tests.engines.cri import Cri
from tests.engines.docker import Docker
from tests.engines.machine import Machine
from tests.engines.podman import Podman
from tests.engines.rootless import RootlessPodman
from tests.support.hostns import HostNetwork
from tests.support.images import build_rootfs
from tests.support.leaks import Lines, check_dev_null, difference
from tests.support.ocilayout import Layout
from tests.support.poll import SLOWNESS, poll_until

RUNTIMES = os.environ.get("PYCONTAINER_TEST_OCI_RUNTIMES", "pycontainer-oci").split(",")
_PATH = f"{os.path.dirname(sys.executable)}:/usr/sbin:/usr/bin"
_ENGINES = ("podman", "rootless_podman", "containerd", "cri", "docker")


class Engine(Protocol):
    """What the check for leaks needs of an engine."""

    machine: Machine

    def clear(self) -> None: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    for item in items:
        if str(item.path).startswith(here + os.sep) and set(_ENGINES) & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.requires("root", "engines", "cgroup_v1", "overlay", "veth", "nft"))


@pytest.fixture(scope="session", params=RUNTIMES)
def oci_runtime(request: pytest.FixtureRequest) -> str:
    """The path of the runtime that engines are told to use."""
    path: str | None = shutil.which(request.param, path=_PATH)
    assert path, f"no {request.param} in {_PATH}"
    return path


@pytest.fixture(scope="session")
def tarball() -> Iterator[Path]:
    """The root file system of the tests as a tar archive."""
    directory = tempfile.mkdtemp(prefix="pct-image-", dir="/var/tmp")
    try:
        build_rootfs(f"{directory}/rootfs")
        subprocess.run(["tar", "-C", f"{directory}/rootfs", "-cf", f"{directory}/rootfs.tar", "."], check=True)
        yield Path(directory, "rootfs.tar")
    finally:
        shutil.rmtree(directory)


@pytest.fixture(scope="session")
def oci_archive(tarball: Path) -> Path:
    """An OCI archive of two images, `busybox` and `pause`: the latter waits for ever."""
    layout = Layout(tarball.parent / "layout")
    layer = tarball.read_bytes()
    environment = {"Env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"]}
    images = [
        ("busybox", layout.image([layer], config={**environment, "Cmd": ["sh"]})),
        ("pause", layout.image([layer], config={**environment, "Entrypoint": ["/bin/payload", "sleep", "0"]})),
    ]
    layout.index(*images)
    archive = tarball.parent / "images.tar"
    subprocess.run(["tar", "-C", str(layout.directory), "-cf", str(archive), "."], check=True)
    return archive


class _Startable(Protocol):
    def start(self, images: Path, /) -> None: ...
    def close(self) -> None: ...


_S = TypeVar("_S", bound=_Startable)


@contextlib.contextmanager
def _started(make: Callable[[HostNetwork, str], _S], oci_runtime: str, images: Path) -> Iterator[_S]:
    """Run an engine that knows `images`, in a network of its own."""
    network = HostNetwork()
    engine = make(network, oci_runtime)
    try:
        engine.start(images)
        yield engine
    finally:
        engine.close()
        network.close()


@pytest.fixture(scope="session")
def podman(oci_runtime: str, tarball: Path) -> Iterator[Podman]:
    with _started(Podman, oci_runtime, tarball) as engine:
        yield engine


@pytest.fixture(scope="session")
def rootless_podman(oci_runtime: str, tarball: Path) -> Iterator[RootlessPodman]:
    with _started(RootlessPodman, oci_runtime, tarball) as engine:
        yield engine


@pytest.fixture(scope="session")
def containerd(oci_runtime: str, oci_archive: Path) -> Iterator[Containerd]:
    with _started(Containerd, oci_runtime, oci_archive) as engine:
        yield engine


@pytest.fixture(scope="session")
def cri(containerd: Containerd) -> Iterator[Cri]:
    """The CRI of `containerd`, ready for pods."""
    client = Cri(containerd)
    try:
        client.start()
        yield client
    finally:
        client.close()


@pytest.fixture(scope="session")
def docker(oci_runtime: str, tarball: Path) -> Iterator[Docker]:
    with _started(Docker, oci_runtime, tarball) as engine:
        yield engine


@pytest.fixture(autouse=True)
def nothing_stays(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare the engine's machine before and after each test: runtimes clean up after themselves. LK-01."""
    names = [name for name in _ENGINES if name in request.fixturenames]
    engines: list[Engine] = [request.getfixturevalue(name) for name in names]
    machines = {engine.machine.directory: engine.machine for engine in engines}
    before = {directory: machine.snapshot() for directory, machine in machines.items()}
    yield
    check_dev_null()
    for engine in engines:
        engine.clear()
    for directory, machine in machines.items():
        _check_unchanged(machine, before[directory])


def _check_unchanged(machine: Machine, before: Lines) -> None:
    try:
        poll_until(
            lambda: machine.snapshot() == before,
            timeout_seconds=10,
            interval_seconds=0.1,
            what="the machine is as before",
        )
    except AssertionError:
        pytest.fail(
            f"the machine is not as before, {10 * SLOWNESS:g} s after the test:\n"
            + difference(before, machine.snapshot()),
            pytrace=False,
        )
