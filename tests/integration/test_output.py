"""Where the output of commands goes: to a full disk, to a reader that leaves, to what is no file."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.terminal import Terminal
from tests.support.world import World

NO_ROOM = "pycontainer: cannot write: no space left on device\n"


def shell(world: World, script: str) -> tuple[int, str]:
    """Run a shell script in which `$P` is the command; return its exit code and what went to stderr."""
    script = script.replace("$P", shlex.join(world.argv()))
    done = subprocess.run(["bash", "-c", script], env=world.environment, capture_output=True, text=True, timeout=60)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.fixture
def full(tmp_path: Path) -> Path:
    """A device that is always full, and nobody else's."""
    path = tmp_path / "full"
    os.mknod(path, 0o20600, os.makedev(1, 7))
    return path


def test_output_that_cannot_be_written(world: World, full: Path) -> None:
    world.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    for words in (
        "ps -a", "info", "--help", "version", "top web", "stats --no-stream", "image list", "diff web", "events --since 0",
        "inspect web", "completion bash", "stop -t 0 web", "start web", "rm -f web",
    ):  # fmt: skip
        if words == "diff web":
            world.ok("exec", "web", "touch", "/x")
        assert shell(world, f"$P {words} >{full}") == (1, NO_ROOM), words
    assert world.ok("ps", "-aq") == ""


def test_output_of_a_workload_that_cannot_be_written(world: World, full: Path) -> None:
    world.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    workload = "sh -c 'echo hi; exit 3'"
    for words in (f"run --rm busybox {workload}", f"exec web {workload}", "run -d --name other busybox true"):
        assert shell(world, f"$P {words} >{full}") == (125, NO_ROOM), words
    world.ok("create", "--name", "third", "busybox", "sh", "-c", "echo hi; exit 3")
    assert shell(world, f"$P start -a third >{full}") == (125, NO_ROOM)
    world.ok("rm", "-f", "web", "other", "third")


def test_an_error_that_cannot_be_told_keeps_its_code(world: World, full: Path) -> None:
    for words, code in (("rm nope", 3), ("nosuch", 2), ("run nope", 125), ("inspect nope", 3)):
        assert shell(world, f"$P {words} 2>{full}") == (code, ""), words


def test_a_reader_that_leaves(world: World) -> None:
    world.ok("create", "--name", "web", "busybox", "true")
    for words in ("export web", "export web -o -", "image save busybox", "image save -o /dev/stdout busybox"):
        assert shell(world, f"set -o pipefail; $P {words} | head -c 5 >/dev/null") == (141, ""), words
    world.ok("rm", "web")


@pytest.mark.parametrize("what", ["export web", "image save busybox", "volume backup db"])
def test_only_a_file_is_replaced(world: World, full: Path, tmp_path: Path, what: str) -> None:
    """A device, a fifo and a link stay what they are; `-` is standard output; who sees an error knows the name in it."""
    world.ok("create", "--name", "web", "-v", "db:/db", "busybox", "true")
    fifo, link, file = tmp_path / "fifo", tmp_path / "link", tmp_path / "file"
    os.mkfifo(fifo)
    link.symlink_to(file)
    code, told = shell(world, f"$P {what} -o {full}")
    assert code == 1 and "no space left on device\n" in told
    assert full.is_char_device()
    assert shell(world, f"cat {fifo} >{tmp_path}/read & $P {what} -o {fifo} && wait") == (0, "")
    assert fifo.is_fifo()
    others = f"$P {what} -o {link} && $P {what} -o - >{tmp_path}/dash && $P {what} -o {tmp_path}/plain"
    assert shell(world, others) == (0, "")
    assert link.is_symlink()
    beginnings = {(tmp_path / name).read_bytes()[:512] for name in ("read", "file", "dash", "plain")}
    assert len(beginnings) == 1 and b"" not in beginnings  # the rest of an export says when it was made
    missing = f"{tmp_path}/none/x.tar"
    assert shell(world, f"$P {what} -o {missing}") == (1, f"pycontainer: '{missing}': no such file or directory\n")
    assert sorted(os.listdir(tmp_path)) == ["dash", "fifo", "file", "full", "link", "plain", "read"]
    world.ok("rm", "web")
    world.ok("volume", "rm", "db")


def test_a_no_is_told(world: World) -> None:
    for words in (("system", "prune"), ("volume", "prune")):
        with Terminal(world.argv(*words), world.environment) as terminal:
            terminal.expect(r"Go on\? \[y/N\]: ")
            terminal.type("n\r")
            terminal.expect("pycontainer: nothing was removed")
            assert terminal.wait() == 1
