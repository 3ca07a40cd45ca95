"""Environment files."""

from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.spec.envfile import expand_variable, parse_env_text, read_env_file


def test_what_docker_reads() -> None:
    text = '# comment\n\n  A=1\nB=\nC=x # y="z" $A\r\nHOME\nNOT_SET\nA=2\n'
    assert parse_env_text(text, {"HOME": "/root", "A": "9"}, source="f") == [
        "A=1",
        "B=",
        'C=x # y="z" $A',
        "HOME=/root",
        "A=2",
    ]


def test_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("\ufeffA=é\n")
    assert read_env_file(f"{tmp_path}/env", {}) == ["A=é"]


def test_all_problems_with_their_lines() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_env_text("A=1\n=x\nB C=1\nexport D=1\n", {}, source="web.env")
    assert caught.value.message.split("\n") == [
        "web.env:2: '=x' has no name before '='",
        "web.env:3: 'B C' holds a blank",
        "web.env:4: 'export D' holds a blank",
    ]
    assert caught.value.source == "web.env:2"


def test_one_variable() -> None:
    assert expand_variable("A=b", {}) == ["A=b"]
    assert expand_variable("A", {"A": "c"}) == ["A=c"]
    assert expand_variable("A", {}) == []
    with pytest.raises(InvalidInput, match=r"^'=' has no name before '='$"):
        expand_variable("", {})
