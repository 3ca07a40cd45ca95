"""The verdict on a cap: what was measured, for the one tried and for the neighbour, against what was asked."""

import pytest

from pycontainer.selftest import limits
from pycontainer.selftest.limits import CASES

CPU = next(case for case in CASES if case.resource == "cpu")


@pytest.mark.parametrize(
    ("measured", "neighbour", "verdict", "reason"),
    [
        (0.5, 0.25, "holds", ""),
        (0.525, 0.2375, "holds", ""),  # 5 percent over, and 5 percent lost
        (0.526, 0.25, "does not hold", "more came through than asked"),
        (0.474, 0.25, "does not hold", "less came through than asked"),
        (0.5, 0.23, "does not hold", "the neighbour did not keep its share"),
        (2.0, 0.0, "does not hold", "more came through than asked; the neighbour did not keep its share"),
    ],
)
def test_verdict(measured: float, neighbour: float, verdict: str, reason: str) -> None:
    outcome = limits._judge(CPU, measured, neighbour)
    assert (outcome["verdict"], outcome["reason"]) == (verdict, reason)
    assert (outcome["asked"], outcome["neighbour_asked"]) == (0.5, 0.25)


def test_options_are_those_of_the_command_line() -> None:
    from pycontainer.cli.commands.run import command

    known = {name for option in command.params for name in option.opts}
    assert {case.option.partition(" ")[0] for case in CASES} - known == set()
