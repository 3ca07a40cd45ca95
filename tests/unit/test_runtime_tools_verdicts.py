"""How the output of the OCI validation programs is judged (tests/conformance/runtimetools.py)."""

import pytest

from tests.conformance.runtimetools import judge


@pytest.mark.parametrize(
    ("code", "text", "passed", "why"),
    [
        (0, "TAP version 13\nok 1 - a\n1..1\n", True, ""),
        (0, "TAP version 13\nok 1 - a\nnot ok 2 - b is wrong\n1..2\n", False, "b is wrong"),
        (0, '  ---\n  {"stdout": "not ok 1 - inner"}\n  ...\nok 1 - a\n1..1\n', True, ""),
        (1, "ok 1 - a\nfailed to create the container\n", False, "ended with 1: failed to create the container"),
        (1, "", False, "ended with 1: without a word"),
        (0, "TAP version 13\n1..0\n", True, ""),
        (0, 'TAP version 13\n  ---\n  {\n    "error": "exit status 1"\n  }\n  ...\n1..0\n', False, "exit status 1"),
        (0, "1..1\nok 1 # SKIP no cgroup\n", False, "skipped: no cgroup"),
        (0, "ok 1 - a\nok 2 # SKIP no cgroup\n", True, ""),
    ],
)
def test_verdict(code: int, text: str, passed: bool, why: str) -> None:
    verdict = judge(code, text)
    assert (verdict.passed, verdict.why) == (passed, why)
