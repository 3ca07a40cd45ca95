"""Workers end with the process that starts them, also if that ends before their interpreter has come up (FLT-01)."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pycontainer.runtime.worker import command
from pycontainer.supervisor import descriptors, looks

# Ends at once; its child becomes the worker when the end of the pipe says that it is nobody's child any more.
_STARTS_AND_DIES = """
import os, sys
from pycontainer.runtime.worker import command
argv = command(*sys.argv[1:])
read_fd, write_fd = os.pipe()
if os.fork() == 0:
    os.close(write_fd)
    os.read(read_fd, 1)
    os.execv(argv[0], argv)
os._exit(0)
"""
# What each of them has something to say about, be it that it cannot be done.
_WORK = {
    "copy_worker": (("out", "--root-fd", "99", "--filters", "/proc/nowhere", "--", "/"), b""),
    "import_worker": ((), b"{}\n"),
    "restore_worker": (("--root", "", "--data", "/nowhere", "--mount-fd", "99"), b""),
    "tree_worker": (("copy", "0", "0"), b""),
    "usage_worker": (("10",), json.dumps(["/nowhere"]).encode()),
}


def said(argv: list[str], request: bytes) -> bytes:
    """Return what all that comes of a command writes, to the end of the last one of them."""
    done = subprocess.run(
        argv, input=request, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=60
    )
    return done.stdout


@pytest.mark.parametrize("module", _WORK)
def test_one_whose_parent_is_gone_does_nothing(module: str) -> None:
    arguments, request = _WORK[module]
    assert said(command(module, *arguments), request) != b"", "the work is none that this test can see"
    assert said([sys.executable, "-c", _STARTS_AND_DIES, module, *arguments], request) == b""


def test_none_is_left_out() -> None:
    runtime = Path(command.__code__.co_filename).parent
    assert {path.stem for path in runtime.glob("*_worker.py")} == {*_WORK, "look_worker", "descriptor_worker"}


@pytest.mark.parametrize("parent, has_answer", [(os.getpid(), True), (1, False)])
def test_a_look(parent: int, has_answer: bool) -> None:
    """The one that does without our site-packages, and answers on a socket."""
    ours, theirs = socket.socketpair()
    boot = looks._BOOT.format(parent=looks._PACKAGE_PARENT)
    with ours, theirs:
        argv = [sys.executable, "-SI", "-c", boot, str(parent), "processes", str(os.getpid())]
        subprocess.run(argv, stdin=theirs.fileno(), check=False, timeout=60)
        theirs.close()
        assert (ours.recv(1 << 16) != b"") == has_answer


@pytest.mark.parametrize("parent, has_answer", [(os.getpid(), True), (1, False)])
def test_one_that_takes_descriptors(parent: int, has_answer: bool) -> None:
    """The same: nothing is taken from a client for a supervisor that is gone."""
    client, served = socket.socketpair()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with client, served, ours, theirs:
        client.sendall(b"\0\0\0\2{}")
        boot = descriptors._BOOT.format(parent=descriptors._PACKAGE_PARENT)
        argv = [sys.executable, "-SI", "-c", boot, str(parent), "take", "4"]
        null = os.open("/dev/null", os.O_RDWR)
        actions = [(os.POSIX_SPAWN_DUP2, fd, to) for fd, to in ((null, 1), (null, 2), (served.fileno(), 0))]
        pid = os.posix_spawn(argv[0], argv, {}, file_actions=[*actions, (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)])
        os.close(null)
        theirs.close()
        os.waitpid(pid, 0)
        assert bool(ours.recv(1000)) == has_answer
