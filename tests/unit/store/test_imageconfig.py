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
    "healthcheck": {},
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
        ({"stop_signal": "SIGFOO"}, "stop_signal"),
        ({"stop_signal": "\u00b2"}, "stop_signal"),  # isdigit() says yes, int() says no
        ({"stop_signal": "999"}, "stop_signal"),
        ({"cmd": ["x"] * 4097}, "cmd"),
        ({"labels": {str(number): "" for number in range(4097)}}, "labels"),
    ],
)
def test_refuses(config: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_config(config)
    assert caught.value.field == field


def test_what_is_no_config() -> None:
    with pytest.raises(InvalidInput, match=r"^\[\] is not an image's config$"):
        check_config([])  # type: ignore[arg-type]


def test_a_stop_signal_stays_as_the_image_spells_it() -> None:
    assert check_config({"stop_signal": "SIGRTMIN+3"})["stop_signal"] == "SIGRTMIN+3"


def test_is_bounded() -> None:
    with pytest.raises(InvalidInput, match="larger than"):
        check_config({"cmd": ["x" * 2_000_000]})
