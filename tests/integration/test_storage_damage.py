"""Damage that takes a world of its own: images, blobs, and supervisors that die at their work."""

import json
import os
import subprocess
import tarfile
from pathlib import Path

from pycontainer.linux.files import write_atomically
from tests.support.deaths import kill_supervisor
from tests.support.doctor import GONE, check, kinds, look
from tests.support.poll import poll_until
from tests.support.world import World


def test_images_that_are_damaged(own_world: World, busybox_rootfs: str, tmp_path: Path) -> None:
    """IMG-05, FLT-09. One line for each, the image of a container is never taken, and a damaged record holds nothing up."""
    world = own_world
    (tmp_path / "fs").mkdir()
    (tmp_path / "fs" / "file").write_text("another")
    world.import_image(str(tmp_path / "fs"), "other")
    (layer,) = json.loads(Path(world.paths.images_dir, "refs", "other.json").read_text())["layers"]
    place = Path(world.paths.images_dir, "layers", layer, "fs")
    place.rename(tmp_path / "taken")
    check(world, "damaged image", "other")
    assert "other" not in world.ok("image", "list", "-q").split()

    world.import_image(str(tmp_path / "fs"), "other")
    ref = Path(world.paths.images_dir, "refs", "other.json")
    ref.write_bytes(ref.read_bytes()[:100])
    assert kinds(look(world)) == [("damaged record", str(ref))]
    assert look(world, "--fix")[0]["repaired"]
    assert ref.with_name("other.json.damaged").exists()
    left = look(world)
    assert {finding["kind"] for finding in left} == {"unneeded layer", "unneeded blob"}
    assert all(finding["repaired"] for finding in look(world, "--fix"))
    assert look(world) == []

    world.ok("run", "-d", "--name", "user", "busybox", "sleep", "1000")
    (layer,) = json.loads(Path(world.paths.images_dir, "refs", "busybox.json").read_text())["layers"]
    place = Path(world.paths.images_dir, "layers", layer, "fs")
    place.rename(tmp_path / "aside")
    (finding,) = look(world, "--fix")
    assert (finding["kind"], finding["repairable"], finding["repaired"]) == ("damaged image", False, False)
    assert "containers are made of it" in finding["remedy"]
    (tmp_path / "aside").rename(place)
    assert look(world) == []


def test_a_layer_that_lost_a_file(own_world: World) -> None:
    """IMG-05. By what was counted when it was made, no content is read; layers of before that are taken as they are."""
    world = own_world
    (layer,) = Path(world.paths.images_dir, "layers").iterdir()
    file = layer / "fs/etc/passwd"
    content = file.read_bytes()
    assert look(world) == []
    file.write_bytes(content[:-1])
    (finding,) = look(world, "--fix")
    assert (finding["kind"], finding["where"], finding["repairable"]) == ("damaged layer", f"{layer}/fs", False)
    assert "image busybox" in finding["remedy"]
    file.unlink()
    names = json.loads((layer / "layer.json").read_text())["names"]
    (finding,) = look(world)
    assert f"it holds {names - 1} names" in finding["what"] and f", {names} and" in finding["what"]
    file.write_bytes(content)
    assert look(world) == []
    file.unlink()
    note = json.loads((layer / "layer.json").read_text())
    del note["names"], note["file_bytes"]
    (layer / "layer.json").write_text(json.dumps(note))
    assert look(world) == []


def test_a_blob_that_was_changed(own_world: World) -> None:
    """IMG-05. Only --deep reads content."""
    world = own_world
    blobs = Path(world.paths.images_dir, "blobs", "sha256")
    blob = next(path for path in sorted(blobs.iterdir()))
    blob.write_bytes(blob.read_bytes()[:-1] + b" ")
    assert look(world) == []
    (finding,) = look(world, "--deep")
    assert (finding["kind"], finding["where"], finding["repairable"]) == ("damaged blob", str(blob), True)
    assert look(world, "--deep", "--fix")[0]["repaired"]
    assert not blob.exists()


def test_what_the_supervisor_repairs_when_it_starts_is_told(own_world: World) -> None:
    """FLT-07. A power cut: nothing of ours runs, directories are left."""
    world = own_world
    world.ok("service", "stop")
    trash = Path(world.paths.containers_dir, f".removed-{GONE}")
    trash.mkdir()
    half_made = Path(world.paths.container_dir(GONE))
    half_made.mkdir()
    write_atomically(f"{half_made}/disk.json", b"x")
    said = world.ok("doctor")
    assert sorted(said.splitlines()) == [
        "nothing found",
        f"repaired when the supervisor started: half-made container: {half_made}",
        f"repaired when the supervisor started: half-removed container: {trash}",
    ]
    poll_until(lambda: not trash.exists() and not half_made.exists(), what="both are gone")


def test_a_restore_that_is_killed_leaves_no_volume(own_world: World, tmp_path: Path) -> None:
    """FLT-01. The supervisor dies in the middle; the next one takes away what was not finished."""
    world = own_world
    member = tarfile.TarInfo("big")
    member.size = 4 << 30
    header = member.tobuf(tarfile.PAX_FORMAT)
    with open(tmp_path / "big.tar", "wb") as file:  # one file of zeros that takes seconds to read and no space
        file.write(header)
        file.truncate(len(header) + (4 << 30) + 1024)
    process = world.popen("volume", "restore", "big", str(tmp_path / "big.tar"))
    poll_until(
        lambda: (
            any(name.startswith(".new-") for name in os.listdir(world.paths.volumes_dir))
            if os.path.isdir(world.paths.volumes_dir)
            else False
        ),
        what="the restore has begun",
    )
    kill_supervisor(world)
    process.communicate()
    assert process.returncode != 0
    assert world.ok("volume", "list", "-q") == ""
    poll_until(lambda: os.listdir(world.paths.volumes_dir) == [], what="the unfinished volume is gone")


def test_a_supervisor_that_is_killed_in_a_backup_leaves_nobody_frozen(own_world: World) -> None:
    """FLT-01. The next one lets the containers go on that stood still for it, and no others."""
    world = own_world
    for name in ("user", "paused"):
        world.ok("run", "-d", "--name", name, "-v", "db:/data", "busybox", "sleep", "1000")
    Path(world.paths.volumes_dir, "db", "data", "noise").write_bytes(os.urandom(8 << 20))
    world.ok("pause", "paused")
    backup = subprocess.Popen(
        world.argv("volume", "backup", "db", "--pause", "-o", "-"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=world.environment,
    )  # nobody reads it
    try:
        poll_until(lambda: world.inspect("user")["status"] == "paused", what="the backup is at work")
        kill_supervisor(world)
        assert [world.inspect(name)["status"] for name in ("user", "paused")] == ["running", "paused"]
        assert not [name for name in os.listdir(world.paths.run_containers_dir) if name.endswith(".copying")]
    finally:
        backup.kill()
        backup.communicate()
    assert world.ok("exec", "user", "echo", "awake") == "awake"
