"""What engines read when something fails: stderr, and the records of --log."""

import json
import re
from pathlib import Path

import pytest

from tests.conformance.runtime import Runtime

RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


def test_json(runtime: Runtime, tmp_path: Path) -> None:
    path = f"{tmp_path}/log"
    runtime.fails("state", "none", before=["--log", path, "--log-format", "json"])
    with open(path) as file:
        records = [json.loads(line) for line in file]
    assert records
    for record in records:
        assert {"level", "msg", "time"} <= set(record)
        assert re.fullmatch(RFC3339, record["time"])
    assert records[-1]["level"] == "error" and "container does not exist" in records[-1]["msg"]


def test_text(runtime: Runtime, tmp_path: Path) -> None:
    path = f"{tmp_path}/text"
    runtime.fails("state", "none", before=["--log", path, "--log-format", "text"])
    with open(path) as file:
        last = file.read().splitlines()[-1]
    assert re.search(rf'time="{RFC3339}" level=error msg=.*container does not exist', last)


def test_records_are_appended(runtime: Runtime, tmp_path: Path) -> None:
    path = f"{tmp_path}/appended"
    for _ in range(2):
        runtime.fails("state", "none", before=["--log", path, "--log-format", "json"])
    with open(path) as file:
        assert sum('"error"' in line for line in file) == 2


def test_success_writes_no_error(runtime: Runtime, tmp_path: Path) -> None:
    path = f"{tmp_path}/quiet"
    done = runtime.call("list", before=["--log", path, "--log-format", "json"])
    assert done.code == 0 and done.err == ""
    with open(path) as file:
        assert "error" not in file.read()


def test_equals_sign(runtime: Runtime, tmp_path: Path) -> None:
    """podman writes --log-format=json."""
    path = f"{tmp_path}/equals"
    runtime.fails("state", "none", before=["--log-format=json", f"--log={path}"])
    with open(path) as file:
        assert json.loads(file.readline())["level"] == "error"


def test_unknown_format(runtime: Runtime) -> None:
    assert "yaml" in runtime.call("list", before=["--log-format", "yaml"]).err


def test_log_that_cannot_be_written(runtime: Runtime) -> None:
    assert runtime.call("list", before=["--log", "/no/such/dir/log"]).code != 0


@pytest.mark.parametrize("words", [("--no-such-flag", "list"), ("list", "--no-such-flag")], ids=["global", "of a verb"])
def test_unknown_flag_is_named(runtime: Runtime, words: tuple[str, ...]) -> None:
    done = runtime.call(*words)
    assert done.code != 0
    assert "no-such-flag" in done.err + done.out


def test_unknown_verb(runtime: Runtime) -> None:
    done = runtime.call("no-such-verb")
    assert done.code != 0
    assert "no-such-verb" in done.err + done.out


def test_version(runtime: Runtime) -> None:
    """podman shows the first line; containerd and Docker look for `spec:`."""
    out = runtime.ok("--version")
    assert out.splitlines()[0].startswith(f"{runtime.name} version ")
    assert re.search(r"^spec: 1\.\d+\.\d+", out, re.MULTILINE)
