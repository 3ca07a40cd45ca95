"""Options and markers of all tests; the fixtures of the integration tests stand in integration/conftest.py."""

import pytest

from tests.support.features import PROBES, why_not


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--must-run",
        action="append",
        default=[],
        metavar="FEATURE[,FEATURE...]",
        help=f"fail, instead of skipping, what needs a feature this host lacks ({', '.join(PROBES)})",
    )


def pytest_configure(config: pytest.Config) -> None:
    unknown = must_run(config) - set(PROBES)
    if unknown:
        raise pytest.UsageError(f"--must-run: unknown feature {', '.join(sorted(unknown))}")


def must_run(config: pytest.Config) -> set[str]:
    return {feature for option in config.getoption("--must-run") for feature in option.split(",")}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("requires"):
        for feature in marker.args:
            reason = why_not(feature)
            if reason and feature in must_run(item.config):
                pytest.fail(f"must run, but there is no {feature} here: {reason}", pytrace=False)
            if reason:
                pytest.skip(f"needs {feature}: {reason}")
