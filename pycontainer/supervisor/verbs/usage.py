"""usage: what was used in a month, by everybody or by one tenant."""

import re
import time
from collections.abc import Mapping

from pycontainer.errors import InvalidInput
from pycontainer.store.ledgerfile import Key, Owner, Sums, Used
from pycontainer.supervisor.books import month_at
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.world import World
from pycontainer.units import shown

_MONTH = re.compile(r"[0-9]{4}-(?:0[1-9]|1[0-2])", re.ASCII)


async def usage(world: World, call: Call) -> object:
    """Return Usage (docs/api.md). Of the present month what runs is looked at anew."""
    month, tenant = call.text("month"), call.text("tenant")
    if month and not _MONTH.fullmatch(month):
        raise InvalidInput(
            f"{shown(month)} is not a month", field="month", hint="write year and month, such as 2026-11"
        )
    month = month or month_at(time.time())
    used = await world.ledger.used(month, tenant)
    if tenant:
        used = {key: one for key, one in used.items() if one.owner.tenant == tenant}
        if not used:  # one that is removed has its past
            world.tenants.find(tenant)
    return {
        "month": month,
        "is_current": month == month_at(time.time()),
        "instances": _instances(used),
        "tenants": _tenants(used, {tenant} if tenant else {*world.tenants.by_name}),
    }


def _instances(used: Mapping[Key, Used]) -> list[dict[str, object]]:
    """Return a row for each name of each tenant: who made a container anew under its name has one account of it."""
    ids: dict[Owner, list[str]] = {}
    sums: dict[Owner, Sums] = {}
    for key, (owner, one) in sorted(used.items()):
        sums[owner] = sums.get(owner, Sums()) + one
        ids.setdefault(owner, []).extend([key.container] if owner.name else [])
    return [{**owner._asdict(), "ids": ids[owner], **plain(one)} for owner, one in sorted(sums.items())]


def _tenants(used: Mapping[Key, Used], present: set[str]) -> list[dict[str, object]]:
    sums = dict.fromkeys(present, Sums())
    names: dict[str, set[str]] = {}
    for owner, one in used.values():
        sums[owner.tenant] = sums.get(owner.tenant, Sums()) + one
        names.setdefault(owner.tenant, set()).update({owner.name} - {""})
    return [
        {"tenant": tenant, "instances": len(names.get(tenant, ())), **plain(one)}
        for tenant, one in sorted(sums.items())
    ]


def plain(sums: Sums) -> dict[str, object]:
    """Return sums as they are told: hours, seconds, bytes."""
    fields = sums._asdict()
    return {
        "run_hours": fields.pop("run_seconds") / 3600,
        "cpu_seconds": fields.pop("cpu_usec") / 1e6,
        **fields,
    }
