"""Propagation of mounts between a container and a parent namespace, one of the test's own in which the runtime is started.

parent                                          container
BUNDLE/source   tmpfs, shared      ──slave──▶   /a      what the parent mounts beneath arrives
                                   ◀─shared─▶           both ways
"""

from collections.abc import Iterator

import pytest

from tests.conformance.holder import Holder
from tests.conformance.runtime import SLEEP, Container

SYS_ADMIN = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}


@pytest.fixture
def parent(container: Container) -> Iterator[Holder]:
    """The mount namespace of the runtime, where all is shared, as systemd has it; the host has nothing of it."""
    holder = Holder("--mount", more=("--propagation", "private"))
    try:
        holder.run("mount", "--make-rshared", "/")
        holder.run("mkdir", source(container))
        holder.run("mount", "-t", "tmpfs", "-o", "size=64k", "none", source(container))
        holder.run("mkdir", f"{source(container)}/outer", f"{source(container)}/inner")
        container.runtime.wrapper = holder.wrapper()
        yield holder
    finally:
        container.runtime.clear()
        holder.close()


def source(container: Container) -> str:
    return f"{container.bundle}/source"


def mount(parent: Holder, place: str) -> None:
    parent.run("mount", "-t", "tmpfs", "-o", "size=64k", "none", place)


def mount_points(pid: int) -> list[str]:
    with open(f"/proc/{pid}/mountinfo") as file:
        return [line.split()[4] for line in file]


def peers(pid: int, place: str) -> set[str]:
    """Return `shared`, `master`, `unbindable` of a mount point, without the numbers."""
    with open(f"/proc/{pid}/mountinfo") as file:
        fields = next(fields for line in file if (fields := line.split())[4] == place)
    return {word.split(":")[0] for word in fields[6 : fields.index("-")]}


@pytest.mark.parametrize("option", ["slave", "rslave"])
@pytest.mark.parametrize("in_user_namespace", [False, True], ids=["", "with-users"])
def test_slave(container: Container, parent: Holder, option: str, in_user_namespace: bool) -> None:
    """What its peer outside mounts arrives; what is mounted inside does not come out. ESC-09."""
    if in_user_namespace:
        container.with_user_namespace()
    container.process["capabilities"] = SYS_ADMIN
    container.mount("/a", "bind", source(container), "rbind", option)
    container.create_and_start("payload", "mount", "tmpfs:/a/inner", *SLEEP[1:])
    container.wait_for_output("mount tmpfs:/a/inner: ok")
    assert peers(container.pid(), "/a") == {"master"}
    mount(parent, f"{source(container)}/outer")
    assert "/a/outer" in mount_points(container.pid())
    assert f"{source(container)}/inner" not in mount_points(parent.pid)
    parent.run("umount", f"{source(container)}/outer")
    assert "/a/outer" not in mount_points(container.pid())


@pytest.mark.parametrize("option", ["private", "rprivate", "unbindable"])
def test_private(container: Container, parent: Holder, option: str) -> None:
    container.process["capabilities"] = SYS_ADMIN
    container.mount("/a", "bind", source(container), "rbind", option)
    container.create_and_start("payload", "mount", "tmpfs:/a/inner", *SLEEP[1:])
    container.wait_for_output("mount tmpfs:/a/inner: ok")
    mount(parent, f"{source(container)}/outer")
    assert "/a/outer" not in mount_points(container.pid())
    assert f"{source(container)}/inner" not in mount_points(parent.pid)


@pytest.mark.vm
def test_shared_both_ways(container: Container, parent: Holder) -> None:
    """As engines ask for `:rshared`: the option, and a root that may be shared."""
    container.process["capabilities"] = SYS_ADMIN
    container.linux["rootfsPropagation"] = "rshared"
    container.mount("/a", "bind", source(container), "rbind", "rshared")
    container.create_and_start("payload", "mount", "tmpfs:/a/inner", *SLEEP[1:])
    container.wait_for_output("mount tmpfs:/a/inner: ok")
    mount(parent, f"{source(container)}/outer")
    assert "/a/outer" in mount_points(container.pid())
    assert f"{source(container)}/inner" in mount_points(parent.pid)


@pytest.mark.vm
def test_nothing_of_the_making_comes_out(container: Container, parent: Holder) -> None:
    """ESC-09: the mounts of the container itself are not the parent's, even if root file system and root are shared."""
    parent.run("mount", "--bind", container.rootfs, container.rootfs)
    before = mount_points(parent.pid)
    container.linux["rootfsPropagation"] = "rshared"
    container.mount("/a", "bind", source(container), "rbind", "rshared")
    container.create_and_start(*SLEEP)
    assert [point for point in mount_points(parent.pid) if not point.startswith(container.rootfs)] == [
        point for point in before if not point.startswith(container.rootfs)
    ]
    container.delete("--force")
    assert mount_points(parent.pid) == before


@pytest.mark.parametrize(
    "propagation",
    [pytest.param("slave", marks=pytest.mark.deviates("runc", "makes the root private")), "rslave"],
)
def test_slave_root(container: Container, parent: Holder, propagation: str) -> None:
    parent.run("mkdir", f"{container.rootfs}/outer")
    parent.run("mount", "--bind", container.rootfs, container.rootfs)
    container.linux["rootfsPropagation"] = propagation
    container.create_and_start(*SLEEP)
    assert peers(container.pid(), "/") == {"master"}
    mount(parent, f"{container.rootfs}/outer")
    assert "/outer" in mount_points(container.pid())


def test_private_root(container: Container, parent: Holder) -> None:
    parent.run("mkdir", f"{container.rootfs}/outer")
    parent.run("mount", "--bind", container.rootfs, container.rootfs)
    container.linux["rootfsPropagation"] = "rprivate"
    container.create_and_start(*SLEEP)
    assert peers(container.pid(), "/") == set()
    mount(parent, f"{container.rootfs}/outer")
    assert "/outer" not in mount_points(container.pid())
