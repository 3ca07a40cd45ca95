"""Reading a tree of plain data strictly: each problem is noted with its path, and what can be read is read."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from pycontainer.errors import InvalidInput, NotFound, did_you_mean
from pycontainer.spec.problems import Problem
from pycontainer.units import shown

_KEYS_SHOWN = 12


class Form:
    """What is wrong with a tree, as `problems`; readers derive from it."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def wrong(self, path: str, message: str, hint: str = "") -> None:
        self.problems.append(Problem(path, message, hint))

    def attempt(self, path: str, parse: Callable[[], Any]) -> Any:
        """Return what `parse` does; None, and a problem, if it refuses."""
        try:
            return parse()
        except (InvalidInput, NotFound) as error:
            self.wrong(path, error.message, error.hint)
            return None

    def has_name(self, name: str, path: str, kind: str) -> bool:
        if name.isascii() and name == name.lower() and name.replace("-", "").isalnum() and name.strip("-") == name:
            return True
        self.wrong(
            path, f"{shown(name)} is not the name of a {kind} here", "use a to z, digits, and dashes between them"
        )
        return False

    def check_keys(
        self,
        data: Mapping[str, object],
        path: str,
        known: Sequence[str],
        limits: Collection[str] = (),
        refused: Mapping[str, str] | None = None,
    ) -> None:
        """Note keys that are not `known`: those that belong beneath `limits:`, those that are `refused` with the reason."""
        for key in data:
            at = f"{path}.{key}" if path else str(key)
            if key in known:
                continue
            if key in limits:
                self.wrong(at, "the limit stands beside 'limits'", "indent it below limits:")
            elif refused and key in refused:
                self.wrong(at, "a site has no such setting", refused[key])
            else:
                guess = did_you_mean(key, (*known, *limits)) if isinstance(key, str) else ""
                more = ", and those of docs/spec.md" if len(known) > _KEYS_SHOWN else ""
                self.wrong(
                    at, f"unknown key{guess}", "" if guess else f"keys are {', '.join(known[:_KEYS_SHOWN])}{more}"
                )

    def given(self, data: Mapping[str, object], path: str) -> dict[str, object]:
        """Return what has a value; a key without one is something forgotten, not something left out."""
        for key, value in data.items():
            if value is None:
                self.wrong(f"{path}.{key}", "there is no value", "write one, or delete the line")
        return {key: value for key, value in data.items() if value is not None}

    def limits(self, data: Mapping[str, object], path: str) -> dict[str, object]:
        limits = self.mapping(data, "limits", path, "write key: value lines, such as memory: 300M")
        return self.given(limits, f"{path}.limits")

    def mapping(self, data: Mapping[str, object], key: str, path: str, hint: str) -> dict[str, object]:
        value = data.get(key, {})
        if not isinstance(value, Mapping):
            self.wrong(f"{path}.{key}" if path else key, f"{shown(value)} is not a mapping", hint)
            return {}
        return {name if isinstance(name, str) else shown(name): entry for name, entry in value.items()}

    def entries(
        self, data: Mapping[str, object], key: str, path: str, hint: str, *, needed: bool = False
    ) -> Iterable[tuple[str, Mapping[str, object], str]]:
        """Yield the named mappings beneath a key, each with its path."""
        start = f"{path}.{key}" if path else key
        entries = self.mapping(data, key, path, hint)
        if needed and not entries and (key not in data or isinstance(data[key], Mapping)):
            self.wrong(start if key in data else path, f"there are no {key}", hint)
        for name, entry in entries.items():
            at = f"{start}.{name}"
            if isinstance(entry, Mapping):
                yield name, entry, at
            else:
                self.wrong(
                    at, f"{shown(entry)} is not a mapping of settings", "write key: value lines beneath the name"
                )

    def texts(
        self, data: Mapping[str, object], key: str, path: str, parse: Callable[[object], str], most: int
    ) -> tuple[str, ...]:
        if key not in data:
            return ()
        value, at = data[key], f"{path}.{key}"
        entries = [value] if isinstance(value, str) else value
        if not isinstance(entries, list | tuple):
            self.wrong(at, f"{shown(value)} is not a list", f"write {key}: [...]")
            return ()
        if len(entries) > most:
            self.wrong(at, f"{len(entries)} entries are more than {most}")
            return ()
        found = [
            self.attempt(at if entries is not value else f"{at}[{index}]", lambda entry=entry: parse(entry))  # type: ignore[misc]
            for index, entry in enumerate(entries)
        ]
        return tuple(text for text in found if isinstance(text, str))

    def number(
        self, data: Mapping[str, object], key: str, path: str, parse: Callable[[object], int], default: int
    ) -> int:
        found = self.attempt(f"{path}.{key}", lambda: parse(data[key])) if key in data else default
        return found if isinstance(found, int) else default
