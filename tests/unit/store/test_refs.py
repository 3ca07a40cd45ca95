"""Records of images are remembered, and what one who asks does to his is not what the next one gets."""

import os
from pathlib import Path

import pytest

from pycontainer.errors import NotFound
from pycontainer.store.refs import ImageRecord, Refs

DIGEST = "sha256:" + "a" * 64
RECORD: ImageRecord = {
    "name": "busybox", "id": DIGEST, "created": 1.0, "size_bytes": 5, "platform": "linux/amd64", "config": {"cmd": ["sh"]},
    "layers": [DIGEST.replace(":", "-")], "manifest": None, "blobs": [],
}  # fmt: skip


@pytest.fixture
def refs(tmp_path: Path) -> Refs:
    os.mkdir(tmp_path / "refs")
    made = Refs(str(tmp_path))
    made.write(RECORD)
    return made


def test_who_changes_a_record_changes_his_own(refs: Refs) -> None:
    first = refs.read("busybox")
    first["config"]["cmd"], first["name"] = ["other"], "other"
    again = refs.read("busybox")
    assert (again["config"]["cmd"], again["name"]) == (["sh"], "busybox")


def test_what_is_written_is_read(refs: Refs) -> None:
    refs.read("busybox")
    refs.write({**RECORD, "created": 2.0})
    assert refs.read("busybox")["created"] == 2.0
    refs.remove("busybox")
    with pytest.raises(NotFound):
        refs.read("busybox")
