"""In the program that is dumped: load all, stop; and, in whoever goes on in the dump, what is another process's then.

`build` executes this file with the program's interpreter. What we tell it is a line of JSON, behind which we stop (SIGSTOP).
Whoever goes on has the memory of a process that has ended. Descriptors, signals, environment, arguments and ids are those of
a new one: the kernel gave them to it, and Python has not seen them.
"""

import contextlib
import gc
import io
import json
import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

# What somebody wants of the dynamic linker, which is over with its work in ours. ld.so(8) LD_LIBRARY_PATH is not among them:
# all is loaded, and containerd gives it to every runtime.
_LOADER_VARIABLES = (b"LD_PRELOAD=", b"LD_AUDIT=", b"LD_DEBUG=", b"GLIBC_TUNABLES=")
# What is seen to, or changes nothing of what a command does; any other of Python's is a wish that only its own start fulfils.
_HARMLESS = {"PYTHONDONTWRITEBYTECODE", "PYTHONHASHSEED", "PYTHONPYCACHEPREFIX", "PYTHONSTARTUP", "PYTHONUNBUFFERED"}
_LOCALE_VARIABLES = ("LC_ALL", "LC_CTYPE", "LANG")  # the first that is set counts. locale(7)
_SIGINT, _SIGPIPE, _SIGSTOP, _SIGXFSZ = 2, 13, 19, 25
_UNCHANGED_SIGNALS = (9, _SIGSTOP, 32, 33)  # SIGKILL, SIGSTOP, and two of libc's own
_SIGACTION_BYTES = 152  # struct sigaction of libc, the handler first
_TYPE_OF_FILE, _DIRECTORY = 0o170000, 0o040000  # of st_mode. inode(7)
_CLOCK_TICK_NS = 10_000_000  # by which the time of a change may be behind
_TCB_BYTES = 1024  # of struct pthread, more than enough to hold the thread's id


def main() -> None:
    """Freeze the program that the argument describes, see `_stopped` in build.py."""
    settings = json.loads(sys.argv[1])
    since_ns = time.time_ns() - _CLOCK_TICK_NS
    sys.path += [each for each in settings["libraries"] if each not in sys.path]
    for name in settings["modules"]:
        __import__(name)
    module, _, function = settings["entry"].partition(":")
    __import__(module)
    from pycontainer.startup import frozen  # not what this file is as __main__

    entry = getattr(sys.modules[module], function)
    frozen.freeze(
        entry, settings["slow"], settings["told_fd"], since_ns, heeds_environment=settings["heeds_environment"]
    )


def freeze(
    entry: "Callable[[], object]", slow: list[str], told_fd: int, since_ns: int, *, heeds_environment: bool
) -> "NoReturn":
    """Stop, having told where things are; go on with `entry`, or execute `slow` with our arguments behind it.

    RuntimeError: what was loaded has changed since, and nobody knows which of the two is in memory.
    """
    from pycontainer.linux import ffi
    from pycontainer.linux.memory import PROT_EXEC, PROT_READ, PROT_WRITE, Area
    from pycontainer.startup.dump import PAGE_BYTES, STACK_ADDRESS, STACK_BYTES
    from pycontainer.startup.machine import CODES
    from pycontainer.startup.renewal import SWITCH

    code = CODES[os.uname().machine]
    area = Area(PAGE_BYTES, PROT_READ | PROT_WRITE | PROT_EXEC)
    area.write(0, code.data)
    words = Area(PAGE_BYTES, PROT_READ | PROT_WRITE)
    stack = Area(STACK_BYTES, PROT_READ | PROT_WRITE, at=STACK_ADDRESS)
    stop = ffi.prototype(ffi.c_long, ffi.c_void_p)(area.address + code.stop)
    process = _Process(heeds_environment, slow, SWITCH)

    def run() -> "NoReturn":
        argc_at = stop(words.address)
        if argc_at == 0:
            os._exit(1)  # continued, by whom we do not know
        process.go_on(argc_at, entry)

    told = {
        "words_at": words.address,
        "code": [area.address, area.address + area.length_bytes],
        "thread_id_at": _thread_id_at(),
        "heap_end_at": ffi.address(ffi.open_library(None), "__curbrk"),
        "files": _files(since_ns),
    }
    _tell(told_fd, told)
    gc.collect()
    gc.freeze()  # who goes on shall not look at, and so copy, what will be there to its end
    on_stack = _prototype_with_object(ffi)(area.address + code.on_stack)
    on_stack(stack.address + stack.length_bytes, ffi.address(ffi.open_library(None), "PyObject_CallNoArgs"), run)
    os._exit(1)


class _Process:
    """What a process has of its own, and how that which goes on gets its own."""

    def __init__(self, heeds_environment: bool, slow: list[str], switch: str) -> None:
        from pycontainer.linux import ffi

        self._ffi = ffi
        self._heeds_environment = heeds_environment
        self._slow = slow
        self._switch = switch
        self._environ = ffi.c_void_p.from_address(ffi.address(ffi.open_library(None), "environ"))
        self._sigaction = ffi.function(
            ffi.open_library(None), "sigaction", (ffi.c_int, ffi.c_void_p, ffi.c_void_p), ffi.c_int
        )
        self._action = ffi.create_string_buffer(_SIGACTION_BYTES)
        self._handler = ffi.c_void_p.from_address(ffi.addressof(self._action))

    def go_on(self, argc_at: int, entry: "Callable[[], object]") -> "NoReturn":
        """Be the new process: see what it was given, and run."""
        _begin_anew()
        argv, environment = self._take_arguments(argc_at)
        if self._is_slow(environment):
            command = [*map(os.fsencode, self._slow), *argv]
            try:
                os.execv(command[0], command)
            except OSError as error:
                os.write(2, f"pycontainer: cannot execute '{self._slow[0]}': {error.strerror}\n".encode())
                os._exit(127)
        self._take_signals()
        if self._heeds_environment:  # else all output goes past Python's streams
            _take_streams(surrogates=_is_c_locale())
        sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
        time.tzset()  # also without TZ: the host's may be another by now
        sys.argv[:] = map(os.fsdecode, argv)
        _end(_run(entry), stops=os.environ.get(self._switch) == "trial")

    def _take_arguments(self, argc_at: int) -> tuple[list[bytes], list[bytes]]:
        """Return arguments and environment as the kernel laid them there (execve(2)), the latter known to `os` and libc."""
        ffi = self._ffi
        count = ffi.c_long.from_address(argc_at).value
        argv = (ffi.c_char_p * count).from_address(argc_at + 8)[:]
        at = argc_at + 8 * (count + 2)
        self._environ.value = at
        environment = []
        while (each := ffi.c_char_p.from_address(at).value) is not None:
            environment.append(each)
            at += 8
        known: dict[bytes, bytes] = os.environ._data  # type: ignore[attr-defined]
        known.clear()
        for each in environment:
            name, equals, value = each.partition(b"=")
            if equals:
                known.setdefault(name, value)
        return argv, environment

    def _is_slow(self, environment: list[bytes]) -> bool:
        """Say whether what is asked for is only to be had from a start as ever."""
        if os.environ.get(self._switch) == "slow" or any(each.startswith(_LOADER_VARIABLES) for each in environment):
            return True
        if self._heeds_environment:
            if not _HARMLESS.issuperset(name for name in os.environ if name.startswith("PYTHON")):
                return True
            locale = _locale()
            if locale not in ("", "C", "POSIX") and not locale.partition("@")[0].lower().endswith(("utf-8", "utf8")):
                return True
            return _is_directory(0)  # which Python refuses to read from, as it starts
        return False

    def _take_signals(self) -> None:
        """Do what Python does as it starts: look what is ignored, and have ^C and a closed pipe become exceptions."""
        import _signal  # type: ignore[import-not-found]

        handler, action = self._handler, self._ffi.addressof(self._action)
        for number in range(1, 65):
            if number not in _UNCHANGED_SIGNALS and self._sigaction(number, None, action) == 0 and handler.value == 1:
                _signal.signal(number, _signal.SIG_IGN)
            elif number == _SIGINT:
                _signal.signal(number, _signal.default_int_handler)
            elif number in (_SIGPIPE, _SIGXFSZ):
                _signal.signal(number, _signal.SIG_IGN)


def _is_directory(fd: int) -> bool:
    try:
        return os.fstat(fd).st_mode & _TYPE_OF_FILE == _DIRECTORY
    except OSError:  # the caller has closed it
        return False


def _thread_id_at() -> int:
    """Return where libc keeps the id of this thread: within what the thread pointer points to, of which it is no secret.

    It is what owns a recursive lock. RuntimeError: it is not there once, and so not known.
    """
    import _thread

    from pycontainer.linux import ffi

    own = _thread.get_ident()  # pthread_self(3), which is that pointer
    found = [own + at for at in range(0, _TCB_BYTES, 4) if ffi.c_int.from_address(own + at).value == os.getpid()]
    if len(found) != 1:
        raise RuntimeError(f"libc has the thread's id at {len(found)} places")
    return found[0]


def _files(since_ns: int) -> list[tuple[str, int, int]]:
    """Return (path, size, time of the last change in ns) of what we are made of.

    Of what a checkout may hold each file. Of what is installed that which an upgrade changes: the directory it is in, the
    interpreter, and each library.
    """
    paths = {sys.executable, *_mapped_files()}
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and os.path.isfile(file):
            paths.add(_directory_of_installed(file) or file)
    found = [(path, os.stat(path)) for path in sorted(paths)]
    for path, each in found:
        if max(each.st_mtime_ns, each.st_ctime_ns) > since_ns:
            raise RuntimeError(f"'{path}' changes meanwhile")
    return [(path, each.st_size, each.st_mtime_ns) for path, each in found]


def _mapped_files() -> list[str]:
    with open("/proc/self/maps") as file:
        words = [line.rstrip("\n").split(maxsplit=5) for line in file]
    return [each[5] for each in words if len(each) == 6 and each[5].startswith("/") and "x" in each[1]]


def _directory_of_installed(file: str) -> str:
    """Return the directory in which a module is installed, Python's own or another; empty if it is not."""
    for directory in ("site-packages", "dist-packages", "lib-dynload"):
        before, found, _ = file.rpartition(f"/{directory}/")
        if found:
            return f"{before}/{directory}"
    own = os.path.dirname(os.__file__)
    return own if file.startswith(f"{own}/") else ""


def _tell(fd: int, told: dict[str, "Any"]) -> None:
    data = json.dumps(told).encode() + b"\n"
    while data:
        data = data[os.write(fd, data) :]
    os.close(fd)


def _prototype_with_object(ffi: "Any") -> "Any":
    import ctypes

    return ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_void_p, ctypes.py_object)


def _locale() -> str:
    return next((value for name in _LOCALE_VARIABLES if (value := os.environ.get(name))), "")


def _is_c_locale() -> bool:
    """Say whether output may be any bytes: so Python has it in the C locale, which one that is not installed becomes."""
    name = _locale()
    if name in ("", "C", "POSIX", "C.UTF-8", "C.utf8", "UTF-8"):  # the last three are what it takes for C. PEP 538
        return True
    import locale

    try:
        locale.setlocale(locale.LC_CTYPE, "")
    except locale.Error:
        return True
    return False


def _take_streams(*, surrogates: bool) -> None:
    """Make the three streams of the descriptors that are open, as Python does (Python/pylifecycle.c, create_stdio)."""
    unbuffered = bool(os.environ.get("PYTHONUNBUFFERED"))
    usual = "surrogateescape" if surrogates else "strict"
    for fd, name, mode, errors in (
        (0, "stdin", "r", usual),
        (1, "stdout", "w", usual),
        (2, "stderr", "w", "backslashreplace"),
    ):
        stream = None
        with contextlib.suppress(OSError):  # the caller has closed it
            raw = io.FileIO(fd, mode, closefd=False)
            raw.name = f"<{name}>"
            stream = io.TextIOWrapper(
                io.BufferedReader(raw) if fd == 0 else io.BufferedWriter(raw),
                "utf-8",
                errors,
                "\n",
                line_buffering=fd == 2 or raw.isatty(),
                write_through=unbuffered,
            )
            stream.mode = mode  # type: ignore[misc]
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _begin_anew() -> None:
    """Have what modules took down as they were loaded be of this process."""
    import pycontainer

    pycontainer.BEGAN = (time.monotonic_ns(), time.process_time_ns())
    if (random := sys.modules.get("random")) is not None:
        random.seed()
    if (threading := sys.modules.get("threading")) is not None:
        threading.main_thread()._set_native_id()


def _run(entry: "Callable[[], object]") -> object:
    """Return what the program gave as its exit code; its SystemExit and its traceback are shown as Python does."""
    try:
        return entry()
    except SystemExit as error:
        return error.code
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1


def _end(code: object, *, stops: bool) -> "NoReturn":
    """End the process with an exit code as `sys.exit` takes it, once all output is where it belongs.

    With `stops` it stands still before: `build` looks at what has been written to.
    """
    if code is not None and not isinstance(code, int):
        code = print(code, file=sys.stderr) or 1
    try:
        for stream in (sys.stderr, sys.stdout):
            if stream is not None:
                stream.flush()
    except OSError:  # who reads has gone
        code = 1
    if stops:
        os.kill(os.getpid(), _SIGSTOP)
    os._exit(code & 0xFF if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
