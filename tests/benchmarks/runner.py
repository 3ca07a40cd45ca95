"""A small process in the namespaces of a peer that starts its commands there and times them: what enters these costs nobody.

    python -m tests.benchmarks.runner FD      serves one socket until its other end is closed

A request is a JSON array of a number, a verb and argument vectors; the reply is a JSON object with that number. A command
that fails or takes longer than a minute is an error for who asked.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

from tests.support.images import CHECKOUT

_MAX_BYTES = 1 << 17  # of a request and of a reply
_TIMEOUT_SECONDS = 60
_OUTPUT_BYTES = 1 << 14  # of what a command writes


class CommandFailed(Exception):
    """A command that is measured did not do what it should."""


class Runner:
    """The other end, in the benchmark; a context manager, as it is a process."""

    def __init__(self, prefix: Sequence[str], environment: dict[str, str]) -> None:
        """Start it by `prefix`, which enters namespaces and executes the arguments that follow."""
        self._sock, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._requests = 0
        with theirs:
            self._process = subprocess.Popen(
                [*prefix, sys.executable, "-m", "tests.benchmarks.runner", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                env={**environment, "PYTHONPATH": CHECKOUT},
                pass_fds=(theirs.fileno(),),
                start_new_session=True,  # Ctrl-C is for who takes all of it down
            )

    def time(self, *argv: str, exit_codes: Sequence[int] = (0,)) -> float:
        """Run a command to its end; return the seconds it took."""
        return float(self._ask("run", [argv], exit_codes)["seconds"])

    def output(self, *argv: str) -> str:
        """Run a command to its end; return what it wrote to both outputs."""
        return str(self._ask("run", [argv], (0,))["output"])

    def time_all(self, argvs: Sequence[Sequence[str]]) -> float:
        """Run commands at the same time; return the seconds until the last has ended."""
        return float(self._ask("run", argvs, (0,))["seconds"])

    def spawn(self, *argv: str) -> int:
        """Start a command that goes on; return its number there."""
        return int(self._ask("spawn", [argv], (0,))["pid"])

    def end(self, pid: int, number: int = signal.SIGKILL) -> None:
        """End what was spawned and wait for it."""
        self._ask(f"end {pid} {int(number)}", [], (0,))

    def close(self) -> None:
        self._sock.close()
        self._process.wait()

    def _ask(self, verb: str, argvs: Sequence[Sequence[str]], exit_codes: Sequence[int]) -> dict[str, Any]:
        self._requests += 1
        self._sock.send(json.dumps([self._requests, verb, argvs]).encode())
        reply: dict[str, Any] = {}
        while reply.get("number") != self._requests:  # another is of a request whose asker was interrupted
            said = self._sock.recv(_MAX_BYTES)
            if not said:
                raise CommandFailed(f"{verb} {argvs}: its runner has died")
            reply = json.loads(said)
        codes = reply.get("codes", [])
        if "pid" not in reply and (not set(codes) <= set(exit_codes) or len(codes) != len(argvs)):
            first = " ".join(argvs[0]) if argvs else verb
            raise CommandFailed(f"{first}: exit codes {codes}: {reply['output'].strip()[-2000:]}")
        return reply


def _serve(sock: socket.socket) -> None:
    os.environ.pop("PYTHONPATH", None)  # it is there for us: nobody calls a command so
    spawned: dict[int, subprocess.Popen[bytes]] = {}
    try:
        while request := sock.recv(_MAX_BYTES):
            number, verb, argvs = json.loads(request)
            if verb == "run":
                reply = _run(argvs)
            elif verb == "spawn":
                process = _start(argvs[0], subprocess.DEVNULL)
                spawned[process.pid] = process
                reply = {"pid": process.pid}
            else:
                _, pid, signal_number = verb.split()
                process = spawned.pop(int(pid))
                process.send_signal(int(signal_number))
                process.wait(_TIMEOUT_SECONDS)
                reply = {"codes": [], "output": ""}
            sock.send(json.dumps({**reply, "number": number}).encode())
    finally:
        for process in spawned.values():
            process.kill()
            process.wait()


def _run(argvs: list[list[str]]) -> dict[str, Any]:
    """Run commands at the same time. Output goes to a file: what a command leaves running may hold it."""
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        signal.alarm(_TIMEOUT_SECONDS)
        began = time.monotonic()
        processes: list[subprocess.Popen[bytes]] = []
        try:
            processes += (_start(argv, output) for argv in argvs)
            codes = [process.wait() for process in processes]
        except TimeoutError:
            for process in processes:
                process.kill()
            codes = [process.wait() for process in processes]
        seconds = time.monotonic() - began
        signal.alarm(0)
        text = os.pread(output, os.fstat(output).st_size, 0)[-_OUTPUT_BYTES:].decode(errors="replace")
    except OSError as error:
        return {"seconds": 0, "codes": [], "output": str(error)}
    finally:
        os.close(output)
    return {"seconds": seconds, "codes": codes, "output": text}


def _start(argv: list[str], output: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)


def _too_long(*_: object) -> None:
    raise TimeoutError


if __name__ == "__main__":
    signal.signal(signal.SIGALRM, _too_long)
    with contextlib.suppress(ConnectionError):
        _serve(socket.socket(fileno=int(sys.argv[1])))
