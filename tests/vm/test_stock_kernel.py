"""The tests marked `vm` and `systemd`, on a stock Debian kernel with pure cgroup v2: what most hosts of today are."""

import pytest

from tests.vm import suite


@pytest.mark.requires("root", "vm")
@pytest.mark.parametrize("name", suite.MACHINES)
def test_marked_tests_pass_there(machines: suite.Machines, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    machines.hurry()
    status, output = machines.result(name)
    lines = output.strip().splitlines() or ["no output"]
    with capsys.disabled():
        print(f"\non Linux {suite.SERIES}, {name}: {lines[-1]}")
        for line in lines:
            if line.startswith(("FAILED ", "ERROR ", "RERUN ")):
                print(f"    once: {line}")
    assert status == 0, f"exit {status}:\n{output}"
