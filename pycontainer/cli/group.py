"""A command that has commands beneath it: they have the names that people bring, and a mistyped one is guessed."""

from collections.abc import Mapping
from typing import Any, ClassVar

import click

from pycontainer.cli import foreign
from pycontainer.errors import InvalidInput


class Group(click.Group):
    """A group as ours all are."""

    aliases: ClassVar[Mapping[str, str]] = {"ls": "list", "delete": "rm", "remove": "rm", "update": "set"}

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return self.find(cmd_name) or self.find(self.aliases.get(cmd_name, ""))

    def find(self, name: str) -> click.Command | None:
        """Return the command that is called so itself."""
        return self.commands.get(name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            if error.ctx is None and ctx.invoked_subcommand:  # click's parser does not say whose options these are
                name = ctx.invoked_subcommand
                error.ctx = click.Context(self.get_command(ctx, name) or self, parent=ctx, info_name=name)
            raise

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and not (ctx.resilient_parsing or self.get_command(ctx, args[0])):
            path = ctx.command_path.split()[1:]
            if about := foreign.WITHOUT.get(" ".join([*path, args[0]])):
                raise InvalidInput(f"no such command '{args[0]}'", hint=about)
            raise click.UsageError(f"no such command '{args[0]}'{self.guess(ctx, [*path, args[0]])}", ctx)
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and self.find(name) is None:
            name = self.aliases[name]  # what is told of it from here on is told of one name
        return name, command, rest

    def guess(self, ctx: click.Context, words: list[str]) -> str:
        """Return `, did you mean 'list'?` for the last of the words that were typed, or nothing."""
        if meant := foreign.command_of(*words):
            return f", did you mean '{meant}'?"
        commands = self.list_commands(ctx)
        aliases = (alias for alias, meant in self.aliases.items() if meant in commands)
        return foreign.near(words[-1], [*commands, *aliases])
