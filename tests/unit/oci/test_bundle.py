"""The bundle: what comes out of it is what the sources say, and what does not come out of it works all the same."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pycontainer

BUNDLE = f"bundle.{sys.implementation.cache_tag}"
TELL = """
import sys
sys.path.insert(0, {library!r})
from pycontainer.oci.bundle import install
install()
{code}
loaders = {{name: getattr(getattr(each, "__spec__", None), "loader", None) for name, each in sys.modules.items()}}
bundled = [name for name, loader in loaders.items() if type(loader).__name__ == "Bundle"]
print("bundled:", *sorted(bundled))
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package, with its bundle, that tests leave as it is."""
    top = tmp_path_factory.mktemp("library")
    shutil.copytree(Path(pycontainer.__file__).parent, top / "pycontainer", ignore=shutil.ignore_patterns("*.pyc"))
    make = "from pycontainer.oci import bundle, launcher; launcher.write_bundle(bundle.PATH)"
    subprocess.run([sys.executable, "-c", make], check=True, cwd=top)
    return top


@pytest.fixture
def library(made: Path, tmp_path: Path) -> Path:
    """A copy of both for the test alone; its sources are as old as those that the bundle was made of."""
    shutil.copytree(made / "pycontainer", tmp_path / "pycontainer")
    return tmp_path


def told(library: Path, code: str) -> tuple[list[str], set[str], str]:
    """Run `code` beside a bundle; return what it printed, which modules came out of the bundle, and standard error."""
    program = TELL.format(library=str(library), code=code)
    done = subprocess.run([sys.executable, "-ISB", "-c", program], capture_output=True, text=True)
    lines = done.stdout.splitlines()
    bundled = lines.pop().removeprefix("bundled:").split() if lines and lines[-1].startswith("bundled:") else []
    return lines, set(bundled), done.stderr


def test_modules_come_out_of_it(library: Path) -> None:
    code = "import pycontainer.oci.text, pycontainer.init.steps, pycontainer.security.seccomp as s\n"
    code += (
        "print(s.__file__, s.__name__, s.__package__, s.ALLOW, pycontainer.init.__path__, '__future__' in sys.modules)"
    )
    (line,), bundled, errors = told(library, code)
    top = f"{library}/pycontainer"
    assert (
        line
        == f"{top}/security/seccomp.py pycontainer.security.seccomp pycontainer.security {0x7FFF0000} ['{top}/init'] False"
    )
    assert errors == ""
    assert {"pycontainer.oci.text", "pycontainer.init", "pycontainer.init.steps", "pycontainer.linux.ffi"} <= bundled
    assert bundled & {"pycontainer", "pycontainer.oci", "pycontainer.oci.bundle"} == set()


def test_every_module_that_is_in_it_can_be_loaded(library: Path) -> None:
    code = (
        "from pycontainer.oci.bundle import Bundle, PATH\n"
        "names = sorted(Bundle(PATH)._entries)\n"
        "for name in names: __import__(name)\n"
        "print(*names)"
    )
    (line,), bundled, _ = told(library, code)
    before = {"pycontainer", "pycontainer.oci", "pycontainer.oci.bundle"}
    assert set(line.split()) == bundled | before and "pycontainer.cgroup.v2" in bundled - before


def test_a_source_that_has_changed_is_read(library: Path) -> None:
    units, size = library / "pycontainer" / "units.py", library / "pycontainer" / "linux" / "tty.py"
    units.write_text(units.read_text() + "\nADDED = 'added'\n")
    details = size.stat()
    size.write_text(size.read_text().replace("TIOCSWINSZ = 0x5414", "TIOCSWINSZ = 0x1234"))
    os.utime(size, ns=(details.st_atime_ns, details.st_mtime_ns + 1))
    (library / "pycontainer" / "oci" / "another.py").write_text("VALUE = 'new'")
    code = (
        "from pycontainer import units; from pycontainer.linux import tty; from pycontainer.oci import another, text\n"
    )
    lines, bundled, _ = told(library, code + "print(units.ADDED, tty.TIOCSWINSZ, another.VALUE)")
    assert lines == [f"added {0x1234} new"]
    assert {"pycontainer.errors", "pycontainer.oci.text"} <= bundled
    assert bundled & {"pycontainer.units", "pycontainer.linux.tty", "pycontainer.oci.another"} == set()


def test_a_source_that_has_gone_is_gone(library: Path) -> None:
    (library / "pycontainer" / "units.py").unlink()
    _, _, errors = told(library, "import pycontainer.units")
    assert errors.splitlines()[-1] == "ModuleNotFoundError: No module named 'pycontainer.units'"


@pytest.mark.parametrize(
    "damage", ["gone", "empty", "head alone", "half an index", "another interpreter's", "a directory"]
)
def test_without_a_bundle_of_ours_all_is_imported_as_ever(library: Path, damage: str) -> None:
    path = library / "pycontainer" / "oci" / "__pycache__" / BUNDLE
    data = path.read_bytes()
    path.unlink()
    if damage == "a directory":
        path.mkdir()
    elif damage != "gone":
        changed = {
            "empty": b"",
            "head alone": data[:24],
            "half an index": data[:400],
            "another interpreter's": b"\0" + data[1:],
        }
        path.write_bytes(changed[damage])
    lines, bundled, errors = told(library, "from pycontainer.oci import text; print(text.dumps([1]))")
    assert (lines, bundled, errors) == (["[1]"], set(), "")


def test_a_traceback_names_file_and_line(made: Path) -> None:
    _, _, errors = told(made, "from pycontainer.linux.libc import path_bytes\npath_bytes('a\\0b')")
    source = made / "pycontainer" / "linux" / "libc.py"
    number = next(at for at, line in enumerate(source.read_text().splitlines(), 1) if "holds a NUL byte" in line)
    assert f'File "{source}", line {number}, in path_bytes' in errors


def test_checks_stay_and_docstrings_go(library: Path) -> None:
    code = (
        "from pycontainer.init.steps import Overlay\n"
        "print(Overlay.__doc__)\n"
        "try: Overlay('no list', '', '', False).execute(None)\n"
        "except AssertionError: print('asserted')"
    )
    assert told(library, code)[0] == ["None", "asserted"]


def test_the_low_descriptors_are_the_callers(library: Path) -> None:
    code = "import os; from pycontainer.oci import text\nprint(*sorted(os.listdir('/proc/self/fd'), key=int))"
    (line,), _, _ = told(library, code)
    assert line.split()[:4] == ["0", "1", "2", "3"] and int(line.split()[4]) >= 50  # 3: the directory that is listed
    assert len(line.split()) == 5


def test_a_bundle_that_is_replaced_meanwhile(library: Path) -> None:
    code = (
        "import os\nfrom pycontainer.oci.bundle import PATH\n"
        "with open(PATH + '.new', 'wb') as file: file.write(bytes(1 << 20))\n"
        "os.rename(PATH + '.new', PATH)\n"
        "from pycontainer.oci import text; print(text.dumps([1]))"
    )
    lines, bundled, errors = told(library, code)
    assert lines == ["[1]"] and "pycontainer.oci.text" in bundled and errors == ""


@pytest.mark.parametrize("verb", ["start", "verbs.state", "verbs.delete", "create", "run"])
def test_a_verb_comes_with_all_that_it_imports(library: Path, verb: str) -> None:
    """In an order in which each finds what it imports: none is looked for by the import system, but the verb itself."""
    code = (
        "from pycontainer.oci.bundle import Bundle\n"
        "looked_for, look = [], Bundle.find_spec\n"
        "def find_spec(self, name, path=None, target=None):\n"
        "    found = look(self, name, path, target)\n"
        "    if found: looked_for.append(name)\n"
        "    return found\n"
        "Bundle.find_spec = find_spec\n"
        f"import pycontainer.oci.main, pycontainer.oci.{verb}\n"
        "print(*looked_for)\n"
        "print(*[name for name in ('os', 'stat', 'struct', 'ctypes') if name in sys.modules])"
    )
    (looked_for, slow), bundled, _ = told(library, code)
    packages = [f"pycontainer.oci.{verb}"] + (["pycontainer.oci.verbs"] if "." in verb else [])
    in_c = {"_json", "_ctypes"} if verb in ("create", "run") else {"_json"}
    assert set(looked_for.split()) == {"pycontainer.oci.main", *packages, *in_c} and slow == ""
    assert {"pycontainer.oci.light", "pycontainer.oci.state", f"pycontainer.oci.{verb}"} <= bundled


def test_what_a_module_asks_of_os_beyond_the_light_one(library: Path) -> None:
    code = "from pycontainer.oci import state\nimport os\n"
    code += "print(state.os.__name__, state.os.makedirs is os.makedirs, state.os.path.splitext('a.b'))"
    (line,), _, errors = told(library, code)
    assert (line, errors) == ("pycontainer.oci.light True ('a', '.b')", "")


def test_a_source_that_has_changed_beneath_a_verb(library: Path) -> None:
    text = library / "pycontainer" / "oci" / "text.py"
    text.write_text(text.read_text() + "\nADDED = 'added'\n")
    lines, bundled, _ = told(
        library, "import pycontainer.oci.create\nfrom pycontainer.oci import text\nprint(text.ADDED)"
    )
    assert lines == ["added"]
    assert {"pycontainer.oci.create", "pycontainer.oci.state"} <= bundled and "pycontainer.oci.text" not in bundled


def test_a_bundle_of_another_version_of_itself(library: Path) -> None:
    own = library / "pycontainer" / "oci" / "bundle.py"
    own.write_text(own.read_text() + "\n")
    lines, bundled, errors = told(library, "from pycontainer.oci import text; print(text.dumps([1]))")
    assert (lines, bundled, errors) == (["[1]"], set(), "")
