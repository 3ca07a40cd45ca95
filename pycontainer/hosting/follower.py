"""The process that keeps the front door right: it hears what happens to containers and has requests go to who is well.

    python -I -m pycontainer.hosting.follower [--root DIR]       in the background; `pycontainer frontdoor serve` is the same

It listens first and looks then, and looks again whenever it has lost the supervisor: what is there counts, not the events
that say that something has changed. So none can be missed, and no cursor has to be kept.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Protocol

from pycontainer.client.connection import Connection
from pycontainer.errors import PycontainerError
from pycontainer.hosting import background, sitelogs
from pycontainer.hosting.frontdoor import FrontDoor
from pycontainer.paths import HostPaths

# What can change who is well. The others come in thousands (exec), or say nothing of a running container.
_EVENTS = ("start", "die", "health", "pause", "unpause", "remove", "rename", "supervisor-start")
_BURST_SECONDS = 0.3  # what happens together is one change
_PAUSE_SECONDS, _PAUSE_PER_WORKER_SECONDS = 1.0, 2.0
_LOGS_SECONDS, _LOOK_SECONDS = 10.0, 60.0
_RETRY_SECONDS = 1.0


class Door(Protocol):
    """What is kept right."""

    def refresh(self) -> bool:
        """Serve what is there and well; True if something has changed."""

    def draining(self) -> int:
        """Return how many workers finish what they have begun under earlier configurations."""


class Follower:
    """One run of it; `stirred` is set when there is something to look at."""

    def __init__(self, paths: HostPaths, door: Door) -> None:
        self._paths = paths
        self._door = door
        self._said: dict[Callable[[], bool], str] = {}
        self.stirred = threading.Event()
        self.leaving = threading.Event()

    def run(self) -> None:
        """Look, whenever something happens and once a minute, until `leaving` is set."""
        self.stirred.set()
        next_look = time.monotonic()
        while not self.leaving.is_set():
            is_due = self.stirred.wait(_LOGS_SECONDS) or time.monotonic() >= next_look
            if is_due and not self.leaving.wait(_BURST_SECONDS):
                self.stirred.clear()
                next_look = time.monotonic() + _LOOK_SECONDS  # certificates are renewed without an event
                self._look()
            self._guarded(self._cut_logs)

    def leave(self, *_: object) -> None:
        """Have `run` return; a handler of signals."""
        self.leaving.set()
        self.stirred.set()

    def _look(self) -> None:
        if not self._guarded(self._door.refresh):
            return
        # Each change leaves workers that finish what they have begun. A site that falls ill again and again, with
        # connections that stay, could make any number of them: the more there are, the longer the next change waits.
        self.leaving.wait(_PAUSE_SECONDS + _PAUSE_PER_WORKER_SECONDS * self._door.draining())

    def _cut_logs(self) -> bool:
        return sitelogs.cut(self._paths.frontdoor_dir) > 0

    def _guarded(self, work: Callable[[], bool]) -> bool:
        """Do something that may fail without an end of us; a reason is told once, not with each try."""
        try:
            done = work()
        except (PycontainerError, OSError) as error:
            if self._said.get(work) != str(error):
                print(f"pycontainer frontdoor: {error}", file=sys.stderr, flush=True)
            self._said[work] = str(error)
            return False
        self._said.pop(work, None)
        return done

    def listen(self) -> None:
        """Set `stirred` when something happens, and when there is a supervisor to ask again."""
        while not self.leaving.is_set():
            # Never started by us: who has stopped it would find it running again.
            with contextlib.suppress(PycontainerError, OSError):  # it is away, or has too much to do
                connection = Connection(self._paths, start=False)
                try:
                    for _ in connection.stream("events", {"filters": {"type": [*_EVENTS]}}):  # the first: it listens
                        self.stirred.set()
                finally:
                    connection.close()
            self.leaving.wait(_RETRY_SECONDS)


def serve(paths: HostPaths) -> None:
    """Keep the front door right until a signal says to leave; nginx goes on then. Busy if somebody does already."""
    for directory in (paths.run_dir, paths.frontdoor_run_dir):
        os.makedirs(directory, mode=0o750 if directory == paths.run_dir else 0o700, exist_ok=True)
    follower = Follower(paths, FrontDoor(paths))
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, follower.leave)
    fd = background.claim(paths.frontdoor_pidfile)
    try:
        threading.Thread(target=follower.listen, name="events", daemon=True).start()
        follower.run()
    finally:
        os.close(fd)


def main() -> None:
    arguments = sys.argv[1:]
    root = arguments[1] if arguments[:1] == ["--root"] and len(arguments) == 2 else None
    serve(HostPaths(root))


if __name__ == "__main__":
    main()
