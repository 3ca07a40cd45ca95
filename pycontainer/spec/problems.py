"""What is wrong with a spec: problems are collected, each with its field, and shown together as one InvalidInput."""

from collections.abc import Mapping
from dataclasses import dataclass

from pycontainer.errors import InvalidInput
from pycontainer.units import shown

MAX_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong. `field` is `memory`, `ports[1]` or empty; `names_field` says that the message names it already.

    `line` is the line it is in, for those who know; 0 leaves it to the lines that `as_error` is given. `source` is the
    file it is in, where that is not the one that `as_error` is given.
    """

    field: str
    message: str
    hint: str = ""
    names_field: bool = False
    line: int = 0
    source: str = ""

    def line_in(self, lines: Mapping[str, int]) -> int:
        """Return the line of the field, or of what it is part of; 0 when unknown."""
        if self.line:
            return self.line
        field = self.field
        while field and field not in lines:
            field = field[: max(field.rfind("["), field.rfind("."), 0)]
        return lines.get(field, 0) if field else 0

    def text(self) -> str:
        """Return the problem without its place: `memory: '200Q' is not a size`."""
        if self.names_field or not self.field:
            return self.message
        field = shown(self.field)[1:-1]  # a key of the user's is part of it: escaped and shortened as any other value
        return f"{field}: {self.message}"


def as_error(problems: list[Problem], *, source: str = "", lines: Mapping[str, int] | None = None) -> InvalidInput:
    """Return the one error that tells all `problems`, a line each; its field and source are the first one's.

    The message holds the places: `web.yaml:7: memory: '200Q' is not a size`.
    """
    places = [_place(problem.source or source, problem.line_in(lines or {})) for problem in problems]
    texts = [problem.text() for problem in problems]
    texts = [f"{place}: {text}" if place else text for place, text in zip(places, texts, strict=True)]
    if len(texts) > MAX_SHOWN:
        texts[MAX_SHOWN:] = [f"and {len(texts) - MAX_SHOWN} more problems"]
    return InvalidInput(
        "\n".join(texts),
        hint="; ".join(dict.fromkeys(problem.hint for problem in problems[:MAX_SHOWN] if problem.hint)),
        source=places[0],
        field=problems[0].field,
    )


def _place(source: str, line: int) -> str:
    return f"{source}:{line}" if source and line else source
