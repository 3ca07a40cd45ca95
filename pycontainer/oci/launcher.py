"""The file that engines execute: it starts the interpreter on the OCI command line and on nothing else.

Where there can be a dump to go on in, it is the launcher of that (startup/), and what is told here becomes its slow way.

What pip writes for an entry point runs `site`, which takes 10 ms and more to look through the environment. This file names
the interpreter with -I (no variable of the caller's, no directory of his, counts) and -S (no `site`), and itself says where
the package lies. With it the modules are put into the one file that they are loaded from (`bundle`).

    python -m pycontainer.oci.launcher PATH        writes PATH, executable, the bundle, and what the interpreter starts with:

    pycontainer/oci/interpreter.cpython-311/
    ├── python            link to the interpreter
    ├── python._pth       where it looks for modules, here first. docs.python.org: sys_path_init, _pth files
    ├── encodings.pyc     the module `utf8`, in the place of the library's package
    └── program           the slow way, where the file is a launcher
"""

import __future__

import ast
import marshal
import os
import subprocess
import sys
from importlib.util import MAGIC_NUMBER, find_spec

from pycontainer.errors import InvalidInput
from pycontainer.linux.files import write_atomically
from pycontainer.oci import bundle
from pycontainer.startup import launcher as startup
from pycontainer.startup import programs
from pycontainer.startup.machine import CODES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

_PACKAGE = "pycontainer"
_ENTRY = f"{_PACKAGE}.oci.main"
_FIRST_LINE_MAX = 255  # what the kernel reads of a script, BINPRM_BUF_SIZE, less the line break
_BUNDLED = ("oci", "linux", "init", "cgroup", "security")
_BUNDLED_MODULES = ("errors", "jsontext", "paths", "record", "units")
# What is imported as a whole -> what it comes to need in each call, though it does not import that at once. A module lies
# in the piece of the first one that needs it.
_WHOLES = {
    "oci.main": (),
    "oci.state": (),
    "oci.cgroups": (),
    "oci.start": (),
    "oci.verbs.state": (),
    "oci.verbs.delete": ("oci.cgroups",),
    "oci.create": ("cgroup.detect", "oci.cgroups", "oci.devicepolicy", "oci.resources"),
    "oci.run": ("oci.verbs.delete",),
    "oci.exec": ("oci.cgroups",),
    "oci.verbs.kill": (),
}
INTERPRETER = programs.OCI_INTERPRETER
# What loads slowly and of which a call needs the half that is in C.
_IN_THE_PLACE_OF = {"os": f"{_PACKAGE}.oci.light", "stat": "_stat", "struct": "_struct"}
_RECORD = """
import sys
from _frozen_importlib_external import SourceFileLoader
sys.path.insert(0, sys.argv[1])
load = SourceFileLoader.exec_module
def load_and_tell(self, module):
    load(self, module)
    print(module.__name__)
SourceFileLoader.exec_module = load_and_tell
for name in sys.stdin.read().split():
    __import__(name)
"""

_SCRIPT = """\
{first_lines}
import gc, marshal, posix, sys
from _frozen_importlib_external import MAGIC_NUMBER
gc.disable()
sys.path.append({library!a})
{before}bundle = {{"__name__": {name!r}, "__file__": {file!a}}}
try:
    fd = posix.open({path!a}, posix.O_CLOEXEC)
    head = posix.pread(fd, {head_bytes}, 0)
    posix.close(fd)
    if head.startswith(MAGIC_NUMBER.ljust(16, b"\\0")):
        exec(marshal.loads(head[{code_at}:]), bundle)
        bundle["install"](first={entry!r})
except (OSError, ValueError, EOFError, TypeError):
    pass
from {entry} import main
code = main()
try:
    sys.stderr.flush()
    sys.stdout.flush()
except OSError:  # who reads has gone
    code = 1
{after}posix._exit(code or 0)
"""
# Where a launcher executes it: DUMP NAME ARGUMENTS...
_TAKE_ARGUMENTS = """\
dump_path = sys.argv[1]
del sys.argv[:2]
try:
    mounts = posix.stat("/proc/self/ns/mnt").st_ino
except OSError:
    mounts = 0
"""
_RENEW = "from pycontainer.startup import renewal\nrenewal.begin('pycontainer-oci', dump_path, mounts)\n"


def script(python: str, library: str, entry: str = _ENTRY, *, behind_launcher: bool = False) -> str:
    """Return the text of a launcher: `python` runs `main` of the module `entry`, found in the directory `library`.

    `behind_launcher`: it is started by that of a dump, and has the dump made when it is done.

    It executes `bundle` out of the bundle, where that is one: 0.7 ms less than to search it along sys.path. Leaving at once
    saves the 2 ms in which the interpreter takes itself apart, and a call is over before its garbage is worth collecting:
    0.8 ms. Paths are absolute.
    """
    inside = bundle.PATH.removeprefix(bundle.LIBRARY)
    return _SCRIPT.format(
        first_lines=_first_lines(python),
        library=library,
        name=bundle.NAME,
        file=f"{library}/{bundle.NAME.replace('.', '/')}.py",
        path=f"{library}{inside}",
        head_bytes=bundle.BOOT_BYTES_MAX,
        code_at=bundle.HEAD_BYTES,
        entry=entry,
        before=_TAKE_ARGUMENTS if behind_launcher else "",
        after=_RENEW if behind_launcher else "",
    )


def write(path: str) -> None:
    """Write the launcher for this interpreter and this package, replacing what is there, and the bundle."""
    # Past the link that an environment has: with -S nothing of the environment is used.
    python = os.path.realpath(sys.executable)
    python = write_interpreter(python, os.path.realpath(INTERPRETER))
    library = os.path.realpath(bundle.LIBRARY)
    write_bundle(bundle.PATH)
    program = programs.oci()
    if os.uname().machine not in CODES:
        write_atomically(path, script(python, library).encode(), mode=0o755)
        return
    os.makedirs(os.path.dirname(program.script), exist_ok=True)
    write_atomically(program.script, script(python, library, behind_launcher=True).encode(), mode=0o644)
    startup.write(path, program)


def write_interpreter(python: str, directory: str) -> str:
    """Have an interpreter start with the module `utf8` for `encodings`; return what to execute, `python` if that fails.

    It fails where the first line of a script cannot name the directory, and where the link is not seen to start so.
    """
    if not _is_nameable(f"{directory}/python"):
        return python
    source = f"{bundle.LIBRARY}/{_PACKAGE}/oci/utf8.py"
    found = _told_by(python, "import os, sys; print(*filter(os.path.exists, sys.path), sep='\\n')").splitlines()
    with open(source, "rb") as file:
        code = _compiled(file.read(), source)
    link = f"{directory}/python"
    os.makedirs(directory, exist_ok=True)
    os.chmod(directory, 0o755)  # for who may execute the launcher, whatever the umask
    # Without a source beside it only the magic number counts, which is what the four bytes for the kind of cache are for.
    write_atomically(f"{directory}/encodings.pyc", MAGIC_NUMBER + bytes(12) + marshal.dumps(code), mode=0o644)
    write_atomically(f"{link}._pth", "".join(f"{each}\n" for each in (".", *found)).encode(), mode=0o644)
    os.symlink(python, f"{link}.new")
    os.rename(f"{link}.new", link)
    try:
        told = _told_by(
            link, "import sys; print(sys.modules['encodings'].__file__, 'codecs' in sys.modules, sys.path[1:])"
        )
    except (OSError, subprocess.CalledProcessError):
        return python
    return link if told == f"{directory}/encodings.pyc False {found}\n" else python


def _told_by(python: str, program: str) -> str:
    command = [python, "-IS", "-c", program]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout


def write_bundle(path: str) -> None:
    """Put all modules that a call may load into one file. OSError; SyntaxError of a source."""
    packages = dict(_modules())
    wholes = {f"{_PACKAGE}.{name}": _imported_by(name, more) for name, more in _WHOLES.items()}
    entries: dict[str, bundle.Entry] = {}
    marshalled: list[bytes] = []
    places: list[tuple[int, int]] = []  # of the pieces, behind the index
    offset = 0
    for names in (*wholes.values(), *([name] for name in packages)):
        codes: list[CodeType] = []
        for name in names:
            if name in packages and name not in entries:
                source = bundle.source_of(name, packages[name])
                with open(source, "rb") as file:
                    found = os.fstat(file.fileno())
                    code = _compiled(file.read(), source)
                before = tuple(each for each in wholes.get(name, ()) if each != name)
                entries[name] = (packages[name], found.st_mtime_ns, found.st_size, len(places), len(codes), before)
                codes.append(code)
        if codes:
            marshalled.append(marshal.dumps(tuple(codes)))
            places.append((offset, len(marshalled[-1])))
            offset += len(marshalled[-1])
            if bundle.NAME in names:
                own = marshal.dumps(codes[0])
    index = marshal.dumps((entries, places, _extensions()))
    index_at = bundle.HEAD_BYTES + len(own)
    if index_at > bundle.BOOT_BYTES_MAX:
        raise ValueError("the code of the bundle has outgrown what the launcher reads")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    head = bundle.MAGIC + index_at.to_bytes(8, "little") + len(index).to_bytes(8, "little")
    write_atomically(path, b"".join((head, own, index, *marshalled)), mode=0o644)


def main() -> None:
    """Write the launcher to the path that is given."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m pycontainer.oci.launcher PATH")
    try:
        write(sys.argv[1])
    except (OSError, InvalidInput) as error:
        sys.exit(f"cannot write the launcher: {error}")


def _modules() -> "Iterator[tuple[str, bool]]":
    """Yield name and whether it is a package, the packages before what is in them."""
    yield _PACKAGE, True
    for name in _BUNDLED_MODULES:
        yield f"{_PACKAGE}.{name}", False
    for package in _BUNDLED:
        top = f"{bundle.LIBRARY}/{_PACKAGE}/{package}"
        for directory, subdirectories, files in os.walk(top):
            subdirectories[:] = sorted(each for each in subdirectories if each.isidentifier() and each[0] != "_")
            dotted = directory.removeprefix(f"{bundle.LIBRARY}/").replace("/", ".")
            for file in sorted(files):
                stem, extension = os.path.splitext(file)
                if extension == ".py":
                    yield (dotted, True) if stem == "__init__" else (f"{dotted}.{stem}", False)


def _imported_by(name: str, more: tuple[str, ...]) -> list[str]:
    """Return what of ours is loaded with a module and with `more`, in the order in which that is complete, itself last."""
    names = [f"{_PACKAGE}.{each}" for each in (*more, name)]
    command = [sys.executable, "-ISB", "-c", _RECORD, bundle.LIBRARY]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, input="\n".join(names), text=True)
    found = [each for each in done.stdout.split() if each.split(".")[0] == _PACKAGE]
    light = _IN_THE_PLACE_OF["os"]
    return [
        each for each in dict.fromkeys((_PACKAGE, light.rpartition(".")[0], light, *found)) if each != names[-1]
    ] + names[-1:]


def _extensions() -> dict[str, str]:
    """Return the file of each module in C that calls load, as far as it is not in the interpreter itself."""
    specs = {name: find_spec(name) for name in ("_json", "_ctypes")}
    return {name: spec.origin for name, spec in specs.items() if spec and spec.origin and spec.has_location}


def _compiled(source: bytes, path: str) -> "CodeType":
    """Return the code of a module: with line numbers, for tracebacks, without docstrings and annotations of functions."""
    tree = ast.parse(source, path)
    flags = 0
    for statement in list(tree.body):
        # To the compiler a flag says it as well, and no module `__future__` is loaded then.
        if isinstance(statement, ast.ImportFrom) and statement.module == "__future__":
            flags |= sum(getattr(__future__, each.name).compiler_flag for each in statement.names)
            tree.body.remove(statement)
    code: CodeType = compile(_Lighter().visit(tree), path, "exec", flags, dont_inherit=True)
    return code


class _Lighter(ast.NodeTransformer):
    """Leaves out what a call does not look at, and has it import what is light."""

    def visit_Module(self, node: ast.Module) -> ast.AST:
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)  # annotations stay: linux.named makes fields of them

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        given = node.args
        for each in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
            if each is not None:
                each.annotation = None
        return self._without_docstring(node)

    def visit_Import(self, node: ast.Import) -> "ast.AST | list[ast.AST]":
        light: list[ast.AST] = []
        for each in list(node.names):
            if each.name in _IN_THE_PLACE_OF and each.asname is None:
                node.names.remove(each)
                package, _, module = _IN_THE_PLACE_OF[each.name].rpartition(".")
                taken = [ast.alias(module, each.name)]
                light.append(ast.ImportFrom(package, taken, 0) if package else ast.Import(taken))
        found = [*light, node] if node.names else light
        return [ast.fix_missing_locations(ast.copy_location(each, node)) for each in found]

    def _without_docstring(self, node: "ast.Module | ast.ClassDef | ast.FunctionDef") -> ast.AST:
        if ast.get_docstring(node, clean=False) is not None:
            node.body[0] = ast.copy_location(ast.Pass(), node.body[0])
        return self.generic_visit(node)


def _first_lines(python: str) -> str:
    """Return what makes the kernel start the interpreter with -IS; a shell, for 1 ms, does it where the kernel cannot."""
    if not _is_plain(python):
        raise InvalidInput(f"a script cannot name the interpreter {python!r}", hint="move the environment elsewhere")
    if _is_nameable(python):
        return f"#!{python} -IS"
    # To the shell the second line is a command that is the last, to Python it is a text that two lines hold.
    return f"""#!/bin/sh\n'''exec' "{python}" -IS "$0" "$@"\n' '''"""


def _is_plain(path: str) -> bool:
    return path.isprintable() and path.isascii() and not any(each in path for each in "'\"\\$`")


def _is_nameable(path: str) -> bool:
    """Say whether the kernel finds an interpreter that a script's first line names, with its option."""
    return _is_plain(path) and " " not in path and len(f"#!{path} -IS") <= _FIRST_LINE_MAX


if __name__ == "__main__":
    main()
