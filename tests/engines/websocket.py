"""The streams of a kubelet's exec over a WebSocket: RFC 6455 with the subprotocol v4.channel.k8s.io.

The first byte of a message is its channel: 0 stdin, 1 stdout, 2 stderr, 3 a last Status in JSON.
"""

import base64
import json
import os
import socket
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_PROTOCOL = "v4.channel.k8s.io"
_CONTINUATION, _BINARY, _CLOSE = 0, 2, 8


class Streams(NamedTuple):
    """What a command wrote, and how it ended."""

    stdout: bytes
    stderr: bytes
    status: dict[str, Any]

    @property
    def exit_code(self) -> int:
        """The exit code, which the Status holds as a text among its causes; 0 of a success."""
        if self.status["status"] == "Success":
            return 0
        return int(self.status["details"]["causes"][0]["message"])


def exchange(connect: Callable[[str, int], socket.socket], url: str, stdin: bytes = b"") -> Streams:
    """Open `url`, send `stdin` as one message and read all until the other side closes."""
    parts = urlsplit(url)
    assert parts.hostname and parts.port, url
    channels: dict[int, bytes] = {1: b"", 2: b"", 3: b""}
    with connect(parts.hostname, parts.port) as stream:
        stream.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Protocol: {_PROTOCOL}\r\n\r\n".encode()
        )
        with stream.makefile("rb") as file:
            answer = file.readline().decode()
            assert " 101 " in answer, answer
            while file.readline().strip():
                pass
            if stdin:
                stream.sendall(_frame(b"\0" + stdin))
            message = b""
            while True:
                head = file.read(2)
                if len(head) < 2 or head[0] & 15 == _CLOSE:
                    break
                size = head[1] & 127
                if size > 125:
                    size = int.from_bytes(file.read(2 if size == 126 else 8), "big")
                data = file.read(size)
                if head[0] & 15 not in (_CONTINUATION, _BINARY):
                    continue
                message += data
                if head[0] & 128 and message:
                    channels[message[0]] += message[1:]
                    message = b""
    return Streams(channels[1], channels[2], json.loads(channels[3]))


def _frame(data: bytes) -> bytes:
    """Return a short final binary frame; what a client sends is masked, here with zeros."""
    assert len(data) < 126, "longer frames have another head"
    return bytes([128 | _BINARY, 128 | len(data)]) + bytes(4) + data
