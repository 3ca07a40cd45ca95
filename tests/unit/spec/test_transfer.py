"""The transfer of a month as text: what is understood, what is refused, what stays."""

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.spec.parse import parse_pool
from pycontainer.spec.transfer import Action, parse_action


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("warn", Action("warn")),
        ("stop", Action("stop")),
        ("slow:1mbit", Action("slow", bits=1_000_000)),
        ("hook:/usr/local/bin/bill", Action("hook", program="/usr/local/bin/bill")),
    ],
)
def test_an_action_is_read_back_as_it_was_written(text: str, action: Action) -> None:
    assert parse_action(text) == action
    assert str(action) == text


@pytest.mark.parametrize(
    "text",
    ["", "slow", "slow:", "slow:1M", "slow:1bit", "warn:", "stop:now", "hook:", "hook:bill", "hook:/a/../b", "hook:/a\0b",
     "pause", 5, None, ["warn"]],
)  # fmt: skip
def test_what_is_no_action_is_refused(text: object) -> None:
    with pytest.raises(InvalidInput):
        parse_action(text)


def test_a_tenant_is_given_it_beside_its_limits() -> None:
    limits, alone = parse_pool({"memory": "1G", "transfer": "2G", "transfer_action": "slow:1mbit"})
    assert (limits, alone) == (
        {"memory_bytes": 1 << 30},
        {"transfer": 2 << 30, "transfer_action": Action("slow", bits=1_000_000)},
    )
    assert parse_pool({"transfer": "unlimited"}) == ({}, {"transfer": None})


@pytest.mark.parametrize("wish", [{"transfer": "1TB"}, {"transfer": "0"}, {"transfer_action": "x"}])
def test_an_error_names_its_field(wish: dict[str, object]) -> None:
    (key,) = wish
    with pytest.raises(InvalidInput, match=f"^{key}: "):
        parse_pool(wish)
