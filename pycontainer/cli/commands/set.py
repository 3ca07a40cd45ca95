"""`pycontainer set`: change what containers may use."""

from typing import Any

import click

from pycontainer.cli.context import Settings, containers_argument, pass_settings
from pycontainer.cli.options import live_options, some_changes
from pycontainer.cli.report import for_each, show_warnings


@click.command
@containers_argument
@live_options
@click.option("--transient", is_flag=True, help="For the present run alone; the next start has the old limits.")
@click.option("--force", is_flag=True, help="Also below what is in use: the kernel takes it back, and may kill for it.")
@pass_settings
def command(settings: Settings, /, containers: tuple[str, ...], transient: bool, force: bool, **options: Any) -> None:
    """Change what containers may use, at once if they run.

    'unlimited' takes a cap away, 'default' what else was given. A cap below what is in use is refused.

    \b
    Examples:
      pycontainer set web --memory 300M --cpus 1
      pycontainer set web --pids-limit unlimited --transient
    """
    wanted = some_changes(options)
    with settings.client() as host:

        def change(name: str) -> None:
            show_warnings(host.container(name).set(transient=transient, force=force, **wanted)["warnings"])

        for_each(containers, change)
