"""Volumes: their caps, who shares them, their first content, their backups."""

import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from pycontainer.disk.image import DiskImage
from pycontainer.linux import loopdevices
from tests.support.archives import picture
from tests.support.disk import MIB
from tests.support.images import build_rootfs
from tests.support.poll import poll_until
from tests.support.world import World, unique_name


def volume(world: World, name: str) -> dict[str, Any]:
    (info,) = json.loads(world.ok("volume", "inspect", name))
    return dict(info)


def data(world: World, name: str) -> Path:
    return Path(world.paths.volumes_dir, name, "data")


def run(world: World, *options: str, image: str = "busybox") -> str:
    name = unique_name()
    world.ok("run", "-d", "--name", name, *options, image, "sleep", "1000")
    return name


def sh(world: World, name: str, script: str) -> str:
    return world.ok("exec", name, "sh", "-ec", script)


def test_life_of_a_volume(world: World) -> None:
    assert world.ok("volume", "create", "db", "-l", "tier=back") == "db"
    assert world.refused(4, "volume", "create", "db").startswith("pycontainer: there is a volume 'db' already")
    info = volume(world, "db")
    assert (info["labels"], info["anonymous"], info["containers"], info["size_bytes"]) == (
        {"tier": "back"},
        False,
        [],
        None,
    )
    first, second = run(world, "-v", "db:/data"), run(world, "-v", "db:/srv:ro")
    assert volume(world, "db")["containers"] == [first, second]
    assert world.ok("volume", "list", "-q") == "db"
    said = world.refused(5, "volume", "rm", "db")
    assert said.startswith(f"pycontainer: volume 'db' is used by '{first}', '{second}'")
    sh(world, first, "dd if=/dev/zero of=/data/x bs=1M count=3")
    assert volume(world, "db")["used_bytes"] == pytest.approx(3 * MIB, abs=64 << 10)
    assert "Read-only file system" in world.cli("exec", second, "touch", "/srv/y").stderr
    world.ok("rm", "-f", first, second)
    assert volume(world, "db")["containers"] == []
    world.ok("volume", "rm", "db")
    assert world.refused(3, "volume", "rm", "db").startswith("pycontainer: no volume 'db'")
    world.ok("volume", "rm", "-f", "db")
    assert os.listdir(world.paths.volumes_dir) == []


def test_two_containers_with_different_ids_share_one(world: World) -> None:
    """ESC-04. On disk are the ids that both see inside; neither is the other's on the host."""
    one, other = run(world, "-v", "shared:/data"), run(world, "-v", "shared:/data")
    bases = [world.inspect(name)["id_map"]["host_base"] for name in (one, other)]
    assert bases[0] != bases[1]
    for writer in (one, other):
        sh(world, writer, f"cd /data; for id in 0 33 1000 65535; do echo {writer} >{writer}.$id; "
           f"chmod 600 {writer}.$id; chown $id:$id {writer}.$id; done")  # fmt: skip
    for reader, writer in ((one, other), (other, one)):
        for number in (0, 33, 1000, 65535):
            path = f"/data/{writer}.{number}"
            assert world.ok("exec", reader, "stat", "-c", "%u:%g", path) == f"{number}:{number}"
            assert world.ok("exec", "-u", str(number), reader, "cat", path) == writer
            assert data(world, "shared").joinpath(f"{writer}.{number}").stat().st_uid == number
    assert "Permission denied" in world.cli("exec", "-u", "34", one, "cat", f"/data/{other}.33").stderr


def test_a_cap_holds(world: World) -> None:
    """RES-03."""
    world.ok("volume", "create", "--size", "32M", "capped")
    assert volume(world, "capped")["backend"].startswith("loop image")
    one, other = run(world, "-v", "capped:/data"), run(world, "-v", "capped:/data")
    filled = world.cli("exec", one, "dd", "if=/dev/zero", "of=/data/big", "bs=64k")
    assert filled.exit_code == 1 and "No space left" in filled.stderr
    assert int(world.ok("exec", other, "stat", "-c", "%s", "/data/big")) == pytest.approx(32 * MIB, rel=0.05)
    assert volume(world, "capped")["used_bytes"] >= 31 * MIB
    assert "No space left" in world.cli("exec", other, "dd", "if=/dev/zero", "of=/data/y", "bs=1M", "count=1").stderr
    assert sh(world, one, "ls -A /data") == "big\ny"
    world.ok("rm", "-f", one, other)
    world.ok("volume", "rm", "capped")


@pytest.mark.requires("mkfs_xfs")
def test_a_cap_grows_while_it_is_used(world: World) -> None:
    world.ok("volume", "create", "--size", "320M", "growing")
    one = run(world, "-v", "growing:/data")
    world.ok("volume", "set", "growing", "--size", "400M")
    assert volume(world, "growing")["size_bytes"] == 400 * MIB
    sh(world, one, "dd if=/dev/zero of=/data/more bs=1M count=390; rm /data/more")
    assert "cannot shrink" in world.refused(6, "volume", "set", "growing", "--size", "360M")
    assert "the volume holds files already" in world.refused(5, "volume", "set", plain(world), "--size", "64M")


def test_many_at_once_mount_an_image_on_one_device(world: World) -> None:
    """Two devices would be two file systems that write to the same blocks."""
    world.ok("volume", "create", "--size", "32M", "single")
    directory = f"{world.paths.volumes_dir}/single"
    barrier = threading.Barrier(8)

    def mount(_: int) -> int:
        barrier.wait()
        return DiskImage(directory).mount()

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            mount_fds = list(pool.map(mount, range(8)))
            devices = [path for _, path in loopdevices.images() if path == f"{directory}/disk.img"]
            for fd in mount_fds:
                os.close(fd)
            assert len(devices) == 1
    world.ok("volume", "rm", "single")


def plain(world: World) -> str:
    """Make a volume that nothing caps, with a file in it; return its name."""
    world.ok("volume", "create", "plain")
    (data(world, "plain") / "file").write_text("x")
    return "plain"


@pytest.fixture
def stocked(world: World) -> Iterator[str]:
    """An image with content at /srv/site and what it says of volumes."""
    directory = Path(world.root, "stocked")
    build_rootfs(str(directory))
    site = directory / "srv" / "site"
    (site / "deep" / "er").mkdir(parents=True)
    (site / "index").write_text("hello")
    os.chown(site / "index", 33, 34)
    os.chmod(site / "index", 0o640)
    os.utime(site / "index", ns=(10**18 + 7, 10**18 + 123456789))
    os.link(site / "index", site / "deep" / "twin")
    (site / "passwd").symlink_to("/etc/passwd")
    (site / "out").symlink_to("../../../../../../etc")
    os.mkfifo(site / "fifo")
    os.chown(site, 33, 33)
    os.chmod(site, 0o2750)
    (directory / "srv" / "large").mkdir()
    (directory / "srv" / "large" / "noise").write_bytes(os.urandom(20 * MIB))
    (directory / "afile").write_text("x")
    (directory / "to-proc").symlink_to("/proc")
    (directory / "short").symlink_to("/srv/site")
    config = {"volumes": ["/srv/site", "/new/place", "/proc", "/sys/kernel", "/", "/dev/shm", "/afile", "../x", "rel",
                          "/to-proc/x", "/etc/hosts", "/srv/./site/", "/short", "/" + "x" * 300]}  # fmt: skip
    with world.client() as host:
        host.import_image(directory, "stocked", config)
    shutil.rmtree(directory)
    os.unlink(f"{directory}.json")
    yield "stocked"
    world.clear()
    world.ok("image", "rm", "stocked")


def test_an_empty_volume_gets_what_the_image_has_there(world: World, stocked: str) -> None:
    one = run(world, "-v", "site:/srv/site", image=stocked)
    assert sh(world, one, "stat -c '%n %u:%g %a %h' /srv/site /srv/site/index; cat /srv/site/deep/twin") == (
        "/srv/site 33:33 2750 3\n/srv/site/index 33:34 640 2\nhello"
    )
    assert (data(world, "site") / "index").stat().st_mtime_ns == 10**18 + 123456789
    assert os.readlink(data(world, "site") / "passwd") == "/etc/passwd"
    assert os.readlink(data(world, "site") / "out") == "../../../../../../etc"
    assert not (data(world, "site") / "fifo").exists()
    sh(world, one, "rm /srv/site/index /srv/site/passwd; echo mine >/srv/site/mine")
    world.ok("rm", "-f", one)
    again = run(world, "-v", "site:/srv/site", image=stocked)
    assert sh(world, again, "ls /srv/site") == "deep\nmine\nout"
    empty = run(world, "-v", "bare:/srv/site:nocopy", image=stocked)
    assert sh(world, empty, "ls -A /srv/site") == ""


def test_content_that_does_not_fit_starts_nothing_and_leaves_the_volume_empty(world: World, stocked: str) -> None:
    world.ok("volume", "create", "--size", "16M", "tiny")
    said = world.refused(125, "run", "--rm", "-v", "tiny:/srv/large", stocked, "true")
    assert "cannot copy '/srv/large' of the image into volume 'tiny'" in said
    assert "No space left" in said
    one = run(world, "-v", "tiny:/data", image=stocked)
    assert sh(world, one, "ls -A /data") == ""


def test_what_a_crash_left_half_filled_is_filled_anew(world: World, stocked: str) -> None:
    """FLT-01. The mark of a filling that was cut off."""
    world.ok("volume", "create", "site")
    (data(world, "site") / "half").write_text("of it")
    Path(world.paths.volumes_dir, "site", "filling").write_text("")
    one = run(world, "-v", "site:/srv/site", image=stocked)
    assert sh(world, one, "ls /srv/site") == "deep\nindex\nout\npasswd"
    assert not Path(world.paths.volumes_dir, "site", "filling").exists()


def test_volumes_that_an_image_asks_for(world: World, stocked: str) -> None:
    """I5. Two places get one; what cannot be one is left out, said so, and hides nothing."""
    one = run(world, image=stocked)
    mounts = {mount["target"]: mount["source"] for mount in world.inspect(one)["spec"]["mounts"]}
    assert sorted(mounts) == ["/new/place", "/srv/site"]
    left_out = [line for line in world.inspect(one)["warnings"] if "which the image asks for" in line]
    assert [line.split("'")[1] for line in left_out] == [
        "/proc", "/sys/kernel", "/", "/dev/shm", "/afile", "../x", "rel", "/to-proc/x", "/etc/hosts",
        left_out[-1].split("'")[1],
    ]  # fmt: skip
    assert sh(world, one, "cat /srv/site/index; echo new >/new/place/file; cat /proc/self/comm") == "hellocat"
    infos = json.loads(world.ok("volume", "list", "--format", "json"))
    assert {info["name"]: info["anonymous"] for info in infos} == dict.fromkeys(mounts.values(), True)
    world.ok("rm", "-f", one)
    assert len(world.ok("volume", "list", "-q").split()) == 2
    assert "freed" in world.ok("volume", "prune", "--yes")
    assert world.ok("volume", "list", "-q") == ""

    mine = run(world, "-v", "mine:/srv/site", "--tmpfs", "/new/place", image=stocked)
    assert world.ok("volume", "list", "-q") == "mine"
    world.ok("rm", "-f", "-v", mine)
    assert world.ok("volume", "list", "-q") == "mine"  # a name is never taken along
    two = run(world, image=stocked)
    world.ok("rm", "-f", "-v", two)
    world.ok("run", "--rm", stocked, "true")
    poll_until(lambda: world.ok("volume", "list", "-q") == "mine", what="anonymous volumes went with --rm")


def test_volumes_of_an_image_are_within_the_caps_of_the_container(world: World, stocked: str) -> None:
    """An image cannot ask for more disk than its container was given: each holds what the layer may hold."""
    one = run(world, "--disk", "32M", "--disk-inodes", "2000", image=stocked)
    for target in ("/srv/site", "/new/place"):
        assert "No space left" in sh(
            world, one, f"dd if=/dev/zero of={target}/big bs=1M count=40 2>&1 || rm {target}/big"
        )
    infos = json.loads(world.ok("volume", "list", "--format", "json"))
    assert [info["size_bytes"] for info in infos] == [32 * MIB] * 2


def test_volumes_of_an_image_do_not_leave_the_pool_of_a_tenant(world: World, stocked: str) -> None:
    """Nothing that a tenant's container writes escapes the sum: the volume is left out, and the image's files are there."""
    tenant = world.ok("tenant", "create", unique_name(), "--disk", "64M")
    one = run(world, "--tenant", tenant, image=stocked)
    assert world.ok("volume", "list", "-q") == ""
    assert f"outside the pool of tenant '{tenant}'" in "".join(world.inspect(one)["warnings"])
    result = world.cli("run", "--rm", "--tenant", tenant, "-v", "/own", stocked, "sh", "-c", "ls /own || echo none")
    assert "no volume for '/own': it would be outside the pool" in result.stderr
    assert (result.exit_code, result.stdout) == (0, "none\n")
    assert sh(world, one, "cat /srv/site/index") == "hello"
    assert "No space left" in sh(world, one, "dd if=/dev/zero of=/srv/site/big bs=1M count=80 2>&1 || rm /srv/site/big")
    world.ok("rm", "-f", one)
    world.ok("tenant", "rm", tenant)


def sources(world: World, name: str) -> dict[str, str]:
    """Return the volume at each target of a container."""
    return {mount["target"]: mount["source"] for mount in world.inspect(name)["spec"]["mounts"]}


def test_anonymous_volumes_that_are_asked_for(world: World, stocked: str) -> None:
    one = run(world, "-v", "/own", "--mount", "target=/srv/site,readonly", "-v", "named:/named", image=stocked)
    found = sources(world, one)
    assert sorted(found) == ["/named", "/new/place", "/own", "/srv/site"]
    assert (
        sh(world, one, "echo x >/own/file; cat /srv/site/index; touch /srv/site/x 2>/dev/null || echo no") == "hellono"
    )
    infos = {info["name"]: info["anonymous"] for info in json.loads(world.ok("volume", "list", "--format", "json"))}
    assert infos == {found[target]: target != "/named" for target in found}
    world.ok("restart", "-t", "0", one)
    assert sh(world, one, "cat /own/file") == "x"
    assert one in world.refused(5, "volume", "rm", found["/own"])
    world.ok("rm", "-f", one)
    assert found["/own"] in world.ok("volume", "list", "-q").split()
    assert len(world.ok("volume", "prune", "--yes").splitlines()) == 4
    two = run(world, "-v", "/own", image=stocked)
    assert sh(world, two, "ls /own") == ""
    world.ok("rm", "-f", "-v", two)
    world.ok("run", "--rm", "-v", "/own", "-v", "named:/named", stocked, "sh", "-c", "echo x >/own/file")
    poll_until(lambda: world.ok("volume", "list", "-q") == "named", what="anonymous volumes went with --rm")


def test_an_anonymous_volume_that_is_asked_for_is_one_containers(world: World, tmp_path: Path) -> None:
    """Another container that is like it has its own: a clone, and who was exported and imported."""
    one = run(world, "--disk", "32M", "-v", "/own")
    sh(world, one, "echo x >/own/file")
    world.ok("stop", "-t", "0", one)
    world.ok("clone", one, f"{one}-clone")
    world.ok("export", one, "-o", str(tmp_path / "one.tar"))
    world.ok("import", str(tmp_path / "one.tar"), f"{one}-import")
    names = (one, f"{one}-clone", f"{one}-import")
    assert len({sources(world, name)["/own"] for name in names}) == 3
    for name in names[1:]:
        world.ok("start", name)
        assert sh(world, name, "ls /own") == ""
    infos = json.loads(world.ok("volume", "list", "--format", "json"))
    assert [info["size_bytes"] for info in infos] == [32 * MIB] * 3
    world.ok("rm", "-f", "-v", *names)
    assert world.ok("volume", "list", "-q") == ""
    world.ok(
        "image", "rm", next(name for name in world.ok("image", "list", "-q").split() if name.startswith("instance/"))
    )


def test_a_create_that_fails_leaves_no_anonymous_volume(world: World) -> None:
    assert "192.0.2.1 is not in" in world.refused(125, "run", "--ip", "192.0.2.1", "-v", "/own", "busybox", "true")
    assert world.ok("volume", "list", "-q") == ""


def test_a_clone_has_anonymous_volumes_of_its_own(world: World, stocked: str) -> None:
    one = run(world, "-v", "shared:/shared", image=stocked)
    sh(world, one, "echo mine >/srv/site/index; echo both >/shared/file")
    world.ok("stop", "-t", "0", one)
    other = unique_name()
    world.ok("clone", one, other)
    world.ok("start", other)
    assert sh(world, other, "cat /srv/site/index /shared/file") == "helloboth"
    sources = [{m["source"] for m in world.inspect(name)["spec"]["mounts"]} for name in (one, other)]
    assert sources[0] & sources[1] == {"shared"}
    world.ok("rm", "-f", "-v", other)
    assert len(world.ok("volume", "list", "-q").split()) == 3


def test_prune_asks_and_takes_what_it_should(world: World) -> None:
    world.ok("volume", "create", "kept")
    anonymous = world.ok("volume", "create")
    used = run(world, "-v", "used:/data")
    assert "give --yes" in world.refused(2, "volume", "prune")
    assert world.ok("volume", "prune", "--yes").splitlines()[0] == anonymous
    assert world.ok("volume", "list", "-q") == "kept\nused"
    assert world.ok("volume", "prune", "--all", "--yes").splitlines()[0] == "kept"
    assert world.ok("volume", "list", "-q") == "used"
    world.ok("rm", "-f", used)


def test_backup_and_restore_are_the_same_tree(world: World, tmp_path: Path) -> None:
    one = run(world, "-v", "db:/data")
    sh(world, one, "cd /data; mkdir -p a/b; echo x >a/b/f; echo y >a/.wh.b; ln a/b/f twin; ln -s /etc/passwd link; "
       "chown 999:1000 a/b/f; chmod 4755 a/b/f; chmod 1777 a; dd if=/dev/zero of=hole bs=1 count=1 seek=200M")  # fmt: skip
    os.setxattr(data(world, "db") / "a", "user.note", b"kept\xff")
    os.utime(data(world, "db") / "a" / "b" / "f", ns=(1, 1_234_567_890_123_456_789))
    first, second = tmp_path / "1.tar.zst", tmp_path / "2.tar.zst"
    result = world.cli("volume", "backup", "db", "-o", str(first))
    assert result.exit_code == 0
    assert f"'{one}' may have written meanwhile" in result.stderr
    assert world.cli("volume", "backup", "db", "--pause", "-o", str(second)).stderr == ""
    assert world.status(one) == "running"
    assert first.read_bytes() == second.read_bytes()
    assert first.stat().st_size < MIB
    assert stat.S_IMODE(first.stat().st_mode) == 0o600
    subprocess.run(["tar", "--zstd", "-tf", first], check=True, stdout=subprocess.DEVNULL)  # others can read it

    assert world.ok("volume", "restore", "copy", str(first)) == "copy"
    assert picture(data(world, "copy")) == picture(data(world, "db"))
    assert (data(world, "copy") / "hole").stat().st_blocks < 1000
    assert os.getxattr(data(world, "copy") / "a", "user.note") == b"kept\xff"
    streamed = subprocess.run(world.argv("volume", "restore", "streamed", "-"), stdin=first.open("rb"), check=True,
                              capture_output=True, env=world.environment)  # fmt: skip
    assert streamed.stdout == b"streamed\n"
    assert picture(data(world, "streamed")) == picture(data(world, "db"))
    assert "is not empty" in world.refused(5, "volume", "restore", "copy", str(first))
    user = run(world, "-v", "fresh:/x")
    assert f"in use by '{user}'" in world.refused(5, "volume", "restore", "fresh", str(first))


def test_a_backup_of_holes_and_of_what_compresses_well_is_restored(world: World, tmp_path: Path) -> None:
    archive = tmp_path / "a.tar.zst"
    world.ok("volume", "create", "sparse")
    with open(data(world, "sparse") / "holes", "wb") as file:
        file.truncate(4 << 30)
    (data(world, "sparse") / "same").write_bytes(b"all the same\n" * (100 << 20 >> 3))
    (data(world, "sparse").joinpath(*["d"] * 300)).mkdir(parents=True)
    world.ok("volume", "backup", "sparse", "-o", str(archive))
    world.ok("volume", "restore", "again", str(archive))
    assert (data(world, "again") / "holes").stat().st_size == 4 << 30
    assert (data(world, "again") / "holes").stat().st_blocks < 1000
    assert (data(world, "again") / "same").stat().st_size == 13 * (100 << 20 >> 3)
    assert (data(world, "again").joinpath(*["d"] * 300)).is_dir()
    world.ok("volume", "rm", "sparse", "again")


def test_what_is_half_restored_is_no_backup(world: World, tmp_path: Path) -> None:
    world.ok("volume", "create", "half")
    Path(world.paths.volumes_dir, "half", "filling").write_text("")
    refused = world.refused(5, "volume", "backup", "half", "-o", str(tmp_path / "a.tar"))
    assert "volume 'half' is just being filled or restored, or that was cut off" in refused
    assert os.listdir(tmp_path) == []


HOSTILE = {
    "'..' would leave the root": [("../../escaped", tarfile.REGTYPE, "", b"x")],
    "it lies beyond a link that leads nowhere": [
        ("l", tarfile.SYMTYPE, "/tmp", b""),
        ("l/x", tarfile.REGTYPE, "", b"x"),
    ],
    "which is no file or link that the archive made before": [("h", tarfile.LNKTYPE, "/etc/passwd", b"")],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(world: World, tmp_path: Path, case: str) -> None:
    """IMG-01."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, kind, target, content in HOSTILE[case]:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, target, len(content)
            tar.addfile(member, io.BytesIO(content))
    archive = tmp_path / "hostile.tar"
    archive.write_bytes(stream.getvalue())
    assert case in world.refused(2, "volume", "restore", "bad", str(archive))
    assert world.ok("volume", "list", "-q") == ""
    world.ok("volume", "create", "there")
    assert case in world.refused(2, "volume", "restore", "there", str(archive))
    assert os.listdir(data(world, "there")) == []
    assert sorted(os.listdir(world.paths.volumes_dir)) == ["there"]
