"""Snapshots and restores on a full disk: what memory says of a stack is what the record says, or nothing is lost by it."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.disk.layers import FrozenLayers, new_layer_id
from pycontainer.disk.storage import Freezing, make_directories
from pycontainer.paths import HostPaths
from pycontainer.runtime import rootfs
from pycontainer.runtime.container import Container, ImageRecord, load
from pycontainer.spec.model import ContainerSpec

ID = "0123456789ab"


@pytest.fixture
def container(tmp_path: Path) -> Container:
    """A stopped container with a plain directory, which has written /a."""
    paths = HostPaths(str(tmp_path))
    os.makedirs(paths.container_dir(ID))
    os.makedirs(paths.run_containers_dir)
    image = ImageRecord("a", "sha256:x", ["/l"], {})
    made = Container(paths, ID, ContainerSpec(name="web", image="a"), image, base=0x10000000, created=1764000000.5)
    make_directories(made.directory)
    Path(made.directory, "rootfs/upper/a").write_text("one")
    made.save()
    assert made.storage().freezing is Freezing.MOVE
    return made


@pytest.fixture
def frozen(container: Container) -> FrozenLayers:
    return FrozenLayers(container.paths.layers_dir)


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what lets records be written no more, but for so many at first."""
    save = Container.save

    def fill(writes: int) -> None:
        left = [writes]

        def fails(self: Container) -> None:
            if not left[0]:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            left[0] -= 1
            save(self)

        monkeypatch.setattr(Container, "save", fails)

    return fill


def written(container: Container, frozen: FrozenLayers) -> str:
    """Return what a supervisor that comes up and sweeps finds of /a."""
    found = recorded(container)
    rootfs.settle(found, frozen)
    frozen.retire(found.lowers)
    places = [*(frozen.path(layer) for layer in found.lowers), f"{container.directory}/rootfs/upper"]
    texts = [Path(place, "a").read_text() for place in places if os.path.exists(f"{place}/a")]
    return texts[-1] if texts else ""


def recorded(container: Container) -> Container:
    return load(container.paths, ID)


@pytest.mark.parametrize("writes", [0, 1])
def test_a_snapshot_on_a_full_disk_loses_nothing(
    container: Container,
    frozen: FrozenLayers,
    full_disk: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
) -> None:
    """Neither the record nor, the second time, the layer's directory can be written; the next start goes on as before."""
    full_disk(writes)

    def no_place(self: FrozenLayers, layer: str) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(FrozenLayers, "place", no_place)
        with pytest.raises(OSError, match="No space left"):
            rootfs.move_to_frozen(container, frozen)
    assert container.lowers == []
    rootfs.settle(container, frozen)
    assert Path(container.directory, "rootfs/upper/a").read_text() == "one"
    monkeypatch.undo()
    assert written(container, frozen) == "one"


def test_a_layer_is_recorded_before_it_is_moved(container: Container, frozen: FrozenLayers) -> None:
    """Memory names a layer that the record on disk does not: the record comes first."""
    container.lowers.append(new_layer_id())
    rootfs.settle(container, frozen)
    assert recorded(container).lowers == container.lowers
    assert written(container, frozen) == "one"


@pytest.mark.parametrize("writes", [0, 1])
def test_a_restore_on_a_full_disk(
    container: Container,
    frozen: FrozenLayers,
    full_disk: Callable[[int], None],
    monkeypatch: pytest.MonkeyPatch,
    writes: int,
) -> None:
    """Before its record is written nothing is given up; after that, memory and record agree on what is still to be done."""
    rootfs.move_to_frozen(container, frozen)
    (first,) = container.lowers
    Path(container.directory, "rootfs/upper/a").write_text("two")
    rootfs.move_to_frozen(container, frozen)
    before = [*container.lowers]
    Path(container.directory, "rootfs/upper/a").write_text("three")
    full_disk(writes)
    with pytest.raises(OSError, match="No space left"):
        rootfs.go_back(container, frozen, (first,))
    monkeypatch.undo()
    on_disk = recorded(container)
    assert (container.lowers, container.clearing) == (on_disk.lowers, on_disk.clearing)
    assert (container.lowers, container.clearing) == ((before, False) if not writes else ([first], True))
    rootfs.settle(container, frozen)
    assert not recorded(container).clearing
    assert written(container, frozen) == ("one" if writes else "three")


def test_a_copy_is_on_the_disk_before_it_is_a_layer(
    container: Container, frozen: FrozenLayers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record that is synced may name it right after: its files are written out first, then its name."""
    layer = new_layer_id()
    steps: list[tuple[str, bool, str]] = []

    def note(step: str) -> Callable[[int], None]:
        def look(fd: int) -> None:
            steps.append((step, frozen.exists(layer), os.readlink(f"/proc/self/fd/{fd}")))

        return look

    monkeypatch.setattr("pycontainer.disk.layers.syncfs", note("syncfs"))
    monkeypatch.setattr(os, "fsync", note("fsync"))
    rootfs.freeze_apart(container, frozen, layer, lambda: steps.append(("copied", frozen.exists(layer), "")))
    directory = container.paths.layers_dir
    assert steps == [("copied", False, ""), ("syncfs", False, directory), ("fsync", True, directory)]
    assert Path(frozen.path(layer), "a").read_text() == "one"


def test_a_copy_that_cannot_be_written_out_is_none(
    container: Container, frozen: FrozenLayers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(fd: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("pycontainer.disk.layers.syncfs", fails)
    with pytest.raises(OSError, match="Input/output error"):
        rootfs.freeze_apart(container, frozen, new_layer_id())
    assert os.listdir(container.paths.layers_dir) == []
