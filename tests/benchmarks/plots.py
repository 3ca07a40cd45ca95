"""Pictures of the rows: bars with the spread, one file for each measure that has one figure to compare."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

from tests.benchmarks.figures import Row

matplotlib.use("Agg")  # files, and no screen
from matplotlib import pyplot

_DRAWN = {
    "start-to-exit": ("run",),
    "verbs": ("create", "start", "exec", "stop", "delete"),
    "first-byte": ("first byte",),
    "parallel-exec": ("8 at once",),
    "memory": ("each",),
    "port": ("bulk", "connections"),
    "root-io": ("small files",),
}
_OURS, _THEIRS = "#1f5fa8", "#b0b0b0"


def draw(found: dict[str, Any], rows: Sequence[Row], directory: Path) -> dict[str, str]:
    """Draw what was measured; return the names of the files by measure."""
    directory.mkdir(exist_ok=True)
    names = {}
    for measure, items in _DRAWN.items():
        panels = [
            [each for each in rows if (each.measure, each.item) == (measure, item) and each.median] for item in items
        ]
        if panels := [panel for panel in panels if panel]:
            names[measure] = f"{measure}.png"
            _bars(panels, found["measures"][measure]["title"], directory / names[measure])
    return names


def _bars(panels: Sequence[Sequence[Row]], title: str, path: Path) -> None:
    """Draw a panel for each item, beside each other, the first subject on top."""
    height = 0.9 + 0.3 * max(map(len, panels))
    figure, axes = pyplot.subplots(1, len(panels), figsize=(max(7.0, 3.6 * len(panels)), height), squeeze=False)
    for axis, rows in zip(axes[0], panels, strict=True):
        values = [each.median or 0 for each in rows]
        spread = [
            [max(0.0, value - (each.p10 or 0)) for value, each in zip(values, rows, strict=True)],
            [max(0.0, (each.p90 or 0) - value) for value, each in zip(values, rows, strict=True)],
        ]
        colours = [_OURS if each.subject.startswith("pycontainer") else _THEIRS for each in rows]
        axis.barh([each.subject for each in rows], values, xerr=spread, color=colours, ecolor="#404040", capsize=2)
        axis.invert_yaxis()
        axis.tick_params(labelsize=8)
        axis.set_xlabel(f"{rows[0].item}, {rows[0].unit}", fontsize=8)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=100, metadata={"Software": None})
    pyplot.close(figure)
