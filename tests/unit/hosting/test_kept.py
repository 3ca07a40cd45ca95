"""Certificates as they are served: the last pair that could be used, whatever becomes of the files."""

from dataclasses import replace
from pathlib import Path

import pytest

from pycontainer.hosting.kept import forget_others, keep
from pycontainer.hosting.routes import SiteRoute
from tests.support.certificates import Pair, make_certificate
from tests.unit.hosting.test_routes import BLOG, SHOP

pytestmark = pytest.mark.requires("openssl")


def served(route: SiteRoute, directory: Path) -> bytes:
    """Return what the site is served with; nothing: it has no TLS."""
    (kept,) = keep([route], str(directory))
    assert kept.certificate == kept.key
    if kept.certificate is None:
        return b""
    assert (kept.certificate, kept.certificate.stat().st_mode & 0o777) == (directory / "acme" / "shop.pem", 0o600)
    return kept.certificate.read_bytes()


def both(pair: Pair) -> bytes:
    return pair.certificate.read_bytes() + pair.key.read_bytes()


def test_a_renewal_in_two_steps(tmp_path: Path) -> None:
    old, new = (make_certificate(tmp_path, "shop.example", name=name) for name in ("old", "new"))
    expected = both(old)
    route, directory = replace(SHOP, certificate=old.certificate, key=old.key), tmp_path / "kept"
    assert served(route, directory) == expected
    old.certificate.write_bytes(new.certificate.read_bytes())
    assert served(route, directory) == expected  # the key is still the other's
    old.key.write_bytes(new.key.read_bytes())
    assert served(route, directory) == both(new) != expected


@pytest.mark.parametrize("which", [0, 1])
def test_files_that_are_lost_or_spoilt(tmp_path: Path, which: int) -> None:
    pair = make_certificate(tmp_path, "shop.example")
    expected = both(pair)
    route, directory = replace(SHOP, certificate=pair.certificate, key=pair.key), tmp_path / "kept"
    assert served(route, directory) == expected
    pair[which].write_text("none")
    assert served(route, directory) == expected
    pair[which].unlink()
    assert served(route, directory) == expected
    assert sorted(path.name for path in (directory / "acme").iterdir()) == ["shop.pem"]
    assert served(route, tmp_path / "other") == b""  # who never had a good one has none
    assert not [path for path in (tmp_path / "other").rglob("*") if path.is_file()]


def test_who_has_none_any_more(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "shop.example")
    routes = [replace(each, certificate=pair.certificate, key=pair.key) for each in (SHOP, BLOG)]
    keep(routes, str(tmp_path / "kept"))
    forget_others([routes[0], BLOG], str(tmp_path / "kept"))
    assert [path.name for path in (tmp_path / "kept").rglob("*.pem")] == ["shop.pem"]
    forget_others([], str(tmp_path / "kept"))
    forget_others([], str(tmp_path / "never"))
    assert [path for path in (tmp_path / "kept").rglob("*") if path.is_file()] == []
