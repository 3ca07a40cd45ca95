"""commit, export and import: an image and a whole instance, and archives that ask for more than they may."""

import io
import json
import os
import shlex
import subprocess
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from pycontainer.runtime.instance import LABEL
from tests.support.poll import poll_until
from tests.support.snapshots import create, inside, layers
from tests.support.world import World, unique_name


def images(world: World) -> list[str]:
    return world.ok("image", "list", "-q").split()


@pytest.fixture
def kept_images(world: World) -> Any:
    """Take away the images that a test has made."""
    before = images(world)
    yield
    world.clear()
    for name in set(images(world)) - set(before):
        world.ok("image", "rm", name)


@pytest.mark.usefixtures("kept_images")
def test_commit_makes_an_image_of_what_was_written(world: World) -> None:
    name, image = create(world), f"{unique_name()}:1"
    inside(world, name, "echo one > /a; rm -r /var; rm /etc/group; mkdir -p /srv/x; chown 5:6 /a; chmod 4755 /a")
    world.ok("snapshot", "create", name)
    inside(world, name, "echo two > /srv/x/b")
    changes = ["-c", 'CMD ["cat", "/srv/x/b"]', "-c", "ENV A=1", "-c", "LABEL tier=web", "-c", "WORKDIR /srv"]
    image_id = world.ok("commit", "-m", "what", "-a", "who", *changes, name, image)
    assert image_id.startswith("sha256:")
    assert world.ok("run", "--rm", image) == "two"
    script = "stat -c '%a %u:%g' /a; ls -d /var /etc/group 2>&1 | wc -l; pwd; echo $A"
    said = world.ok("run", "--rm", image, "sh", "-c", script)
    assert said.splitlines() == ["4755 5:6", "2", "/srv", "1"]
    assert inside(world, name, "cat /a /srv/x/b") == "one\ntwo"  # the container goes on
    config = json.loads(world.ok("image", "inspect", image))[0]["config"]
    assert config["labels"] == {"tier": "web"}


@pytest.mark.usefixtures("kept_images")
def test_commit_of_what_compresses_well(world: World, tmp_path: Path) -> None:
    """What a container has written is no bomb, and neither are the zeros of its swap file for who imports it."""
    name, image, other, archive = unique_name(), f"{unique_name()}:1", unique_name(), f"{tmp_path}/i.tar"
    world.ok("run", "-d", "--name", name, "busybox", "sleep", "1000")
    world.ok(
        "exec", name, "sh", "-c", "yes all the same | head -c 209715200 > /same; head -c 104857600 /dev/zero > /swap"
    )
    world.ok("commit", name, image)
    sizes = ("sh", "-c", "wc -c /same /swap")
    assert world.ok("run", "--rm", image, *sizes) == world.ok("exec", name, *sizes)
    world.ok("exec", name, "rm", "/same")
    world.ok("export", name, "-o", archive)
    world.ok("import", archive, other)
    world.ok("start", other)
    assert world.ok("exec", other, "stat", "-c", "%s %b", "/swap") == f"{100 << 20} 0"


@pytest.mark.usefixtures("kept_images")
def test_commit_of_a_running_one_leaves_no_layer_behind(world: World) -> None:
    name, image = unique_name(), f"{unique_name()}:1"
    world.ok("run", "-d", "--name", name, "busybox", "sh", "-c", "echo one > /a; sleep 1000")
    poll_until(lambda: world.cli("exec", name, "cat", "/a").stdout == "one\n", what="the file is there")
    world.ok("commit", name, image)
    assert (world.status(name), world.ok("run", "--rm", image, "cat", "/a")) == ("running", "one")
    poll_until(lambda: layers(world) == [], what="the copied layer is gone")


@pytest.mark.usefixtures("kept_images")
def test_an_instance_goes_to_another_name(world: World, tmp_path: Path) -> None:
    """The archive says all that it takes; what is in use here is refused."""
    name, other, archive = create(world, "-e", "A=1", "-m", "64M", "-p", "8087:80"), unique_name(), f"{tmp_path}/i.tar"
    inside(world, name, "echo one > /a; rm -r /var; chown 5:6 /a")
    world.ok("export", name, "-o", archive)
    assert os.listdir(tmp_path) == ["i.tar"]
    assert f"the name '{name}' is taken" in world.refused(4, "import", archive)
    world.ok("import", archive, other, "-p", "8088:80")
    first, second = world.inspect(name)["spec"], world.inspect(other)["spec"]
    changed = {key for key in first if first[key] != second[key]}
    assert changed == {"name", "image", "ports"}
    assert inside(world, other, "cat /a; stat -c %u:%g /a; ls -d /var 2>&1; echo $A").splitlines() == [
        "one", "5:6", "ls: /var: No such file or directory", "1",
    ]  # fmt: skip
    piped = unique_name()
    shell = (
        f"{shlex.join(world.argv('export', name))} | {shlex.join(world.argv('import', '-', piped, '-p', '8089:80'))}"
    )
    subprocess.run(["sh", "-c", shell], env=world.environment, check=True)
    assert inside(world, piped, "cat /a") == "one"
    assert [name for name in images(world) if name.startswith("pycontainer-in-transit")] == []
    world.ok("rm", name)
    assert "--publish 8087:80/tcp" in world.refused(2, "import", archive)
    world.ok("import", "--trusted", archive)
    assert world.inspect(name)["spec"]["ports"] == first["ports"]


@pytest.mark.requires("skopeo")
@pytest.mark.usefixtures("kept_images")
def test_other_tools_read_an_exported_instance(world: World, tmp_path: Path) -> None:
    name, archive = create(world), f"{tmp_path}/i.tar"
    inside(world, name, "echo one > /a")
    world.ok("export", name, "-o", archive)
    done = subprocess.run(["skopeo", "inspect", f"oci-archive:{archive}"], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found["Layers"]) == 2
    assert json.loads(found["Labels"][LABEL])["spec"]["name"] == name


def changed_archive(source: str, target: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Copy an archive with another description of its instance, all digests made right again."""
    with tarfile.open(source) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]
    blob = "blobs/sha256/{}".format
    index = json.loads(files["index.json"])
    manifest = json.loads(files.pop(blob(index["manifests"][0]["digest"][7:])))
    config = json.loads(files.pop(blob(manifest["config"]["digest"][7:])))
    labels = config["config"]["Labels"]
    if LABEL in labels:
        described = json.loads(labels[LABEL])
        change(described)
        labels[LABEL] = json.dumps(described)
    for holder, content in ((manifest["config"], config), (index["manifests"][0], manifest)):
        data = json.dumps(content).encode()
        digest = sha256(data).hexdigest()
        holder.update(digest=f"sha256:{digest}", size=len(data))
        files[blob(digest)] = data
    files["index.json"] = json.dumps(index).encode()
    with tarfile.open(target, "w") as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.usefixtures("kept_images")
def test_an_archive_gets_nothing_by_asking(world: World, tmp_path: Path) -> None:
    """What reaches the host is refused, by name; what is no description as well; nothing of either stays."""
    name, good, bad = create(world), f"{tmp_path}/good.tar", f"{tmp_path}/bad.tar"
    world.ok("export", name, "-o", good)
    world.ok("rm", name)
    before = images(world)

    def spec(**values: Any) -> Callable[[dict[str, Any]], None]:
        return lambda described: described["spec"].update(values)

    bind = {"type": "bind", "target": "/host", "source": "/", "read_only": False, "size_bytes": None, "mode": None,
            "exec_allowed": False, "recursive": True}  # fmt: skip
    volume, port = unique_name(), {"host_port": 8089, "container_port": 22, "protocol": "tcp", "host_ip": ""}
    world.ok("volume", "create", volume)
    for change, words in (
        (spec(mounts=[{**bind, "type": "volume", "source": volume}]), f"--volume {volume}:/host"),
        (spec(ports=[port]), "--publish 8089:22/tcp"),
        (spec(pids_max=None), "--pids unlimited"),
        (spec(disk_inodes=1 << 30), "--disk unlimited"),
        (spec(privileged=True), "--privileged"),
        (spec(mounts=[bind]), "--volume /:/host"),
        (spec(networks=["host"]), "--network host"),
        (spec(cap_add=["CAP_SYS_ADMIN"]), "--cap-add SYS_ADMIN"),
        (spec(rootfs="/"), "is no container of an image"),
        (spec(name="../x"), "is not a container name"),
        (spec(memory_bytes="much"), "is of a wrong type"),
        (spec(unknown=1), "unknown field"),
        (spec(hostname="a\n10.0.0.1 db"), "holds a control character"),
        (spec(memory_bytes=-5), "memory"),
        (lambda described: described.update(version=99), "another version"),
    ):
        changed_archive(good, bad, change)
        assert words in world.refused(2, "import", bad)
        assert (images(world), world.ok("ps", "-aq")) == (before, "")
    for mount in (bind, {**bind, "type": "volume", "source": volume}):
        changed_archive(good, bad, spec(mounts=[mount], ports=[port]))
        world.ok("import", "--trusted", bad)
        world.ok("rm", name)
    world.ok("volume", "rm", volume)
    world.ok("import", bad, "-p", "8090:22")  # of a volume that nobody had, and with ports of our own
    world.ok("rm", name)
    world.ok("volume", "rm", volume)
    with open(good, "rb") as file, open(bad, "wb") as cut:
        cut.write(file.read(os.path.getsize(good) // 2))
    world.refused(2, "import", bad)


@pytest.mark.usefixtures("kept_images")
def test_only_images_in_transit_go_by_themselves(world: World, tmp_path: Path) -> None:
    """A name that looks like one of those is nobody's to give, and one that was given before stays."""
    name, image, archive = create(world), f"{unique_name()}:1", f"{tmp_path}/i.tar"
    inside(world, name, "echo one > /a")
    world.ok("commit", name, image)
    for taken in ("pycontainer-in-transit-mine", f"pycontainer-in-transit-{'0' * 12}"):
        for command in (("image", "tag", image), ("commit", name), ("image", "import", "/nowhere")):
            assert "go by themselves" in world.refused(2, *command, taken)
        assert "go by themselves" in world.refused(2, "image", "load", "--name", taken, "-i", "/nowhere")
    refs, old = f"{world.paths.images_dir}/refs", "pycontainer-in-transit-mine"
    with open(f"{refs}/{image}.json") as file:
        record = {**json.load(file), "name": old}
    with open(os.open(f"{refs}/{old}.json", os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(record, file)
    world.ok("export", name, "-o", archive)
    assert old in images(world)
    world.ok("image", "load", "--name", f"{image}2", "-i", archive)


@pytest.mark.usefixtures("kept_images")
@pytest.mark.parametrize("driver", ["overlay", "copy"])
def test_one_of_a_directory(world: World, busybox_rootfs: str, tmp_path: Path, driver: str) -> None:
    """All that it sees becomes the one layer of an image; the directory stays as it is."""
    rootfs, name, other = tmp_path / "rootfs", unique_name(), unique_name()
    image, archive = f"{unique_name()}:1", f"{tmp_path}/i.tar"
    subprocess.run(["cp", "-a", busybox_rootfs, rootfs], check=True)
    (rootfs / "etc/gone").write_text("x")
    world.ok("create", "--name", name, "--rootfs", str(rootfs), "--rootfs-driver", driver, "-e", "A=1", "sleep", "1000")
    inside(world, name, "echo one > /a; rm /etc/gone; chown 5:6 /a")
    assert {"A /a", "C /etc", "D /etc/gone"} <= set(world.ok("diff", name).splitlines())
    world.ok("snapshot", "create", name)
    inside(world, name, "echo two > /b")
    assert {"A /a", "A /b", "D /etc/gone"} <= set(world.ok("diff", name).splitlines())
    script = "cat /a /b; stat -c %u:%g /a; ls /etc/gone 2>&1; ls /bin/busybox; echo $A"
    said = ["one", "two", "5:6", "ls: /etc/gone: No such file or directory", "/bin/busybox"]
    world.ok("commit", "-c", "LABEL tier=web", name, image)
    info = json.loads(world.ok("image", "inspect", image))[0]
    assert (len(info["layers"]), info["config"]["labels"]) == (1, {"tier": "web"})
    assert world.ok("run", "--rm", image, "sh", "-c", script).splitlines() == said
    world.ok("export", name, "-o", archive)
    world.ok("import", archive, other)
    assert inside(world, other, script).splitlines() == [*said, "1"]
    assert (rootfs / "etc/gone").exists() and not (rootfs / "a").exists()


def test_one_that_writes_into_its_directory_tells_nothing(world: World, busybox_rootfs: str, tmp_path: Path) -> None:
    rootfs, name = tmp_path / "rootfs", unique_name()
    subprocess.run(["cp", "-a", busybox_rootfs, rootfs], check=True)
    world.ok("create", "--name", name, "--rootfs", f"{rootfs}:rw", "sleep", "1000")
    for command in (("diff", name), ("commit", name, "x:1"), ("export", name, "-o", f"{tmp_path}/i.tar")):
        said = world.refused(5, *command)
        assert f"writes into '{rootfs}' itself" in said and world.suggested("'pycontainer image import'") in said
    assert sorted(os.listdir(tmp_path)) == ["rootfs"]


def test_what_cannot_be_committed(world: World) -> None:
    name = create(world)
    assert "is no change of an image" in world.refused(2, "commit", "-c", "RUN x", name, "x:1")
    assert "is not an image name" in world.refused(2, "commit", name, "../x")
