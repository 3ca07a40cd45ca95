"""What nginx's words mean, and a host that has none."""

from pathlib import Path

import pytest

from pycontainer.errors import AlreadyExists, PycontainerError, Unsupported
from pycontainer.hosting import nginx
from pycontainer.hosting.nginx import Nginx
from tests.unit.hosting.test_nginxconf import SETTINGS


def test_a_host_without_nginx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nginx, "_PATH", str(tmp_path))
    with pytest.raises(Unsupported, match="nginx, which is not installed") as caught:
        Nginx(SETTINGS)._run("-v")
    assert caught.value.feature == "nginx" and caught.value.hint.startswith("apt-get install nginx")


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            'nginx: [emerg] unknown directive "a" in /b:1\nnginx: configuration file /b test failed\n',
            'unknown directive "a" in /b:1',
        ),
        ("2026/11/26 15:00:00 [emerg] 12#12: mkdir() failed\n", "mkdir() failed"),
        ("nginx: [warn] this\nnginx: [emerg] that\n", "that"),
        ("prlimit: no such thing\n", "prlimit: no such thing"),
        ("", "it does not say why"),
    ],
)
def test_what_is_wrong_in_one_line(said: str, told: str) -> None:
    error = nginx._did_not_start(said)
    assert type(error) is PycontainerError and error.message == f"nginx does not serve the new configuration: {told}"


@pytest.mark.parametrize("written", ["0.0.0.0:1", "[::]:1"])
def test_an_address_that_is_taken(written: str) -> None:
    """Nobody listens on port 1 here, so nobody can be named."""
    error = nginx._did_not_start(f"nginx: [emerg] bind() to {written} failed (98: Address already in use)\n")
    assert isinstance(error, AlreadyExists)
    assert error.message == f"the front door cannot listen on {written}: somebody else does"
