"""Upper directories become layers of new images, which other tools see as the containers saw them."""

import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, InvalidState, NotFound
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.store.archive import DirectoryTarget, TarTarget, write
from pycontainer.store.commit import commit
from pycontainer.store.images import ImageStore
from pycontainer.store.layerpack import LayerBlob
from pycontainer.store.load import import_image
from pycontainer.store.save import collected
from tests.support.archives import picture
from tests.support.interop import podman_load, skopeo_inspect, umoci_unpack
from tests.support.overlay import change

CREATED = 1_700_000_000.123
FIRST = """
rm -r etc usr/share; rm bin/busybox.old; echo more >>var/notes; mkdir usr/new; echo 1 >usr/new/one; chmod 1777 usr/new
rm -r opaque; mkdir opaque; echo mine >opaque/mine; ln -s /etc/passwd link; ln usr/new/one usr/new/two
"""
SECOND = "rm usr/new/one; rm -r opaque; echo file >opaque; mkdir etc; echo x >etc/passwd; chown 33:65535 etc/passwd"


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pct-commit-", dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture
def store(directory: Path, busybox_rootfs: str) -> ImageStore:
    """A store with image `base`: a busybox with a few files more."""
    made = ImageStore(HostPaths(str(directory / "world")))
    tree = directory / "tree"
    subprocess.run(["cp", "-a", busybox_rootfs, tree], check=True)
    for name in ("bin/busybox.old", "var/notes", "opaque/theirs", "usr/share/doc", "etc/passwd"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(name)
    import_image(made, str(tree), "base", {"cmd": ["sh"], "env": ["A=1", "B=2"], "labels": {"k": "v"}}, Importer())
    return made


def picture_of(lowers: Sequence[Path | str], directory: Path) -> list[tuple[object, ...]]:
    """Return the picture of what an overlay of these shows."""
    place = directory / "shown"
    place.mkdir()
    layers = ":".join(str(lower) for lower in reversed(lowers))
    script = f"mount -t overlay pct -o ro,lowerdir={layers} {place}; cp -a {place} {place}.copy"
    subprocess.run(["unshare", "--mount", "sh", "-ec", script], check=True)
    return picture(Path(f"{place}.copy"))


@pytest.mark.requires("skopeo", "umoci", "podman")
def test_others_see_what_the_container_saw(store: ImageStore, directory: Path) -> None:
    """Two upper directories, so two layers: deletions, opaque directories, links, owners."""
    base = store.get("base").layer_dirs
    first = change(directory / "1", base, FIRST)
    second = change(directory / "2", [*base, first], SECOND)
    info, left_out = commit(store, "base", [str(first), str(second)], "mine:1", Importer(), created=CREATED)
    assert left_out == []
    image = store.get("mine:1")
    assert len(image.layers) == 3 and image.id == info["id"]
    expected = picture_of([*base, first, second], directory / "1")
    assert {line[0] for line in expected} >= {"opaque", "usr/new/two", "etc/passwd", "link"}
    assert not {line[0] for line in expected} & {"opaque/theirs", "usr/new/one", "bin/busybox.old", "usr/share"}
    assert picture_of(image.layer_dirs, directory / "2") == expected
    fds = os.open(directory / "archive", os.O_WRONLY | os.O_CREAT), os.open(directory, os.O_RDONLY)
    with collected(store, ["mine:1"], Importer().pack_layer) as content:
        archive = TarTarget(fds[0])
        write(content, "oci-archive", archive)
        archive.finish()
        os.mkdir(directory / "dir")
        dir_fd = os.open(directory / "dir", os.O_RDONLY)
        write(content, "oci-dir", DirectoryTarget(dir_fd))
    for fd in (*fds, dir_fd):
        os.close(fd)
    assert picture(umoci_unpack(directory / "dir", "mine:1", directory / "bundle")) == expected
    _, place = podman_load(directory / "archive", directory / "podman")
    assert picture(place) == expected
    assert len(skopeo_inspect(f"oci:{directory}/dir:mine:1")["Layers"]) == 3


def test_config_and_history(store: ImageStore, directory: Path) -> None:
    upper = change(directory / "1", store.get("base").layer_dirs, "echo x >file")
    changes = {"cmd": ["nginx"], "env": ["A=2"], "user": "www"}
    made = [
        commit(
            store, "base", [str(upper)], name, Importer(), config=changes, author="Ann", message="why", created=CREATED
        )[0]
        for name in ("one", "two")
    ]
    assert made[0]["id"] == made[1]["id"], "nothing of a commit depends on when it was made but `created`"
    image = store.get("one")
    assert {key: image.config[key] for key in ("cmd", "env", "user", "labels")} == {**changes, "labels": {"k": "v"}}
    config = json.loads(store.config_blob(image))
    assert (config["created"], config["author"]) == ("2023-11-14T22:13:20.123Z", "Ann")
    entry = {"created": config["created"], "created_by": "pycontainer commit", "author": "Ann", "comment": "why"}
    assert config["history"][-1] == entry
    assert len(config["history"]) == len(image.layers) == len(config["rootfs"]["diff_ids"]) == 2
    assert json.loads(store.config_blob(store.get("base")))["history"] == config["history"][:-1]


def test_the_base_may_go(store: ImageStore, directory: Path) -> None:
    upper = change(directory / "1", store.get("base").layer_dirs, "echo x >file")
    commit(store, "base", [str(upper)], "mine", Importer())
    store.remove("base", frozenset())
    assert [os.path.isdir(layer) for layer in store.get("mine").layer_dirs] == [True, True]
    store.remove("mine", frozenset())
    assert os.listdir(store.layers_dir) == os.listdir(store.blobs.directory) == []


def test_the_base_may_go_meanwhile(store: ImageStore, directory: Path) -> None:
    """What an import at work counts on is pinned: it stays in the store, though no image has it any more."""

    class Removing(Importer):
        def pack_layer(self, tree: str, blob_fd: int, *, is_upper: bool = False) -> tuple[LayerBlob, list[str]]:
            store.remove("base", frozenset())
            return super().pack_layer(tree, blob_fd, is_upper=is_upper)

    upper = change(directory / "1", store.get("base").layer_dirs, "echo x >file")
    history = json.loads(store.config_blob(store.get("base")))["history"]
    commit(store, "base", [str(upper)], "mine", Removing())
    assert json.loads(store.config_blob(store.get("mine")))["history"][:-1] == history
    assert [os.path.isdir(layer) for layer in store.get("mine").layer_dirs] == [True, True]


def test_failures_leave_the_store_as_it_was(store: ImageStore, directory: Path) -> None:
    before = picture(Path(store.directory))
    upper = change(directory / "1", store.get("base").layer_dirs, "mkfifo fifo; echo x >file; chown 65536 file")
    with pytest.raises(InvalidInput, match="'./file' belongs to 65536:0"):
        commit(store, "base", [str(upper)], "mine", Importer())
    os.chown(upper / "file", 0, 0)
    os.setxattr(upper / "file", "trusted.overlay.metacopy", b"")
    with pytest.raises(InvalidState, match="'file' was renamed by overlayfs"):
        commit(store, "base", [str(upper)], "mine", Importer())
    os.removexattr(upper / "file", "trusted.overlay.metacopy")
    with pytest.raises(NotFound, match="no image 'none'"):
        commit(store, "none", [str(upper)], "mine", Importer())
    with pytest.raises(InvalidInput, match="'Mine!' is not an image name"):
        commit(store, "base", [str(upper)], "Mine!", Importer())
    with pytest.raises(InvalidInput, match="unknown key 'Cmd'"):
        commit(store, "base", [str(upper)], "mine", Importer(), config={"Cmd": ["x"]})
    store.prune(frozenset())
    assert [line[:2] for line in picture(Path(store.directory))] == [line[:2] for line in before]
    assert commit(store, "base", [str(upper)], "mine", Importer())[1] == ["'./fifo' is a device, fifo or socket"]
