"""A forked command is the command: the same output, the same exit code."""

import pytest

from tests.support.world import World


@pytest.mark.parametrize(
    "command",
    [
        ("--version",),
        ("image", "list", "-q"),
        ("inspect", "nobody"),
        ("nonsense",),
        ("run", "--rm", "busybox", "payload", "out", "said", "err", "loud", "exit", "7"),
    ],
    ids=lambda command: command[0],
)
def test_forked_and_started_alike(world: World, command: tuple[str, ...]) -> None:
    started = world.cli(*command)
    with world.forking():
        assert world.cli(*command) == started


def test_a_forked_one_has_the_environment_of_its_call(world: World) -> None:
    with world.forking():
        said = [world.cli("run", "--rm", "-e", "GIVEN", "busybox", "env", environment={"GIVEN": x}) for x in "ab"]
    assert ["GIVEN=a" in said[0].stdout, "GIVEN=b" in said[1].stdout] == [True, True]


def test_one_that_does_not_end_is_not_answered_for_by_the_next(world: World) -> None:
    with world.forking():
        with pytest.raises(TimeoutError, match=r"'events'\].* no end within"):
            world.cli("events", timeout_seconds=2)
        assert world.cli("--version").stdout.startswith("pycontainer ")
        assert world.refused(3, "inspect", "nobody").startswith("pycontainer: no container 'nobody'")
