"""The benchmarks in quick mode: none is broken, each has a row for every peer that is there; a time fails nothing.

PYCONTAINER_TEST_BENCHMARKS=DIR is where the document goes, for who wants to keep it.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.support.images import CHECKOUT
from tests.support.poll import SLOWNESS

_TIMEOUT_SECONDS = 600


@pytest.mark.requires("root", "engines", "cgroup_v1", "overlay", "veth", "nft")
def test_every_measure_has_a_row_for_every_peer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = Path(os.environ.get("PYCONTAINER_TEST_BENCHMARKS") or tmp_path)
    done = subprocess.run(
        [f"{CHECKOUT}/tests/benchmarks/run.sh", "--quick", "--out", directory],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_SECONDS * SLOWNESS,
        check=False,
    )
    with capsys.disabled():  # the table is for who reads the log
        print(f"\n{done.stdout}")
    assert done.returncode == 0, done.stderr[-5000:]
    found = json.loads((directory / "performance.json").read_text())
    assert found["broken"] == {}
    for name, about in found["measures"].items():
        subjects = {row["subject"] for row in found["rows"] if row["measure"] == name}
        assert subjects, name
        if about["compares"]:
            assert set(found["facts"]["peers"]) <= subjects, name
    text = (directory / "performance.md").read_text()
    assert text == done.stdout.removesuffix("\n")
    for name, about in found["measures"].items():
        assert f"\n## {about['title']}\n" in text, name
    for picture in (directory / "performance").iterdir():
        assert picture.read_bytes().startswith(b"\x89PNG"), picture
        assert f"(performance/{picture.name})" in text
