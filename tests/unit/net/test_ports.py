"""The supervisor's end of the forwarder's control socket."""

import contextlib
import json
import socket
from pathlib import Path

import pytest

from pycontainer.net.ports import ForwarderClient


def test_a_late_reply_is_not_taken_for_the_next_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pycontainer.net.ports.REPLY_TIMEOUT_SECONDS", 0.01)
    path = str(tmp_path / "forwarder.sock")
    client = ForwarderClient(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as control:
        control.bind(path)
        control.listen()
        with pytest.raises(TimeoutError):
            client.remove("slow")
        first, _ = control.accept()
        with first:
            first.recv(100)
            with contextlib.suppress(BrokenPipeError):
                first.send(json.dumps({"removed": 1}).encode())
            with pytest.raises(TimeoutError):
                client.owners()
    client.close(end=False)
