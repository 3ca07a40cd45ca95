"""YAML files: one container each, or a mapping of names to containers under `containers:`.

A small, safe part of YAML. The parser's events are read, never its objects, so that nothing is constructed, and:

    true false               are true and false; yes, no, on, off are text
    8080  -1                 whole decimal numbers are numbers; 0.5, 010, 0x10, 1_000, 1:30, 2026-11-23 are text
    null ~                   no value, which no setting takes
    tags, anchors, aliases, merge keys, several documents, keys given twice, tabs as indentation     refused

Relative host paths are taken from the file's directory. All that is wrong with a file is told at once, with its lines.
"""

import dataclasses
import os
import re
import sys
from collections.abc import Callable
from typing import Any

import yaml

from pycontainer.errors import InvalidInput, NotFound
from pycontainer.spec.fields import BY_KEY
from pycontainer.spec.hostpaths import absolute_host_paths
from pycontainer.spec.parse import check_spec
from pycontainer.spec.problems import Problem, as_error
from pycontainer.spec.textfile import decode_text, read_text_file
from pycontainer.units import shown

MAX_DEPTH = 10  # a mount's keys are at 5
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})", re.ASCII)
_PLAIN_WORDS: dict[str, object] = {"": None, "~": None, "null": None, "true": True, "false": False}
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's parser is ten times as fast


Expand = Callable[[dict[str, object]], dict[str, object]]


@dataclasses.dataclass(frozen=True, slots=True)
class Document:
    """One container of a file: its plain spec, and the line of each field path (`ports`, `ports[1]`, `env.HOME`)."""

    plain: dict[str, object]
    lines: dict[str, int]


@dataclasses.dataclass(frozen=True, slots=True)
class Tree:
    """A file as plain data; `lines` has the line of each path, `problems` what of its YAML was refused."""

    data: object
    lines: dict[str, int]
    problems: list[Problem]


def read_tree(text: str | bytes, *, source: str) -> Tree:
    """Return what a text holds; InvalidInput at once where it is not YAML, or nested without end."""
    text = decode_text(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text, source)
    reader = _Reader(source)
    return Tree(reader.read(text), reader.lines, reader.problems)


def load(path: str, *, expand: Expand = dict) -> list[Document]:
    """Return the containers that the file at `path` describes; each has passed spec/parse.py."""
    base_dir = os.path.dirname(os.path.abspath(path))
    return load_text(read_text_file(path), source=path, base_dir=base_dir, expand=expand)


def load_text(text: str | bytes, *, source: str, base_dir: str, expand: Expand = dict) -> list[Document]:
    """Return the containers that a text describes; `source` names it in errors, `base_dir` is where its paths begin.

    `expand` puts the limits of a plan in the place of its name (hosting/plans.py); what is checked is what comes of it,
    what is returned is as it was written.
    """
    tree = read_tree(text, source=source)
    problems = tree.problems
    documents = []
    for prefix, plain in _containers(tree.data, problems):
        plain = absolute_host_paths(plain, base_dir)
        lines = _beneath(tree.lines, prefix)
        documents.append(Document(plain, lines))
        for problem in _empty_keys(plain) + _check(plain, expand):
            line = problem.line_in(lines) or tree.lines.get(prefix[:-1], 0)
            problems.append(dataclasses.replace(problem, line=line))
    if problems:
        problems.sort(key=lambda problem: problem.line_in(tree.lines) or sys.maxsize)
        raise as_error(problems, source=source, lines=tree.lines)
    return documents


def _check(plain: dict[str, object], expand: Expand) -> list[Problem]:
    try:
        return check_spec(expand(plain))[1]
    except NotFound as error:
        rest = {key: value for key, value in plain.items() if key != "plan"}
        return [Problem("plan", error.message, error.hint), *check_spec(rest)[1]]


def _empty_keys(plain: dict[str, object]) -> list[Problem]:
    """A key without a value is a limit forgotten, not a limit left out."""
    hint = "write one, or delete the line"
    return [
        Problem(str(key), "there is no value", hint) for key, value in plain.items() if value is None and key in BY_KEY
    ]


def _containers(tree: object, problems: list[Problem]) -> list[tuple[str, dict[str, object]]]:
    """Return the mappings that describe a container, each with the prefix of its field paths."""
    if not isinstance(tree, dict) or not tree:
        hint = "write key: value lines, such as image: debian-nginx"
        problems.append(Problem("", "the file holds no settings", hint, line=1))
        return []
    if "containers" not in tree:
        return [("", tree)]
    for key in tree:
        if key != "containers":
            hint = "put it into one of the containers"
            problems.append(Problem(str(key), f"key {shown(key)} stands beside 'containers'", hint, names_field=True))
    entries = tree["containers"]
    if not isinstance(entries, dict) or not entries:
        problems.append(Problem("containers", "there is no mapping of names to containers", "write name: settings"))
        return []
    found = []
    for name, plain in entries.items():
        path = f"containers.{name}"
        if not isinstance(plain, dict):
            problems.append(Problem(path, f"{shown(plain)} is not a mapping of settings", "write key: value"))
        elif "name" in plain:
            problems.append(Problem(f"{path}.name", "the container has its name above already", "leave name out"))
        else:
            found.append((f"{path}.", {"name": name, **plain}))
    return found


def _beneath(lines: dict[str, int], prefix: str) -> dict[str, int]:
    return {path[len(prefix) :]: line for path, line in lines.items() if path.startswith(prefix)}


@dataclasses.dataclass(slots=True)
class _Open:
    """A mapping or list that is being read; `key` is the key whose value comes next."""

    value: Any
    path: str
    key: object = None
    has_key: bool = False

    def child_path(self) -> str:
        if isinstance(self.value, list):
            return f"{self.path}[{len(self.value)}]"
        return f"{self.path}.{self.key}" if self.path else str(self.key)


class _Reader:
    """Builds plain data from parser events; `lines` has the line of each path, `problems` what was refused."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._stack: list[_Open] = []
        self._root: object = None
        self._documents = 0

    def read(self, text: str) -> object:
        """Return the tree of the one document; InvalidInput at once where the text is not YAML."""
        try:
            for event in yaml.parse(text, Loader=_LOADER):
                self._take(event)
        except yaml.YAMLError as error:
            raise self._syntax_error(error, text) from None
        return self._root

    def _take(self, event: Any) -> None:
        line = event.start_mark.line + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise self._refusal(line, "a second document begins", "write several containers under containers:")
        elif isinstance(event, yaml.AliasEvent):
            self._problem(line, f"alias '*{event.anchor}' is not supported", "write the value out")
            if self._stack and self._expects_key():
                self._add(f"*{event.anchor}", line)
            elif self._stack:
                self._stack[-1].has_key = False  # the value is left out
        elif isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)):
            if event.anchor is not None:
                self._problem(line, f"anchor '&{event.anchor}' is not supported", "write the value where it is needed")
            if event.tag is not None:
                self._problem(line, f"tag {shown(event.tag)} is not supported", "write plain values")
            if isinstance(event, yaml.ScalarEvent):
                self._add(_resolve(event.value) if not event.style else event.value, line)
            else:
                self._open({} if isinstance(event, yaml.MappingStartEvent) else [], line)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._stack.pop()

    def _open(self, value: Any, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise self._too_deep(line)
        if self._stack and self._expects_key():
            raise self._refusal(line, "a list or mapping stands where a key is wanted", "write key: value")
        path = self._stack[-1].child_path() if self._stack else ""
        self._add(value, line)
        self._stack.append(_Open(value, path))

    def _add(self, value: Any, line: int) -> None:
        """Put a finished or just opened value where it belongs: as key, as value of the key, as item, or as root."""
        if not self._stack:
            self._root = value
            return
        parent = self._stack[-1]
        if self._expects_key():
            parent.key, parent.has_key = value, True
            path = parent.child_path()
            if path in self.lines:  # by its text, so that 8080 and "8080" are the same key
                self._problem(line, f"key {shown(value)} is given twice", f"the first is in line {self.lines[path]}")
            self.lines.setdefault(path, line)
            return
        if isinstance(parent.value, list):
            self.lines.setdefault(parent.child_path(), line)
            parent.value.append(value)
        else:
            parent.value[parent.key] = value
            parent.has_key = False

    def _expects_key(self) -> bool:
        return isinstance(self._stack[-1].value, dict) and not self._stack[-1].has_key

    def _problem(self, line: int, message: str, hint: str) -> None:
        self.problems.append(Problem("", message, hint, line=line))

    def _refusal(self, line: int, message: str, hint: str) -> InvalidInput:
        return as_error([Problem("", message, hint, line=line)], source=self.source)

    def _too_deep(self, line: int) -> InvalidInput:
        return self._refusal(line, f"more than {MAX_DEPTH} levels deep", "no setting is nested that deep")

    def _syntax_error(self, error: yaml.YAMLError, text: str) -> InvalidInput:
        if isinstance(
            error, yaml.reader.ReaderError
        ):  # its position is one of bytes, or of characters, as the loader has it
            character = chr(error.character)
            line = text.count("\n", 0, max(0, text.find(character))) + 1
            return self._refusal(line, f"not YAML: {ascii(character)}: {error.reason}", "delete it")
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = mark.line + 1 if mark else 1
        what = getattr(error, "problem", None) or error
        if "nesting depth" in str(what):  # newer libyaml looks ahead to a limit of its own first
            return self._too_deep(line)
        lines = text.split("\n")
        for number in range(min(line, len(lines)), 0, -1):  # the parser may notice a tab some lines late
            content = lines[number - 1]
            if "\t" in content[: len(content) - len(content.lstrip())]:
                return self._refusal(number, "a tab stands in the indentation", "indent with spaces")
            if number < line and content.strip():
                break
        return self._refusal(line, f"not YAML: {what}", "check the indentation, colons and quotes")


def _resolve(text: str) -> object:
    """Return what an unquoted word means."""
    if text in _PLAIN_WORDS:
        return _PLAIN_WORDS[text]
    return int(text) if _INTEGER.fullmatch(text) else text
