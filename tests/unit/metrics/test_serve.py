"""Where the metrics process listens."""

import grp
import os
import socket
import stat
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.metrics.serve import _listening, parse_address


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:9323", ("127.0.0.1", 9323)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("unix:/run/m.sock", "/run/m.sock"),
    ],
)
def test_addresses(text: str, expected: object) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "9323", ":9323", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:99999999", "127.0.0.1:９", "localhost:1",
     "::1:5", "[127.0.0.1]:5", "[::1]", "127.1:5", "127.0.0.1:5\n", "127.0.0.1:-1", "unix:", "unix:m.sock", "unix:/a\0b"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    """VAL-01: nothing is guessed, and what was given is shown without its control characters."""
    with pytest.raises(InvalidInput) as caught:
        parse_address(text)
    assert caught.value.field == "listen" and "\n" not in caught.value.message and "\0" not in caught.value.message


def test_loopback_is_said_nothing_about(capsys: pytest.CaptureFixture[str]) -> None:
    with _listening("127.0.0.1:0", ""):
        pass
    assert capsys.readouterr().err == ""


def test_who_listens_to_the_world_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with _listening("0.0.0.0:0", ""):
        pass
    assert "neither a password nor encryption" in capsys.readouterr().err


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        with pytest.raises(InvalidInput, match="Address already in use"):
            with _listening(f"127.0.0.1:{other.getsockname()[1]}", ""):
                raise AssertionError


def test_a_unix_socket_is_for_its_owner(tmp_path: Path) -> None:
    """API-01: whatever the umask."""
    path, before = tmp_path / "m.sock", os.umask(0)
    try:
        with _listening(f"unix:{path}", ""):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(path))
    finally:
        os.umask(before)
    assert not path.exists()


def test_a_unix_socket_for_a_group(tmp_path: Path) -> None:
    path, group = tmp_path / "m.sock", grp.getgrgid(os.getgid()).gr_name
    with _listening(f"unix:{path}", group):
        assert stat.S_IMODE(path.stat().st_mode) == 0o660 and path.stat().st_gid == os.getgid()
    with pytest.raises(InvalidInput, match="there is no group"):
        with _listening(f"unix:{path}", "no-such-group"):
            raise AssertionError


def test_what_a_dead_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with _listening(f"unix:{path}", ""):
        with pytest.raises(InvalidInput, match="somebody listens there"):
            with _listening(f"unix:{path}", ""):
                raise AssertionError
        assert path.exists()


def test_a_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "m.sock"
    path.write_text("precious")
    with pytest.raises(InvalidInput, match="no socket"):
        with _listening(f"unix:{path}", ""):
            raise AssertionError
    assert path.read_text() == "precious"
