"""Builders of root file systems: the programs of rootfs-tools, or any other with their interface, run here in the client.

    BUILDER [OPTION]... -o OUT      makes the directory OUT, whole or not at all, and OUT.json, how containers of it start

    lib/builds/                     0711, locked while one is made or removed
    └── XXXXXXXX/                   one build at work, locked by its client
        ├── rootfs/                 OUT
        └── rootfs.json

A builder runs as root, as whoever calls it, in a mount namespace of its own: nothing that it mounts outlives it, nor is in
the way when its files are removed. It ends with the client, even a killed one. What that leaves goes with the next build.
"""

import contextlib
import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from pycontainer import jsontext
from pycontainer.errors import InvalidInput, NotFound, NotPermitted, PycontainerError, Unsupported, did_you_mean
from pycontainer.paths import HostPaths

_MAX_CONFIG_BYTES = 1 << 20
_END_SECONDS = 30  # what a builder may take to clean up
_ABOUT = re.compile(r"^about='([^'\n]*)'$", re.MULTILINE)
_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_DIRECTORIES = (
    f"{_PACKAGE}/../rootfs-tools",  # a checkout
    f"{_PACKAGE}/../share/pycontainer/rootfs-tools",  # pip install --target
    f"{_PACKAGE}/../../../../share/pycontainer/rootfs-tools",  # PREFIX/lib/python3.X/site-packages/pycontainer
    "/usr/local/share/pycontainer/rootfs-tools",
    "/usr/share/pycontainer/rootfs-tools",
)


class Builder(NamedTuple):
    """A builder that is there: its name, what it says of itself, where it is."""

    name: str
    about: str
    path: str


def list_builders() -> list[Builder]:
    """Return the builders of this installation, by name."""
    directory = _directory()
    return [_described(f"{directory}/{name}") for name in _names(directory)]


def find(recipe: str) -> str:
    """Return the path of a builder: `recipe` itself if there is a slash in it, else one of this installation."""
    if "/" in recipe:
        if not os.path.isfile(recipe):
            raise NotFound(f"no builder '{recipe}'", hint="name a program with the interface of rootfs-tools")
        if not os.access(recipe, os.X_OK):
            raise InvalidInput(f"builder '{recipe}' is not executable", hint=f"make it so: chmod +x {recipe}")
        return os.path.abspath(recipe)
    directory = _directory()
    names = _names(directory)
    if recipe not in names:
        raise NotFound(
            f"no recipe '{recipe}'{did_you_mean(recipe, names)}",
            hint="'pycontainer image build-from --list' shows what there is; a program of yours has a '/': ./builder",
        )
    return f"{directory}/{recipe}"


@contextlib.contextmanager
def built(
    paths: HostPaths, program: str, arguments: Sequence[str], on_output: Callable[[str], None] | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Run the builder `program`; yield the directory that it made and its config. Both are gone afterwards.

    `on_output` is called with each line that it writes, without its end.
    """
    if os.geteuid() != 0:
        raise NotPermitted("building an image needs root", hint="run it as root or with sudo")
    for tool in ("unshare", "setpriv"):
        if shutil.which(tool) is None:
            raise Unsupported(f"'{tool}' is missing", hint="install util-linux", feature=tool)
    with _workspace(paths.builds_dir) as directory:
        out = f"{directory}/rootfs"
        _run(paths, program, [*arguments, "-o", out], on_output)
        if not os.path.isdir(out):
            raise PycontainerError(f"builder '{program}' ended well but made no directory '{out}'")
        yield out, read_config(f"{out}.json") if os.path.exists(f"{out}.json") else {}


def read_config(path: str) -> dict[str, Any]:
    """Return the config in a JSON file such as builders write beside OUT; the store checks what is in it."""
    try:
        with open(path, "rb") as file:
            config = jsontext.loads(file.read(_MAX_CONFIG_BYTES + 1), max_bytes=_MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise NotFound(f"no file '{path}'") from None
    except ValueError as error:
        raise InvalidInput(f"config '{path}': {error}") from None
    if not isinstance(config, dict):
        raise InvalidInput(f"config '{path}' is no JSON object", hint='write one such as {"cmd": ["nginx"]}')
    return config


def _directory() -> str:
    for directory in _DIRECTORIES:
        if os.path.isfile(f"{directory}/common.sh"):
            return os.path.realpath(directory)
    raise NotFound(
        "the recipes of pycontainer are not installed",
        hint="they are rootfs-tools in its source, and share/pycontainer/rootfs-tools of the wheel",
    )


def _names(directory: str) -> list[str]:
    """Return what is a builder there; what they share has a suffix."""
    return sorted(entry.name for entry in os.scandir(directory) if entry.is_file() and "." not in entry.name)


def _described(path: str) -> Builder:
    with open(path) as file:
        about = _ABOUT.search(file.read())
    return Builder(os.path.basename(path), about[1] if about else "", path)


def _run(paths: HostPaths, program: str, arguments: list[str], on_output: Callable[[str], None] | None) -> None:
    """Run a builder to its end; PycontainerError holds its own last words, InvalidInput if it was called wrongly."""
    environment = {**os.environ, "PYCONTAINER_BUILD": "1"}
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}:{os.path.dirname(sys.executable)}"  # pycontainer
    if paths.root:
        environment["PYCONTAINER_ROOT"] = paths.root
    process = subprocess.Popen(
        ["unshare", "--mount", "setpriv", "--pdeathsig", "TERM", program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
        start_new_session=True,  # ^C is ours to hand on
    )
    said = hint = ""
    try:
        assert process.stdout is not None
        for data in process.stdout:
            line = data.decode(errors="replace").rstrip("\r\n")
            if on_output is not None:
                on_output(line)
            if line.startswith("hint: "):
                hint = line.removeprefix("hint: ")
            elif line.strip():
                said, hint = line.strip(), ""
        exit_code = process.wait()
    except BaseException:
        _end(process)
        raise
    finally:
        if process.stdout is not None:
            process.stdout.close()
    if exit_code:
        name = os.path.basename(program)
        how = f"exit code {exit_code}" if exit_code > 0 else signal.Signals(-exit_code).name
        message = f"builder '{name}' failed ({how})" + (f": {said.removeprefix(f'{name}: ')}" if said else "")
        raise (InvalidInput if exit_code == 2 else PycontainerError)(message, hint=hint)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask a builder to end, so that it cleans up, and see to it that it does."""
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _workspace(builds_dir: str) -> Iterator[str]:
    """Yield a new directory beneath `builds_dir`; what is in it goes at the end, and what a killed client left there now."""
    with _locked(builds_dir):
        for name in os.listdir(builds_dir):
            _remove_abandoned(f"{builds_dir}/{name}")
        directory = tempfile.mkdtemp(dir=builds_dir, prefix="")
        lock_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
    try:
        os.chmod(directory, 0o711)  # apt downloads as a user of its own
        yield directory
    finally:
        shutil.rmtree(directory)
        os.close(lock_fd)
        with _locked(builds_dir), contextlib.suppress(OSError):
            os.rmdir(builds_dir)  # the last one


@contextlib.contextmanager
def _locked(directory: str) -> Iterator[None]:
    """Hold the lock of `directory`, which is made if need be."""
    fd = _lock(directory)
    while fd is None:
        fd = _lock(directory)
    try:
        yield
    finally:
        os.close(fd)


def _lock(directory: str) -> int | None:
    """Return a descriptor that holds the lock, or None if who had it before removed the directory."""
    os.makedirs(directory, mode=0o711, exist_ok=True)
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.path.samestat(os.fstat(fd), os.stat(directory)):
            return fd
    except FileNotFoundError:
        pass
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return None


def _remove_abandoned(directory: str) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(directory)
    except BlockingIOError:
        pass  # at work
    finally:
        os.close(fd)
