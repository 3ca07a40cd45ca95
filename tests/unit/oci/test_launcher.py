"""The launcher: an interpreter without `site`, whatever the caller's environment says."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer
from pycontainer.errors import InvalidInput
from pycontainer.oci import launcher
from pycontainer.startup.machine import CODES

PROBE = """
import os, sys

def main():
    print(sys.argv[1:], sys.flags.isolated, sys.flags.no_site, "site" in sys.modules, __file__)
    sys.stderr.write("to stderr")
    if sys.argv[1:] == ["raises"]:
        sys.exit("a message")
    return {"fails": 3}.get(sys.argv[1])
"""


def made(tmp_path: Path, python: str = sys.executable, library: str = "library") -> tuple[Path, Path]:
    """Return a launcher of a module that tells how it was started, and that module."""
    probe = tmp_path / library / "probe.py"
    probe.parent.mkdir()
    probe.write_text(PROBE)
    (probe.parent / "pycontainer").symlink_to(Path(pycontainer.__file__).parent)
    path = tmp_path / "launcher"
    path.write_text(launcher.script(python, str(probe.parent), "probe"))
    path.chmod(0o755)
    return path, probe


def told(path: Path, *arguments: str) -> tuple[int, str, str]:
    hostile = {"PYTHONPATH": str(path.parent), "PYTHONSTARTUP": "/nonexistent", "PYTHONHOME": "/nonexistent"}
    done = subprocess.run([str(path), *arguments], capture_output=True, cwd="/", env=hostile)
    return done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr)


def test_arguments_output_and_exit_code_pass_through(tmp_path: Path) -> None:
    (tmp_path / "sys.py").write_text("raise SystemExit('what the caller wanted')")
    (tmp_path / "probe.py").write_text("raise SystemExit('what the caller wanted')")
    path, probe = made(tmp_path)
    assert told(path, "a b", "$c") == (0, f"['a b', '$c'] 1 1 False {probe}\n", "to stderr")
    assert told(path, "fails") == (3, f"['fails'] 1 1 False {probe}\n", "to stderr")
    assert told(path, "raises") == (1, f"['raises'] 1 1 False {probe}\n", "to stderra message\n")


def test_a_reader_that_has_gone_is_no_traceback(tmp_path: Path) -> None:
    path, _ = made(tmp_path)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([str(path), "x"], stdout=full, stderr=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (1, b"to stderr")


@pytest.mark.parametrize("place", ["with a blank", "long" * 60])
def test_an_interpreter_that_the_kernel_cannot_be_told(tmp_path: Path, place: str) -> None:
    directory = tmp_path / place
    directory.mkdir()
    python = directory / "python"
    python.symlink_to(os.path.realpath(sys.executable))
    path, probe = made(tmp_path, str(python))
    assert path.read_text().startswith("#!/bin/sh\n")
    assert told(path, "a b", "$c", "'") == (0, f"""['a b', '$c', "'"] 1 1 False {probe}\n""", "to stderr")


@pytest.mark.parametrize("library", ["a'b", 'a"b\\n', "ü", "a\nb", os.fsdecode(b"\xff")])
def test_a_package_in_a_directory_of_any_name(tmp_path: Path, library: str) -> None:
    path, _ = made(tmp_path, library=library)
    code, output, _ = told(path, "x")
    assert (code, output.split(" /")[0]) == (0, "['x'] 1 1 False")


@pytest.mark.parametrize("python", ["/a'b/python", "/a$b/python", "/a\nb/python", "/a\\b/python", "/ü/python"])
def test_an_interpreter_that_no_script_can_name(python: str) -> None:
    with pytest.raises(InvalidInput, match="a script cannot name the interpreter"):
        launcher.script(python, "/usr/lib/x")


def test_what_is_written_starts_this_package(tmp_path: Path) -> None:
    root = tmp_path / "library"
    shutil.copytree(Path(pycontainer.__file__).parent, root / "pycontainer", ignore=shutil.ignore_patterns("*.pyc"))
    path = tmp_path / "bin" / "pycontainer-oci"
    path.parent.mkdir()
    path.write_text("an older one")
    command = [sys.executable, "-m", "pycontainer.oci.launcher", str(path)]
    subprocess.run(command, check=True, cwd=root)
    assert path.stat().st_mode & 0o7777 == 0o755
    interpreter = root / "pycontainer/oci" / f"interpreter.{sys.implementation.cache_tag}"
    has_dumps = os.uname().machine in CODES
    lines = (interpreter / "program" if has_dumps else path).read_text().splitlines()
    assert lines[0] == f"#!{interpreter}/python -IS"
    assert [f"{interpreter}/program".encode() in path.read_bytes(), "renewal.begin" in lines[-2]] == [has_dumps] * 2
    kept = ["encodings.pyc", "program", "python", "python._pth"]
    assert sorted(each.name for each in interpreter.iterdir()) == [
        each for each in kept if has_dumps or each != "program"
    ]
    assert f"sys.path.append({str(root)!r})" in lines
    assert [each.name for each in path.parent.iterdir()] == ["pycontainer-oci"]
    caches = [each.name for each in (root / "pycontainer" / "oci" / "__pycache__").iterdir()]
    assert f"bundle.{sys.implementation.cache_tag}" in caches and not any(each.endswith(".new") for each in caches)


def test_a_place_that_is_not_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pycontainer.oci.launcher", str(tmp_path / "nonexistent" / "x")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(pycontainer.__file__).parent.parent)
    assert done.returncode == 1 and done.stderr.startswith("cannot write the launcher: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("library", ["li brary", "l'ibrary", "long" * 60])
def test_what_is_written_where_no_script_can_name_it(tmp_path: Path, library: str) -> None:
    python = os.path.realpath(sys.executable)
    assert launcher.write_interpreter(python, str(tmp_path / library)) == python
    assert not list(tmp_path.iterdir())


def test_an_interpreter_that_does_not_start_so_is_taken_as_it_is(tmp_path: Path) -> None:
    """Here it is a script, which does not pass on by what name it was called; a later Python could do the same."""
    python = tmp_path / "wrapper"
    python.write_text(f'#!/bin/sh\nexec {os.path.realpath(sys.executable)} "$@"\n')
    python.chmod(0o755)
    assert launcher.write_interpreter(str(python), str(tmp_path / "made")) == str(python)


def test_it_is_written_over_an_older_one(tmp_path: Path) -> None:
    python, directory = os.path.realpath(sys.executable), tmp_path / "made"
    directory.mkdir(0o700)
    (directory / "python").symlink_to("/nonexistent")
    assert launcher.write_interpreter(python, str(directory)) == f"{directory}/python"
    assert os.readlink(directory / "python") == python
    modes = {
        each.name: each.stat().st_mode & 0o777 for each in (directory, *directory.iterdir()) if not each.is_symlink()
    }
    assert modes == {"made": 0o755, "encodings.pyc": 0o644, "python._pth": 0o644}
