"""What the options before the command's name say, handed to every command."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from pycontainer.client.client import Client
    from pycontainer.client.tracefile import Trace
    from pycontainer.paths import HostPaths

F = TypeVar("F", bound=Callable[..., Any])


class Settings:
    """`--root`, `--debug` and `--trace`."""

    __slots__ = ("debug", "root", "trace")

    def __init__(self, root: str | None, debug: bool, trace: "Trace | None" = None) -> None:
        self.root = root
        self.debug = debug
        self.trace = trace

    def client(self) -> "Client":
        """Return a client of the chosen world, to be used as a context manager."""
        from pycontainer.client.client import Client  # 4 ms that `--help` does not need

        if self.trace is not None:
            self.trace.step("arguments")
        return Client(self.root, trace=self.trace)

    def paths(self) -> "HostPaths":
        """Return where the files of the chosen world are."""
        from pycontainer.paths import HostPaths  # 1 ms that `--help` does not need

        return HostPaths(self.root)


pass_settings = click.make_pass_decorator(Settings)


def complete_containers(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of containers to the shell; never starts a supervisor, never fails."""
    return [
        info["name"]
        for info in _ask_quietly(ctx, "list", {"all": True, "filters": {}})
        if info["name"].startswith(incomplete)
    ]


def complete_images(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of images to the shell."""
    return [info["name"] for info in _ask_quietly(ctx, "image_list", {}) if info["name"].startswith(incomplete)]


def complete_volumes(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of volumes to the shell."""
    return [info["name"] for info in _ask_quietly(ctx, "volume_list", {}) if info["name"].startswith(incomplete)]


def complete_plans(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Offer the names of plans to the shell; none while their files are damaged."""
    from pycontainer.errors import PycontainerError
    from pycontainer.hosting.plans import Plans
    from pycontainer.paths import HostPaths

    settings = ctx.find_object(Settings)
    root = settings.root if settings else ctx.find_root().params.get("root")
    try:
        return [name for name in Plans.load(HostPaths(root).plans_dir).names() if name.startswith(incomplete)]
    except PycontainerError:
        return []


def _ask_quietly(ctx: click.Context, verb: str, args: dict[str, Any]) -> list[dict[str, Any]]:
    from pycontainer.client.connection import Connection  # 3 ms that parsing does not need
    from pycontainer.errors import PycontainerError
    from pycontainer.paths import HostPaths

    settings = ctx.find_object(Settings)
    root = settings.root if settings else ctx.find_root().params.get("root")
    try:
        connection = Connection(HostPaths(root), start=False)
        try:
            return list(connection.request(verb, args))
        finally:
            connection.close()
    except (PycontainerError, OSError):
        return []


def container_argument(command: F) -> F:
    """Add the argument CONTAINER: a name, an id, or its beginning."""
    return click.argument("container", shell_complete=complete_containers)(command)


def containers_argument(command: F) -> F:
    """Add the argument CONTAINER..., at least one."""
    return click.argument(
        "containers", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=complete_containers
    )(command)
