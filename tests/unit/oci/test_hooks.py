"""What is said by a hook that fails, what is left of one that takes too long, and where it runs."""

import os
import signal
from pathlib import Path

import pytest

from pycontainer.errors import StartFailed
from pycontainer.linux.namespaces import CLONE_NEWPID, unshare
from pycontainer.oci import hooks
from pycontainer.oci.config import Hook
from tests.support.poll import poll_until


def shell(script: str, *, timeout_seconds: int | None = None) -> Hook:
    return Hook("/bin/sh", ["sh", "-c", script], ["PATH=/usr/bin:/bin"], timeout_seconds)


def test_what_it_said_last_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Its end and its last words are there at once when we look up."""
    attend = hooks._attend

    def late(pidfd: int, *rest: object) -> object:
        os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOWAIT)
        return attend(pidfd, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(hooks, "_attend", late)
    with pytest.raises(StartFailed, match="exit status 3, output: no network"):
        hooks.run([shell("echo no network; exit 3")], {"bundle": str(tmp_path)}, where="prestart")


def test_what_it_started_ends_with_it(tmp_path: Path) -> None:
    script = f"sleep 600 & echo $! > {tmp_path}/pid; wait"
    with pytest.raises(StartFailed, match="did not end within 1 seconds"):
        hooks.run([shell(script, timeout_seconds=1)], {"bundle": str(tmp_path)}, where="createRuntime")
    pid = int((tmp_path / "pid").read_text())
    poll_until(lambda: ended(pid), what="what the hook started has ended")


def ended(pid: int) -> bool:
    try:
        os.waitpid(pid, os.WNOHANG)  # ours to reap if we are the subreaper
    except ChildProcessError:
        pass
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_it_runs_in_the_bundle(tmp_path: Path) -> None:
    """`create` itself stands in the container's root by then, and what lies there is the image's."""
    bundle, root = tmp_path / "bundle", tmp_path / "root"
    bundle.mkdir()
    root.mkdir()
    before = os.getcwd()
    os.chdir(root)
    try:
        hooks.run([shell("pwd > where")], {"bundle": str(bundle)}, where="createRuntime")
        bundle_gone: dict[str, object] = {"bundle": str(tmp_path / "none")}
        hooks.run([shell(f"pwd > {tmp_path}/where")], bundle_gone, where="createRuntime")
    finally:
        os.chdir(before)
    assert (bundle / "where").read_text() == f"{bundle}\n"
    assert (tmp_path / "where").read_text() == "/\n"


def test_one_that_cannot_be_born_is_named() -> None:
    def bear(hook: Hook, in_fd: int, out_fd: int) -> tuple[int, int]:
        raise StartFailed("no such file or directory", step="execve", errno=2)

    before = os.listdir("/proc/self/fd")
    with pytest.raises(StartFailed, match=r"hooks.startContainer\[0\]: no such file"):
        hooks.run([shell("")], {"bundle": "/"}, where="startContainer", bear=bear)
    assert os.listdir("/proc/self/fd") == before


def test_the_pid_inside() -> None:
    """runtime-spec runtime.md, State: hooks in the container's namespaces see its process under the number it has there."""
    read_fd, write_fd = os.pipe()
    outer = os.fork()
    if outer == 0:
        try:
            unshare(CLONE_NEWPID)
            inner = os.fork()
            if inner:
                os.write(write_fd, str(inner).encode())
            signal.pause()
        finally:
            os._exit(1)
    pid = int(os.read(read_fd, 16))
    try:
        told: dict[str, object] = {"pid": pid, "id": "c1"}
        assert hooks.seen_inside(told) == {"pid": 1, "id": "c1"} and told["pid"] == pid
        assert hooks.seen_inside({"pid": os.getpid()}) == {"pid": os.getpid()}
    finally:
        os.kill(pid, signal.SIGKILL)
        os.kill(outer, signal.SIGKILL)
        os.waitpid(outer, 0)
        os.close(read_fd)
        os.close(write_fd)
