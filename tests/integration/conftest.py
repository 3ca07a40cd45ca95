"""Fixtures of the integration tests: worlds, their host network, the image, and the check that nothing leaks."""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.archives import CANARY, picture
from tests.support.forked import Forker
from tests.support.hostns import HostNetwork
from tests.support.images import CHECKOUT
from tests.support.leaks import Lines, check_dev_null, difference, take_snapshot
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World

IMAGE = "busybox"
DEBIAN_SOFTWARE = (
    "openssh-server", "sudo", "iputils-ping", "nginx-light", "postgresql", "redis-server", "python3", "nodejs",
    "default-jre-headless", "ecj",
)  # fmt: skip
DEBIAN_EPOCH = "1700000000"  # after Debian 12's packages were made, before what is done with them here
DEBIAN_EXTRAS = "iputils-ping,libcap2-bin,attr,sudo,cron,at"  # with capabilities, set-id bits, owners of their own
ALL_NEEDED = ("root", "user_namespaces", "overlay", "idmapped_mounts", "veth", "nft", "seccomp")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = os.path.dirname(os.path.abspath(__file__))
    for item in items:
        if str(item.path).startswith(here + os.sep):
            uses_world = {"world", "own_world", "unrepaired_world"} & set(getattr(item, "fixturenames", ()))
            item.add_marker(pytest.mark.requires(*(ALL_NEEDED if uses_world else ("root",))))


@pytest.fixture(scope="session")
def debian_rootfs() -> Iterator[str]:
    """What the recipe `systemd` makes, with typical software, in a directory that no test changes. 840 MB, half a minute.

    Needs debian_mirror. PYCONTAINER_TEST_DEBIAN names one that was made before.
    """
    if made := os.environ.get("PYCONTAINER_TEST_DEBIAN"):
        yield made
        return
    directory = tempfile.mkdtemp(prefix="pct-debian-", dir="/var/tmp")
    try:
        subprocess.run(
            [f"{CHECKOUT}/rootfs-tools/systemd", "--include", ",".join(DEBIAN_SOFTWARE), f"{directory}/rootfs"],
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=600 * SLOWNESS,
        )
        yield f"{directory}/rootfs"
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


@pytest.fixture(scope="session")
def debian_nginx() -> Iterator[Path]:
    """The tree that rootfs-tools/nginx makes, in a directory that no test changes; its config is beside it. 20 s.

    It has DEBIAN_EXTRAS, no time after DEBIAN_EPOCH, and was built with an apt setting of this host that must not stay in it.
    Needs debian_mirror. PYCONTAINER_TEST_NGINX names one that was made before.
    """
    if made := os.environ.get("PYCONTAINER_TEST_NGINX"):
        yield Path(made)
        return
    directory = Path(tempfile.mkdtemp(prefix="pct-nginx-", dir="/var/tmp"))
    configuration = directory / "apt.conf"
    configuration.write_text('Acquire::http::User-Agent "of-this-host-only";\n')
    try:
        subprocess.run(
            [f"{CHECKOUT}/rootfs-tools/nginx", "--include", DEBIAN_EXTRAS, directory / "root"],
            check=True,
            stdin=subprocess.DEVNULL,
            timeout=600 * SLOWNESS,
            env={**os.environ, "APT_CONFIG": str(configuration), "SOURCE_DATE_EPOCH": DEBIAN_EPOCH},
        )
        yield directory / "root"
    finally:
        subprocess.run(["rm", "-rf", "--one-file-system", directory], check=True)


@pytest.fixture(scope="session")
def host_network() -> Iterator[HostNetwork]:
    """The private network that stands for the host's in every world.

    With PYCONTAINER_TEST_FORKING set, commands of all worlds are forked: each would need a second to start on an emulated
    processor.
    """
    network = HostNetwork()
    with contextlib.ExitStack() as stack:
        if os.environ.get("PYCONTAINER_TEST_FORKING"):
            network.forker = stack.enter_context(Forker(network.inside))
        yield network
    network.close()


def make_world(
    network: HostNetwork, rootfs: str, directory: str = "/var/tmp", environment: dict[str, str] | None = None
) -> Iterator[World]:
    """Make a world, beneath `directory`, in which everything that is made once, on first use, has been made.

    Its supervisor gets what it passes on of `environment`.
    """
    before = _snapshot(network)
    world = World(network, directory)
    world.environment.update(environment or {})
    try:
        world.import_image(rootfs, IMAGE)
        assert world.ok("run", "--rm", "-p", "9999:9", "--net-out", "1gbit", IMAGE, "payload", "out", "warm") == "warm"
        poll_until(  # the kernel takes namespaces down in its own time, and the link with it
            lambda: not any(name.startswith(f"{world.paths.interface_prefix}x") for name in network.inside.links()),
            what="the link of the first container is gone",
        )
        poll_until(lambda: not os.listdir(world.paths.containers_dir), what="the first container's files are gone")
        yield world
        world.close()
        _check_unchanged(network, before)
    finally:
        world.scrub()


@pytest.fixture(scope="module")
def world(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world with image `busybox`, shared by the tests of a module; each leaves it as it was."""
    yield from make_world(host_network, busybox_rootfs)


@pytest.fixture(scope="module")
def unrepaired_world(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """One in which nothing is repaired but by those who ask for it."""
    yield from make_world(host_network, busybox_rootfs, environment={"PYCONTAINER_RECONCILE_SECONDS": "0"})


@pytest.fixture
def own_world(host_network: HostNetwork, busybox_rootfs: str) -> Iterator[World]:
    """A world with image `busybox` for one test, which may break it."""
    yield from make_world(host_network, busybox_rootfs)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A directory beside `root`, into which an archive is unpacked: content, modes, owners and times must not change.

    Nor may anything appear beside it but what tests make themselves: `archive` and `source`.
    """
    directory = tmp_path / "outside"
    directory.mkdir()
    (directory / "canary").write_text(CANARY)
    before = picture(directory)
    yield directory
    assert picture(directory) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"outside", "root", "archive", "source"}


@pytest.fixture(autouse=True)
def nothing_leaks(request: pytest.FixtureRequest, host_network: HostNetwork) -> Iterator[None]:
    """Compare the host, and the module's world if the test has one, before and after each test. LK-01."""
    worlds: list[World] = [request.getfixturevalue("world")] if "world" in request.fixturenames else []
    before = _snapshot(host_network, *worlds)
    yield
    check_dev_null()
    for world in worlds:
        world.clear()
    _check_unchanged(host_network, before, *worlds)


def _snapshot(network: HostNetwork, *worlds: World) -> Lines:
    namespaces = [("the world's host", network.inside), ("outside", network.outside)]
    return take_snapshot(namespaces, [world.root for world in worlds])


def _check_unchanged(network: HostNetwork, before: Lines, *worlds: World) -> None:
    try:
        poll_until(
            lambda: _snapshot(network, *worlds) == before,
            timeout_seconds=10,
            interval_seconds=0.1,
            what="the host is as before",
        )
    except AssertionError:
        pytest.fail(
            f"the host is not as before, {10 * SLOWNESS:g} s after the test:\n"
            + difference(before, _snapshot(network, *worlds)),
            pytrace=False,
        )
