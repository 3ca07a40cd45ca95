"""Bad images as their user meets them: one line that names the blob or the file, and a store that is as it was. IMG-05.

Damage of every blob and every form is tried below the command line, and so is a disk that is full (test_store_load.py,
test_store_images.py); what registries may do wrong, in test_image_pull.py and test_image_registry.py.
"""

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.archives import E, archive, picture
from tests.support.ociimages import run
from tests.support.ocilayout import Layout, layer_of
from tests.support.registry import free_port
from tests.support.world import World, unique_name

ESCAPE = "\x1b[31m"


class Image(NamedTuple):
    """An image in a layout, and the digests of its parts; its first layer is sound."""

    layout: Layout
    manifest: str
    config: str
    layer: str

    def path(self, digest: str) -> Path:
        return self.layout.directory / "blobs/sha256" / digest[7:]


def make(tmp_path: Path, *, layer: bytes = b"", **options: Any) -> Image:
    layout = Layout(tmp_path / "layout")
    descriptor = layout.image([layer_of({"sound": b"1"}), layer or layer_of({"second": os.urandom(2000)})], **options)
    layout.index(("bad", descriptor))
    manifest = layout.manifest(descriptor)
    return Image(layout, descriptor["digest"], manifest["config"]["digest"], manifest["layers"][1]["digest"])


def inflated(before: bytes = b"") -> bytes:
    """Return half a megabyte of gzip'ed archive with a file of 400 MiB in it, behind other members; zeros would be a hole."""
    info = tarfile.TarInfo("same")
    info.size = 400 << 20
    block = 16 << 20
    same = gzip.compress(b"x" * block, 9) * (info.size // block)
    return gzip.compress(before + info.tobuf()) + same + gzip.compress(bytes(1024))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncated(tmp_path: Path) -> tuple[Image, str]:
    image = make(tmp_path)
    os.truncate(image.path(image.layer), 100)
    return image, image.layer


def bit_flipped(tmp_path: Path) -> tuple[Image, str]:
    image = make(tmp_path)
    flip(image.path(image.layer))
    return image, image.layer


def wrong_diff_id(tmp_path: Path) -> tuple[Image, str]:
    honest = layer_of({"second": b"honest"})
    image = make(tmp_path, layer=honest, pack=lambda layer: gzip.compress(layer.replace(b"honest", b"forged"), mtime=0))
    return image, image.layer


def unknown_compression(tmp_path: Path) -> tuple[Image, str]:
    image = make(
        tmp_path, pack=lambda layer: gzip.compress(layer) if b"sound" in layer else b"\x04\x22\x4d\x18" + layer
    )
    return image, image.layer


def bomb(tmp_path: Path) -> tuple[Image, str]:
    image = make(tmp_path, pack=lambda layer: gzip.compress(layer) if b"sound" in layer else inflated())
    return image, image.layer


def hostile_name(tmp_path: Path) -> tuple[Image, str]:
    image = make(tmp_path, layer=archive(E(f"../new\nline{ESCAPE}")))
    return image, image.layer


def missing_config(tmp_path: Path) -> tuple[Image, str]:
    image = make(tmp_path)
    image.path(image.config).unlink()
    return image, image.config


def missing_layer(tmp_path: Path) -> tuple[Image, str]:
    image = make(tmp_path)
    image.path(image.layer).unlink()
    return image, image.layer


def damaged_manifest(tmp_path: Path) -> tuple[Image, str]:
    image = make(tmp_path)
    flip(image.path(image.manifest))
    return image, image.manifest


def in_the_store(world: World) -> list[tuple[object, ...]]:
    """Return all that the store holds, but for times: names, types, modes, contents."""
    return [(*line[:4], line[6]) for line in picture(Path(world.paths.images_dir))]


def refused_in_one_line(world: World, exit_code: int, *arguments: str) -> str:
    """Run a command that must be refused, and leave the store as it is; return its line."""
    before = in_the_store(world)
    line, *more = world.refused(exit_code, *arguments).splitlines()
    assert all(text.startswith("hint: ") for text in more) and len(more) <= 1, more
    assert ESCAPE not in line
    assert in_the_store(world) == before
    return line


@pytest.mark.parametrize("damage", [truncated, bit_flipped, wrong_diff_id, unknown_compression, bomb, hostile_name,
                                    missing_config, missing_layer, damaged_manifest])  # fmt: skip
def test_the_blob_is_named(world: World, tmp_path: Path, damage: Callable[[Path], tuple[Image, str]]) -> None:
    """At once, and whatever was sound of the image goes as well."""
    image, culprit = damage(tmp_path)
    line = refused_in_one_line(world, 2, "image", "load", "-i", str(image.layout.directory))
    assert culprit in line


def test_another_architecture(world: World, tmp_path: Path) -> None:
    image = make(tmp_path, architecture="s390x")
    source = str(image.layout.directory)
    assert "image 'bad' is for linux/s390x, not for linux/" in refused_in_one_line(
        world, 6, "image", "load", "-i", source
    )
    run(
        "skopeo",
        "--override-arch",
        "s390x",
        "copy",
        "-q",
        f"oci:{source}:bad",
        f"docker-archive:{tmp_path}/a.tar:bad:1",
    )
    line = refused_in_one_line(world, 6, "image", "load", "-i", f"{tmp_path}/a.tar")
    assert "bad:1' is for linux/s390x, not for linux/" in line
    assert world.ok("image", "load", "--platform", "linux/s390x", "-i", f"{tmp_path}/a.tar").endswith("bad:1")
    world.ok("image", "rm", "docker.io/library/bad:1")


@pytest.mark.parametrize("name", ["new\nline", f"a{ESCAPE}", "../up", "a b", "", "x" * 300])
def test_names_that_are_none(world: World, tmp_path: Path, name: str) -> None:
    """What an archive calls its image is text of a stranger."""
    image = make(tmp_path)
    descriptor = json.loads((image.layout.directory / "index.json").read_text())["manifests"][0]
    image.layout.index((name, descriptor))
    line = refused_in_one_line(world, 2, "image", "load", "-i", str(image.layout.directory))
    assert "is no image name" in line or "does not say what its image is called" in line


def test_a_root_file_system_is_named(world: World, tmp_path: Path) -> None:
    """It is no blob of anybody yet, so it goes by the name that its user gave."""
    sound = gzip.compress(archive(E("f", data=os.urandom(3000))))
    broken = bytearray(sound)
    broken[len(sound) // 2] ^= 1
    for name, data in {
        "cut.tar.gz": sound[:-9],
        "cut.tar": archive(E("f", data=os.urandom(3000)))[:2000],
        "flipped.tar.gz": bytes(broken),
        "tar.lz4": b"\x04\x22\x4d\x18" + sound,
        "bomb.tar.gz": inflated(),
        "up.tar": archive(E(f"../new\nline{ESCAPE}")),
        "owner.tar": archive(E("f", uid=70_000)),
    }.items():
        (tmp_path / name).write_bytes(data)
        line = refused_in_one_line(world, 2, "image", "import", str(tmp_path / name), "bad")
        assert f"{name}'" in line, line


def test_devices_and_odd_names_are_no_obstacle(world: World, tmp_path: Path) -> None:
    """DEV-02: a container finds no device where an image had one, and a file whose name has a newline."""
    entries = [E("sda", tarfile.BLKTYPE), E("kmsg", tarfile.CHRTYPE), E("fifo", tarfile.FIFOTYPE), E("new\nline")]
    busybox = archive(E("bin/busybox", data=Path("/bin/busybox").read_bytes(), mode=0o755), *entries)
    (tmp_path / "image.tar").write_bytes(busybox)
    world.ok("image", "import", str(tmp_path / "image.tar"), "odd")
    found = world.ok("run", "--rm", "odd", "/bin/busybox", "find", "/", "-xdev", "!", "-type", "d", "-print0").split(
        "\0"
    )
    assert {name for name in found if not name.startswith("/etc/")} == {"/bin/busybox", "/new\nline", ""}
    world.ok("image", "rm", "odd")


def test_docker_archives(world: World, tmp_path: Path) -> None:
    image = make(tmp_path)
    sound = tmp_path / "sound.tar"
    run("skopeo", "copy", "-q", f"oci:{image.layout.directory}:bad", f"docker-archive:{sound}:bad:1")
    with tarfile.open(sound) as tar:
        files = {member.name: tar.extractfile(member).read() for member in tar if member.isreg()}  # type: ignore[union-attr]
    (manifest,) = json.loads(files["manifest.json"])
    config, layer = manifest["Config"], manifest["Layers"][1]
    diff_id = json.loads(files[config])["rootfs"]["diff_ids"][1]
    place = sound.read_bytes().index(files[layer])

    def load(name: str, data: bytes) -> str:
        (tmp_path / name).write_bytes(data)
        return refused_in_one_line(world, 2, "image", "load", "-i", str(tmp_path / name))

    def without(name: str) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as tar:
            for other, data in files.items():
                if other != name:
                    info = tarfile.TarInfo(other)
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        return out.getvalue()

    data = sound.read_bytes()
    assert "cut.tar'" in load("cut.tar", data[: place + 600])
    for offset in (3, 600):  # of its first header, of a file
        flipped = bytearray(data)
        flipped[place + offset] ^= 1
        assert diff_id in load("flipped.tar", bytes(flipped))
    assert config in load("config.tar", without(config))
    assert diff_id in load("layer.tar", without(layer))
    assert "neither an OCI layout nor a docker archive" in load("manifest.tar", without("manifest.json"))
    assert "cut.tar.gz'" in load("cut.tar.gz", gzip.compress(data, 1)[:-20])
    members = archive(*(E(name, data=data) for name, data in files.items()))[:-1024]
    assert "bomb.tar.gz'" in load("bomb.tar.gz", inflated(members))


def test_a_base_layer_that_was_deleted(world: World, tmp_path: Path) -> None:
    """Who needs it is told which it is; nothing else is touched, and bringing the image in again heals it."""
    busybox = layer_of({"bin/busybox": Path("/bin/busybox").read_bytes()})
    image = make(tmp_path, layer=busybox)
    source = str(image.layout.directory)
    world.ok("image", "load", "-i", source)
    base = json.loads(world.ok("image", "inspect", "bad"))[0]["layers"][0]["path"]
    name = unique_name()
    world.ok("create", "--name", name, "bad", "/bin/busybox", "true")
    shutil.rmtree(base)
    for code, words in (
        (5, ("create", "bad")),
        (5, ("image", "save", "-o", f"{tmp_path}/saved", "bad")),
        (5, ("commit", name, "other")),
        (5, ("start", name)),
    ):
        assert base in refused_in_one_line(world, code, *words), words
    assert not (tmp_path / "saved").exists()
    world.ok("image", "load", "-i", source)
    world.ok("rm", name)
    world.ok("image", "rm", "bad")


@pytest.mark.requires("registry")
def test_a_registry_that_is_down(world: World) -> None:
    reference = f"127.0.0.1:{free_port()}/team/web:1"
    line = refused_in_one_line(world, 1, "image", "pull", reference)
    assert line.startswith(f"pycontainer: '{reference}': the registry does not answer as it should: ")
