"""`pycontainer oci`: the OCI runtime's command line, for who has no `pycontainer-oci` in reach."""

import click

from pycontainer.cli.context import Settings, pass_settings


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False}
)
@click.argument("arguments", metavar="[OPTIONS] COMMAND [...]", nargs=-1, type=click.UNPROCESSED)
@pass_settings
def command(settings: Settings, arguments: tuple[str, ...]) -> int:
    """Act as an OCI runtime.

    The same as the program pycontainer-oci, which engines call, and which starts faster. Its containers are not the
    supervisor's: they belong to who creates them. With `pycontainer --root DIR` they are recorded below DIR.
    'pycontainer oci --help' lists the commands.

    \b
    Example:
      pycontainer oci list
    """
    from pycontainer.oci.main import DEFAULT_PROGRAM, main  # 3 ms that `--help` of another command does not need
    from pycontainer.paths import HostPaths

    world = ["--root", f"{HostPaths(settings.root).run_dir}/oci"] if settings.root else []
    debug = ["--debug"] if settings.debug else []
    return main([DEFAULT_PROGRAM, *world, *debug, *arguments])
