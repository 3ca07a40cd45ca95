"""Fixtures: a runtime at a time, its containers, and the check that nothing of them is left."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator

import pytest

from tests.conformance.leaks import snapshot
from tests.conformance.nursery import Nursery
from tests.conformance.runtime import Container, Runtime
from tests.support.features import why_not
from tests.support.images import CHECKOUT
from tests.support.leaks import check_dev_null, difference
from tests.support.poll import poll_until

PROGRAMS = {
    "pycontainer-oci": f"{CHECKOUT}/.venv/bin/pycontainer-oci",
    "runc": shutil.which("runc") or "",
    "crun": shutil.which("crun") or "",
}
FEATURES = {"pycontainer-oci": "pycontainer_oci"}
DEFAULT = ("pycontainer-oci", "runc")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "deviates(runtime, reason, always=True): where a runtime is known not to follow the specification"
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "runtime" in metafunc.fixturenames:
        chosen = os.environ.get("PYCONTAINER_TEST_RUNTIMES")
        names = chosen.split(",") if chosen else getattr(metafunc.module, "RUNTIMES", DEFAULT)
        metafunc.parametrize("runtime", names, indirect=True, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A known deviation must still be one; where it shows only at times, the test is not run."""
    here = os.path.dirname(os.path.abspath(__file__))
    for item in items:
        if not str(item.path).startswith(here + os.sep):
            continue
        item.add_marker(pytest.mark.requires("root"))
        callspec = getattr(item, "callspec", None)
        name = callspec.params.get("runtime") if callspec else None
        if name in ("runc", "crun"):  # a race that a judge loses now and then is not ours
            item.add_marker(pytest.mark.flaky(reruns=2))
        for marker in item.iter_markers("deviates"):
            if marker.args[0] == name:
                always = marker.kwargs.get("always", True)
                mark = pytest.mark.xfail(strict=True, reason=marker.args[1])
                item.add_marker(mark if always else pytest.mark.skip(reason=marker.args[1]))


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def runtime(request: pytest.FixtureRequest, nursery: Nursery, busybox_rootfs: str) -> Iterator[Runtime]:
    """The runtime under test, with a state directory of its own; every bundle gets a copy of the root file system."""
    name = request.param
    feature = FEATURES.get(name, name)
    if reason := why_not(feature):
        must_run = {one for option in request.config.getoption("--must-run") for one in option.split(",")}
        if feature in must_run:
            pytest.fail(f"must run, but there is no {feature} here: {reason}", pytrace=False)
        pytest.skip(f"needs {feature}: {reason}")
    directory = tempfile.mkdtemp(prefix="pct-oci-", dir="/var/tmp")
    os.chmod(directory, 0o755)  # users of containers with a user namespace pass through
    try:
        yield Runtime(name, PROGRAMS[name], directory, f"pct{secrets.token_hex(4)}", nursery, busybox_rootfs)
    finally:
        shutil.rmtree(directory)


@pytest.fixture(autouse=True)
def nothing_leaks(runtime: Runtime) -> Iterator[None]:
    """Compare the host before and after each test. LK-01."""
    before = snapshot(runtime)
    yield
    check_dev_null()
    runtime.clear()
    try:
        poll_until(lambda: snapshot(runtime) == before, interval_seconds=0.1, what="the host is as before")
    except AssertionError:
        pytest.fail(f"the host is not as before:\n{difference(before, snapshot(runtime))}", pytrace=False)


@pytest.fixture
def container(runtime: Runtime, nothing_leaks: None) -> Container:
    return runtime.container()


@pytest.fixture
def make_container(runtime: Runtime, nothing_leaks: None) -> Callable[[], Container]:
    return runtime.container
