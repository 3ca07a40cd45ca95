"""One request in the hands of a verb: typed access to its arguments, its descriptors, its events."""

import os
import re
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import TypeVar

from pycontainer import jsontext
from pycontainer.api.messages import MAX_FRAME_BYTES, VERBS
from pycontainer.errors import InvalidInput
from pycontainer.units import shown

_T = TypeVar("_T")
Reply = Callable[[object, list[int]], Awaitable[None]]
WhileThere = Callable[[Coroutine[object, object, object]], Awaitable[object]]


def parse_request(data: bytes) -> tuple[str, dict[str, object], bool]:
    """Return verb, arguments, and whether it is to be traced, of a request; ValueError says in a line what is wrong with it.

    A key that is none of `verb`, `args` and `trace`, and an argument that the verb does not have, are refused: a misspelt one
    would silently not be heeded.
    """
    message = jsontext.loads(data, max_bytes=MAX_FRAME_BYTES)
    if not isinstance(message, dict) or not message.keys() <= {"verb", "args", "trace"}:
        raise ValueError("it is not an object with verb and args")
    verb, arguments, is_traced = message.get("verb"), message.get("args", {}), message.get("trace", False)
    if not isinstance(verb, str) or not isinstance(arguments, dict) or not isinstance(is_traced, bool):
        raise ValueError("verb, args or trace of a wrong type")
    if unknown := sorted(arguments.keys() - ARGUMENTS.get(verb, arguments.keys())):
        raise ValueError(f"'{verb}' takes no argument {shown(unknown[0])}")
    return verb, arguments, is_traced


def _argument_names(shape: str) -> frozenset[str]:
    """Return the names in the first braces of a row of VERBS: container and spec of `{container, spec: {..}?} -> ..`."""
    flat = shape.partition("->")[0]
    while inner := re.search(r"(?<=.)\{[^{}]*\}|\[[^\[\]]*\]", flat):
        flat = flat[: inner.start()] + flat[inner.end() :]
    names = flat.partition("{")[2].partition("}")[0].split(",")
    return frozenset(name.partition(":")[0].strip().rstrip("?") for name in names) - {""}


ARGUMENTS = {verb: _argument_names(shape) for verb, shape in VERBS.items()}


async def _unwatched(work: Coroutine[object, object, object]) -> object:
    return await work


class Call:
    """Arguments are checked on access: a wrong type is the client's fault, never a traceback here."""

    def __init__(self, verb: str, arguments: dict[str, object], fds: list[int], send_event: Reply) -> None:
        self.verb, self._arguments, self._fds, self._send_event = verb, arguments, fds, send_event
        self.is_traced = False
        self.waits_for: dict[str, object] | None = None
        """What the verb would be told if it had to begin anew in the midst of its waiting; None while it does something."""
        self.while_there: WhileThere = _unwatched
        """Awaits something for the client, and cancels it when that hangs up; what the whole verb is, for some of them."""
        self.has_left: Callable[[], bool] = lambda: False
        """Whether the client has hung up."""
        self.began_at: float | None = None
        """When, by the loop's clock, that had begun which the client goes on to wait for."""
        self.is_answered: Callable[[], bool] = lambda: False
        """Whether what it waits for is there already, though it has not had its turn since."""

    def arguments_with(self, **changed: object) -> dict[str, object]:
        """Return all arguments, with these in place of those of their names, as `waits_for` wants them."""
        return {**self._arguments, **changed}

    def change(self, **changed: object) -> None:
        """Have the verb see these in place of what was sent."""
        self._arguments = {**self._arguments, **changed}

    def text(self, key: str, default: str = "") -> str:
        return self._checked(key, self._get(key, str, default))

    def flag(self, key: str, default: bool = False) -> bool:
        return self._get(key, bool, default)

    def number(self, key: str, most: float = 1e9) -> float | None:
        """Return a number between -`most` and `most`, or None when it was not given."""
        value = self._arguments.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not -most < value < most:
            raise InvalidInput(f"'{key}' must be a number", field=key)
        return float(value)

    def texts(self, key: str) -> list[str]:
        value = self._get(key, list, [])
        if not all(isinstance(entry, str) for entry in value):
            raise InvalidInput(f"'{key}' must be a list of strings", field=key)
        return [self._checked(key, entry) for entry in value]

    def mapping(self, key: str) -> dict[str, object]:
        return self._get(key, dict, {})

    def window(self) -> tuple[int, int] | None:
        """Return the client's terminal size (rows, columns) if it gave one."""
        rows, columns = self.number("rows"), self.number("columns")
        if rows is None or columns is None or not (1 <= rows < 65536 and 1 <= columns < 65536):
            return None
        return int(rows), int(columns)

    def take_fds(self) -> list[int]:
        """Return the request's descriptors, now the verb's to close."""
        fds, self._fds = self._fds, []
        return fds

    def require_socket(self) -> socket.socket:
        """Return the request's first descriptor as a socket, now the verb's; InvalidInput without one."""
        fds = self.take_fds()
        for fd in fds[1:]:
            os.close(fd)
        if not fds:
            raise InvalidInput("attach needs a socket", field="fds")
        return socket.socket(fileno=fds[0])

    async def event(self, event: object, fds: list[int] | None = None) -> None:
        """Send one event of a streaming verb."""
        await self._send_event(event, fds or [])

    def close(self) -> None:
        for fd in self.take_fds():
            os.close(fd)

    def _checked(self, key: str, text: str) -> str:
        """Refuse what no path and no argument of a program can hold: NUL, which the kernel would cut at, half a character."""
        try:
            has_nul = b"\0" in os.fsencode(text)
        except UnicodeEncodeError:
            raise InvalidInput(f"'{key}': {shown(text)} cannot be encoded", field=key) from None
        if has_nul:
            raise InvalidInput(f"'{key}': {shown(text)} holds a NUL byte", field=key)
        return text

    def _get(self, key: str, kind: type[_T], default: _T) -> _T:
        value = self._arguments.get(key)
        if value is None:
            return default
        if not isinstance(value, kind):
            raise InvalidInput(f"'{key}' must be a {kind.__name__}, not {type(value).__name__}", field=key)
        return value
