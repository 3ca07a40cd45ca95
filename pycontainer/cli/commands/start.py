"""`pycontainer start`: start containers that were created or have ended."""

import os

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.report import for_each, workload_codes
from pycontainer.errors import InvalidInput


@click.command
@containers_argument
@click.option("-a", "--attach", is_flag=True, help="Stay, show the output, and end with its exit code.")
@click.option("-i", "--interactive", is_flag=True, help="As -a, and pass standard input on.")
@click.option(
    "-f",
    "--foreground",
    is_flag=True,
    help="Stay until it has ended for good, for a service manager: started or not, restarts by its policy included.",
)
@click.option(
    "--detach-keys",
    metavar="KEYS",
    default="ctrl-p,ctrl-q",
    show_default=True,
    help="Keys that leave a terminal session.",
)
@pass_settings
def command(
    settings: Settings, containers: tuple[str, ...], attach: bool, interactive: bool, foreground: bool, detach_keys: str
) -> int | None:
    """Start containers that were created or have ended.

    --foreground tells the service manager (NOTIFY_SOCKET) when it runs, and ends with its exit code. The container goes on
    if this command is ended: 'stop' stops it. Its output is in 'logs'.

    \b
    Example:
      pycontainer start web db
    """
    if foreground and (attach or interactive):
        raise InvalidInput(
            "--foreground shows no output and reads no input", hint="leave --attach out", field="foreground"
        )
    with settings.client() as host:
        if not (attach or interactive or foreground):
            for_each(containers, lambda name: host.container(name).start())
            return None
        if len(containers) > 1:
            raise InvalidInput(
                f"cannot attach to {len(containers)} containers at once", hint="name one", field="container"
            )
        with workload_codes():
            if foreground:
                return host.container(containers[0]).stay(_tell_manager)
            return host.container(containers[0]).start_attached(interactive=interactive, detach_keys=detach_keys)


def _tell_manager() -> None:
    """Say that we are ready, if somebody waits for that. sd_notify(3)"""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    import socket  # 2 ms that only a service manager's child needs

    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.sendto(b"READY=1", address.replace("@", "\0", 1) if address.startswith("@") else address)
