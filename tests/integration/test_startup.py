"""Starting from a dump: whoever goes on in it is a process of its own, and where it is not to be had all is as ever."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pycontainer.startup import build, launcher
from pycontainer.startup.machine import CODES
from pycontainer.startup.programs import PROGRAMS, Program

pytestmark = [
    pytest.mark.requires("root"),
    pytest.mark.vm,
    pytest.mark.skipif(os.uname().machine not in CODES, reason="no machine code for this machine"),
]

PROBE = Path(__file__).parents[1] / "support/frozenprobe.py"
ENVIRONMENT = {"PATH": os.defpath, "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class Frozen:
    """A launcher and its dump."""

    path: str
    dump: str
    source: Path
    program: Program

    def run(self, *words: str, env: dict[str, str] = ENVIRONMENT, **more: Any) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([self.path, *words], env=env, capture_output=True, text=True, timeout=60, **more)

    @contextlib.contextmanager
    def waiting(self, more: dict[str, str]) -> Iterator[int]:
        """Have a process that waits, started with `more` in its environment: its pid."""
        process = subprocess.Popen([self.path, "interrupt"], env=ENVIRONMENT | more, stdout=subprocess.PIPE)
        try:
            assert process.stdout is not None and process.stdout.readline() == b"waits\n"
            yield process.pid
        finally:
            process.kill()
            process.communicate()

    def is_gone_on_in(self, more: dict[str, str] | None = None) -> bool:
        """Say whether a start goes on in the dump: the file that its process has mapped tells."""
        with self.waiting(more or {}) as pid:
            return self.is_mapped_by(pid)

    def is_mapped_by(self, pid: int) -> bool:
        return self.dump in Path(f"/proc/{pid}/maps").read_text()


def program(directory: Path, *, heeds_environment: bool = True) -> Program:
    """Return the probe as a program of this directory, with a source of its own there."""
    source = directory / "frozenprobe.py"
    shutil.copy(PROBE, source)
    time.sleep(0.05)  # what changes as it is loaded is refused
    return Program(
        "frozenprobe",
        sys.executable,
        sys.executable,
        ("-P",),
        str(source),
        "frozenprobe:main",
        lambda: ["subprocess"],
        (("exit", "0"), ("imports",)),
        heeds_environment,
        str(directory),
        str(directory / "dumps"),
    )


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Frozen]:
    yield made(tmp_path_factory.mktemp("frozen"))


def made(directory: Path) -> Frozen:
    wanted = program(directory)
    assert build.build(wanted)
    launcher.write(f"{directory}/probe", wanted)
    return Frozen(f"{directory}/probe", wanted.dump_path(), directory / "frozenprobe.py", wanted)


def told(frozen: Frozen, *words: str, **options: Any) -> dict[str, Any]:
    done = frozen.run("tell", *words, **options)
    assert done.stderr == ""
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_start_goes_on_in_the_dump(frozen: Frozen) -> None:
    assert frozen.is_gone_on_in()
    assert os.stat(frozen.dump).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(frozen.dump)).st_mode & 0o777 == 0o700


def test_it_has_its_own_arguments_environment_and_ids(frozen: Frozen, tmp_path: Path) -> None:
    environment = ENVIRONMENT | {"NAME": "ü=x", "EMPTY": "", "TZ": "UTC-3"}
    words = ("a b", "", "ü", os.fsdecode(b"\xff"))
    first, second = (told(frozen, *words, env=environment, cwd=tmp_path) for _ in range(2))
    assert first["argv"] == [frozen.path, "tell", *words]
    assert first["environment"] == environment
    assert sorted(first["child"]) == sorted(f"{name}={value}" for name, value in environment.items())
    assert first["cwd"] == str(tmp_path)
    assert first["zone"] == "+0300"
    assert first["native_ids"] == [first["pid"]] * 2
    assert first["pid"] != second["pid"]
    assert first["random"] != second["random"]
    assert first["clock"] < second["clock"]
    assert first["descriptors"] == [0, 1, 2, 3]  # the last is that of the listing
    assert told(frozen)["zone"] == told_slowly(frozen)["zone"]


def told_slowly(frozen: Frozen, **options: Any) -> dict[str, Any]:
    return told(frozen, **({"env": ENVIRONMENT | {"PYCONTAINER_START": "slow"}} | options))


@pytest.mark.parametrize("language", ["C", "POSIX", "", "C.UTF-8", "en_US.utf8"])
def test_streams_and_signals_are_what_a_start_as_ever_gives(frozen: Frozen, language: str) -> None:
    def ignore() -> None:
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)

    environment = ENVIRONMENT | {"LANG": language}
    for before in (ignore, lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)):
        fast = told(frozen, env=environment, preexec_fn=before)
        slow = told_slowly(frozen, env=environment | {"PYCONTAINER_START": "slow"}, preexec_fn=before)
        for each in ("streams", "ignored", "interrupt", "descriptors"):
            assert fast[each] == slow[each], each


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_streams_that_the_caller_has_closed(frozen: Frozen, closed: tuple[int, ...]) -> None:
    def close() -> None:
        for fd in closed:
            os.close(fd)

    for switch in ("", "slow"):
        done = frozen.run("exit", "3", env=ENVIRONMENT | {"PYCONTAINER_START": switch}, preexec_fn=close)
        assert (done.returncode, done.stdout, done.stderr) == (3, "", "")


def test_its_memory_is_whole(frozen: Frozen) -> None:
    assert frozen.run("memory").stdout == "whole\n"
    assert frozen.run("recurse").stdout == "refused\n"
    assert frozen.run("imports").stdout == "0.3333333333333333333333333333\n"


def test_input_output_and_the_end(frozen: Frozen) -> None:
    assert frozen.run("read", input="lines\nü\n").stdout == "LINES\nÜ\n"
    assert [frozen.run("exit", code).returncode for code in ("0", "1", "130", "255")] == [0, 1, 130, 255]
    done = frozen.run("exit", "a message")
    assert (done.returncode, done.stderr) == (1, "a message\n")
    done = frozen.run("raise")
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == "ValueError: from the dump"
    with open("/dev/full", "wb") as full:
        assert subprocess.run([frozen.path, "read"], input=b"x", stdout=full, env=ENVIRONMENT).returncode == 1


def test_an_interrupt_is_heard(frozen: Frozen) -> None:
    process = subprocess.Popen([frozen.path, "interrupt"], env=ENVIRONMENT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "waits\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=30)[0] == "interrupted\n"
    assert process.returncode == 0


def test_a_reader_that_has_gone_is_an_error_of_python(frozen: Frozen) -> None:
    read_fd, write_fd = os.pipe()
    process = subprocess.Popen(
        [frozen.path, "pipe"], env=ENVIRONMENT, stdout=write_fd, stderr=subprocess.PIPE, text=True
    )
    os.close(write_fd)
    os.read(read_fd, 10)
    os.close(read_fd)
    _, said = process.communicate(timeout=30)
    assert "BrokenPipeError" in said and process.returncode == 1


@pytest.mark.parametrize(
    "variable",
    ["PYCONTAINER_START=slow", "PYTHONUTF8=0", "LD_PRELOAD=", "LC_ALL=de_DE.ISO-8859-1", "GLIBC_TUNABLES="],
)
def test_what_only_a_start_as_ever_can_fulfil_gets_one(frozen: Frozen, variable: str) -> None:
    name, _, value = variable.partition("=")
    with frozen.waiting({name: value}) as pid:
        assert not frozen.is_mapped_by(pid)
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        assert arguments[-3:] == [os.fsencode(frozen.path), b"interrupt", b""]


def test_a_directory_to_read_from_is_refused_as_ever(frozen: Frozen) -> None:
    directory_fd = os.open("/etc", os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = frozen.run("read", stdin=directory_fd)
    finally:
        os.close(directory_fd)
    assert done.returncode == 1 and "<stdin> is a directory, cannot continue" in done.stderr


def test_harmless_variables_do_not_slow_it(frozen: Frozen) -> None:
    for name in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE", "LD_LIBRARY_PATH"):
        assert frozen.is_gone_on_in({name: "1"})


def test_a_source_that_changes_is_not_gone_on_in(tmp_path: Path) -> None:
    frozen = made(tmp_path)
    frozen.source.write_text(frozen.source.read_text().replace('"interrupted"', '"by the new one"'))
    assert not frozen.is_gone_on_in()
    assert build.build(frozen.program)
    assert frozen.is_gone_on_in()


@pytest.mark.parametrize("damage", ["gone", "empty", "another key", "another boot", "a directory"])
def test_a_dump_that_cannot_be_used_is_not_used(tmp_path: Path, damage: str) -> None:
    frozen = made(tmp_path)
    dump = Path(frozen.dump)
    content = bytearray(dump.read_bytes())
    dump.unlink()
    if damage == "empty":
        dump.touch()
    elif damage == "a directory":
        dump.mkdir()
    elif damage != "gone":
        content[0 if damage == "another key" else 16] ^= 1
        dump.write_bytes(content)
    assert frozen.run("exit", "5").returncode == 5
    assert not frozen.is_gone_on_in()


def test_somebody_else_starts_as_ever(frozen: Frozen) -> None:
    """Root's dumps are nobody else's to read: what guards root's processes is in them."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-") as directory:
        os.chmod(directory, 0o755)
        image = launcher.image(os.uname().machine, frozen.program, frozen.dump, ("/bin/echo", "slow"))
        path = Path(directory, "probe")
        path.write_bytes(image)
        path.chmod(0o755)
        nobody = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", str(path)]
        done = subprocess.run([*nobody, "x"], capture_output=True, text=True, env=ENVIRONMENT, cwd="/")
    assert (done.returncode, done.stdout) == (0, f"slow {path} x\n")


@pytest.mark.parametrize("change", ["owner", "others may write", "others may read"])
def test_a_dump_that_is_not_roots_alone_is_not_used(tmp_path: Path, change: str) -> None:
    """Whoever could write it would be root with the next command."""
    frozen = made(tmp_path)
    if change == "owner":
        os.chown(frozen.dump, 65534, 0)
    else:
        os.chmod(frozen.dump, 0o602 if change == "others may write" else 0o604)
    assert not frozen.is_gone_on_in()


def test_directories_that_somebody_else_may_write_to_get_no_dumps(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o777)
    with pytest.raises(build.CannotBuild, match="is not root's alone to write to"):
        build.build(program(tmp_path))
    os.chown(tmp_path, 65534, 0)
    os.chmod(tmp_path, 0o700)
    with pytest.raises(build.CannotBuild, match="is not root's alone to write to"):
        build.build(program(tmp_path))


def test_what_the_builder_ignores_is_not_ignored_for_ever(tmp_path: Path) -> None:
    """As with `nohup` before the first command of a boot."""
    numbers = (signal.SIGHUP, signal.SIGINT)
    before = [signal.signal(number, signal.SIG_IGN) for number in numbers]
    try:
        frozen = made(tmp_path)
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)
    fast, slow = told(frozen), told_slowly(frozen)
    assert (fast["ignored"], fast["interrupt"]) == (slow["ignored"], slow["interrupt"])
    assert signal.SIGHUP not in fast["ignored"] and fast["interrupt"]


def test_one_that_is_true_is_not_made_again(frozen: Frozen) -> None:
    before = os.stat(frozen.dump).st_ino
    assert not build.build(frozen.program)
    assert os.stat(frozen.dump).st_ino == before


def test_what_changes_while_it_is_loaded_is_refused(tmp_path: Path) -> None:
    wanted = program(tmp_path)
    (tmp_path / "changing.py").write_text("import os, time\nos.utime(__file__)\n")
    with pytest.raises(build.CannotBuild, match=r"changing\.py' changes meanwhile"):
        build.build(wanted._replace(modules=lambda: ["changing"]))


def test_dumps_of_other_boots_go(tmp_path: Path) -> None:
    frozen = made(tmp_path)
    old, other = (Path(f"{frozen.dump}{letter}") for letter in "ab")
    content = bytearray(Path(frozen.dump).read_bytes())
    other.write_bytes(content)
    content[16] ^= 1
    old.write_bytes(content)
    Path(f"{old}.lock").touch()
    os.unlink(frozen.dump)
    assert build.build(frozen.program)
    assert sorted(each.name for each in old.parent.iterdir()) == sorted(
        [os.path.basename(frozen.dump), f"{os.path.basename(frozen.dump)}.lock", other.name, f"{old.name}.lock"]
    )


def test_one_builds_at_a_time(frozen: Frozen) -> None:
    with build._locked(f"{frozen.dump}.lock") as is_ours:
        assert is_ours
        assert not build.build(frozen.program)


@pytest.mark.parametrize(
    ("entry", "modules", "why"),
    [
        ("nonexistent:main", [], "No module named 'nonexistent'"),
        ("frozenprobe:main", ["threads"], "more than one thread"),
        ("frozenprobe:main", ["opens"], "a descriptor open"),
        ("frozenprobe:main", ["ends"], "no word of why"),
        ("others:main", [], "from the dump gives"),
    ],
)
def test_what_cannot_be_dumped_is_told(tmp_path: Path, entry: str, modules: list[str], why: str) -> None:
    (tmp_path / "threads.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
    )
    (tmp_path / "opens.py").write_text("file = open('/etc/passwd')\n")
    (tmp_path / "ends.py").write_text("import os\nos._exit(0)\n")
    (tmp_path / "others.py").write_text("def main():\n    print('something else')\n")
    wanted = program(tmp_path)._replace(entry=entry, modules=lambda: modules)
    with pytest.raises(build.CannotBuild, match=why):
        build.build(wanted)
    left = sorted(each.name for each in (tmp_path / "dumps").iterdir())
    name = os.path.basename(wanted.dump_path())
    assert left == [f"{name}.failed", f"{name}.lock"]
    assert why in (tmp_path / "dumps" / f"{name}.failed").read_text()


# Reaps whatever is left behind by what it starts, as the first process of a host does.
REAPING = """
import os, subprocess, sys
import prctl
prctl.set_child_subreaper(1)
code = subprocess.run(sys.argv[1:]).returncode
while True:
    try:
        os.wait()
    except ChildProcessError:
        sys.exit(code)
"""


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_slow_start_has_the_dump_made(name: str) -> None:
    dump = PROGRAMS[name]().dump_path()
    os.unlink(dump)
    path = f"{os.path.dirname(sys.executable)}/{name}"
    command = [sys.executable, "-c", REAPING, path, "--version"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith(f"{name} ")
    assert os.path.exists(dump)


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_commands_go_on_in_theirs(name: str) -> None:
    """What is installed beside this interpreter: the kernel tells which file's memory a command has."""
    path = f"{os.path.dirname(sys.executable)}/{name}"
    dump = PROGRAMS[name]().dump_path()
    process = subprocess.Popen(
        [path, "--version"], env=ENVIRONMENT | {"PYCONTAINER_START": "trial"}, stdout=subprocess.PIPE
    )
    try:
        build._await_stop(process.pid, time.monotonic() + 30)  # only who goes on in a dump stops at its end
        assert dump in Path(f"/proc/{process.pid}/maps").read_text()
        process.send_signal(signal.SIGCONT)
        output, _ = process.communicate(timeout=30)
        assert process.returncode == 0 and output.startswith(f"{name} ".encode())
    finally:
        process.kill()
        process.communicate()
