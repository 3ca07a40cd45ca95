"""Takes the descriptors of one request from a client who is not trusted, in a process of its own (supervisor/descriptors.py):

    python -SI -c BOOT PARENT take MOST      descriptor 0 is the client's socket, 3 the answer's
    python -SI -c BOOT PARENT bury           closes the sockets that come through descriptor 0, each for itself, once a byte
                                             without one says that those before it are closed at the other end

The answer is JSON: the head of the request as hexadecimal digits, and why its descriptors are refused, if they are. Those
that do no harm come with it. Others stay here, and this process waits in the end, if anybody has to, for them to be closed.
"""

import json
import os
import socket
import threading

from pycontainer.linux.descriptors import receive_fds
from pycontainer.runtime.foreign import refusal
from pycontainer.runtime.worker import end_with

_HEAD_BYTES = 4  # api/messages.py: they ride on the first byte of a frame


def main(arguments: list[str]) -> None:
    """Do what the command line says."""
    parent, what, *rest = arguments
    end_with(int(parent))
    if what == "bury":
        _bury()
    else:
        _take(int(rest[0]))


def _bury() -> None:
    """Close what comes, not before the supervisor has: who closes last waits. Each is closed beside all else."""
    held: list[int] = []
    with socket.socket(fileno=0) as sock:
        while True:
            data, fds = receive_fds(sock, 1, 1)
            if not data:
                return
            held += fds
            while held and not fds:
                threading.Thread(target=os.close, args=(held.pop(),), daemon=True).start()


def _take(most: int) -> None:
    client, answer = socket.socket(fileno=0), socket.socket(fileno=3)
    head, fds = receive_fds(client, _HEAD_BYTES, most)
    refused = next(filter(None, map(refusal, fds)), "")
    data = json.dumps({"head": head.hex(), "refused": refused}).encode()
    socket.send_fds(answer, [data], [] if refused else fds)
