"""Environment variables from a file or from the caller, as Docker reads them: nothing is quoted, expanded or split.

# a comment; blank lines are skipped
NAME=value                the value is the rest of the line
NAME                      the caller's own value, and nothing when it has none
"""

from collections.abc import Mapping

from pycontainer.errors import InvalidInput
from pycontainer.spec.problems import Problem, as_error
from pycontainer.spec.textfile import read_text_file
from pycontainer.spec.values import parse_variable


def read_env_file(path: str, environ: Mapping[str, str]) -> list[str]:
    """Return the variables of a file as `NAME=value`, in order; `environ` is the caller's environment."""
    return parse_env_text(read_text_file(path), environ, source=path)


def parse_env_text(text: str, environ: Mapping[str, str], *, source: str) -> list[str]:
    """Return the variables of the text of a file; one InvalidInput tells all that is wrong with it, with its lines."""
    variables: list[str] = []
    problems: list[Problem] = []
    for number, line in enumerate(text.split("\n"), start=1):
        entry = line.removesuffix("\r").lstrip(" \t")
        if not entry or entry.startswith("#"):
            continue
        try:
            variables += expand_variable(entry, environ)
        except InvalidInput as error:
            problems.append(Problem("", error.message, error.hint, line=number))
    if problems:
        raise as_error(problems, source=source)
    return variables


def expand_variable(entry: str, environ: Mapping[str, str]) -> list[str]:
    """Return `NAME=value` as a list of one; for `NAME` alone, the caller's value, or an empty list when it has none."""
    name, separator, _ = entry.partition("=")
    parse_variable(entry if separator else f"{name}=")
    if separator:
        return [entry]
    return [f"{name}={environ[name]}"] if name in environ else []
