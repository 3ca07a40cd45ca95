"""The command without the 40 ms in which Python starts: each is a fork of a process that has loaded all of it.

    python -m tests.support.forked FD      serves one socket until its other end is closed

A request is a JSON array of the arguments and an object of the environment, with the descriptors that become stdout and
stderr; the reply is the exit code, negative for a signal. Requests come one after the other. Who does not answer one in time
is ended and another put in its place: its late answer would be taken for that to the next.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.hostns import NetworkNamespace
from tests.support.poll import SLOWNESS

_CHECKOUT = Path(__file__).parents[2]
_MAX_BYTES = 1 << 16


class Forker:
    """Runs commands in a network namespace; a context manager, as it is a process of its own."""

    def __init__(self, network: NetworkNamespace) -> None:
        self._network = network
        self._start()

    def _start(self) -> None:
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                self._network.argv(sys.executable, "-m", "tests.support.forked", str(theirs.fileno())),
                stdin=subprocess.DEVNULL,
                cwd=_CHECKOUT,
                pass_fds=(theirs.fileno(),),
            )

    def __enter__(self) -> "Forker":
        return self

    def __exit__(self, *exception: object) -> None:
        self._sock.close()
        try:
            self._process.wait(10 * SLOWNESS)
        except subprocess.TimeoutExpired:  # a command of it hangs
            self._kill()
            raise

    def _kill(self) -> None:
        """End the process, and with it the command that it waits for."""
        self._sock.close()
        self._process.kill()
        self._process.wait()

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], timeout_seconds: float
    ) -> tuple[int, str, str]:
        """Run `pycontainer ARGUMENTS` to its end; return exit code, stdout and stderr. TimeoutError if it takes longer."""
        outputs = [os.memfd_create(name, os.MFD_CLOEXEC) for name in ("stdout", "stderr")]
        try:
            reply = self._ask(json.dumps([list(arguments), dict(environment)]).encode(), outputs, timeout_seconds)
            stdout, stderr = (_content(fd) for fd in outputs)
            if reply is None:
                raise TimeoutError(f"{arguments}: no end within {timeout_seconds:g} s; until then:\n{stdout}{stderr}")
            return int(reply), stdout, stderr
        finally:
            for fd in outputs:
                os.close(fd)

    def _ask(self, request: bytes, outputs: list[int], timeout_seconds: float) -> bytes | None:
        """Return the reply; None, with another process in the place of this one, if there is none in time."""
        self._sock.settimeout(timeout_seconds)
        try:
            socket.send_fds(self._sock, [request], outputs)
            if reply := self._sock.recv(_MAX_BYTES):
                return reply
            raise BrokenPipeError("the process that forks commands has died")
        except OSError as error:
            self._kill()
            self._start()
            if isinstance(error, TimeoutError):
                return None
            raise


def _content(fd: int) -> str:
    return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="surrogateescape")


def serve(sock: socket.socket) -> None:
    """Fork a command for each request."""
    from pycontainer.cli.main import COMMANDS

    for section in COMMANDS.values():
        for module in section.values():
            importlib.import_module(f"pycontainer.cli.commands.{module}")
    while True:
        request, outputs, _, _ = socket.recv_fds(sock, _MAX_BYTES, 2)
        if not request:
            return
        pid = os.fork()
        if pid == 0:
            sock.close()
            _become_command(outputs, *json.loads(request))
        for fd in outputs:
            os.close(fd)
        _, status = os.waitpid(pid, 0)
        sock.send(str(os.waitstatus_to_exitcode(status)).encode())


def _become_command(outputs: list[int], arguments: list[str], environment: dict[str, str]) -> None:
    """Do what the program `pycontainer` does, and end; dies with who forked it."""
    import prctl

    from pycontainer.cli.main import main

    prctl.set_pdeathsig(signal.SIGKILL)
    for target, fd in enumerate(outputs, 1):
        os.dup2(fd, target)
        os.close(fd)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["pycontainer", *arguments]
    exit_code = 1
    try:
        exit_code = main()
    except SystemExit as error:
        exit_code = error.code if isinstance(error.code, int) else 0 if error.code is None else 1
    except BaseException:  # as Python ends a program
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
