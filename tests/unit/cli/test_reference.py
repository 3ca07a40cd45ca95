"""docs/cli.md says what the commands say of themselves."""

from pathlib import Path

from pycontainer.cli.reference import reference

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"
MARK = "<!-- from here on made by `python -m pycontainer.cli.reference` -->\n"


def test_docs_are_up_to_date() -> None:
    assert DOCS.read_text().partition(MARK)[2] == reference(), (
        "run python -m pycontainer.cli.reference, see docs/cli.md"
    )
