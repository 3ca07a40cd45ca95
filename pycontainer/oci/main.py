"""The command `pycontainer-oci`: finds the verb, imports what that needs, and turns errors into a line and an exit code.

Exit codes: 0, 1 for any failure of ours (255 for `exec`), and for `run` and `exec` the code of the process.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` costs 2 ms for its enumerations
import os
import sys

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.oci import arguments, log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options

DEFAULT_PROGRAM = "pycontainer-oci"
EXIT_FAILED, EXIT_EXEC_FAILED = 1, 255
EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 130, 141  # 128 and the signal
_SIGCHLD = 17
# verb -> module, function: imported on use
_FUNCTIONS = {
    "create": ("pycontainer.oci.create", "create"),
    "start": ("pycontainer.oci.start", "start"),
    "run": ("pycontainer.oci.run", "run"),
    "exec": ("pycontainer.oci.exec", "exec_"),
    "restore": ("pycontainer.oci.verbs.checkpoint", "run"),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command (`argv` with the program's name first; default: the process's own) and return its exit code."""
    argv = sys.argv if argv is None else argv
    program = program_name(argv[0] if argv else "")
    _fill_standard_streams()
    _signal.signal(_SIGCHLD, _signal.SIG_DFL)  # ignored by a caller, it would take our children's exit codes away
    verb = ""
    debug = False
    try:
        options = arguments.parse(argv[1:], program)
        verb, debug = options.verb, options.debug
        log.start(program, options.log, options.log_format, debug=debug)
        return _run(options)
    except BrokenPipeError:
        return EXIT_BROKEN_PIPE
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:
        if verb == "":  # the command line was not understood: its --log may be there all the same
            _start_log_of(program, argv[1:])
        if debug:
            _show_traceback()
        log.error(message_of(error))
        return EXIT_EXEC_FAILED if verb == "exec" else EXIT_FAILED


def program_name(path: str) -> str:
    """Return the name that the state directory and messages have: that of the file we were called by.

    A copy of the program under another name has containers of its own. `pycontainer` is taken, by the supervisor.
    """
    name = os.path.basename(path)
    if name in ("", "-c", "-", ".", "..", "pycontainer") or name.endswith(".py"):
        return DEFAULT_PROGRAM
    return name


def default_root(program: str) -> str:
    """Return the directory of the containers: /run/PROGRAM, or below XDG_RUNTIME_DIR for who is not the host's root.

    Within a user namespace, where rootless engines call us, the user's name tells whether root there is the host's.
    """
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if os.geteuid() == 0 and (not runtime_dir or os.environ.get("USER") == "root" or not in_user_namespace()):
        return f"/run/{program}"
    if not runtime_dir:
        raise InvalidInput("no place to record containers in", hint="give --root, or set XDG_RUNTIME_DIR")
    return f"{runtime_dir}/{program}"


def message_of(error: BaseException) -> str:
    """Return what an error says as one line, its hint in brackets."""
    if isinstance(error, PycontainerError):
        text = f"{error.message} ({error.hint})" if error.hint else error.message
    elif isinstance(error, OSError):
        reason = error.strerror or str(error)
        reason = reason[:1].lower() + reason[1:]
        name = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else ""
        text = f"'{name}': {reason}" if name else reason
    else:
        text = f"internal error: {type(error).__name__}: {error}"
    for note in getattr(error, "__notes__", ()):
        text += f"; {note}"
    # messages hold names that a container's files and its author chose: a terminal shall show, not obey them
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def _run(options: Options) -> int:
    if options.help or (not options.verb and not options.version):
        from pycontainer.oci import output

        output.write(arguments.help_text(options.program, options.verb))
        # podman asks `checkpoint --help` whether there is support, and takes 0 for yes
        return EXIT_FAILED if options.verb in ("checkpoint", "restore") else 0
    if options.version:
        _show_version(options.program)
        return 0
    if not options.root:
        options.root = default_root(options.program)
    options.root = os.path.abspath(options.root)
    module, function = _FUNCTIONS.get(options.verb, (f"pycontainer.oci.verbs.{options.verb}", "run"))
    __import__(module)
    result: int | None = getattr(sys.modules[module], function)(options)
    return result or 0


def _show_version(program: str) -> None:
    """Write what engines parse: Docker looks for `version` and `commit:`, containerd for these three lines."""
    import pycontainer
    from pycontainer.oci import output
    from pycontainer.oci.state import OCI_VERSION

    version = pycontainer.__version__
    output.write(f"{program} version {version}\ncommit: v{version}\nspec: {OCI_VERSION}\n")


def _start_log_of(program: str, words: list[str]) -> None:
    """Open the log that a wrong command line names, as far as that can be found out; engines show its text alone."""
    found = {"--log": "", "--log-format": ""}
    for word, following in zip(words, [*words[1:], ""], strict=True):
        name, equals, value = word.partition("=")
        if name in found:
            found[name] = value if equals else following
    try:
        log.start(program, found["--log"], found["--log-format"], debug=False)
    except OSError:
        pass


def in_user_namespace() -> bool:
    """Say whether the user ids are not the host's. user_namespaces(7)"""
    try:
        fd = os.open("/proc/self/uid_map", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.read(fd, 4096).split() != [b"0", b"0", b"4294967295"]
    finally:
        os.close(fd)


def _fill_standard_streams() -> None:
    """Open /dev/null where the caller closed one of the three: what we open would get its number, and be taken for it."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            null_fd = os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
            os.set_inheritable(null_fd, True)


def _show_traceback() -> None:
    import traceback  # 3 ms that only --debug pays

    traceback.print_exc()


if __name__ == "__main__":
    sys.exit(main())
