"""What an image says of how its containers start: checked data, never policy."""

from collections.abc import Mapping

from pycontainer.errors import InvalidInput
from pycontainer.spec.signals import signal_number
from pycontainer.units import shown

_TEXTS = ("user", "workdir", "stop_signal")
_LISTS = ("entrypoint", "cmd", "env", "exposed_ports", "volumes")
_KEYS = (
    "entrypoint",
    "cmd",
    "env",
    "user",
    "workdir",
    "exposed_ports",
    "volumes",
    "stop_signal",
    "labels",
    "healthcheck",
)
_HEALTH_SECONDS = ("interval_seconds", "timeout_seconds", "start_period_seconds", "start_interval_seconds")
_HEALTH_KEYS = ("test", *_HEALTH_SECONDS, "retries")
_MAX_HEALTH_SECONDS = 1e9
_MAX_CHARACTERS = 1 << 20
_MAX_ENTRIES = 4096  # of one list or mapping; argv, environment and labels stay far below


def check_config(config: Mapping[str, object]) -> dict[str, object]:
    """Return a config with exactly the known keys, empty where nothing was said; InvalidInput names what is wrong.

    entrypoint, cmd, env ("NAME=VALUE"), exposed_ports and volumes are lists of text; labels maps text to text; user,
    workdir and stop_signal are text. healthcheck is empty or has test, the words of Docker's field (first NONE, CMD or
    CMD-SHELL), and where they were given interval_seconds, timeout_seconds, start_period_seconds, start_interval_seconds
    and retries: for whoever looks after the container, nothing here runs it.
    """
    if not isinstance(config, Mapping):
        raise InvalidInput(f"{shown(config)} is not an image's config")
    unknown = sorted(str(key) for key in config if key not in _KEYS)
    if unknown:
        raise InvalidInput(
            f"unknown key {shown(unknown[0])} in the image's config",
            hint=f"the keys are {', '.join(_KEYS)}",
            field=unknown[0],
        )
    checked = {key: _checked(key, config.get(key)) for key in _KEYS}
    if sum(len(str(value)) for value in checked.values()) > _MAX_CHARACTERS:
        raise InvalidInput(f"the image's config is larger than {_MAX_CHARACTERS} characters")
    return checked


def _checked(key: str, value: object) -> object:
    if key in _TEXTS:
        if value is None:
            return ""
        if not _is_text(value):
            raise _wrong(key, value, "text")
        if key == "stop_signal" and value:
            try:
                signal_number(value)
            except InvalidInput:
                raise _wrong(key, value, "a signal") from None
        return value
    if key == "healthcheck":
        return _checked_health({} if value is None else value)
    if isinstance(value, (dict, list, tuple)) and len(value) > _MAX_ENTRIES:
        raise InvalidInput(f"'{key}' in the image's config has more than {_MAX_ENTRIES} entries", field=key)
    if key == "labels":
        if value is None:
            return {}
        if isinstance(value, dict) and all(_is_text(k) and _is_text(v) for k, v in value.items()):
            return dict(value)
        raise _wrong(key, value, "a mapping of text to text")
    if value is None:
        return []
    if not isinstance(value, (list, tuple)) or not all(_is_text(item) for item in value):
        raise _wrong(key, value, "a list of text")
    if key == "env" and not all("=" in item[1:] for item in value):
        raise _wrong(key, value, "a list of NAME=VALUE")
    return list(value)


def _checked_health(value: object) -> dict[str, object]:
    if not isinstance(value, dict) or not value.keys() <= set(_HEALTH_KEYS):
        raise _wrong("healthcheck", value, f"a mapping with {', '.join(_HEALTH_KEYS)}")
    test = value.get("test") or []
    if not isinstance(test, (list, tuple)) or len(test) > _MAX_ENTRIES or not all(_is_text(item) for item in test):
        raise _wrong("healthcheck", value, "one whose test is a list of text")
    for key in _HEALTH_SECONDS:
        number = value.get(key, 0)
        if type(number) not in (int, float) or not 0 <= number <= _MAX_HEALTH_SECONDS:
            raise _wrong("healthcheck", value, f"one whose {key} is a number of seconds")
    if type(retries := value.get("retries", 0)) is not int or not 0 <= retries <= _MAX_HEALTH_SECONDS:
        raise _wrong("healthcheck", value, "one whose retries are a whole number")
    return {key: list(test) if key == "test" else value[key] for key in _HEALTH_KEYS if value.get(key)}


def _is_text(value: object) -> bool:
    """Tell whether `value` can be an argument of a program: no NUL, no half of a surrogate pair."""
    if not isinstance(value, str) or "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _wrong(key: str, value: object, wanted: str) -> InvalidInput:
    return InvalidInput(f"{shown(value)} for '{key}' in the image's config is not {wanted}", field=key)
