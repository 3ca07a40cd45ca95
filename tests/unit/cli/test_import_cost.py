"""What a start of the interpreter may load, by name: times vary, sets of modules do not (STYLE.md 10)."""

import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer

ROOT = Path(pycontainer.__file__).parent

# Each costs milliseconds that nothing on these paths is worth.
HEAVY = {
    "asyncio", "concurrent.futures", "dataclasses", "email", "hashlib", "http", "inspect", "ipaddress", "logging",
    "multiprocessing", "pathlib", "pyroute2", "random", "rich", "shutil", "sqlite3", "ssl", "subprocess", "tarfile",
    "tempfile", "unittest", "urllib", "yaml",
}  # fmt: skip

# What runs before a container starts, or stays in memory as long as one lives, may have this and no more.
INIT = {
    "__future__", "_collections_abc", "_ctypes", "_operator", "_stat", "_struct", "errno", "fcntl", "genericpath", "os",
    "posixpath", "select", "stat", "struct",
}  # fmt: skip
LINUX = INIT | {
    "_collections", "_functools", "_sre", "_typing", "collections", "contextlib", "copyreg", "ctypes", "enum",
    "functools", "itertools", "keyword", "operator", "re", "reprlib", "types", "typing", "warnings",
}  # fmt: skip
MONITOR = INIT | {"_contextvars", "_json", "_socket", "contextvars", "resource", "termios"}
LIBRARY = {"linux": LINUX, "init": INIT, "monitor": MONITOR}
BASE_PACKAGES = {
    "linux": {"linux"},
    "init": {"init", "linux"},
    "monitor": {"monitor", "init", "linux", "failpoints", "jsontext", "trace"},
}


def loaded_by(code: str, *flags: str) -> set[str]:
    """Return the modules that `code` adds to those of a bare interpreter."""
    program = f"import sys; before = set(sys.modules); sys.path.insert(0, {str(ROOT.parent)!r})\n{code}\n"
    program += "print('\\n'.join(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, *flags, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def heavy(modules: set[str]) -> set[str]:
    return {name for name in modules if name in HEAVY or name.split(".")[0] in HEAVY}


def module_names(package: str) -> list[str]:
    return [
        f"pycontainer.{package}.{path.stem}"
        for path in sorted((ROOT / package).glob("*.py"))
        if path.stem != "__init__"
    ]


@pytest.mark.parametrize("package", sorted(BASE_PACKAGES))
def test_what_runs_beside_containers_stays_small(package: str) -> None:
    names = module_names(package)
    assert names, package
    # `-S` leaves out site-packages, as the monitor and init do; a package of ours may not need them
    loaded = loaded_by(f"import {', '.join(names)}", "-I", "-S")
    ours = {name.split(".")[1] for name in loaded if name.startswith("pycontainer.")}
    assert ours <= BASE_PACKAGES[package]
    others = {name.split(".")[0] for name in loaded if not name.startswith("pycontainer")}
    assert others - LIBRARY[package] == set()


def test_the_client_alone() -> None:
    loaded = loaded_by("import pycontainer.client.client", "-I", "-S")
    assert heavy(loaded) == set()
    assert {name.split(".")[1] for name in loaded if name.startswith("pycontainer.")} == {
        "api",
        "client",
        "errors",
        "paths",
        "trace",
    }
    assert {name for name in loaded if name.startswith("pycontainer.client.")} == {
        f"pycontainer.client.{name}"
        for name in (
            "client",
            "connection",
            "container",
            "fields",
            "images",
            "networks",
            "result",
            "sources",
            "tenants",
            "volumes",
            "waiting",
        )
    }


CLICK = loaded_by("import click, click.shell_completion", "-I")


@pytest.mark.parametrize(
    ("verb", "allowed"),
    [
        ("version", {"cli", "errors"}),
        ("run", {"cli", "errors"}),
        ("ps", {"cli", "errors"}),
        ("exec", {"cli", "errors"}),
        ("stats", {"cli", "errors", "units"}),
    ],
)
def test_a_command_loads_itself_and_click(verb: str, allowed: set[str]) -> None:
    loaded = loaded_by(f"import pycontainer.cli.main, pycontainer.cli.commands.{verb}", "-I") - CLICK
    assert heavy(loaded) == set()
    assert {name.split(".")[1] for name in loaded if name.startswith("pycontainer.")} == allowed
    commands = {name for name in loaded if name.startswith("pycontainer.cli.commands.")}
    assert commands == {f"pycontainer.cli.commands.{verb}"}


def test_the_main_module_loads_no_command() -> None:
    loaded = loaded_by("import pycontainer.cli.main", "-I")
    assert not {name for name in loaded if name.startswith("pycontainer.cli.commands")}
    assert "pycontainer.client" not in loaded


def test_a_table_needs_nothing_more() -> None:
    loaded = loaded_by("from pycontainer.cli import output; output.table(['A'], [['b']])", "-I")
    assert heavy(loaded - CLICK) == set()


def test_the_guard_sees_what_is_heavy() -> None:
    assert heavy(loaded_by("import asyncio.events, subprocess, os", "-I")) >= {"asyncio.events", "subprocess"}
