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


@pytest.mark.parametrize(("there", "asked"), [("busybox", "busybox:latest"), ("team/web:latest", "team/web")])
def test_the_name_that_another_engine_would_have_taken_is_told(refs: Refs, there: str, asked: str) -> None:
    refs.write({**RECORD, "name": there})
    with pytest.raises(NotFound, match=f"^no image '{asked}'$") as caught:
        refs.find(asked)
    assert caught.value.hint == f"there is '{there}'"


def test_the_nearest_name_is_guessed(refs: Refs) -> None:
    refs.write({**RECORD, "name": "pycontainer-in-transit-0123456789ab"})
    refs.write({**RECORD, "name": DIGEST})
    with pytest.raises(NotFound, match=r"^no image 'bussybox', did you mean 'busybox'\?$"):
        refs.find("bussybox")
    for hidden in ("pycontainer-in-transit-0123456789ac", "sha256:" + "a" * 63 + "b"):
        with pytest.raises(NotFound, match=f"^no image '{hidden}'$"):
            refs.find(hidden)
