"""From plain data to ContainerSpec, and between ContainerSpec and its record on disk.

parse_spec    what a user wrote: the keys of spec/fields.py, lenient in form ("200M", 0.5, lists or mappings)
to_plain      the finished spec as JSON data: the attributes of the model, in their own units; the form of spec.json
parse_changes the few settings that can be changed on a container that exists; parse_pool, those of a tenant
from_plain    its exact inverse, trusting nothing: a damaged record is InvalidInput, never a half-right spec
"""

import dataclasses
import types
from collections.abc import Iterator, Mapping
from typing import Any, cast

from pycontainer.errors import InvalidInput, did_you_mean
from pycontainer.spec.fields import BY_KEY, POOLED, TENANT_FIELDS, Field, Shape
from pycontainer.spec.model import SYSTEM_PIDS_MAX, ContainerSpec
from pycontainer.spec.problems import Problem, as_error
from pycontainer.spec.validate import validate
from pycontainer.spec.values import parse_text
from pycontainer.units import shown

MAX_KEYS = 2 * len(BY_KEY)  # room for many typing errors
MAX_ITEMS = 4096  # of one list; argv, env and ports stay far below
DEFAULT = "default"  # in a change: as if it had never been given
KEYS_HINT = "docs/spec.md lists the keys"


def parse_spec(data: object, *, source: str = "", lines: Mapping[str, int] | None = None) -> ContainerSpec:
    """Return the spec that a user's plain data asks for; one InvalidInput tells all that is wrong with it.

    `source` is the file it came from, `lines` the line of each field path (`ports`, `ports[1]`, `env.HOME`); both only
    serve the message. A key whose value is None counts as left out.
    """
    spec, problems = check_spec(data)
    if problems:
        raise as_error(problems, source=source, lines=lines)
    return spec


def parse_changes(data: Mapping[str, object]) -> dict[str, Any]:
    """Return attribute -> value of ContainerSpec for settings to be changed; one InvalidInput tells all that is wrong."""
    changeable = [key for key, field in BY_KEY.items() if field.live]
    if not data:
        raise as_error([Problem("", "there is nothing to change", f"what can be changed: {', '.join(changeable)}")])
    return _parse_some(data, {key: BY_KEY[key] for key in changeable}, "cannot be changed once the container exists")


def parse_pool(data: Mapping[str, object]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return attribute -> value of ContainerSpec for the limits of a tenant, and key -> value of what tenants alone have.

    One InvalidInput tells all that is wrong.
    """
    alone = {field.key: field for field in TENANT_FIELDS}
    fields = {key: BY_KEY[key] for key in POOLED} | alone
    values = _parse_some(data, fields, "is not a limit that a tenant's containers can share")
    return (
        {target: value for target, value in values.items() if target not in alone},
        {key: value for key, value in values.items() if key in alone},
    )


def _parse_some(data: Mapping[str, object], fields: Mapping[str, Field], refusal: str) -> dict[str, Any]:
    problems: list[Problem] = []
    values: dict[str, Any] = {}
    for key, value in data.items():
        if key in fields:
            is_taken_away = value == DEFAULT and _has_no_default(fields[key])
            values[fields[key].target] = None if is_taken_away else _parse_field(fields[key], value, problems)
        elif key not in BY_KEY:
            problems.append(_unknown_key(key))
        else:
            problems.append(Problem(key, refusal, f"what can be: {', '.join(fields)}"))
    if problems:
        raise as_error(problems)
    return values


def _has_no_default(field: Field) -> bool:
    """Tell whether nothing holds where a setting is left out; for a disk the host may have a cap of its own."""
    return field.key in BY_KEY and field.default is None and not field.key.startswith("disk")


def check_spec(data: object) -> tuple[ContainerSpec, list[Problem]]:
    """Return the spec and everything that is wrong with it; with problems the spec holds only what could be read."""
    if not isinstance(data, dict):
        return ContainerSpec(), [Problem("", f"{shown(data)} is not a mapping of settings", "write key: value")]
    if len(data) > MAX_KEYS:
        return ContainerSpec(), [Problem("", f"{len(data)} settings are more than there can be", KEYS_HINT)]
    problems: list[Problem] = []
    unread: set[str] = set()
    attributes: dict[str, Any] = {}
    for key, value in data.items():
        field = BY_KEY.get(key) if isinstance(key, str) else None
        if field is None:
            problems.append(_unknown_key(key))
        elif value is not None:
            count = len(problems)
            parsed = _parse_field(field, value, problems)
            if len(problems) > count:
                unread.add(key)
            elif field.target in attributes:
                attributes[field.target] += parsed  # volumes, mounts and tmpfs all make mounts
            else:
                attributes[field.target] = parsed
    if attributes.get("profile") == "system":
        attributes.setdefault("pids_max", SYSTEM_PIDS_MAX)
    spec = ContainerSpec(**attributes)
    return spec, problems + validate(spec, unread=frozenset(unread))


def _unknown_key(key: object) -> Problem:
    word, guess = (key, did_you_mean(key, BY_KEY)) if isinstance(key, str) else (shown(key), "")
    return Problem(word, f"unknown key {shown(key)}{guess}", "" if guess else KEYS_HINT, names_field=True)


def _parse_field(field: Field, value: object, problems: list[Problem]) -> Any:
    """Return the parsed value of one setting; append what is wrong to `problems`."""
    count = len(problems)
    parsed = []
    entries = iter([(field.key, value)]) if field.shape is Shape.ONE else _entries(field, value, problems)
    for path, entry in entries:
        try:
            parsed.append(field.parse(entry))
        except InvalidInput as error:
            problems.append(Problem(path, error.message, error.hint))
    if len(problems) > count:
        return None
    return parsed[0] if field.shape is Shape.ONE else field.collect(parsed)


def _entries(field: Field, value: object, problems: list[Problem]) -> Iterator[tuple[str, object]]:
    """Yield the entries of a list, each with its field path; of a mapping, its pairs as `key=value`."""
    if isinstance(value, (Mapping, list, tuple)) and len(value) > MAX_ITEMS:
        problems.append(Problem(field.key, f"{len(value)} entries are more than {MAX_ITEMS}"))
    elif isinstance(value, Mapping) and field.shape is Shape.PAIRS:
        for key, content in value.items():
            path = f"{field.key}.{key if isinstance(key, str) else shown(key)}"
            try:
                entry = _pair(field, key, content)
            except InvalidInput as error:
                problems.append(Problem(path, error.message, error.hint))
            else:
                yield path, entry
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield f"{field.key}[{index}]", entry
    elif isinstance(value, (str, int)) and not isinstance(value, bool):  # one entry need not stand in a list
        if field.program and (not isinstance(value, str) or len(value.split()) != 1):
            hint = 'write a list, such as ["nginx", "-g", "daemon off;"]; a text is not split into words'
            problems.append(Problem(field.key, f"{shown(value)} is not a list", hint))
        else:
            yield field.key, value
    else:
        kind = "a list or a mapping" if field.shape is Shape.PAIRS else "a list"
        problems.append(Problem(field.key, f"{shown(value)} is not {kind}", f"such as {field.example}"))


def _pair(field: Field, key: object, content: object) -> str:
    """Return a pair of a mapping as `key=value`."""
    name = parse_text(key)
    if field.separator == "=" and "=" in name:
        raise InvalidInput(f"{shown(name)} is not a key", hint="keys hold no '='")
    if content is None:
        raise InvalidInput("there is no value", hint=f"write key{field.separator}value")
    return f"{name}{field.separator}{parse_text(content)}"


def to_plain(spec: ContainerSpec) -> dict[str, object]:
    """Return the spec as JSON data; `from_plain` is the exact inverse.

    Every attribute is written: a later version's other default must not change a container that exists.
    """
    return {field.name: _encode(getattr(spec, field.name)) for field in dataclasses.fields(spec)}


def from_plain(data: object) -> ContainerSpec:
    """Return the spec that `to_plain` described; InvalidInput names the field that is unknown or of a wrong type.

    An attribute that is missing, because an older version wrote the record, has its default.
    """
    return cast(ContainerSpec, _decode(ContainerSpec, data, "spec"))


def _encode(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [_encode(item) for item in value] if isinstance(value, tuple) else value


def _decode(kind: Any, data: object, where: str) -> object:
    """Return `data` as a value of `kind`: a model class, tuple[...], X | None, str, int or bool."""
    if isinstance(kind, types.UnionType):
        if data is None:
            return None
        (kind,) = (option for option in kind.__args__ if option is not types.NoneType)
    if dataclasses.is_dataclass(kind) and isinstance(data, dict):
        fields = {field.name: field.type for field in dataclasses.fields(kind)}
        if unknown := [key for key in data if key not in fields]:
            hint = "the record is damaged, or from a newer version"
            raise InvalidInput(f"{where}: unknown field {shown(unknown[0])}", field=where, hint=hint)
        values = {key: _decode(fields[key], value, f"{where}.{key}") for key, value in data.items()}
        if missing := [
            field.name
            for field in dataclasses.fields(kind)
            if field.name not in values and field.default is dataclasses.MISSING
        ]:
            raise InvalidInput(f"{where}: field {missing[0]!r} is missing", field=where, hint="the record is damaged")
        make: Any = kind
        return cast(object, make(**values))
    if isinstance(kind, types.GenericAlias) and isinstance(data, list):
        arguments = kind.__args__
        each = arguments[:1] * len(data) if arguments[-1] is Ellipsis else arguments
        if len(each) == len(data):
            return tuple(
                _decode(option, item, f"{where}[{index}]")
                for index, (option, item) in enumerate(zip(each, data, strict=True))
            )
    if isinstance(kind, type) and type(data) is kind:
        return data
    raise InvalidInput(f"{where}: {shown(data)} is of a wrong type", field=where, hint="the record is damaged")
