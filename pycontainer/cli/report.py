"""The one place where errors become lines on stderr and exit codes.

    pycontainer: cannot start container 'web': image 'debian' is unknown
    hint: 'pycontainer image list' shows what there is

Who chose a world with `--root` reads it in what is suggested too: pasted, it has to act on the same world.

The exit code is the error's own (errors.py); run, exec and their like keep 1 to 124 for the workload and say 125.
A traceback is shown with `--debug` alone.
"""

import errno
import os
import re
import shlex
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TextIO

import click

from pycontainer.cli import foreign
from pycontainer.errors import PycontainerError, StartFailed, shown

EXIT_INTERRUPTED = 130  # 128 + SIGINT
EXIT_BROKEN_PIPE = 141  # 128 + SIGPIPE
EXIT_OURS = 125
_GROUP_ALONE: type[Exception] | tuple[()] = getattr(click.exceptions, "NoArgsIsHelpError", ())  # since click 8.2
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_OF_WORKLOADS = frozenset({"run", "exec", "enter", "attach"})

_world: tuple[str, Collection[str]] | None = None  # the `--root` that was given, and the verbs there are


def choose_world(root: str, verbs: Collection[str]) -> None:
    """Have each command that is suggested from now on, `pycontainer VERB`, say `--root` too."""
    global _world
    _world = root, verbs


def in_world(text: str) -> str:
    """Return `text` with `--root` in each command that it suggests, if it was given to this one."""
    if _world is None:
        return text
    root, verbs = _world
    command = rf"\bpycontainer(?= (?:--debug|{'|'.join(verbs)})\b)"
    return re.sub(command, lambda _: f"pycontainer --root {shlex.quote(root)}", text)


def show_error(message: str, hint: str = "") -> None:
    """Write one error to stderr, each problem on a line; control characters in it are shown, not obeyed."""
    _write_error(message, in_world(hint))


def _write_error(message: str, hint: str) -> None:
    text = "".join(f"pycontainer: {printable(line)}\n" for line in message.strip().split("\n"))
    if hint:
        text += f"hint: {printable(hint.strip())}\n"
    flush(sys.stdout)
    tell(text, newline=False)


def show_warnings(warnings: Iterable[str]) -> None:
    """Write warnings to stderr, a line each, each once."""
    for warning in dict.fromkeys(warnings):
        tell(f"pycontainer: warning: {printable(in_world(warning))}")


def tell(text: str, *, newline: bool = True) -> None:
    """Write to stderr. That it takes nothing changes neither what is done nor the exit code."""
    try:
        click.echo(text, nl=newline, err=True)
    except OSError:
        flush(sys.stderr)


def flush(stream: TextIO) -> None:
    """Write out what is buffered, or forget it: what fails is tried again at every flush, and at the process's end."""
    try:
        try:
            stream.flush()
        except BlockingIOError:  # a pipe of somebody who has it so, and reads on
            os.set_blocking(stream.fileno(), True)
            stream.flush()
    except OSError:
        null_fd = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null_fd, stream.fileno())
        os.close(null_fd)
        stream.flush()


def printable(text: str) -> str:
    """Return `text` with every character that a terminal would obey instead of show written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def guarded(command: Callable[[], int | None], *, debug: Callable[[], bool]) -> int:
    """Run `command`; report what it raises and return the exit code."""
    try:
        code = command()
        sys.stdout.flush()
        return code or 0
    except BrokenPipeError:
        flush(sys.stdout)
        return EXIT_BROKEN_PIPE
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except click.exceptions.Exit as error:
        return error.exit_code
    except click.ClickException as error:
        if isinstance(error, _GROUP_ALONE):  # it is told what there is in it
            tell(error.format_message())
            return error.exit_code
        _write_error(_usage_message(error), _usage_hint(error))  # help is the same in each world
        context = getattr(error, "ctx", None)
        return EXIT_OURS if context is not None and context.info_name in _OF_WORKLOADS else error.exit_code
    except PycontainerError as error:
        if debug():
            _show_traceback()
        show_error(error.message, error.hint)
        for note in getattr(error, "__notes__", ()):
            show_error(note)
        return error.exit_code
    except OSError as error:
        if debug():
            _show_traceback()
        show_error(_os_message(error))
        return 1
    except Exception as error:
        if debug():
            _show_traceback()
        show_error(
            f"internal error: {type(error).__name__}: {error}",
            "run it again with 'pycontainer --debug' and report this",
        )
        return 1


@contextmanager
def workload_codes() -> Iterator[None]:
    """Give 125 to every error of ours inside, because the workload may itself end with what the error would say."""
    try:
        yield
    except PycontainerError as error:
        if not isinstance(error, StartFailed):
            error.exit_code = EXIT_OURS
        raise
    except BrokenPipeError:
        raise
    except OSError as error:
        ours = PycontainerError(_os_message(error))
        ours.exit_code = EXIT_OURS
        raise ours from error


def for_each(names: Sequence[str], act: Callable[[str], object], *, at_once: bool = False) -> None:
    """Do `act` for each name and print the name; report errors, do the others still, exit with the first's.

    `at_once` is for what waits long: then it is done for several at the same time.
    """
    first = 0
    for name, error in _outcomes_of(act, names, at_once=at_once and len(names) > 1):
        if error is None:
            click.echo(name)
        elif isinstance(error, PycontainerError):
            show_error(error.message, error.hint)
            first = first or error.exit_code
        else:
            raise error
    if first:
        raise click.exceptions.Exit(first)


def _outcomes_of(
    act: Callable[[str], object], names: Sequence[str], *, at_once: bool
) -> Iterator[tuple[str, BaseException | None]]:
    if at_once:
        from pycontainer.cli.atonce import outcomes_of  # threads, which one name does not need

        yield from outcomes_of(act, names)
        return
    for name in names:
        try:
            act(name)
        except PycontainerError as error:
            yield name, error
        else:
            yield name, None


def _usage_message(error: click.ClickException) -> str:
    if isinstance(error, click.NoSuchOption):
        known = () if _about_option(error) else error.possibilities or ()
        return f"no such option {shown(error.option_name)}{foreign.near(error.option_name, known, prefix='--')}"
    message = error.format_message().rstrip(".")
    return message[:1].lower() + message[1:]


def _usage_hint(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if context is None:
        return ""
    if (
        isinstance(error, click.BadParameter)
        and error.param
        and "--format" in error.param.opts
        and "{{" in error.message
    ):
        return in_world(foreign.instead_of_template(_words(context)))
    return _about_option(error) or f"see '{context.command_path} --help'"


def _about_option(error: click.ClickException) -> str:
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return ""
    return in_world(foreign.about_option(_words(error.ctx), error.option_name))


def _words(context: click.Context) -> str:
    """Return the command's name, with its group's if it has one."""
    return context.command_path.partition(" ")[2]


def _os_message(error: OSError) -> str:
    reason = error.strerror or str(error)
    reason = reason[:1].lower() + reason[1:]
    if error.filename:
        return f"'{error.filename}': {reason}"
    return f"cannot write: {reason}" if error.errno in _NO_ROOM else reason


def _show_traceback() -> None:
    import traceback  # 3 ms that only --debug pays

    traceback.print_exc()
