"""The OCI project's validation programs against each runtime: the verdicts are those of docs/oci.md."""

from collections.abc import Iterator

import pytest
from _pytest.mark.structures import ParameterSet

from tests.conformance.nursery import Nursery
from tests.conformance.runtime import Runtime
from tests.conformance.runtimetools import RUNTIMES as RUNTIMES
from tests.conformance.runtimetools import Suite, build, documented, programs

pytestmark = pytest.mark.requires("runtime_tools")

OURS = "pycontainer-oci"
ALSO = {"delete", "process_capabilities_fail"}
"""What ours passes although neither peer does."""
RACES = {"pidfile": "it kills a container whose program, `true`, has ended or not"}
"""Programs whose verdict is chance, whatever the runtime."""
DOCUMENTED = documented()
PROGRAMS = list(DOCUMENTED["runc"])


@pytest.fixture(scope="module")
def directory() -> str:
    return build()


@pytest.fixture(scope="module")
def suite(runtime: Runtime, directory: str, nursery: Nursery) -> Iterator[Suite]:
    suite = Suite(runtime.program, directory, nursery)
    yield suite
    suite.close()


def parameter(program: str) -> ParameterSet:
    marks = [pytest.mark.skip(reason=RACES[program])] if program in RACES else []
    return pytest.param(program, marks=marks)


@pytest.mark.parametrize("program", [parameter(program) for program in PROGRAMS])
def test_verdict(runtime: Runtime, suite: Suite, program: str) -> None:
    expected = runtime.name == OURS or DOCUMENTED[runtime.name][program]  # ours may always pass
    verdict = suite.run(program, expected=expected)
    if runtime.name == OURS:
        wanted = program in ALSO or DOCUMENTED["runc"][program] or DOCUMENTED["crun"][program]
        assert verdict.passed or not wanted, verdict.text
    assert verdict.passed == DOCUMENTED[runtime.name][program], verdict.text


def test_every_program_is_in_the_table(runtime: Runtime, directory: str) -> None:
    assert programs(directory) == PROGRAMS
