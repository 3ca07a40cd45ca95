"""The launcher, and what it does where there is no dump."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.startup import launcher
from pycontainer.startup.machine import CODES
from pycontainer.startup.programs import PROGRAMS, command

pytestmark = pytest.mark.skipif(os.uname().machine not in CODES, reason="no machine code for this machine")


def made(tmp_path: Path, *otherwise: str) -> Path:
    path = tmp_path / "program"
    path.write_bytes(launcher.image(os.uname().machine, command(), str(tmp_path / "dump"), otherwise))
    path.chmod(0o755)
    return path


def test_without_a_dump_the_interpreter_gets_its_arguments_and_then_ours(tmp_path: Path) -> None:
    path = made(tmp_path, "/usr/bin/printf", "[%s]", "ü")
    environment = {"PATH": "/nowhere"}
    done = subprocess.run([path, "a b", "", "c" * 70_000], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"[ü][{path}][a b][][{'c' * 70_000}]"


@pytest.mark.parametrize("environment", [{}, {"ONE": "1", "TWO": ""}])
def test_the_environment_passes_through(tmp_path: Path, environment: dict[str, str]) -> None:
    done = subprocess.run([made(tmp_path, "/bin/sh", "-c", "env")], capture_output=True, text=True, env=environment)
    assert {*done.stdout.splitlines()} >= {f"{name}={value}" for name, value in environment.items()}


def test_an_interpreter_that_is_gone_is_told(tmp_path: Path) -> None:
    done = subprocess.run([made(tmp_path, "/nonexistent/python")], capture_output=True, text=True)
    assert done.returncode == 127
    assert done.stderr == "pycontainer: cannot execute '/nonexistent/python': install pycontainer again\n"


def test_what_it_opens_is_closed_for_who_comes_after(tmp_path: Path) -> None:
    (tmp_path / "dump").write_bytes(bytes(100_000))
    path = made(tmp_path, "/bin/sh", "-c", "ls /proc/$$/fd")
    done = subprocess.run([path], capture_output=True, text=True)
    assert done.stdout.split() == ["0", "1", "2"]


def test_the_file_is_no_larger_than_a_page_and_its_stack_is_not_executable(tmp_path: Path) -> None:
    path = made(tmp_path, "/x")
    assert path.stat().st_size < 4096
    shown = subprocess.run(["readelf", "-lW", path], capture_output=True, text=True, check=True).stdout
    assert [line.split()[-2] for line in shown.splitlines() if "GNU_STACK" in line] == ["RW"]
    assert [line.split()[6:8] for line in shown.splitlines() if line.split()[:1] == ["LOAD"]] == [["R", "E"]]


def test_programs_have_keys_and_dumps_of_their_own() -> None:
    programs = [how() for how in PROGRAMS.values()]
    assert [each.name for each in programs] == list(PROGRAMS)
    assert len({each.dump_path() for each in programs}) == len(programs)
    one = programs[0]
    assert one._replace(python="/other/python").key() != one.key() != one._replace(options=()).key()
    for each in programs:
        assert each.modules() and all(name.startswith("pycontainer.") for name in each.modules())


@pytest.mark.parametrize("words", [[], ["a", "b"]])
def test_usage(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pycontainer.startup.launcher", *words], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (1, "usage: python -m pycontainer.startup.launcher PATH\n")
