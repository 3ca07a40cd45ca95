"""An image's config: known keys, checked types."""

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.store.imageconfig import check_config

EMPTY: dict[str, object] = {
    "entrypoint": [],
    "cmd": [],
    "env": [],
    "user": "",
    "workdir": "",
    "exposed_ports": [],
    "volumes": [],
    "stop_signal": "",
    "labels": {},
}


def test_fills_in_what_was_not_said() -> None:
    assert check_config({}) == EMPTY
    assert check_config({"cmd": ("sh",), "user": None, "labels": {"a": "b"}}) == {
        **EMPTY,
        "cmd": ["sh"],
        "labels": {"a": "b"},
    }


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"hooks": []}, "hooks"),
        ({"cmd": "sh"}, "cmd"),
        ({"cmd": [1]}, "cmd"),
        ({"env": ["A"]}, "env"),
        ({"env": ["=x"]}, "env"),
        ({"user": 0}, "user"),
        ({"labels": {"a": 1}}, "labels"),
        ({"workdir": "a\0b"}, "workdir"),
        ({"cmd": ["\ud800"]}, "cmd"),
        ({"labels": ["a=b"]}, "labels"),
    ],
)
def test_refuses(config: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_config(config)
    assert caught.value.field == field


def test_is_bounded() -> None:
    with pytest.raises(InvalidInput, match="larger than"):
        check_config({"cmd": ["x" * 2_000_000]})
