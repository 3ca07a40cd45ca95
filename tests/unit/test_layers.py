"""Imports go downwards only: the table of layers (STYLE.md 2), and a check of every import statement against it.

An import inside a function or under TYPE_CHECKING counts as well: it is a dependency all the same.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pycontainer

ROOT = Path(pycontainer.__file__).parent

LAYER0 = {"linux", "errors", "failpoints", "jsontext", "paths", "record", "trace", "units"}
LAYER1 = {"init", "monitor", "spec", "api"}
LAYER2 = {"cgroup", "net", "store", "security", "disk", "controllers"}

# package: what it may import of pycontainer, besides itself
MAY_IMPORT: dict[str, set[str]] = {
    # 0: the words all layers share
    "linux": set(),
    "errors": set(),
    "trace": set(),
    "failpoints": {"linux", "trace"},
    "jsontext": set(),
    "paths": set(),
    "record": {"linux", "jsontext", "units"},
    "units": {"errors"},
    # 1: runs inside; parents the containers; the user's wish; wire types
    "init": LAYER0,
    "monitor": LAYER0 | {"init"},
    "spec": LAYER0 - {"linux"},
    "api": LAYER0 - {"linux"},
    # 2: one kernel facility each; one resource each
    "cgroup": LAYER0 | {"spec"},
    "net": LAYER0 | {"spec"},
    "store": LAYER0 | {"spec"},
    "security": LAYER0 | {"spec"},
    "disk": LAYER0 | {"spec"},
    "controllers": LAYER0 | {"spec", "cgroup", "net"},
    # 3: the life of one container; knows no daemon
    "runtime": LAYER0 | LAYER1 | LAYER2,
    # 3: the same for callers that speak OCI: no daemon, and nothing that makes a cold start slow
    "oci": LAYER0 | {"init", "cgroup", "security"},
    # beside them: how the two commands start; names what it loads, imports none of it
    "startup": {"linux"},
    # 4: the one process per host; the way to talk to it
    "supervisor": LAYER0 | LAYER1 | LAYER2 | {"runtime"},
    "client": LAYER0 | {"api"},
    # 5: a user of the client like any other
    "selftest": LAYER0 | {"client"},
    # 5: the same, which reads by itself what cgroups count: no start shall wait for that in the supervisor
    "metrics": LAYER0 | {"client", "api", "cgroup", "controllers"},
    # 5: policy for hosters, over the client
    "hosting": LAYER0 | {"spec", "api", "client"},
    # 6: front doors
    "cli": LAYER0 | {"client", "api", "spec", "hosting"},
    "web": LAYER0 | {"client", "api", "spec"},
}
# Single modules that may import more, and why.
EXCEPTIONS: dict[str, set[str]] = {
    "cli/program.py": {"startup"},  # the command's slow start, which has the next one be fast
    "oci/launcher.py": {"startup"},
    "cli/commands/oci.py": {"oci"},  # the other front door, by its other name
    "cli/commands/check.py": {"runtime"},  # looks at the host without a supervisor
    "cli/commands/selftest.py": {"selftest"},
    "cli/commands/metrics.py": {"metrics"},
}
# Libraries that one place alone may import, because of what they cost or because they belong there.
ONLY_IN: dict[str, set[str]] = {
    "pyroute2": {"net"},
    "click": {"cli"},
    "yaml": {"spec"},
    "asyncio": {"supervisor", "web"},
}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py") if "__pycache__" not in path.parts)


def package_of(path: Path) -> str:
    """Return the name in MAY_IMPORT: `cli` for cli/main.py, `errors` for errors.py, empty for the root's __init__."""
    first = path.relative_to(ROOT).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imported_modules(source: str, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) for every import in `source`, relative ones resolved."""
    package = ["pycontainer", *path.relative_to(ROOT).parts[:-1]]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            if name == "pycontainer":
                for alias in node.names:
                    yield node.lineno, f"pycontainer.{alias.name}"
            else:
                yield node.lineno, name


def problems(source: str, path: Path) -> list[str]:
    """Return what is wrong with the imports of one module."""
    package = package_of(path)
    where = path.relative_to(ROOT)
    if where.name == "__init__.py" and package:
        return [f"{where}:{line}: a package's __init__ holds no imports" for line, _ in imported_modules(source, path)]
    if not package:
        return []  # the root's lazy names
    allowed = MAY_IMPORT[package] | EXCEPTIONS.get(str(where), set()) | {package}
    found = []
    for line, name in imported_modules(source, path):
        parts = name.split(".")
        if parts[0] == "pycontainer":
            target = parts[1] if len(parts) > 1 else ""
            known = target in MAY_IMPORT
            if known and target not in allowed:
                found.append(f"{where}:{line}: {package} may not import {target}")
        elif package not in ONLY_IN.get(parts[0], {package}):
            found.append(f"{where}:{line}: only {', '.join(sorted(ONLY_IN[parts[0]]))} may import {parts[0]}")
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downwards(path: Path) -> None:
    assert problems(path.read_text(), path) == []


def test_every_package_has_its_place() -> None:
    assert {package_of(path) for path in modules()} - {""} <= set(MAY_IMPORT)


def test_no_layer_reaches_up() -> None:
    """The table itself has no cycle."""
    done: set[str] = set()
    while rest := {package for package in MAY_IMPORT if package not in done}:
        ready = {package for package in rest if MAY_IMPORT[package] - {package} <= done}
        assert ready, f"cycle among {sorted(rest)}"
        done |= ready


@pytest.mark.parametrize(
    ("where", "source", "expected"),
    [
        (
            "linux/x.py",
            "import os\nfrom pycontainer.errors import NotFound",
            ["linux/x.py:2: linux may not import errors"],
        ),
        (
            "client/x.py",
            "def f():\n    from pycontainer.spec import parse",
            ["client/x.py:2: client may not import spec"],
        ),
        ("client/x.py", "from pycontainer import supervisor", ["client/x.py:1: client may not import supervisor"]),
        ("store/x.py", "from ..net import link", ["store/x.py:1: store may not import net"]),
        ("store/x.py", "from . import blobs", []),
        ("runtime/x.py", "import pyroute2.netlink", ["runtime/x.py:1: only net may import pyroute2"]),
        ("net/x.py", "import pyroute2", []),
        ("api/__init__.py", "import os", ["api/__init__.py:1: a package's __init__ holds no imports"]),
        ("cli/x.py", "import pycontainer", []),
    ],
)
def test_the_check_itself(where: str, source: str, expected: list[str]) -> None:
    assert problems(source, ROOT / where) == expected
