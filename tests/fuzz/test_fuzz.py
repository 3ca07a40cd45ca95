"""Every target for some seconds; a finding fails the test and comes with the input that shows it."""

import base64
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TARGETS = sorted(path.stem for path in HERE.glob("[a-z]*.py") if path.stem not in ("broken", "inputs", "test_fuzz"))
SECONDS = 4
GIVEN_UP_AFTER = 10 * SECONDS + 120  # seconds; libFuzzer ends by itself, unless a parser holds it up

pytestmark = pytest.mark.requires("atheris")
Run = Future["subprocess.CompletedProcess[str]"]


def fuzz(name: str, artifacts: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.fuzz", name, f"-artifact_prefix={artifacts}/{name}-", *options]
    return subprocess.run(
        ["nice", *command],
        cwd=HERE.parents[1],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
        timeout=GIVEN_UP_AFTER,
    )


@pytest.fixture(scope="module")
def runs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Run], Path]]:
    """Start the targets that are asked for, as many at a time as there are processors."""
    asked = [item.name for item in request.session.items]
    names = [name for name in TARGETS if f"test_no_finding[{name}]" in asked]
    artifacts = tmp_path_factory.mktemp("findings")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield {name: pool.submit(fuzz, name, artifacts, f"-max_total_time={SECONDS}") for name in names}, artifacts
        pool.shutdown(cancel_futures=True)


@pytest.mark.parametrize("name", TARGETS)
def test_no_finding(runs: tuple[dict[str, Run], Path], name: str) -> None:
    """API-04, VAL-01, VAL-02, VAL-03, VAL-04, FLT-09: never anything but the error that a parser promises."""
    started, artifacts = runs
    done = started[name].result()
    found = sorted(artifacts.glob(f"{name}-*"))
    inputs = "\n".join(
        f"echo {base64.b64encode(path.read_bytes()).decode()} | base64 -d > input && python -m tests.fuzz {name} input"
        for path in found
    )
    assert done.returncode == 0 and not found, f"{_told(done.stdout)}\nto see it again:\n{inputs}"
    assert "DONE" in done.stdout and _runs(done.stdout) >= 100, done.stdout[-2000:]


def test_a_finding_is_found(tmp_path: Path) -> None:
    """The harness itself: an input that breaks what a target asserts ends it with an error and is kept."""
    done = fuzz("broken", tmp_path, f"-max_total_time={GIVEN_UP_AFTER // 2}")
    (found,) = tmp_path.glob("broken-*")
    assert done.returncode != 0 and "AssertionError: BAD" in _told(done.stdout) and b"!" in found.read_bytes()
    again = fuzz("broken", tmp_path, str(found))
    assert again.returncode != 0 and "AssertionError: BAD" in _told(again.stdout)


def _told(text: str) -> str:
    """Return what was said from the exception on, without the news of the corpus."""
    at = text.find("Uncaught Python exception")
    return text[max(0, at) :][-4000:] if at >= 0 else text[-4000:]


def _runs(text: str) -> int:
    """Return how many inputs were tried: "Done 4711 runs in 5 second(s)"."""
    return int(text.rpartition("Done ")[2].split(" ")[0])
