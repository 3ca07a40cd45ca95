"""The command `pycontainer`: options before the verb, and the table of verbs, each loaded on use."""

import gc
import importlib
import os
import sys
from collections.abc import Mapping
from typing import ClassVar

import click
from click.core import ParameterSource

import pycontainer
from pycontainer.cli import report, tracing
from pycontainer.cli.context import Settings
from pycontainer.cli.group import Group

# verb -> its module in pycontainer/cli/commands, which holds it as `command`; the order is that of the help
COMMANDS: dict[str, dict[str, str]] = {
    "Run": {"run": "run", "create": "create", "start": "start", "stop": "stop", "restart": "restart", "kill": "kill",
            "pause": "pause", "unpause": "unpause", "set": "set", "rm": "rm", "rename": "rename", "wait": "wait"},
    "Files": {"snapshot": "snapshot", "clone": "clone", "diff": "diff", "mount": "mount", "umount": "umount",
              "commit": "commit", "export": "export", "import": "import_"},
    "Use": {"exec": "exec", "enter": "enter", "attach": "attach", "logs": "logs", "cp": "cp"},
    "Host many": {"up": "up", "down": "down"},
    "Watch": {"ps": "ps", "stats": "stats", "limits": "limits", "usage": "usage", "top": "top", "port": "port",
              "inspect": "inspect", "events": "events", "why": "why", "metrics": "metrics"},
    "Host": {"image": "image", "volume": "volume", "network": "network", "tenant": "tenant", "plan": "plan",
             "capacity": "capacity", "frontdoor": "frontdoor", "system": "system",
             "info": "info", "check": "check", "doctor": "doctor", "selftest": "selftest", "version": "version",
             "service": "service", "generate": "generate", "oci": "oci", "completion": "completion"},
}  # fmt: skip
COMPLETE_VARIABLE = "_PYCONTAINER_COMPLETE"
_MODULES = {verb: module for section in COMMANDS.values() for verb, module in section.items()}


class LazyGroup(Group):
    """A group whose commands are imported when they are used; see click's documentation on lazily loaded commands."""

    aliases: ClassVar[Mapping[str, str]] = {
        "list": "ps", "ls": "ps", "delete": "rm", "remove": "rm", "update": "set",
    }  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_MODULES)

    def find(self, name: str) -> click.Command | None:
        module = _MODULES.get(name)
        if module is None:
            return None
        command: click.Command = importlib.import_module(f"pycontainer.cli.commands.{module}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if len(args) > 1 and args[0] == "container":  # Docker's group of what stands here by itself
            args = args[1:]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, section in COMMANDS.items():
            rows = []
            for verb in section:
                command = self.find(verb)
                if command is not None:
                    rows.append((verb, command.get_short_help_str(limit=66)))
            with formatter.section(title):
                formatter.write_dl(rows)


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
    epilog="'pycontainer COMMAND --help' tells more and shows an example. Start with 'pycontainer check'.",
)
@click.option(
    "--root",
    metavar="DIR",
    envvar="PYCONTAINER_ROOT",
    help="A separate world of containers, images and networks in DIR (default: the host's own).",
)
@click.option("--debug", is_flag=True, envvar="PYCONTAINER_DEBUG", help="Show tracebacks.")
@click.option(
    "--trace",
    metavar="FILE",
    envvar="PYCONTAINER_TRACE",
    help="Write to FILE where the time went, for ui.perfetto.dev; see docs/tracing.md.",
)
@click.version_option(pycontainer.__version__, "--version", "-v", message="pycontainer %(version)s")
@click.pass_context
def cli(ctx: click.Context, root: str | None, debug: bool, trace: str | None) -> None:
    """Run isolated, capped Linux containers.

    \b
    Example:
      pycontainer image import debian-nginx.tar debian-nginx
      pycontainer run -d --name web -m 200M --cpus 0.5 -p 8080:80 debian-nginx
      pycontainer ps
    """
    gc.freeze()  # what is loaded stays
    gc.enable()
    if root and ctx.get_parameter_source("root") is ParameterSource.COMMANDLINE:
        report.choose_world(root, _MODULES)  # the environment says it again without us
    ctx.obj = Settings(root or None, debug, tracing.begin(ctx, trace) if trace else None)


def main() -> int:
    """Run the command line and return its exit code; all output is where it belongs."""
    _fill_standard_streams()
    code = report.guarded(_run, debug=lambda: "--debug" in sys.argv[1:] or bool(os.environ.get("PYCONTAINER_DEBUG")))
    for stream in (sys.stdout, sys.stderr):
        report.flush(stream)
    return code


def _fill_standard_streams() -> None:
    """Open /dev/null where the caller closed one of the three: a socket of ours would get the number, and be taken for it."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:  # so it was when Python started
            null_fd = os.open(os.devnull, os.O_RDWR)
            if null_fd != fd:
                os.dup2(null_fd, fd)
                os.close(null_fd)
            setattr(sys, name, os.fdopen(fd, mode, closefd=False))


def _run() -> int | None:
    if COMPLETE_VARIABLE in os.environ:  # a shell asks what could stand here; see commands/completion.py
        cli.main(prog_name="pycontainer", complete_var=COMPLETE_VARIABLE)
    # What cli.main does beyond this is to turn a closed pipe and ^C into exit code 1; report.py knows better.
    with cli.make_context("pycontainer", sys.argv[1:]) as context:
        result = cli.invoke(context)
    return result if isinstance(result, int) else None


if __name__ == "__main__":
    sys.exit(main())
