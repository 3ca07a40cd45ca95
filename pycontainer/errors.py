"""The exception tree: everything pycontainer raises on purpose.

    PycontainerError            exit 1, http 500        has .hint
    ├─ InvalidInput             exit 2, http 400        has .source (file:line) and .field
    ├─ NotFound                 exit 3, http 404
    ├─ AlreadyExists            exit 4, http 409
    ├─ InvalidState             exit 5, http 409        the container is in the wrong status
    │  └─ Busy                  exit 5, http 409        another operation holds the container
    ├─ Unsupported              exit 6, http 501        the host lacks .feature
    ├─ NotPermitted             exit 7, http 403
    ├─ SupervisorUnavailable    exit 8, http 503
    └─ StartFailed              exit 125, http 500      has .step and .errno from the child

A message says what failed, on which object and why: lower case, no full stop, values quoted. The hint
says what to do. `to_wire` and `from_wire` carry an error across the socket without losing its class.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MAX_GUESSED_LENGTH = 64


def shown(value: object) -> str:
    """Return a value as an error message quotes it: control characters escaped, shortened when long."""
    try:
        text = ascii(value) if isinstance(value, str) and not value.isprintable() else repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits, lists in lists without end
        return f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:76]}...{text[-1]}"


def did_you_mean(word: str, choices: "Iterable[str]", *, prefix: str = "", cutoff: float = 0.6) -> str:
    """Return `, did you mean 'memory'?` for the nearest of `choices`, or nothing; a common `prefix` is not compared.

    At least `cutoff` of the two words must be the same, as difflib measures it.
    """
    import difflib  # 2 ms, and only for a typing error

    if len(word) > _MAX_GUESSED_LENGTH:  # comparing takes quadratic time
        return ""
    bare = [choice.removeprefix(prefix) for choice in choices]
    nearest = difflib.get_close_matches(word.removeprefix(prefix), bare, n=1, cutoff=cutoff)
    return f", did you mean {prefix + nearest[0]!r}?" if nearest else ""


def _printable(text: str, kept: str) -> str:
    """Escape what could speak to a terminal: messages hold names that a container's files, users and tenants chose."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one in kept else ascii(one)[1:-1] for one in text)


class PycontainerError(Exception):
    """Base of all errors; `hint` is what the reader can do about it, or empty."""

    exit_code = 1
    http_status = 500
    wire_fields: tuple[str, ...] = ()
    _kept = ""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = _printable(message, self._kept)
        self.hint = _printable(hint, "")

    def to_wire(self) -> dict[str, object]:
        """Return the error as plain JSON data."""
        extra = {name: getattr(self, name) for name in self.wire_fields}
        return {"class": type(self).__name__, "message": self.message, "hint": self.hint, **extra}


class InvalidInput(PycontainerError):
    """What was asked makes no sense; `source` is `file:line` when it came from a file, `field` the option's name."""

    exit_code = 2
    http_status = 400
    wire_fields = ("source", "field")
    _kept = "\n"  # one line for each problem of a spec

    def __init__(self, message: str, *, hint: str = "", source: str = "", field: str = "") -> None:
        super().__init__(message, hint=hint)
        self.source = source
        self.field = field


class NotFound(PycontainerError):
    """No such container, image, network or path."""

    exit_code = 3
    http_status = 404


class AlreadyExists(PycontainerError):
    """The name, port or address is taken."""

    exit_code = 4
    http_status = 409


class InvalidState(PycontainerError):
    """The container's status does not allow the operation."""

    exit_code = 5
    http_status = 409


class Busy(InvalidState):
    """Another operation holds the object."""


class Unsupported(PycontainerError):
    """The host lacks `feature`.

    `difference` says what a file holds and what was to be in it, where the kernel has the file: empty if something lacks.
    """

    exit_code = 6
    http_status = 501
    wire_fields = ("feature",)

    def __init__(self, message: str, *, hint: str = "", feature: str = "", difference: str = "") -> None:
        super().__init__(message, hint=hint)
        self.feature = feature
        self.difference = difference


class NotPermitted(PycontainerError):
    """The caller may not do this."""

    exit_code = 7
    http_status = 403


class SupervisorUnavailable(PycontainerError):
    """The supervisor cannot be reached or started."""

    exit_code = 8
    http_status = 503


class StartFailed(PycontainerError):
    """The container could not be started; `step` names the step of the plan, `errno` the kernel's reason (0: none)."""

    exit_code = 125
    http_status = 500
    wire_fields = ("step", "errno")

    def __init__(self, message: str, *, hint: str = "", step: str = "", errno: int = 0) -> None:
        super().__init__(message, hint=hint)
        self.step = step
        self.errno = errno
        if step == "execve":  # the codes a shell gives, and Docker: not found, found but not executable
            self.exit_code = {2: 127, 20: 127, 8: 126, 13: 126}.get(errno, 125)


_CLASSES: dict[str, type[PycontainerError]] = {
    cls.__name__: cls
    for cls in (
        PycontainerError,
        InvalidInput,
        NotFound,
        AlreadyExists,
        InvalidState,
        Busy,
        Unsupported,
        NotPermitted,
        SupervisorUnavailable,
        StartFailed,
    )
}


def from_wire(data: dict[str, object]) -> PycontainerError:
    """Rebuild the error that `to_wire` described; an unknown class becomes PycontainerError."""
    cls = _CLASSES.get(str(data.get("class")), PycontainerError)
    extra = {name: data[name] for name in cls.wire_fields if name in data}
    return cls(str(data.get("message", "")), hint=str(data.get("hint", "")), **extra)
