"""The text that Prometheus reads, against the parsers of its Python client."""

import re

import pytest
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from pycontainer.metrics.exposition import Exposition, escape, labels
from pycontainer.metrics.families import (
    CONTAINER_SOURCES,
    DEVICE_SOURCES,
    FAMILIES,
    INFO,
    LINK_SOURCES,
    STATESET,
    TENANT_SOURCES,
)
from tests.support.openmetrics import parse_openmetrics

HOSTILE = ['"', "\\", "\n", '\\"', "\\n", 'a"} 1\n# EOF\nevil 1', "\r", "\x85\u2028", "\udcff", "ü", "{}", ","]


def one_of_each() -> Exposition:
    page = Exposition()
    for name, family in reversed(FAMILIES.items()):
        if family.kind == STATESET:
            page.add_state(name, labels({"id": "c1"}), ("on", "off"), "off")
        else:
            page.add(name, labels({"id": "c1"}), 1)
            page.add(name, labels({"id": "c2"}), 1 if family.kind == INFO else 2.5)
    return page


def test_every_family_is_openmetrics() -> None:
    """Each has its type, its unit, which ends its name, and help; a counter's samples end in _total."""
    found = {family.name: family for family in parse_openmetrics(one_of_each().text(openmetrics=True).decode())}
    assert list(found) == list(FAMILIES)
    for name, family in FAMILIES.items():
        assert (found[name].type, found[name].unit, found[name].documentation) == (
            family.kind,
            family.unit,
            family.help,
        )


def test_it_ends_with_eof() -> None:
    assert one_of_each().text(openmetrics=True).endswith(b"\n# EOF\n")
    assert Exposition().text(openmetrics=True) == b"# EOF\n"


def test_every_family_in_the_older_format() -> None:
    text = one_of_each().text(openmetrics=False).decode()
    assert "# UNIT" not in text and "# EOF" not in text
    found = {family.name: family for family in parse_plain(text)}
    assert len(found) == len(FAMILIES)
    assert found["container_cpu_usage_seconds"].type == "counter"  # the parser leaves _total out
    assert found["pycontainer_container_status"].type == "gauge"
    assert "# TYPE container_memory_failcnt untyped\n" in text
    assert "# TYPE container_cpu_usage_seconds_total counter\n" in text


@pytest.mark.parametrize("value", HOSTILE)
def test_a_label_is_whatever_a_tenant_called_it(value: str) -> None:
    """API-06: a name cannot end its label, its line or the text."""
    page = Exposition()
    page.add("container_threads", labels({"id": "c1", "name": value}), 1)
    text = page.text(openmetrics=True).decode()
    (family,) = parse_openmetrics(text)
    (sample,) = family.samples
    assert sample.labels == {"id": "c1", "name": value.encode(errors="backslashreplace").decode()}
    assert text.count("\n") == 4  # TYPE, HELP, the sample, EOF


def test_what_is_escaped() -> None:
    assert escape('a\\b"c\nd') == 'a\\\\b\\"c\\nd'


def test_the_states_of_a_set() -> None:
    page = Exposition()
    page.add_state("pycontainer_container_health", labels({"id": "c1"}), ("healthy", "unhealthy"), "unhealthy")
    (family,) = parse_openmetrics(page.text(openmetrics=True).decode())
    assert [(s.labels["pycontainer_container_health"], s.value) for s in family.samples] == [
        ("healthy", 0),
        ("unhealthy", 1),
    ]


def test_the_table() -> None:
    """Sources lead to families that there are; names tell units; cAdvisor's labels are spelt right."""
    sources = {source.family for source in (*CONTAINER_SOURCES, *DEVICE_SOURCES, *TENANT_SOURCES)}
    assert sources | {family for family, _ in LINK_SOURCES} <= FAMILIES.keys()
    for family in FAMILIES.values():
        assert re.fullmatch(r"[a-z][a-z0-9_]*", family.name)
        assert family.name.endswith(f"_{family.unit}") or not family.unit
        assert not family.name.endswith(("_seconds", "_bytes")) or family.unit, family.name
    assert CONTAINER_SOURCES[0].labels == 'cpu="total"'
