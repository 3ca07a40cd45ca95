"""Images saved here are what other tools read, with the same tree, and the same bytes each time."""

import gzip
import json
import lzma
import os
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidState, NotFound
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.store.archive import DirectoryTarget, TarTarget, write
from pycontainer.store.images import ImageStore
from pycontainer.store.load import import_image, load
from pycontainer.store.save import collected
from tests.support.archives import picture
from tests.support.interop import podman_load, skopeo_inspect, umoci_unpack
from tests.support.terminal import Terminal
from tests.support.world import World

CONFIG = {"cmd": ["sh", "-c", "true"], "env": ["A=1"], "labels": {"k": "v"}, "user": "7", "exposed_ports": ["80/tcp"]}
interop = pytest.mark.requires("skopeo", "umoci", "podman")


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where overlayfs and mapped ids work."""
    with tempfile.TemporaryDirectory(prefix="pct-save-", dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture
def store(directory: Path) -> ImageStore:
    return ImageStore(HostPaths(str(directory / "world")))


@pytest.fixture
def tree(directory: Path, busybox_rootfs: str) -> Path:
    """A busybox with one of each kind of thing that a layer can hold."""
    root = directory / "tree"
    subprocess.run(["cp", "-a", busybox_rootfs, root], check=True)
    (root / "data/deep").mkdir(parents=True)
    (root / "data/file").write_bytes(b"x" * 5000)
    os.link(root / "data/file", root / "data/deep/hard")
    (root / "data/soft").symlink_to("../nowhere")
    with open(root / "data/sparse", "wb") as file:
        file.truncate(3 << 20)
        file.write(b"begin")
    os.mkdir(os.fsencode(root) + b"/data/\xff\xe4 \n")
    os.chown(root / "data/file", 65535, 7)
    os.chmod(root / "data/file", 0o6755)
    os.chmod(root / "data/deep", 0o1777)
    os.setxattr(root / "data/sparse", "user.binary", b"\0\xff=\n")
    os.setxattr(root / "data/sparse", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
    for number, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 10**18 + 123_456_789 + number), follow_symlinks=False)
    return root


def add(store: ImageStore, source: Path, name: str, config: dict[str, Any] = CONFIG) -> str:
    return import_image(store, str(source), name, config, Importer())["id"]


def save(store: ImageStore, target: Path, *names: str, form: str = "oci-archive") -> None:
    if form == "oci-dir":
        target.mkdir()
    fd = os.open(target, os.O_RDONLY if form == "oci-dir" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        with collected(store, names, Importer().pack_layer) as content:
            if form == "oci-dir":
                write(content, form, DirectoryTarget(fd))
            else:
                archive = TarTarget(fd)
                write(content, form, archive)
                archive.finish()
    finally:
        os.close(fd)


def pack(tree: Path, target: Path, mode: str) -> Path:
    """Make an archive as others would, with GNU tar."""
    subprocess.run(
        ["tar", "--xattrs", "--xattrs-include=*", "--format=posix", mode, "-cf", target, "-C", tree, "."], check=True
    )
    return target


@interop
@pytest.mark.parametrize("source", ["gzip", "xz"])
def test_others_read_the_same_tree(store: ImageStore, directory: Path, tree: Path, source: str) -> None:
    """Names, modes, ids, xattrs, links and times of what came as an archive; as a directory: test_roundtrips.py."""
    given = pack(tree, directory / "given.tar", f"--{source}")
    image_id = add(store, given, "team/web:1")
    (ours,) = store.get("team/web:1").layer_dirs
    assert picture(Path(ours)) == picture(tree)
    save(store, directory / "dir", "team/web:1", form="oci-dir")
    save(store, directory / "archive", "team/web:1")
    assert picture(umoci_unpack(directory / "dir", "team/web:1", directory / "bundle")) == picture(tree)
    names, place = podman_load(directory / "archive", directory / "podman")
    assert names == ["docker.io/team/web:1"]
    assert picture(place) == picture(tree)
    for reference in (f"oci-archive:{directory}/archive:team/web:1", f"oci:{directory}/dir:team/web:1"):
        seen = skopeo_inspect(reference)
        assert (seen["Labels"], seen["Env"], seen["Os"]) == ({"k": "v"}, ["A=1"], "linux")
    with tarfile.open(directory / "archive") as tar:
        config = json.loads(tar.extractfile("manifest.json").read())[0]["Config"]  # type: ignore[union-attr]
    assert (config.rpartition("/")[2] == image_id[7:]) == (source != "xz"), "xz is packed anew, so the config differs"


@pytest.mark.requires("skopeo", "umoci", "podman", "squashfs")
def test_a_file_system_goes_out_as_a_layer(store: ImageStore, directory: Path, tree: Path) -> None:
    """A squashfs has whole seconds only; all else is in the layer that umoci unpacks."""
    subprocess.run(
        ["mksquashfs", tree, directory / "given.squashfs", "-quiet", "-no-progress", "-no-xattrs"], check=True
    )
    add(store, directory / "given.squashfs", "web")
    save(store, directory / "dir", "web", form="oci-dir")
    found = picture(umoci_unpack(directory / "dir", "web", directory / "bundle"))

    def shown(lines: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        return [(*line[:4], line[4] // 10**9, *line[5:-1]) for line in lines]

    assert shown(found) == shown(picture(tree))


@interop
def test_docker_archive_and_several_images(store: ImageStore, directory: Path, tree: Path) -> None:
    add(store, tree, "one")
    add(store, tree, "two:2", {"cmd": ["two"]})
    for form in ("docker-archive", "oci-archive"):
        save(store, directory / form, "one", "two:2", form=form)
        names, place = podman_load(directory / form, directory / f"podman-{form}")
        assert [name.rpartition("/")[2] for name in names] == ["one:latest", "two:2"]
        assert picture(place) == picture(tree)
        seen = skopeo_inspect(f"docker-archive:{directory / form}:one:latest")
        assert seen["Labels"] == {"k": "v"}
    with tarfile.open(directory / "docker-archive") as tar:
        names = tar.getnames()
    assert len(names) == len(set(names)) == 4, "two configs, the manifest, the layer once"


@pytest.mark.parametrize("source", ["directory", "gzip", "xz"])
def test_equal_stores_give_equal_bytes(directory: Path, tree: Path, source: str) -> None:
    given = tree if source == "directory" else pack(tree, directory / "given.tar", f"--{source}")
    saved = []
    for number in "12":
        store = ImageStore(HostPaths(str(directory / number)))
        add(store, given, "web")
        for form in ("oci-archive", "docker-archive"):
            save(store, directory / f"{number}-{form}", "web", form=form)
        saved.append([(directory / f"{number}-{form}").read_bytes() for form in ("oci-archive", "docker-archive")])
        assert os.listdir(store.staging.directory) == []
    assert saved[0] == saved[1]


def test_blobs_go_out_as_they_came(store: ImageStore, directory: Path, tree: Path) -> None:
    """A compressed layer is not compressed anew."""
    plain = pack(tree, directory / "plain.tar", "--no-seek")
    given = directory / "given.tar.gz"
    given.write_bytes(gzip.compress(plain.read_bytes(), 1, mtime=12345))
    add(store, given, "web")
    save(store, directory / "dir", "web", form="oci-dir")
    blobs = [path.read_bytes() for path in (directory / "dir/blobs/sha256").iterdir()]
    assert given.read_bytes() in blobs
    packed = directory / "given.tar.xz"
    packed.write_bytes(lzma.compress(plain.read_bytes(), preset=0))
    add(store, packed, "other")
    save(store, directory / "again", "other", form="oci-dir")
    assert not any(path.read_bytes().startswith(b"\xfd7zXZ") for path in (directory / "again/blobs/sha256").iterdir())


@pytest.mark.parametrize("form", ["oci-archive", "oci-dir", "docker-archive"])
def test_what_was_saved_comes_back(store: ImageStore, directory: Path, tree: Path, form: str) -> None:
    """With its names, its config, and the very bytes, also when it is saved from there."""
    first = add(store, tree, "web")
    second = add(store, pack(tree, directory / "given.tar", "--gzip"), "team/box:2", {"cmd": ["x"]})
    save(store, directory / "saved", "web", "team/box:2", form=form)
    other = ImageStore(HostPaths(str(directory / "other")))
    loaded = {info["name"]: info["id"] for info in load(other, str(directory / "saved"), Importer())}
    name = "web:latest" if form == "docker-archive" else "web"  # Docker has no name without a tag
    assert loaded == {name: first, "team/box:2": second}
    assert other.get(name).config == store.get("web").config
    assert picture(Path(other.get(name).layer_dirs[0])) == picture(tree)
    if form == "oci-archive":
        save(other, directory / "again", name, "team/box:2")
        assert (directory / "again").read_bytes() == (directory / "saved").read_bytes()


def test_a_damaged_blob_is_named(store: ImageStore, directory: Path, tree: Path) -> None:
    add(store, pack(tree, directory / "given.tar", "--gzip"), "web")
    blob = store.get("web").layers[0].blob
    assert blob is not None
    path = Path(store.blobs.path(blob))
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    with pytest.raises(InvalidState, match=f"blob {blob} is damaged"):
        save(store, directory / "archive", "web")
    with pytest.raises(NotFound, match="no image 'none'"):
        save(store, directory / "archive", "none")


def test_command(world: World, directory: Path) -> None:
    """A file appears when it is whole; a terminal, a directory with files and an unknown image get a line each."""
    target = directory / "busybox.tar"
    world.ok("image", "save", "-o", str(target), "busybox")
    shell = ["sh", "-c", f'"$@" >{directory}/piped', "sh", *world.argv("image", "save", "busybox")]
    subprocess.run(shell, env=world.environment, check=True)
    assert target.read_bytes() == (directory / "piped").read_bytes()
    world.ok("image", "save", "--format", "oci-dir", "-o", str(directory / "dir"), "busybox")
    assert sorted(os.listdir(directory / "dir")) == ["blobs", "index.json", "manifest.json", "oci-layout"]
    for words, code, line in (
        (["-o", str(directory / "new.tar"), "none"], 3, "pycontainer: no image 'none'"),
        (["-o", str(directory), "busybox"], 2, f"pycontainer: '{directory}' is a directory"),
        (["--format", "oci-dir", "-o", str(directory), "busybox"], 4, f"pycontainer: '{directory}' is there already"),
        (["-o", "/dev/full", "busybox"], 1, "pycontainer: cannot write what is saved: no space left on device"),
        (["--format", "oci-dir", "busybox"], 2, "pycontainer: a directory is not for standard output"),
    ):
        result = world.cli("image", "save", *words)
        assert (result.exit_code, result.stderr.startswith(line)) == (code, True), result.stderr
    assert sorted(os.listdir(directory)) == ["busybox.tar", "dir", "piped"]
    with Terminal(world.argv("image", "save", "busybox"), world.environment) as terminal:
        terminal.expect("pycontainer: an archive is not for a terminal")
        assert terminal.wait() == 2
