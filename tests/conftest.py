"""Options and markers of all tests, and the root file system that they share; other fixtures stand beside their tests."""

import os
import shutil
import signal
import tempfile
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.support import dumps
from tests.support.features import PROBES, why_not
from tests.support.images import build_rootfs, copy_rootfs


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--must-run",
        action="append",
        default=[],
        metavar="FEATURE[,FEATURE...]",
        help=f"fail, instead of skipping, what needs a feature this host lacks ({', '.join(PROBES)})",
    )
    parser.addoption("--part", metavar="N/M", help="run the Nth of M parts of the tests, whole modules each")


def pytest_configure(config: pytest.Config) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell has its background ignore it, children included
    unknown = must_run(config) - set(PROBES)
    if unknown:
        raise pytest.UsageError(f"--must-run: unknown feature {', '.join(sorted(unknown))}")


def pytest_sessionstart(session: pytest.Session) -> None:
    dumps.build()


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


def pytest_itemcollected(item: pytest.Item) -> None:
    """What else the machine does bends a window of some seconds: a cap that does not hold fails three of three."""
    if item.get_closest_marker("measures"):
        item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After what is quick, put the modules that measure first: a second machine may join then (tests/vm/conftest.py).

    Of what was selected keep one part, if asked: the largest module goes first, each to the part that is least so far.
    """
    measuring = {item.path for item in items if item.get_closest_marker("measures")}
    quick = [config.rootpath / "tests" / name for name in ("unit", "fuzz")]

    def turn(item: pytest.Item) -> int:
        if any(item.path.is_relative_to(directory) for directory in quick):
            return 0
        return 1 if item.path in measuring else 2

    items.sort(key=turn)
    if not (part := config.getoption("--part")):
        return
    number, count = map(int, part.split("/"))
    sizes = Counter(item.path for item in items)
    filled = [0] * count
    kept = set()
    for path, size in sorted(sizes.items(), key=lambda pair: (-pair[1], pair[0])):
        least = filled.index(min(filled))
        filled[least] += size
        if least == number - 1:
            kept.add(path)
    config.hook.pytest_deselected(items=[item for item in items if item.path not in kept])
    items[:] = [item for item in items if item.path in kept]


@pytest.fixture(scope="session")
def busybox_rootfs() -> Iterator[str]:
    """A root file system directory that no test changes. PYCONTAINER_TEST_BUSYBOX names one that was made before."""
    directory = tempfile.mkdtemp(prefix="pct-image-", dir="/var/tmp")
    try:
        made = os.environ.get("PYCONTAINER_TEST_BUSYBOX")
        yield copy_rootfs(made, f"{directory}/rootfs") if made else build_rootfs(f"{directory}/rootfs")
    finally:
        shutil.rmtree(directory)
