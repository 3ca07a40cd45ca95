"""The programs that are started from dumps, and where those lie."""

import hashlib
import os
import sys
from collections.abc import Callable
from typing import NamedTuple

import pycontainer
from pycontainer.startup.dump import LAYOUT
from pycontainer.startup.machine import CODES

LIBRARY = os.path.dirname(os.path.dirname(os.path.realpath(pycontainer.__file__)))
DIRECTORY = "/var/cache/pycontainer/startup"  # of files that can be made again. FHS 5.5; /run may forbid execution
# Of the interpreter that `oci/launcher` starts with. No cache: without it a call is none.
OCI_INTERPRETER = f"{LIBRARY}/pycontainer/oci/interpreter.{sys.implementation.cache_tag}"


class Program(NamedTuple):
    """How one is started, slowly and to be dumped."""

    name: str
    python: str
    dumped: str  # the interpreter to be dumped: the same without what lets it start faster
    options: tuple[str, ...]
    script: str  # what the interpreter executes where there is no dump; gets our argv behind its own
    entry: str  # module:function, called without arguments
    modules: Callable[[], list[str]]  # what is loaded before
    trials: tuple[tuple[str, ...], ...]  # arguments with which it changes nothing and does as it does with most
    heeds_environment: bool  # as Python itself does, of PYTHONPATH and the like
    library: str = LIBRARY  # where its modules are
    directory: str = DIRECTORY  # where its dump is

    def dump_path(self) -> str:
        """Return where its dump is, or is to be."""
        return f"{self.directory}/{self.name}-{self.key().hex()}"

    def key(self) -> bytes:
        """Return 16 bytes that only a dump for exactly this program has."""
        what = (LAYOUT, sys.version, LIBRARY, self.name, self.python, *self.options, self.script, self.entry)
        made = hashlib.sha256("\0".join(what).encode("utf-8", "surrogateescape"))
        made.update(b"".join(code.data for code in CODES.values()))
        return made.digest()[:16]


def command() -> Program:
    """Return the program `pycontainer`."""
    return Program(
        "pycontainer",
        sys.executable,
        sys.executable,
        ("-P",),  # the script's own directory is nowhere to look for modules
        f"{LIBRARY}/pycontainer/cli/program.py",
        "pycontainer.cli.entry:run",
        _modules_of_command,
        (("--version",), ("ps", "--nonsense")),
        heeds_environment=True,
    )


def oci() -> Program:
    """Return the program `pycontainer-oci`, as `oci/launcher` has prepared it."""
    fast, python = f"{OCI_INTERPRETER}/python", os.path.realpath(sys.executable)
    return Program(
        "pycontainer-oci",
        fast if os.path.lexists(fast) else python,
        python,
        ("-IS",),
        f"{OCI_INTERPRETER}/program",
        "pycontainer.oci.main:main",
        _modules_of_oci,
        (("--version",), ("--root", "/nonexistent", "state", "none")),
        heeds_environment=False,
    )


PROGRAMS = {"pycontainer": command, "pycontainer-oci": oci}


def _modules_of_command() -> list[str]:
    return [*_within("cli", but=("program",)), *_within("client"), *_within("api"), *_within("spec")]


def _modules_of_oci() -> list[str]:
    # What makes a slow start faster, and the installation
    return _within("oci", but=("bundle", "launcher", "light", "utf8"))


def _within(package: str, but: tuple[str, ...] = ()) -> list[str]:
    """Return all modules of a package of ours, by name."""
    found = []
    top = f"{LIBRARY}/pycontainer/{package}"
    for directory, subdirectories, files in os.walk(top):
        subdirectories[:] = sorted(each for each in subdirectories if each.isidentifier() and each[0] != "_")
        dotted = directory.removeprefix(f"{LIBRARY}/").replace("/", ".")
        stems = sorted(each.removesuffix(".py") for each in files if each.endswith(".py"))
        found += [f"{dotted}.{stem}" for stem in stems if stem != "__init__" and stem not in but]
    return found
