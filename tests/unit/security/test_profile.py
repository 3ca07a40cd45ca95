"""The two profiles, as docs/profiles.md tells of them."""

import re
from pathlib import Path

import pytest

from pycontainer.linux.capabilities import NAMES
from pycontainer.security.profile import rights
from pycontainer.spec.model import ContainerSpec

PAGE = Path(__file__).parents[3] / "docs" / "profiles.md"


@pytest.mark.parametrize(("profile", "column"), [("app", 2), ("system", 3)])
def test_the_page_lists_exactly_the_capabilities_of_a_profile(profile: str, column: int) -> None:
    """CAP-01"""
    table = re.search(r"## Capabilities.*?## System calls", PAGE.read_text(), re.DOTALL)
    assert table
    rows = [line.split("|") for line in table[0].splitlines() if re.match(r"\| [A-Z]{3}", line)]
    assert sorted(f"CAP_{name}" for row in rows for name in row[1].split()) == sorted(NAMES), "each of them once"
    told = {f"CAP_{name}" for row in rows if row[column].strip() == "yes" for name in row[1].split()}
    assert rights(ContainerSpec(profile=profile), (6, 12)).capabilities == told
