"""`pycontainer run`: create a container and start it."""

import os
from typing import TYPE_CHECKING, Any

import click

from pycontainer.cli.context import Settings, complete_images, pass_settings
from pycontainer.cli.options import container_options, plain_spec
from pycontainer.cli.report import show_warnings, workload_codes
from pycontainer.cli.specfile import complete_specs
from pycontainer.errors import InvalidInput

if TYPE_CHECKING:
    from pycontainer.client.client import Client


@click.command(context_settings={"allow_interspersed_args": False})
@click.argument(
    "words", metavar="[IMAGE] [COMMAND...]", nargs=-1, type=click.UNPROCESSED, shell_complete=complete_images
)
@click.option("-d", "--detach", is_flag=True, help="Run in the background and print the id.")
@click.option("-f", "--file", metavar="FILE", help="Read the same settings from a YAML file; options here override it.")
@click.option(
    "--detach-keys", metavar="KEYS", default="ctrl-p,ctrl-q", show_default=True, help="Keys that leave an -it session."
)
@click.option(
    "--sig-proxy/--no-sig-proxy", default=True, help="Without -t, pass signals such as SIGINT on.  [default: on]"
)
@container_options
@pass_settings
def command(
    settings: Settings,
    /,
    words: tuple[str, ...],
    detach: bool,
    file: str | None,
    detach_keys: str,
    sig_proxy: bool,
    **given: Any,
) -> int | None:
    """Create a container from an image and start it.

    With --rootfs DIR it starts from a directory instead. In the foreground its output is shown and its exit code
    becomes ours; 125 tells that it could not be started, 126 that the command is not executable, 127 that there is
    no such command.

    \b
    Examples:
      pycontainer run --rm -it busybox sh
      pycontainer run -d --name web -m 200M --cpus 0.5 --pids-limit 100 -p 8080:80 debian-nginx
      pycontainer run -d --name shop --plan small -p 8081:80 debian-nginx
      pycontainer run -d -f web.yaml
    """
    with workload_codes():
        specs = complete_specs(plain_spec(words, given), file=file, plans_dir=settings.paths().plans_dir)
        if not detach and len(specs) > 1:
            raise InvalidInput(
                f"'{file}' describes {len(specs)} containers", hint="start several with -d", field="file"
            )
        if not detach:
            _check_terminal(specs[0])
        with settings.client() as host:
            if not detach:
                return _run_attached(host, specs[0], detach_keys, sig_proxy)
            for spec in specs:
                _run_detached(host, spec)
    return None


def _check_terminal(spec: dict[str, Any]) -> None:
    if spec.get("tty") and spec.get("stdin_open") and not os.isatty(0):
        raise InvalidInput("standard input is not a terminal", hint="leave out -t", field="tty")


def _run_detached(host: "Client", spec: dict[str, Any]) -> None:
    container = host.run_from(spec)
    show_warnings(container.warnings)
    click.echo(container.id)


def _run_attached(host: "Client", spec: dict[str, Any], detach_keys: str, sig_proxy: bool) -> int:
    code = host.run_attached(
        spec,
        interactive=True,
        detach_keys=detach_keys,
        proxy_signals=sig_proxy,
        on_start=lambda container: show_warnings(container.warnings),
    )
    return code or 0
