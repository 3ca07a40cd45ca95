"""The reference parser of OpenMetrics, strict, with types."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families


def parse_openmetrics(text: str) -> Iterator[Metric]:
    """Yield the families of a text; ValueError for what is no OpenMetrics 1.0."""
    yield from text_string_to_metric_families(text)  # type: ignore[no-untyped-call]
