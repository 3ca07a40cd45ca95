"""The dashboard and the alerts ask for metrics that there are."""

import json
import re
from pathlib import Path

import pytest
import yaml

from pycontainer.metrics.exposition import Exposition
from pycontainer.metrics.families import FAMILIES

EXAMPLES = Path(__file__).parents[3] / "examples/hosting"
SAMPLES = set(Exposition()._sample_names.values())
NAME = re.compile(r"\b(?:pyc|c)ontainer_[a-z0-9_]+")


def dashboard_queries() -> list[str]:
    dashboard = json.loads((EXAMPLES / "grafana.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    return queries + [each["definition"] for each in dashboard["templating"]["list"] if "definition" in each]


def alert_queries() -> list[str]:
    (group,) = yaml.safe_load((EXAMPLES / "alerts.yml").read_text())["groups"]
    return [rule["expr"] for rule in group["rules"]]


@pytest.mark.parametrize("query", sorted({*dashboard_queries(), *alert_queries()}))
def test_a_query(query: str) -> None:
    names = set(NAME.findall(query))
    assert names and names - SAMPLES - {name for name, family in FAMILIES.items() if family.kind == "stateset"} == set()


def test_panels_lie_beside_one_another() -> None:
    """Each has an id of its own and a place that no other has."""
    panels = json.loads((EXAMPLES / "grafana.json").read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells


def test_prometheus_reads_the_alerts() -> None:
    settings = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
    assert all((EXAMPLES / name).exists() for name in settings["rule_files"])
