"""D-Bus, as far as systemd is asked for a scope: calls that are answered, and signals, over one connection.

    client                                bus
    \\0AUTH EXTERNAL, DATA, BEGIN  ────▶        who we are is what the kernel says of the socket
                                   ◀────  DATA, OK GUID
    Hello                          ────▶
                                   ◀────  our name, by which answers find us
    method call, serial N          ────▶
                                   ◀────  method return or error, in reply to N; signals at any time

A message is a header (byte order, type, flags, version, length of the body, serial, fields) and a body, each value aligned to
its size. The libraries for this take longer to import than a container to start. Source: D-Bus Specification.
"""

from __future__ import annotations

import os
import struct
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SYSTEM_BUS = "/run/dbus/system_bus_socket"
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SENDER, _SIGNATURE = range(1, 9)
_FIELD_TYPE = {_PATH: "o", _REPLY_SERIAL: "u", _SIGNATURE: "g"}  # the others are strings
_NUMBERS = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d", "h": "I"}
_ALIGNMENT = {"s": 4, "o": 4, "a": 4, "g": 1, "v": 1, "(": 8, "{": 8}
_HEADER = struct.Struct("<BBBBIII")
_MESSAGE_BYTES_MAX = 1 << 20  # the answers that we await are some hundred bytes
_DEPTH_MAX = 32  # of arrays, structures and variants in each other; the specification's for either
_BUS = ("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus")


class DBusError(Exception):
    """An error that the other side answered with; `name` is such as `org.freedesktop.systemd1.NoSuchUnit`."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name
        self.message = message


class Message:
    """A message that came in."""

    __slots__ = ("body", "fields", "kind")

    def __init__(self, kind: int, fields: dict[int, Any], body: list[Any]) -> None:
        self.kind = kind
        self.fields = fields
        self.body = body


class Bus:
    """A connection to a bus; close it. OSError if it breaks, TimeoutError if an answer takes too long."""

    def __init__(self, address: str, *, timeout_seconds: float = 30.0) -> None:
        """Connect to the socket at the path `address`, an abstract one beginning with NUL, and say hello."""
        self._timeout_seconds = timeout_seconds
        self._serial = 0
        self._received = b""
        self._signals: list[Message] = []
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        try:
            self._deadline = time.monotonic() + timeout_seconds
            self._socket.settimeout(timeout_seconds)
            self._socket.connect(address)
            self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
            self._authenticated()
            self.call(*_BUS, "Hello")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        self._socket.close()

    def match(self, rule: str) -> None:
        """Ask the bus for signals."""
        self.call(*_BUS, "AddMatch", "s", rule)

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any
    ) -> list[Any]:
        """Call a method and return what it answers. DBusError."""
        self._deadline = time.monotonic() + self._timeout_seconds
        self._serial += 1
        fields = {_PATH: path, _INTERFACE: interface, _MEMBER: member, _DESTINATION: destination}
        self._socket.settimeout(self._timeout_seconds)
        self._socket.sendall(encode(_CALL, self._serial, fields, signature, values))
        while True:
            message = self._next()
            if message.kind == _SIGNAL:
                self._signals.append(message)
            elif message.fields.get(_REPLY_SERIAL) == self._serial:
                if message.kind == _ERROR:
                    text = message.body[0] if message.body and isinstance(message.body[0], str) else ""
                    raise DBusError(message.fields.get(_ERROR_NAME, ""), text)
                return message.body

    def signal(self, member: str) -> list[Any]:
        """Wait for a signal, or take one that came meanwhile, and return what it says; others are dropped."""
        self._deadline = time.monotonic() + self._timeout_seconds
        while True:
            message = self._signals.pop(0) if self._signals else self._next()
            if message.kind == _SIGNAL and message.fields.get(_MEMBER) == member:
                return message.body

    def _authenticated(self) -> None:
        while True:
            line = self._until(b"\r\n")
            if line.startswith(b"OK "):
                return
            if line != b"DATA":
                raise OSError(f"the bus does not let us in: {line.decode(errors='replace')}")

    def _next(self) -> Message:
        header = self._exactly(_HEADER.size)
        fixed = _HEADER.unpack(header) if header[:1] == b"l" else struct.unpack(">BBBBIII", header)
        _, _, _, _, body_bytes, _, fields_bytes = fixed
        rest = fields_bytes + -fields_bytes % 8 + body_bytes
        if rest > _MESSAGE_BYTES_MAX:
            raise OSError(f"the bus sends a message of {rest} bytes")
        return decode(header + self._exactly(rest))

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            self._receive()
        found, self._received = self._received[:count], self._received[count:]
        return found

    def _until(self, end: bytes) -> bytes:
        while end not in self._received:
            if len(self._received) > _MESSAGE_BYTES_MAX:
                raise OSError("the bus sends a line without end")
            self._receive()
        found, _, self._received = self._received.partition(end)
        return found

    def _receive(self) -> None:
        self._socket.settimeout(max(self._deadline - time.monotonic(), 0.001))
        chunk = self._socket.recv(65536)
        if not chunk:
            raise OSError("the bus closed the connection")
        self._received += chunk


def session_bus(environment: dict[str, str]) -> str:
    """Return the address of the user's bus; empty if there is none."""
    for address in environment.get("DBUS_SESSION_BUS_ADDRESS", "").split(";"):
        transport, _, rest = address.partition(":")
        keys = dict(pair.partition("=")[::2] for pair in rest.split(","))
        if transport == "unix" and ("path" in keys or "abstract" in keys):
            return _unescaped(keys["path"]) if "path" in keys else "\0" + _unescaped(keys["abstract"])
    runtime = environment.get("XDG_RUNTIME_DIR", "")
    return f"{runtime}/bus" if runtime and os.path.exists(f"{runtime}/bus") else ""


def _unescaped(value: str) -> str:
    """Decode an address's `%20`."""
    first, *rest = value.split("%")
    return first + "".join(chr(int(part[:2], 16)) + part[2:] for part in rest)


def encode(kind: int, serial: int, fields: dict[int, Any], signature: str, values: tuple[Any, ...]) -> bytes:
    """Return a message; `fields` without the signature, which is that of `values`."""
    body = bytearray()
    for each, value in zip(complete_types(signature), values, strict=True):
        _put(body, each, value)
    all_fields = fields | ({_SIGNATURE: signature} if signature else {})
    listed = [(code, (_FIELD_TYPE.get(code, "s"), value)) for code, value in all_fields.items()]
    message = bytearray(struct.pack("<BBBBII", ord("l"), kind, 0, 1, len(body), serial))
    _put(message, "a(yv)", listed)
    return bytes(message + bytes(-len(message) % 8) + body)


def decode(message: bytes) -> Message:
    """Return a whole message. ValueError if it is malformed."""
    try:
        reader = _Reader(message)
        _, kind, _, _, _, _ = (reader.get(each, 0) for each in "yyyyuu")
        fields = dict(reader.get("a(yv)", 0))
        reader.align(8)
        return Message(kind, fields, [reader.get(each, 0) for each in complete_types(fields.get(_SIGNATURE, ""))])
    except (struct.error, IndexError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"the bus sends a malformed message: {error}") from error


def complete_types(signature: str) -> list[str]:
    """Return the types of a signature one by one: `sa(sv)u` is `s`, `a(sv)`, `u`. ValueError."""
    found = []
    at = 0
    while at < len(signature):
        end = _type_end(signature, at, 0)
        found.append(signature[at:end])
        at = end
    return found


def _type_end(signature: str, at: int, depth: int) -> int:
    """Return where the type that begins at `at` ends."""
    code = signature[at : at + 1]
    if depth > _DEPTH_MAX or not code:
        raise ValueError(f"{signature!r} is no signature")
    if code == "a":
        return _type_end(signature, at + 1, depth + 1)
    if code in ("(", "{"):
        closing = ")" if code == "(" else "}"
        at += 1
        while signature[at : at + 1] != closing:
            at = _type_end(signature, at, depth + 1)
        return at + 1
    if code not in _NUMBERS and code not in "sogv":
        raise ValueError(f"{signature!r} is no signature")
    return at + 1


def _alignment(code: str) -> int:
    return struct.calcsize(_NUMBERS[code]) if code in _NUMBERS else _ALIGNMENT[code]


def _put(buffer: bytearray, signature: str, value: Any) -> None:
    """Append one value; a variant is (signature, value), a structure and an entry of a dict a sequence."""
    code = signature[0]
    buffer += bytes(-len(buffer) % _alignment(code))
    if code in _NUMBERS:
        buffer += struct.pack(f"<{_NUMBERS[code]}", value)
    elif code in "so":
        text = value.encode()
        if b"\0" in text:
            raise ValueError(f"{value!r} holds a NUL")
        buffer += struct.pack("<I", len(text)) + text + b"\0"
    elif code == "g":
        buffer += bytes([len(value)]) + value.encode() + b"\0"
    elif code == "v":
        inner, content = value
        _put(buffer, "g", inner)
        _put(buffer, inner, content)
    elif code == "a":
        at = len(buffer)
        buffer += bytes(4)
        buffer += bytes(-len(buffer) % _alignment(signature[1]))
        start = len(buffer)
        for item in value:
            _put(buffer, signature[1:], item)
        struct.pack_into("<I", buffer, at, len(buffer) - start)
    else:
        for each, item in zip(complete_types(signature[1:-1]), value, strict=True):
            _put(buffer, each, item)


class _Reader:
    """Takes values out of a message."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._order = "<" if data[:1] == b"l" else ">"

    def align(self, size: int) -> None:
        self._at += -self._at % size

    def get(self, signature: str, depth: int) -> Any:
        if depth > 2 * _DEPTH_MAX:
            raise ValueError("the bus sends values in values without end")
        code = signature[0]
        self.align(_alignment(code))
        if code in _NUMBERS:
            number = self._number(_NUMBERS[code])
            return bool(number) if code == "b" else number
        if code in "sog":
            length = self._number("B" if code == "g" else "I")
            text = self._data[self._at : self._at + length]
            if len(text) != length:
                raise IndexError("a text is longer than its message")
            self._at += length + 1
            return text.decode()
        if code == "v":
            inner = complete_types(self.get("g", depth))
            if len(inner) != 1:
                raise ValueError("the bus sends a variant of several values")
            return self.get(inner[0], depth + 1)
        if code == "a":
            length = self._number("I")
            self.align(_alignment(signature[1]))
            end = self._at + length
            if end > len(self._data):
                raise IndexError("an array is longer than its message")
            items = []
            while self._at < end:
                items.append(self.get(signature[1:], depth + 1))
            return items
        return tuple(self.get(each, depth + 1) for each in complete_types(signature[1:-1]))

    def _number(self, code: str) -> Any:
        (number,) = struct.unpack_from(self._order + code, self._data, self._at)
        self._at += struct.calcsize(code)
        return number
