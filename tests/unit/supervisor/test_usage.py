"""What `usage` tells: accounts by name, tenants with their sums, and who may not be asked for."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.store.ledgerfile import Key, Owner, Sums, Used
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.verbs.usage import usage

USED = {
    Key("2026-10", "0" * 12): Used(Owner("acme", "web"), Sums(3600, 2_500_000, net_in_bytes=5)),
    Key("2026-10", "1" * 12): Used(Owner("acme", "web"), Sums(1800, 1_000_000, net_in_bytes=1)),
    Key("2026-10", "2" * 12): Used(Owner("acme", "db"), Sums(io_read_bytes=7)),
    Key("2026-10", "3" * 12): Used(Owner("", "web"), Sums(memory_byte_hours=1.5)),
    Key("2026-10", "pool:acme"): Used(Owner("acme", ""), Sums(disk_byte_hours=9.0)),
}


class Tenants:
    """`acme`, and `idle`, which has used nothing."""

    by_name = dict.fromkeys(("acme", "idle"))

    def find(self, name: str) -> None:
        if name not in self.by_name:
            raise NotFound("no such tenant")


def ask(**arguments: str) -> dict[str, Any]:
    asked: list[str] = []

    async def used(month: str, tenant: str = "") -> dict[Key, Used]:
        asked.append(month)
        return USED

    async def send(event: object, fds: list[int]) -> None:
        raise AssertionError("it streams nothing")

    world: Any = SimpleNamespace(ledger=SimpleNamespace(used=used), tenants=Tenants())
    found: Any = asyncio.run(usage(world, Call("usage", dict(arguments), [], send)))
    assert asked == [found["month"]]
    return dict(found)


def test_a_name_is_one_account_within_its_tenant() -> None:
    found = ask(month="2026-10")
    assert (found["month"], found["is_current"]) == ("2026-10", False)
    rows = {(row["tenant"], row["name"]): row for row in found["instances"]}
    assert list(rows) == [("", "web"), ("acme", ""), ("acme", "db"), ("acme", "web")]
    web = rows["acme", "web"]
    assert web["ids"] == ["0" * 12, "1" * 12]
    assert (web["run_hours"], web["cpu_seconds"], web["net_in_bytes"]) == (1.5, 3.5, 6)
    assert (rows["acme", ""]["ids"], rows["acme", ""]["disk_byte_hours"]) == ([], 9.0)


def test_a_tenant_is_the_sum_of_its_instances_and_its_pool() -> None:
    tenants = {row["tenant"]: row for row in ask(month="2026-10")["tenants"]}
    assert list(tenants) == ["", "acme", "idle"]
    acme = tenants["acme"]
    assert (acme["instances"], acme["cpu_seconds"], acme["disk_byte_hours"], acme["io_read_bytes"]) == (2, 3.5, 9.0, 7)
    assert (tenants["idle"]["instances"], tenants["idle"]["cpu_seconds"]) == (0, 0)
    assert tenants[""]["memory_byte_hours"] == 1.5


def test_one_tenant_alone() -> None:
    found = ask(month="2026-10", tenant="acme")
    assert {row["tenant"] for row in found["instances"]} == {"acme"}
    assert [row["tenant"] for row in found["tenants"]] == ["acme"]
    assert [(row["tenant"], row["instances"]) for row in ask(month="2026-10", tenant="idle")["tenants"]] == [
        ("idle", 0)
    ]
    with pytest.raises(NotFound):
        ask(month="2026-10", tenant="nobody")


@pytest.mark.parametrize("month", ["2026", "2026-1", "2026-00", "2026-13", "2026-10 ", "2026-10\n", "x", "٢٠٢٦-١٠"])
def test_what_is_no_month_is_refused(month: str) -> None:
    with pytest.raises(InvalidInput):
        ask(month=month)


def test_without_a_month_it_is_the_present_one() -> None:
    assert ask()["is_current"]
