"""Logs of sites stay small, and who writes them need not know."""

import os
from pathlib import Path

from pycontainer.hosting.sitelogs import cut


def test_who_has_one_open_goes_on_in_it(tmp_path: Path) -> None:
    log, other = tmp_path / "logs" / "acme" / "shop.log", tmp_path / "routes.json"
    log.parent.mkdir(parents=True)
    other.write_text("x" * 100)
    fd = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(fd, b"a" * 50)
        assert cut(str(tmp_path), max_bytes=50) == 0
        os.write(fd, b"b")
        assert cut(str(tmp_path), max_bytes=50) == 1
        os.write(fd, b"c" * 60)
        old = log.with_name("shop.log.1")
        assert (log.read_text(), old.read_text(), old.stat().st_mode & 0o777) == ("c" * 60, "a" * 50 + "b", 0o600)
        assert cut(str(tmp_path), max_bytes=50) == 1
    finally:
        os.close(fd)
    assert (log.read_text(), old.read_text(), other.read_text()) == ("", "c" * 60, "x" * 100)
    assert sorted(path.name for path in log.parent.iterdir()) == ["shop.log", "shop.log.1"]
