"""Names of hosts: which can be written, and which of a certificate stand for them."""

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.hosting.domains import check_domain, covers


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("shop.example", "shop.example"),
        ("WWW.Shop.Example", "www.shop.example"),
        ("*.shop.example", "*.shop.example"),
        ("xn--mller-kva.example", "xn--mller-kva.example"),
        ("localhost", "localhost"),
        ("1.shop", "1.shop"),
        (f"{'a' * 63}.example", f"{'a' * 63}.example"),
    ],
)
def test_what_is_a_domain(written: str, domain: str) -> None:
    assert check_domain(written) == domain


@pytest.mark.parametrize(
    "written",
    [
        "", ".", "a..b", ".a", "a.", "-a.b", "a-.b", "a_b.c", "a b", "a.example;", "a.example\n", "a\0.example", "~^.*$",
        "*", "*.*.example", "w*.example", "a.*.example", '"a"', "a{b", "$host", "a/b", "a:80", "192.0.2.1", "[::1]",
        "müller.example", "ａ.example", f"{'a' * 64}.example", ".".join(["a"] * 128), 5, None,
    ],
)  # fmt: skip
def test_what_is_none(written: object) -> None:
    """VAL-01: nothing that nginx, a shell or a path would read as more than a name."""
    with pytest.raises(InvalidInput, match="is not a domain"):
        check_domain(written)


@pytest.mark.parametrize(
    ("name", "domain", "expected"),
    [
        ("shop.example", "shop.example", True),
        ("SHOP.example.", "shop.example", True),
        ("shop.example", "www.shop.example", False),
        ("*.shop.example", "www.shop.example", True),
        ("*.shop.example", "a.www.shop.example", False),
        ("*.shop.example", "shop.example", False),
        ("*.shop.example", "*.shop.example", True),
        ("www.shop.example", "*.shop.example", False),
        ("*.example", "*.shop.example", False),
        ("w*.shop.example", "www.shop.example", False),
        ("*.", "localhost", False),
    ],
)
def test_what_a_certificate_stands_for(name: str, domain: str, expected: bool) -> None:
    assert covers(name, domain) is expected


@pytest.mark.parametrize(
    ("written", "reason", "hint"),
    [
        ("bücher.example", "letters beside a to z", "xn--bcher-kva.example"),
        ("example.org.", "ends in a dot", "leave the dot out"),
        ("a..example", "a part of it is empty", "www"),
        ("a_b.example", "'a_b' is not letters", "www"),
        ("http://a.example", "'http://a' is not letters", "www"),
        ("192.0.2.1", "but an address", "www"),
        ("xn--a.example", "stands for no other letters", "www"),
        ("xn--abc-.example", "is not letters", "www"),
        ("a." * 126 + "example", "more than 253 characters", "www"),
    ],
)
def test_what_is_said_of_it(written: str, reason: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_domain(written)
    assert reason in caught.value.message and hint in caught.value.hint
