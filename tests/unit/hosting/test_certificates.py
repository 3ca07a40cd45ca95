"""Certificates, made by openssl, good ones and wrong in one way each."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from pycontainer.hosting.certificates import check, warnings, why_unusable
from tests.support.certificates import Pair, make_certificate

pytestmark = pytest.mark.requires("openssl")


def test_a_good_one(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "shop.example", "*.shop.example")
    assert check(*pair, ["shop.example", "www.shop.example", "*.shop.example"]) == []
    assert warnings(*pair) == [] and why_unusable(*pair) == ""


def test_one_for_other_names(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "shop.example", "*.shop.example")
    domains = ["a.b.shop.example", "shop.example", "blog.example"]
    has = "it has shop.example, *.shop.example"
    assert check(*pair, domains) == [
        f"certificate '{pair.certificate}' is not for a.b.shop.example, blog.example: {has}"
    ]


def test_a_name_in_the_subject_alone_is_none(tmp_path: Path) -> None:
    """Browsers have not looked there for years."""
    pair = make_certificate(tmp_path)
    assert check(*pair, ["test"]) == [f"certificate '{pair.certificate}' is not for test: it has no name at all"]


def test_dates(tmp_path: Path) -> None:
    """All that is wrong is told together."""
    old = make_certificate(tmp_path, "a.example", name="old", dates=("20200101000000Z", "20210203040506Z"))
    assert check(*old, ["a.example"]) == [f"certificate '{old.certificate}' expired on 2021-02-03"]
    assert len(check(*old, ["b.example"])) == 2
    assert warnings(*old) == []  # it is a problem already
    new = make_certificate(tmp_path, "a.example", name="new", dates=("20900304000000Z", "20910101000000Z"))
    assert check(*new, ["a.example"]) == [f"certificate '{new.certificate}' is not valid before 2090-03-04"]


def test_one_that_is_about_to_expire_and_a_key_that_others_can_read(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "shop.example", days=5)
    pair.key.chmod(0o644)
    assert check(*pair, ["shop.example"]) == []
    assert warnings(*pair) == [
        f"key '{pair.key}' can be read by others than its owner, mode 0644: chmod 600 '{pair.key}'",
        f"certificate '{pair.certificate}' expires in 4 days",
    ]


def test_the_key_of_another(tmp_path: Path) -> None:
    one, other = (make_certificate(tmp_path, "shop.example", name=name) for name in ("one", "other"))
    expected = f"key '{other.key}' is not that of certificate '{one.certificate}'"
    assert check(one.certificate, other.key, ["shop.example"]) == [expected]
    assert why_unusable(one.certificate, other.key) == expected


def test_with_those_above_it(tmp_path: Path) -> None:
    """The first of the file is the site's; the names of others in it are not."""
    one, other = (make_certificate(tmp_path, f"{name}.example", name=name) for name in ("one", "other"))
    chain = tmp_path / "chain.pem"
    chain.write_bytes(one.certificate.read_bytes().replace(b"\n", b"\r\n") + other.certificate.read_bytes())
    assert check(chain, one.key, ["one.example"]) == []
    assert "is not for other.example" in check(chain, one.key, ["other.example"])[0]


def test_one_that_is_not_for_servers(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "shop.example", extra=("extendedKeyUsage=clientAuth",))
    assert "purpose" in check(*pair, ["shop.example"])[0]


def lock(pair: Pair) -> None:
    locked = pair.key.with_suffix(".locked")
    command = ["openssl", "ec", "-aes256", "-passout", "pass:secret", "-in", str(pair.key), "-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    locked.rename(pair.key)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda pair: pair.certificate.unlink(), "cannot read '{0}': No such file or directory"),
        (lambda pair: pair.key.unlink(), "cannot read '{1}': No such file or directory"),
        (lambda pair: pair.certificate.write_text("none"), "certificate '{0}' with key '{1}' cannot be used: "),
        (lambda pair: pair.key.write_text("none"), "certificate '{0}' with key '{1}' cannot be used: "),
        (lambda pair: pair.key.write_bytes(pair.certificate.read_bytes()), "cannot be used: "),
        (lock, "key '{1}' is locked by a password, which nobody is there to give"),
    ],
)
def test_what_cannot_be_used(tmp_path: Path, spoil: Callable[[Pair], None], told: str) -> None:
    pair = make_certificate(tmp_path, "shop.example")
    spoil(pair)
    (problem,) = check(*pair, ["shop.example"])
    assert told.format(*pair) in problem and "_ssl.c" not in problem and "\n" not in problem
    assert why_unusable(*pair) == problem and warnings(*pair) == []
