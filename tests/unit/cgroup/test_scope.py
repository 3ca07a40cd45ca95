"""The scope that systemd keeps for us: when it is there, and who lives in it."""

from pathlib import Path

from pycontainer.cgroup.scope import Scope


def test_it_is_alive_as_long_as_a_process_is_in_it(tmp_path: Path) -> None:
    scope = Scope("ours.scope", str(tmp_path))
    assert not scope.is_alive()
    events = tmp_path / "cgroup.events"
    events.write_text("populated 1\nfrozen 0\n")
    assert scope.is_alive()
    events.write_text("populated 0\nfrozen 0\n")
    assert not scope.is_alive()


def test_who_joins_goes_to_the_leaf(tmp_path: Path) -> None:
    processes = tmp_path / "supervisor" / "cgroup.procs"
    processes.parent.mkdir()
    processes.touch()
    Scope("ours.scope", str(tmp_path)).join(42)
    assert processes.read_text() == "42"


def test_the_command_asks_for_delegation() -> None:
    command = Scope("ours.scope", "/x").command()
    assert command[:2] == ["systemd-run", "--scope"]
    assert {"--unit=ours.scope", "--property=Delegate=yes"} <= set(command)
    assert command[-1] == "--"
