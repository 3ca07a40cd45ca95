"""The reference part of docs/cli.md, made from the commands themselves; a test compares the two.

python -m pycontainer.cli.reference        prints it
"""

import inspect
from collections.abc import Iterator

import click

from pycontainer.cli.main import COMMANDS, cli


def reference() -> str:
    """Return the sections of all commands as Markdown."""
    lines: list[str] = []
    context = click.Context(cli)
    for section, verbs in COMMANDS.items():
        lines += [f"## {section}", ""]
        for verb in verbs:
            command = cli.get_command(context, verb)
            if isinstance(command, click.Group):
                for name, subcommand in command.commands.items():
                    lines += _command(f"{verb} {name}", subcommand)
            elif command is not None:
                lines += _command(verb, command)
    return "\n".join(lines).rstrip() + "\n"


def _command(name: str, command: click.Command) -> Iterator[str]:
    arguments = [p.make_metavar(click.Context(command)) for p in command.params if isinstance(p, click.Argument)]
    yield f"### `{' '.join(['pycontainer', name, *arguments])}`"
    yield ""
    text, _, example = inspect.cleandoc(command.help or "").partition("\b\n")
    yield text.strip()
    yield ""
    if example:
        yield "```sh"
        yield from (line.strip() for line in example.strip().splitlines()[1:])
        yield "```"
        yield ""
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    if options:
        yield "| option | meaning |"
        yield "|---|---|"
        yield from (_option(option) for option in options)
        yield ""


def _option(option: click.Option) -> str:
    spelling = ", ".join((*option.opts, *option.secondary_opts))
    if not option.is_flag:
        choices = "|".join(option.type.choices) if isinstance(option.type, click.Choice) else ""
        spelling += f" {option.metavar or choices}"
    cells = (f"`{spelling}`", option.help or "how to show it")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    click.echo(reference(), nl=False)
