"""The tests' own promises: a missing feature skips, fails with --must-run; a leak is told exactly."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.leaks import difference
from tests.support.poll import poll_until

CHECKOUT = Path(__file__).parents[3]


def run_pytest(directory: Path, *arguments: str) -> tuple[int, str]:
    """Run a suite of one test that needs a feature no host has, with our conftest; return exit code and output."""
    probe = "from tests.support.features import PROBES\nPROBES['magic'] = lambda: 'no wand'\n"
    (directory / "conftest.py").write_text(probe)
    (directory / "test_it.py").write_text(
        "import pytest\n@pytest.mark.requires('magic')\ndef test_it() -> None: raise AssertionError\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "-c",
            str(CHECKOUT / "pyproject.toml"),
            str(directory / "test_it.py"),
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=CHECKOUT,
    )
    return done.returncode, done.stdout + done.stderr


def test_missing_feature_skips_with_the_reason(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path)
    assert code == 0
    assert "needs magic: no wand" in output
    assert "1 skipped" in output


def test_must_run_fails_instead(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, "--must-run=root,magic")
    assert code == 1
    assert "must run, but there is no magic here: no wand" in output


def test_unknown_feature_is_refused(tmp_path: Path) -> None:
    code, output = run_pytest(tmp_path, "--must-run=majik")
    assert code == 4
    assert "unknown feature majik" in output


def test_difference_tells_both_ways() -> None:
    before, after = frozenset({"link: a", "link: b"}), frozenset({"link: b", "link: c"})
    assert difference(before, before) == ""
    assert difference(before, after) == "  left behind: link: c\n  gone:        link: a"


def test_poll_until_returns_the_value_or_tells_the_last() -> None:
    values = iter(["", "", "x"])
    assert poll_until(lambda: next(values), interval_seconds=0) == "x"
    with pytest.raises(AssertionError, match=r"not within 0 s: the moon \(last value 0\)"):
        poll_until(lambda: 0, timeout_seconds=0, what="the moon")
