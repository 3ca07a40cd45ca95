"""Upper directories become layers of new images; test_roundtrips.py holds their trees against what containers saw."""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput, InvalidState, NotFound
from pycontainer.paths import HostPaths
from pycontainer.runtime.importer import Importer
from pycontainer.store.commit import commit
from pycontainer.store.images import ImageStore
from pycontainer.store.layerpack import LayerBlob
from pycontainer.store.load import import_image
from tests.support.archives import picture
from tests.support.overlay import change

CREATED = 1_700_000_000.123


@pytest.fixture
def directory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="pct-commit-", dir="/var/tmp") as path:
        yield Path(path)


@pytest.fixture
def store(directory: Path, busybox_rootfs: str) -> ImageStore:
    """A store with image `base`."""
    made = ImageStore(HostPaths(str(directory / "world")))
    config = {"cmd": ["sh"], "env": ["A=1", "B=2"], "labels": {"k": "v"}}
    import_image(made, busybox_rootfs, "base", config, Importer())
    return made


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
    assert [line[:2] for line in picture(Path(store.directory))] == [line[:2] for line in before]
    assert commit(store, "base", [str(upper)], "mine", Importer())[1] == ["'./fifo' is a device, fifo or socket"]
