"""What the operations share: containers to cut off, and how to look at them afterwards."""

from collections.abc import Callable, Iterator

from tests.support.world import World

Operation = Callable[[World], Iterator[tuple[str, ...]]]

IMAGE = "busybox"
STOCKED = "stocked"  # an image that asks for a volume
SERVE = ("sleep", "1000")
RICH = ("-p", "8080:80", "-v", "named:/data", "-m", "64M", "--net-out", "1gbit")


def is_there(world: World, name: str) -> bool:
    result = world.cli("inspect", name)
    assert result.exit_code in (0, 3), result
    return result.exit_code == 0


def works(world: World, name: str) -> None:
    """The container runs, after a start if need be, and does what it is told."""
    if world.status(name) != "running":
        world.ok("start", name)
    assert world.ok("exec", name, "payload", "out", "alive") == "alive"


def remove(world: World, *containers: str) -> None:
    """Remove containers that may be there, and see that their names are free."""
    for name in containers:
        if is_there(world, name):
            world.ok("rm", "-f", "-v", name)
        world.ok("run", "--rm", "--name", name, IMAGE, "true")


def drop_volumes(world: World, *volumes: str) -> None:
    world.ok("volume", "rm", "--force", *volumes)


def running(world: World, *options: str, name: str = "one", command: tuple[str, ...] = SERVE) -> None:
    world.ok("run", "-d", "--name", name, *options, IMAGE, *command)


def created(world: World, *options: str, name: str = "one", image: str = IMAGE) -> None:
    world.ok("create", "--name", name, *options, image, *SERVE)
