"""Idmapped mounts: with the map of the container's user namespace, and with a map of their own."""

import os
import subprocess
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.runtime import SLEEP, Container

pytestmark = [
    pytest.mark.requires("idmapped_mounts"),
    pytest.mark.deviates("runc", "1.1 does not know idmapped mounts"),
]

LOOK = ("stat", "-c", "%u:%g", "/a/file", "/a/other", "/a/sub/file")


@pytest.fixture
def source(container: Container) -> Iterator[str]:
    """A directory of the host: file is of 1000:1001, other of 5:6; beneath it a mount, sub, whose file is of 1000:1001."""
    directory = f"{container.bundle}/source"
    os.makedirs(f"{directory}/sub")
    os.mkdir(f"{container.bundle}/below")
    owners = {f"{directory}/file": (1000, 1001), f"{directory}/other": (5, 6)}
    for path, owner in (owners | {f"{container.bundle}/below/file": (1000, 1001)}).items():
        with open(path, "w"):
            pass
        os.chown(path, *owner)
    os.chmod(directory, 0o777)
    subprocess.run(["mount", "--bind", f"{container.bundle}/below", f"{directory}/sub"], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", f"{directory}/sub"], check=True)


def bind(container: Container, source: str, *options: str, mappings: tuple[tuple[int, int], ...] = ()) -> None:
    """Mount `source` at /a; `mappings` are (id in the file system, id that it becomes on the host), groups one more each."""
    container.mount("/a", "bind", source, *options)
    for more, key in enumerate(("uidMappings", "gidMappings") if mappings else ()):
        container.config["mounts"][-1][key] = [
            {"containerID": first + more, "hostID": second + more, "size": 1} for first, second in mappings
        ]


def test_as_the_container_maps(container: Container, source: str) -> None:
    container.with_user_namespace()
    bind(container, source, "bind", "idmap")
    out = container.output_of("sh", "-c", "stat -c %u:%g /a/file /a/other; touch /a/made; chown 7:8 /a/made")
    assert out.split() == ["1000:1001", "5:6"]
    made = os.stat(f"{source}/made")
    assert (made.st_uid, made.st_gid) == (7, 8)


def test_without_the_option_nothing_is_mapped(container: Container, source: str) -> None:
    """What the other tests would see if the option did nothing."""
    container.with_user_namespace()
    bind(container, source, "bind", "idmap")
    mapped = container.output_of("stat", "-c", "%u", "/a/file")
    container.config["mounts"][-1]["options"] = ["bind"]
    assert (mapped, container.output_of("stat", "-c", "%u", "/a/file")) == ("1000\n", "65534\n")


@pytest.mark.parametrize(("option", "beneath"), [("idmap", "65534:65534"), ("ridmap", "1000:1001")])
def test_mounts_beneath(container: Container, source: str, option: str, beneath: str) -> None:
    container.with_user_namespace()
    bind(container, source, "rbind", option)
    assert container.output_of(*LOOK).split() == ["1000:1001", "5:6", beneath]


def test_with_a_map_of_its_own(container: Container, source: str) -> None:
    """What the map does not know is nobody's."""
    container.with_user_namespace()
    bind(container, source, "rbind", "ridmap", mappings=((1000, 200007),))
    assert container.output_of(*LOOK).split() == ["7:8", "65534:65534", "7:8"]


def test_mappings_imply_the_option(container: Container, source: str) -> None:
    """Without a user namespace: the ids are the host's."""
    bind(container, source, "bind", mappings=((1000, 77), (5, 5)))
    assert container.output_of("stat", "-c", "%u:%g", "/a/file", "/a/other").split() == ["77:78", "5:6"]


def test_as_a_joined_user_namespace_maps(
    make_container: Callable[[], Container], container: Container, source: str
) -> None:
    """Containers of a pod join the user namespace of its first one."""
    first = make_container()
    first.with_user_namespace()
    first.create_and_start(*SLEEP)
    container.join_namespace("user", f"/proc/{first.pid()}/ns/user")
    for key in ("uidMappings", "gidMappings"):
        container.linux[key] = first.linux[key]
    container.give_rootfs(200000)
    bind(container, source, "bind", "idmap")
    assert container.output_of("stat", "-c", "%u:%g", "/a/file").split() == ["1000:1001"]


def test_without_any_map(container: Container, source: str) -> None:
    bind(container, source, "bind", "idmap")
    done = container.try_create("true")
    assert done.code == 1 and "mounts[4].uidMappings" in done.err


def test_on_a_file_system_without_them(container: Container) -> None:
    """procfs cannot be mapped: the message names the mount, and nothing is left."""
    container.with_user_namespace()
    container.mount("/a", "bind", "/proc/sys", "bind", "idmap")
    done = container.try_create("true")
    assert done.code == 1 and "mounts[4]" in done.err and "/proc/sys" in done.err
    assert not container.exists()
