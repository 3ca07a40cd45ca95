"""The tests marked `vm` and `systemd`, on a stock Debian kernel with pure cgroup v2: what most hosts of today are."""

import pytest

from tests.vm import suite


@pytest.mark.requires("root", "vm")
@pytest.mark.parametrize("name", suite.MACHINES)
def test_marked_tests_pass_there(machines: suite.Machines, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    machines.hurry()
    status, output = machines.result(name)
    with capsys.disabled():
        print(
            f"\non Linux {suite.SERIES}, {name}: {output.strip().splitlines()[-1] if output.strip() else 'no output'}"
        )
    assert status == 0, f"exit {status}:\n{output}"
