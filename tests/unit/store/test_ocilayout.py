"""What a layout may cost to read is bounded for all its names together, IMG-05; and which names those are."""

import json
import os
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.store.archivefiles import DirectoryFiles, Place
from pycontainer.store.manifests import MAX_BYTES
from pycontainer.store.ociconfig import host_platform
from pycontainer.store.ocilayout import read_layout
from tests.support.ocilayout import INDEX_TYPE, Layout, layer_of


class Counted(DirectoryFiles):
    """Files that count how often each is asked for."""

    def __init__(self, directory: Path) -> None:
        self._own_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        super().__init__(self._own_fd)
        self.asked: dict[str, int] = {}

    def __enter__(self) -> "Counted":
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        os.close(self._own_fd)

    def find(self, name: str) -> Place | None:
        self.asked[name] = self.asked.get(name, 0) + 1
        return super().find(name)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(tmp_path)


def index_of(layout: Layout, *entries: object, padding: str = "") -> dict[str, object]:
    value = {"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries, "annotations": {"p": padding}}
    return layout.json(value, INDEX_TYPE)


def test_the_count_is_for_all_names(layout: Layout) -> None:
    """Twenty names with a hundred dead ends each: before, every name had a thousand for itself."""
    dead_end = {"mediaType": "application/x-signature", "digest": f"sha256:{'0' * 64}", "size": 1}
    image = layout.image([layer_of({"a": b"1"})])
    inner = index_of(layout, *[dead_end] * 100, image)
    layout.index(*((f"n{number}", inner) for number in range(20)))
    with Counted(layout.directory) as files, pytest.raises(InvalidInput, match="more than 1000 manifests"):
        read_layout(files, host_platform())


def test_a_document_is_read_once(layout: Layout) -> None:
    image = layout.image([layer_of({"a": b"1"})])
    inner = index_of(layout, image)
    names = [f"n{number}" for number in range(20)]
    layout.index(*((name, inner) for name in names))
    with Counted(layout.directory) as files:
        bundles = read_layout(files, host_platform())
        asked = [files.asked[f"blobs/sha256/{str(one['digest'])[7:]}"] for one in (inner, image)]
    assert [bundle.name for bundle in bundles] == names and len(set(bundles)) == 20
    assert asked == [2, 2], "its size and its content, for all names"


def test_the_bytes_are_for_all_names(layout: Layout) -> None:
    image = layout.image([layer_of({"a": b"1"})])
    inner = [index_of(layout, image, padding=str(number) + "x" * (MAX_BYTES - 4096)) for number in range(17)]
    layout.index(*((f"n{number}", one) for number, one in enumerate(inner)))
    with Counted(layout.directory) as files, pytest.raises(InvalidInput, match="bytes of manifests and configs"):
        read_layout(files, host_platform())


@pytest.mark.parametrize(
    ("name", "whole", "expected"),
    [
        ("1", "docker.io/library/web:1", "docker.io/library/web:1"),  # Docker, containerd
        ("web", "docker.io/library/web:latest", "web"),  # ours
        ("team/web:1", "docker.io/team/web:1", "team/web:1"),
        ("more", "docker.io/library/web:1", "more"),  # umoci, of an image of ours
        ("", "docker.io/library/web:1", "docker.io/library/web:1"),
        ("localhost/web:1", "", "localhost/web:1"),  # Podman
    ],
)
def test_what_an_image_is_called(layout: Layout, name: str, whole: str, expected: str) -> None:
    image = layout.image([layer_of({"a": b"1"})])
    annotations = {"org.opencontainers.image.ref.name": name, "io.containerd.image.name": whole}
    entry = {**image, "annotations": {key: value for key, value in annotations.items() if value}}
    (layout.directory / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    with Counted(layout.directory) as files:
        assert [bundle.name for bundle in read_layout(files, host_platform())] == [expected]
