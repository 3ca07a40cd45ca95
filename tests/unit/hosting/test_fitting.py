"""Who of those that were wanted is sent requests."""

from dataclasses import replace
from typing import Any

import pytest

from pycontainer.hosting.fitting import fit, is_well, left_out
from pycontainer.hosting.routes import Backend
from tests.unit.hosting.test_routes import BLOG, SHOP

SUBNETS = ("10.0.0.0/24", "fd00::/64", "")
ONE, TWO, SIX = Backend("10.0.0.2", 8080), Backend("10.0.0.3", 8080), Backend("fd00::3", 8080)
OUTSIDE = Backend("192.0.2.7", 80)


def container(ip: str = "", ip6: str = "", **fields: Any) -> Any:
    found = {"status": "running", "health": "healthy", "tenant": "acme", "labels": {"hosting.site": "acme/shop"}}
    return {**found, "networks": {"default": {"ip": ip, "ip6": ip6}}, **fields}


def backends(*containers: Any, wanted: tuple[Backend, ...] = (ONE, TWO, SIX)) -> tuple[Backend, ...]:
    (route,) = fit([replace(SHOP, backends=wanted)], containers, SUBNETS)
    return route.backends


def test_who_is_well_stays() -> None:
    assert backends(container("10.0.0.2"), container("10.0.0.3", "fd00:0:0::3")) == (ONE, TWO, SIX)
    assert backends(container("10.0.0.2"), container("10.0.0.3", health="unhealthy")) == (ONE,)
    assert backends(container("10.0.0.2")) == (ONE,)
    assert backends() == ()


def test_who_is_well_but_was_not_asked_for_is_not_sent_requests() -> None:
    """A replica that is to leave still runs when its site no longer names it."""
    assert backends(container("10.0.0.2"), container("10.0.0.3"), wanted=(TWO,)) == (TWO,)


@pytest.mark.parametrize("labels", [{}, {"hosting.site": "zoo/blog"}, {"hosting.site": ""}])
def test_an_address_that_is_anothers_now_gets_nothing(labels: dict[str, str]) -> None:
    """The requests of one tenant's site must not reach the container that got its address."""
    assert backends(container("10.0.0.2", labels=labels), container("10.0.0.3")) == (TWO,)


def test_who_says_to_be_of_another_tenants_site_gets_nothing() -> None:
    """Labels are for their owners to give: one that names another tenant's site is a lie."""
    assert backends(container("10.0.0.2", tenant="zoo"), container("10.0.0.3")) == (TWO,)


def test_an_address_outside_of_our_networks_is_the_operators() -> None:
    assert backends(container("10.0.0.2"), wanted=(OUTSIDE, ONE)) == (OUTSIDE, ONE)
    assert backends(wanted=(OUTSIDE, ONE)) == (OUTSIDE,)


@pytest.mark.parametrize(
    ("status", "health", "expected"),
    [
        ("running", "", True),
        ("running", "ready", True),
        ("running", "healthy", True),
        ("running", "starting", False),
        ("running", "unhealthy", False),
        ("paused", "healthy", False),
        ("stopped", "", False),
        ("restarting", "", False),
        ("damaged", "", False),
    ],
)
def test_who_is_well(status: str, health: str, expected: bool) -> None:
    assert is_well(container(status=status, health=health)) is expected


def test_how_many_are_left_out() -> None:
    wanted = [replace(SHOP, backends=(ONE, TWO)), BLOG]
    assert left_out(wanted, fit(wanted, [container("10.0.0.3")], SUBNETS)) == {"acme/shop": 1}
