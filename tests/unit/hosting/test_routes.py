"""What the front door is asked to serve: checked all at once, kept as records."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.hosting.routes import Backend, SiteRoute, check_routes, from_records, shown_backend, to_record
from pycontainer.record import Record

SHOP = SiteRoute(
    ("shop.example", "www.shop.example"),
    (Backend("10.0.0.2", 8080), Backend("fd00::2", 8080)),
    Path("/etc/ssl/shop.pem"),
    Path("/etc/ssl/shop.key"),
    "acme/shop",
)
BLOG = SiteRoute(("blog.example",), (), None, None, "zoo/blog", redirect=False)


def test_they_come_in_one_order_and_one_form() -> None:
    written = replace(
        SHOP, domains=("Shop.EXAMPLE", "www.shop.example", "shop.example"), backends=(*SHOP.backends, SHOP.backends[0])
    )
    written = replace(written, backends=(Backend("10.0.0.2", 8080), Backend("FD00:0::2", 8080)))
    assert check_routes([BLOG, written]) == check_routes([written, BLOG]) == (SHOP, BLOG)


def test_records_come_back() -> None:
    assert from_records([Record(to_record(route)) for route in (SHOP, BLOG)]) == (SHOP, BLOG)


def test_a_record_that_was_not_ours_is_checked_like_anything_else() -> None:
    with pytest.raises(InvalidInput, match="is not a domain"):
        from_records([Record({**to_record(BLOG), "domains": ["a; include /etc/shadow"]})])
    with pytest.raises(ValueError, match="field 'port' holds '80'"):
        from_records([Record({**to_record(BLOG), "backends": [{"ip": "10.0.0.2", "port": "80"}]})])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "shop"}, "site shop: '' is not a site name"),
        ({"name": "acme/a/b"}, "site acme/a/b: 'a/b' is not a site name"),
        ({"name": "../etc/shop"}, "site ../etc/shop: '..' is not a tenant name"),
        ({"name": "acme/shop\n"}, "site acme/shop\\n: 'shop\\n' is not a site name"),
        ({"domains": ()}, "site acme/shop: it has no domain"),
        ({"domains": ("a b",)}, "site acme/shop: 'a b' is not a domain"),
        ({"backends": (Backend("host", 80),)}, "site acme/shop: 'host' is not an IP address"),
        ({"backends": (Backend("10.0.0.2;", 80),)}, "site acme/shop: '10.0.0.2;' is not an IP address"),
        ({"backends": (Backend("fe80::1%eth0", 80),)}, "site acme/shop: 'fe80::1%eth0' holds the name of a link"),
        ({"backends": (Backend("10.0.0.2", 0),)}, "site acme/shop: 0 is not a port"),
        ({"backends": (Backend("10.0.0.2", 65536),)}, "site acme/shop: 65536 is not a port"),
        ({"backends": (Backend("10.0.0.2", True),)}, "site acme/shop: True is not a port"),
        (
            {"backends": tuple(Backend("10.0.0.2", port) for port in range(1, 258))},
            "it has 257 replicas, more than 256",
        ),
        ({"key": None}, "site acme/shop: a certificate and its key go together"),
        ({"certificate": Path("shop.pem")}, "site acme/shop: 'shop.pem' cannot be the path of a file here"),
        ({"certificate": Path('/a";b')}, "site acme/shop: '/a\";b' cannot be the path of a file here"),
        ({"key": Path("/a$host")}, "site acme/shop: '/a$host' cannot be the path of a file here"),
        ({"key": Path("/a\nb")}, "site acme/shop: '/a\\nb' cannot be the path of a file here"),
    ],
)
def test_what_is_wrong(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_routes([replace(SHOP, **changes)])
    assert message in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


def test_all_of_it_is_told() -> None:
    thief = replace(BLOG, name="zoo/thief", domains=("www.shop.example", "thief.example"))
    with pytest.raises(InvalidInput) as caught:
        check_routes([SHOP, thief, replace(BLOG, domains=("_",)), BLOG, BLOG])
    assert caught.value.message.splitlines() == [
        "site zoo/thief: domain 'www.shop.example' is that of site acme/shop",
        "site zoo/blog: '_' is not a domain: '_' is not letters, digits, and dashes between them",
        "site zoo/blog: there are two of that name",
    ]


def test_an_address_with_its_port() -> None:
    assert [shown_backend(each) for each in SHOP.backends] == ["10.0.0.2:8080", "[fd00::2]:8080"]
