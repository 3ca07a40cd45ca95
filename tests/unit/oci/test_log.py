"""What goes wrong, in the forms that people and engines read."""

import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from pycontainer.oci import log

TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z"


@pytest.fixture(autouse=True)
def plain_log() -> Iterator[None]:
    yield
    log.stop()
    log.start("pycontainer-oci", "", "text", debug=False)


def test_a_line_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("pyc", "", "text", debug=False)
    log.error("container does not exist")
    log.warn("hook failed\n  twice\n")
    log.debug("not asked for")
    assert capfd.readouterr() == ("", "pyc: container does not exist\npyc: warning: hook failed; twice\n")


def test_the_file_has_runcs_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Engines read `level`, `msg` and `time`, in this order as runc writes them; people see the same on standard error."""
    path = tmp_path / "log.json"
    path.write_text("what was there stays\n")
    log.start("pyc", str(path), "json", debug=True)
    log.error('no "x" in \udcff\u20ac')
    log.debug("step")
    first, second, third = path.read_text().splitlines()
    assert first == "what was there stays"
    assert re.fullmatch(rf'\{{"level":"error","msg":"no \\"x\\" in \\udcff\\u20ac","time":"{TIME}"\}}', second)
    assert json.loads(third)["level"] == "debug" and json.loads(third)["msg"] == "step"
    assert capfd.readouterr().err == 'pyc: no "x" in \\udcff\u20ac\n'


def test_the_file_has_runcs_text(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log"
    log.start("pyc", str(path), "text", debug=False)
    log.error("a\nb")
    assert re.fullmatch(rf'time="{TIME}" level=error msg="a; b"\n', path.read_text())
    assert capfd.readouterr().err == "pyc: a; b\n"
    assert stat.S_IMODE(path.stat().st_mode) & ~0o644 == 0


def test_json_without_a_file_goes_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("pyc", "", "json", debug=False)
    log.error("x")
    assert json.loads(capfd.readouterr().err)["msg"] == "x"


def test_standard_error_is_not_told_twice(capfd: pytest.CaptureFixture[str]) -> None:
    log.start("pyc", "/dev/stderr", "text", debug=False)
    log.error("x")
    assert capfd.readouterr().err == "pyc: x\n"


def test_the_descriptor_stays_here(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log.start("pyc", str(path), "text", debug=False)
    (mine,) = [fd for fd in os.listdir("/proc/self/fd") if os.path.realpath(f"/proc/self/fd/{fd}") == str(path)]
    assert not os.get_inheritable(int(mine))


def test_a_log_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        log.start("pyc", str(tmp_path / "none/log"), "text", debug=False)
