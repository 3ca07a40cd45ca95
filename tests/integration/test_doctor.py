"""What `doctor` finds of damage that was made by hand, how it puts it right, and that it leaves all else alone."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.disk.image import DiskImage
from pycontainer.security.idranges import LAST
from tests.support.doctor import GONE, check, kinds, look, make_old
from tests.support.poll import poll_until
from tests.support.world import World, unique_name


@pytest.fixture(scope="module")
def world(unrepaired_world: World) -> World:
    return unrepaired_world


@pytest.fixture
def at_work(world: World) -> Iterator[str]:
    """A container that runs, with a volume, while somebody looks: it is never a finding, and lives on."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-v", "kept:/data", "busybox", "sleep", "1000")
    pid = world.inspect(name)["pid"]
    yield name
    assert world.inspect(name)["pid"] == pid
    assert world.ok("volume", "list", "-q") == "kept"


def test_nothing_is_wrong(world: World, at_work: str) -> None:
    """FLT-05. Also with a stopped container, a damaged volume record, and an import that holds its lock."""
    stopped = unique_name()
    world.ok("create", "--name", stopped, "busybox", "true")
    staging = Path(world.paths.images_dir, "staging", "import-at-work")
    staging.mkdir()
    (staging / "pins").mkdir()
    fd = os.open(staging, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.mkdir(world.paths.container_dir(GONE))  # younger than a minute
        assert world.ok("doctor") == "nothing found"
        assert world.cli("doctor", "--storage", "--fix").exit_code == 0
        assert staging.is_dir() and os.path.isdir(world.paths.container_dir(GONE))
    finally:
        os.close(fd)
    os.rmdir(world.paths.container_dir(GONE))
    check(world, "dead import", str(staging))
    assert not staging.exists()


def test_directories_of_containers(world: World, at_work: str) -> None:
    """FLT-07."""
    half_made = Path(world.paths.container_dir(GONE))
    (half_made / "rootfs" / "upper").mkdir(parents=True)
    (half_made / "rootfs" / "upper" / "file").write_bytes(bytes(os.urandom(100_000)))
    make_old(half_made)
    (finding,) = look(world)
    assert finding["size_bytes"] >= 100_000
    said = world.cli("doctor").stdout
    assert said.startswith(f"half-made container: {half_made} (") and said.endswith("; --fix removes it\n")
    check(world, "half-made container", str(half_made))
    assert not half_made.exists()

    trash = Path(world.paths.containers_dir, f".removed-{GONE}")
    (trash / "rootfs").mkdir(parents=True)
    check(world, "half-removed container", str(trash))
    assert not trash.exists()


def test_volumes(world: World, at_work: str) -> None:
    for kind, name in (("half-made volume", ".new-0123"), ("half-removed volume", ".removed-0123")):
        place = Path(world.paths.volumes_dir, name)
        (place / "data").mkdir(parents=True)
        check(world, kind, str(place))
        assert not place.exists()
    half_filled = Path(world.paths.volumes_dir, "half")
    world.ok("volume", "create", "half")
    (half_filled / "data" / "file").write_text("x")
    (half_filled / "filling").write_text("")
    check(world, "half-filled volume", str(half_filled))
    assert os.listdir(half_filled / "data") == []
    world.ok("volume", "rm", "half")


def test_layers_and_blobs_that_no_image_needs(world: World, at_work: str) -> None:
    layer = Path(world.paths.images_dir, "layers", "sha256-" + "1" * 64)
    (layer / "fs").mkdir(parents=True)
    check(world, "unneeded layer", str(layer))
    assert not layer.exists()
    blob = Path(world.paths.images_dir, "blobs", "sha256", "2" * 64)
    blob.write_text("x")
    check(world, "unneeded blob", str(blob))
    assert not blob.exists()
    world.ok("run", "--rm", "busybox", "true")


def test_frozen_layers_that_no_snapshot_needs(world: World, at_work: str) -> None:
    world.ok("snapshot", "create", at_work, "first")
    (needed,) = os.listdir(world.paths.layers_dir)
    layer = Path(world.paths.layers_dir, "0123456789abcdef")
    (layer / "fs").mkdir(parents=True)
    assert look(world) == []
    make_old(layer)
    assert kinds(look(world)) == [("unneeded snapshot layer", str(layer))]
    assert look(world, "--fix")[0]["repaired"]
    poll_until(lambda: os.listdir(world.paths.layers_dir) == [needed], what="the layer is gone")


@pytest.mark.parametrize("kind, name", [("half-made", ".new-"), ("half-removed", ".removed-")])
def test_frozen_layers_that_were_not_finished(world: World, at_work: str, kind: str, name: str) -> None:
    """FLT-07. Of a copy or a deletion that failed while the supervisor lived; one that may be at work is no finding."""
    place = Path(world.paths.layers_dir, f"{name}0123456789abcdef")
    (place / "fs").mkdir(parents=True)
    (place / "fs" / "file").write_bytes(bytes(100_000))
    assert look(world) == []
    make_old(place)
    check(world, f"{kind} snapshot layer", str(place))
    assert not place.exists()


def test_files_in_a_pool_of_a_container_that_is_gone(world: World, at_work: str) -> None:
    """FLT-07. What takes a tenant's space and is nobody's; its containers' own stays."""
    tenant, name = world.ok("tenant", "create", unique_name(), "--disk", "64M"), unique_name()
    world.ok("run", "-d", "--name", name, "--tenant", tenant, "busybox", "sh", "-c", "echo one > /a; sleep 1000")
    assert look(world) == []
    image = f"{world.paths.tenant_pool(tenant)}/disk.img"
    mount_fd = DiskImage(world.paths.tenant_pool(tenant)).mount()
    try:
        os.makedirs(f"/proc/self/fd/{mount_fd}/{GONE}/rootfs/upper")
        os.mkdir(f"/proc/self/fd/{mount_fd}/of-somebody-else")
        check(world, "files of a container that is gone", f"{image}: {GONE}")
        left = set(os.listdir(f"/proc/self/fd/{mount_fd}")) - {"lost+found"}
        assert left == {world.inspect(name)["id"], "of-somebody-else"}
    finally:
        os.close(mount_fd)
    assert world.ok("exec", name, "cat", "/a") == "one"


def test_a_pool_that_cannot_be_mounted(world: World, at_work: str) -> None:
    tenant = world.ok("tenant", "create", unique_name(), "--disk", "64M")
    with open(f"{world.paths.tenant_pool(tenant)}/disk.img", "r+b") as file:
        file.write(bytes(1 << 20))
    (finding,) = look(world)
    assert (finding["kind"], finding["where"]) == ("damaged pool", world.paths.tenant_pool(tenant))
    assert finding["remedy"].startswith("check its file system: fsck")
    assert not finding["repairable"]


def test_records_of_containers_that_are_gone(world: World, at_work: str) -> None:
    """FLT-07. A run file, addresses, a claim of ids, a file whose writer died."""
    run = Path(world.paths.runtime_state(GONE))
    run.write_text("{}")
    check(world, "run of a container that is gone", str(run))
    assert not run.exists()

    addresses = Path(world.paths.networks_dir, "addresses", f"{GONE}.json")
    addresses.parent.mkdir(exist_ok=True)
    addresses.write_text("{}")
    check(world, "addresses of a container that is gone", str(addresses))
    assert not addresses.exists()

    base = LAST - 65536 * 5
    claim = Path(world.paths.idranges_dir, str(base))
    if not claim.is_symlink():
        claim.symlink_to(world.paths.container_dir(GONE))
        check(world, "id range without an owner", str(claim))
        assert not claim.is_symlink()

    dead = subprocess.Popen(["true"])
    dead.wait()
    unfinished = Path(world.paths.tenants_dir, f"x.json.{dead.pid}.new")
    unfinished.write_text("{")
    check(world, "unfinished file", str(unfinished))
    ours = Path(world.paths.tenants_dir, f"x.json.{os.getpid()}.new")
    ours.write_text("{")
    assert look(world) == []
    ours.unlink()


def test_a_loop_device_without_an_owner(world: World, at_work: str) -> None:
    place = Path(world.paths.volumes_dir, "lost")
    place.mkdir()
    image = place / "disk.img"
    with open(image, "wb") as file:
        file.truncate(1 << 20)
    device = subprocess.run(
        ["losetup", "--find", "--show", image], check=True, capture_output=True, text=True
    ).stdout.strip()
    image.unlink()
    place.rmdir()
    try:
        check(world, "loop device without an owner", device)
        poll_until(
            lambda: not os.path.exists(f"/sys/block/{os.path.basename(device)}/loop/backing_file"),
            what="the loop device is free",
        )
    finally:
        subprocess.run(["losetup", "--detach", device], check=False, capture_output=True)


def test_a_mount_without_an_owner(world: World, at_work: str) -> None:
    place = Path(world.paths.containers_dir, GONE, "rootfs")
    place.mkdir(parents=True)
    inside = ["nsenter", "--mount", "--target", str(world.supervisor_pid())]
    subprocess.run([*inside, "mount", "-t", "tmpfs", "none", place], check=True)
    check(world, "mount without an owner", str(place))
    make_old(place.parent)
    check(world, "half-made container", str(place.parent))
