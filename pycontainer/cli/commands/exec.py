"""`pycontainer exec`: run one more command in a container."""

import os

import click

from pycontainer.cli.context import Settings, container_argument, pass_settings
from pycontainer.cli.options import environment
from pycontainer.cli.report import workload_codes
from pycontainer.errors import InvalidInput


@click.command(context_settings={"allow_interspersed_args": False})
@container_argument
@click.argument("words", metavar="COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-d", "--detach", is_flag=True, help="Leave it alone once it runs; its output goes nowhere.")
@click.option("-i", "--interactive", is_flag=True, help="Pass standard input on.")
@click.option("-t", "--tty", is_flag=True, help="Give it a terminal.")
@click.option("-u", "--user", default="", metavar="USER[:GROUP]", help="User (name or id) to run as.")
@click.option("-w", "--workdir", default="", metavar="DIR", help="Directory it starts in.")
@click.option(
    "-e", "--env", multiple=True, metavar="NAME=VALUE", help="Environment variable; NAME alone takes yours. Repeatable."
)
@click.option("--env-file", "env_files", multiple=True, metavar="FILE", help="File of NAME=VALUE lines. Repeatable.")
@click.option("--privileged", is_flag=True, help="With all capabilities of the container's own namespaces.")
@click.option(
    "--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", show_default=True, help="Keys that leave an -it session."
)
@pass_settings
def command(
    settings: Settings,
    container: str,
    words: tuple[str, ...],
    detach: bool,
    interactive: bool,
    tty: bool,
    user: str,
    workdir: str,
    env: tuple[str, ...],
    env_files: tuple[str, ...],
    privileged: bool,
    detach_keys: str,
) -> int | None:
    """Run one more command in a running container.

    Its exit code becomes ours; 125 tells that it could not be started, 126 that it is not executable, 127 that there
    is no such command.

    \b
    Examples:
      pycontainer exec web nginx -v
      pycontainer exec -it -u www-data web sh
      pycontainer exec -d web /usr/local/bin/reindex
    """
    with workload_codes():
        if tty and interactive and not os.isatty(0):
            raise InvalidInput("standard input is not a terminal", hint="leave out -t", field="tty")
        if detach and (tty or interactive):
            raise InvalidInput(
                "what is left alone has no input and no terminal", hint="leave out -i and -t", field="detach"
            )
        with settings.client() as host:
            if detach:
                host.container(container).exec_detached(
                    words, env=environment(env_files, env), user=user, workdir=workdir, privileged=privileged
                )
                return 0
            return host.container(container).exec_attached(
                words,
                env=environment(env_files, env),
                user=user,
                workdir=workdir,
                tty=tty,
                interactive=interactive,
                privileged=privileged,
                detach_keys=detach_keys,
            )
