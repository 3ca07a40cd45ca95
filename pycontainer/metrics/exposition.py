"""The text that Prometheus reads: OpenMetrics 1.0, and for who does not know that its older text format.

A family's lines must stand together, under its TYPE, UNIT and HELP (OpenMetrics 1.0, "Text Format"), while we learn of one
container after the other: so lines are gathered by family. The two formats have the same samples and differ in what is said
of them: the older one has a counter's `_total` in its name, neither UNIT nor `# EOF`, and fewer types.
"""

from collections.abc import Mapping

from pycontainer.metrics.families import COUNTER, FAMILIES, GAUGE, INFO, STATESET, UNKNOWN, Family

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
PLAIN = "text/plain; version=0.0.4; charset=utf-8"

_SUFFIXES = {COUNTER: "_total", INFO: "_info"}
_PLAIN_TYPES = {INFO: GAUGE, STATESET: GAUGE, UNKNOWN: "untyped"}
_ESCAPES = {ord("\\"): "\\\\", ord("\n"): "\\n", ord('"'): '\\"'}


def labels(pairs: Mapping[str, str]) -> str:
    """Return `a="1",b="2"`, with whatever stands in the values."""
    return ",".join(f'{name}="{escape(value)}"' for name, value in pairs.items())


def escape(text: str) -> str:
    """Return a label's value as it may stand in the text: what would end it is escaped, what is no UTF-8 shown as such.

    Carriage returns and other line ends of Unicode are none to OpenMetrics, and stay.
    """
    return text.encode(errors="backslashreplace").decode().translate(_ESCAPES)


class Exposition:
    """Samples by family, in the order of the table of families."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {name: [] for name in FAMILIES}
        self._sample_names = {name: name + _SUFFIXES.get(family.kind, "") for name, family in FAMILIES.items()}

    def add(self, family: str, labels: str, value: float) -> None:
        """Add a sample; `labels` is what `labels` returned, or empty."""
        self._lines[family].append(f"{self._sample_names[family]}{{{labels}}} {value}\n")

    def add_state(self, family: str, labels: str, states: tuple[str, ...], state: str) -> None:
        """Add the samples of a state set, which are one for each state; the label bears the family's name."""
        comma = "," if labels else ""
        self._lines[family] += [
            f'{family}{{{labels}{comma}{family}="{each}"}} {1 if each == state else 0}\n' for each in states
        ]

    def text(self, *, openmetrics: bool) -> bytes:
        """Return the whole text."""
        parts: list[str] = []
        for name, lines in self._lines.items():
            if lines:
                parts.append(_head(FAMILIES[name], openmetrics))
                parts += lines
        if openmetrics:
            parts.append("# EOF\n")
        return "".join(parts).encode()


def _head(family: Family, openmetrics: bool) -> str:
    help_text = family.help.replace("\\", "\\\\").replace("\n", "\\n")
    if not openmetrics:
        name = family.name + _SUFFIXES.get(family.kind, "")
        kind = _PLAIN_TYPES.get(family.kind, family.kind)
        return f"# HELP {name} {help_text}\n# TYPE {name} {kind}\n"
    unit = f"# UNIT {family.name} {family.unit}\n" if family.unit else ""
    return f"# TYPE {family.name} {family.kind}\n{unit}# HELP {family.name} {help_text}\n"
