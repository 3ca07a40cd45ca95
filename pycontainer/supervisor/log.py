"""What the supervisor says to who looks after the host, on stderr: its log file, or systemd's journal.

As text, a line or more for a person; with `--log-format json`, or PYCONTAINER_LOG_FORMAT=json, an object a line for programs:

    {"time": "2026-11-26T12:00:00.000123Z", "level": "warning", "message": "...", "container_id": "...", ...}

In JSON every event (events.py) is a line as well, so that one file tells the whole story; what somebody else writes to
sys.stderr, a library or the interpreter, becomes objects too. Levels are info, warning and error.

The log never ends anything: what cannot be written is lost. A file is kept within two times MAX_BYTES.
"""

import contextlib
import io
import json
import os
import stat
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from typing import TextIO

    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.journal import Event

TEXT, JSON = "text", "json"
FORMATS = (TEXT, JSON)
VARIABLE = "PYCONTAINER_LOG_FORMAT"
MAX_BYTES = 16 << 20
_LOOK_BYTES = 1 << 16  # written between two looks at the file's size
_STDERR_FD = 2
_MAX_HELD = 200  # lines of one traceback

_WARNINGS = frozenset(
    ("oom", "start-failed", "restart-given-up", "firewall-repaired", "events-lost", "events-damaged", "leftover",
     "monitor-lost", "snapshot-failed", "repaired", "over-capacity", "transfer-used-up", "transfer-failed",
     "ledger-unwritten", "ledger-damaged")
)  # fmt: skip
_EVENT_KEYS = {"type": "event", "id": "container_id", "name": "container"}


class Log:
    """Where it all goes. There is one, of this module; tests make their own."""

    def __init__(self, form: str = TEXT, *, fd: int = _STDERR_FD, path: str = "", max_bytes: int = MAX_BYTES) -> None:
        """`path` is the file that `fd` may be; only that one is kept small."""
        self.form, self._fd, self._path, self._max_bytes = form, fd, path, max_bytes
        self._unlooked = _LOOK_BYTES
        self._lock = threading.Lock()  # the journal is synced by a thread, which may have something to say

    def say(
        self,
        message: str,
        *,
        hint: str = "",
        level: str = "warning",
        container: "Container | None" = None,
        **fields: object,
    ) -> None:
        """Say something to a person; `fields` are for programs, who read JSON."""
        if self.form == TEXT:
            self._write(f"{message}\nhint: {hint}\n" if hint else f"{message}\n")
            return
        if container is not None:
            fields |= {"container_id": container.id, "container": container.spec.name}
            if container.spec.tenant:
                fields["tenant"] = container.spec.tenant
        if hint:
            fields["hint"] = hint
        self._write_object(level, message, fields)

    def failure(self, message: str, **fields: object) -> None:
        """Tell of the exception that is being handled, with its traceback: a mistake of ours."""
        if self.form == TEXT:
            self._write(traceback.format_exc())
        else:
            self._write_object("error", message, {**fields, "traceback": traceback.format_exc()})

    def event(self, event: "Event") -> None:
        """Tell of an event, if that is wanted here: a listener of events.py."""
        if self.form == TEXT:
            return
        fields = {_EVENT_KEYS.get(key, key): value for key, value in event.items() if key not in ("time", "boot")}
        about = f" '{event['name']}'" if "name" in event else ""
        cause = f": {event['cause']}" if event.get("cause") else ""
        level = "warning" if event["type"] in _WARNINGS else "info"
        self._write_object(level, f"{event['type']}{about}{cause}", fields)

    def stray(self, text: str) -> None:
        """Tell of what somebody wrote to sys.stderr."""
        self._write_object("error" if "Traceback" in text else "warning", text, {"stream": "stderr"})

    def _write_object(self, level: str, message: str, fields: dict[str, object]) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1e6):06d}Z"
        ours = {"time": stamp, "level": level, "message": message, "supervisor_pid": os.getpid()}
        self._write(json.dumps({**ours, **{key: fields[key] for key in fields if key not in ours}}, default=str) + "\n")

    def _write(self, text: str) -> None:
        data = memoryview(text.encode(errors="backslashreplace"))
        with self._lock, contextlib.suppress(OSError):
            self._unlooked += len(data)
            if self._path and self._unlooked >= min(_LOOK_BYTES, self._max_bytes):
                self._unlooked = 0
                with contextlib.suppress(OSError):
                    self._turn_over()
            while data:
                data = data[os.write(self._fd, data) :]

    def _turn_over(self) -> None:
        """Begin a new file if this one has become too long; the one before stays as PATH.1, for a while."""
        now = os.fstat(self._fd)
        if not stat.S_ISREG(now.st_mode) or now.st_size < self._max_bytes:
            return
        if not os.path.samestat(now, os.lstat(self._path)):
            return  # somebody else sees to it
        new = f"{self._path}.new"
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            os.rename(self._path, f"{self._path}.1")
            os.rename(new, self._path)
            os.dup2(fd, self._fd)
        finally:
            os.close(fd)


class Stray(io.TextIOBase):
    """In the place of sys.stderr: lines become objects, those of a traceback one together."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._rest, self._held = "", list[str]()

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._line(line)
        return len(text)

    def flush(self) -> None:
        """Let out what is held, at the end; a line may still be in the making while somebody flushes."""

    def close(self) -> None:
        if not self.closed:
            for line in (self._rest, ""):
                self._line(line)
            self._rest = ""
        super().close()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _STDERR_FD

    def isatty(self) -> bool:
        return False

    def _line(self, line: str) -> None:
        goes_on = line.startswith(("Traceback (most recent call last)", " ", "\t"))
        if (self._held and not goes_on) or len(self._held) >= _MAX_HELD:
            text, self._held = "\n".join([*self._held, line]).strip(), []
            self._log.stray(text)
        elif goes_on:
            self._held.append(line)
        elif line:
            self._log.stray(line)


_log = Log()


def begin(form: str, path: str) -> None:
    """Say everything in `form` from now on; `path` is the log file of this world."""
    global _log
    _log = Log(form, path=path)
    if form == JSON:
        sys.stderr = cast("TextIO", Stray(_log))


def say(
    message: str, *, hint: str = "", level: str = "warning", container: "Container | None" = None, **fields: object
) -> None:
    """Say something to who looks after the host."""
    _log.say(message, hint=hint, level=level, container=container, **fields)


def failure(message: str, **fields: object) -> None:
    """Tell of the exception that is being handled: a mistake of ours, and its traceback."""
    _log.failure(message, **fields)


def event(event: "Event") -> None:
    """Tell of an event."""
    _log.event(event)
