"""`pycontainer completion`: the script that teaches a shell our words."""

import click
from click.shell_completion import get_completion_class

from pycontainer.cli.main import COMPLETE_VARIABLE


@click.command
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the completion script for a shell.

    \b
    Examples:
      pycontainer completion bash > /etc/bash_completion.d/pycontainer
      source <(pycontainer completion zsh)
      pycontainer completion fish > ~/.config/fish/completions/pycontainer.fish
    """
    made = get_completion_class(shell)
    assert made is not None  # click brings all three
    group = ctx.find_root().command
    click.echo(made(group, {}, "pycontainer", COMPLETE_VARIABLE).source())
