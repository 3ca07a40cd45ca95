"""Whether the host may promise what is about to be asked of it: the supervisor's judgement, beforehand and for many at once.

The supervisor judges each promise when it is made, and its word counts. Who is about to make hundreds wants to know first.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from pycontainer.spec.capacity import Amounts, Policy, Promised, too_much, total

if TYPE_CHECKING:
    from pycontainer.client.types import Capacity


def excess(found: "Capacity", new: Iterable[Amounts], gone: Iterable[Amounts] = ()) -> list[str]:
    """Return what would be promised beyond what the host may, if `new` came and `gone` went; empty if nothing is judged.

    `found` is what `Client.capacity` said. What a container or tenant promises is told by `amounts`, `beside` and
    `of_pool` of spec/capacity.py. `found["admission"]` says whether the supervisor will refuse, or warn.
    """
    if found["admission"] == "off":
        return []
    rows = found["resources"]
    policy = Policy(
        found["admission"], {row["resource"]: round(row["ratio"] * 1000) for row in rows if row["ratio"] is not None}
    )
    physical = {row["resource"]: row["physical"] for row in rows if row["physical"] is not None}
    before = [Promised(row["promised"], row["uncapped"]) for row in rows]
    after = [
        Promised(was.amount + more.amount - less.amount, was.uncapped + more.uncapped - less.uncapped)
        for was, more, less in zip(before, total(new), total(gone), strict=True)
    ]
    return too_much(before, after, physical, policy)
