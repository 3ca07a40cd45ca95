"""All modules of a call in one file, so that a call opens one in the place of sixty and looks for none of them.

    16 bytes    the interpreter's bytecode number, filled up with zeros
     8          where the index begins
     8          its length
    code        of this module, marshalled: the launcher executes it, so that nothing is searched along sys.path
    index       marshalled: module -> (is a package, its source's mtime in ns, its source's size, piece, place in that,
                what it imports at once, in the order in which that is complete); of each piece (offset, length);
                of the interpreter's modules in files of their own: name -> file
    pieces      marshalled tuples of code, a verb's modules in one piece: they share their names

`launcher` writes it, at the installation. It is a cache as .pyc files are: a module whose source is not the one that the
bundle was made of, or that is not in it, is imported as ever; so is all, where there is no bundle, or another interpreter's,
or where it was made by another version of this module.
"""

import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER, ExtensionFileLoader
from fcntl import F_DUPFD_CLOEXEC, fcntl
from marshal import loads
from posix import O_CLOEXEC, O_RDONLY, close, pread, stat
from posix import open as open_fd

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
else:
    ModuleType = type(sys)

NAME = "pycontainer.oci.bundle"
MAGIC = MAGIC_NUMBER.ljust(16, b"\0")
HEAD_BYTES = len(MAGIC) + 16
BOOT_BYTES_MAX = 16384  # what the launcher reads: head and code
LIBRARY = __file__.removesuffix("/pycontainer/oci/bundle.py")
PATH = f"{LIBRARY}/pycontainer/oci/__pycache__/bundle.{sys.implementation.cache_tag}"
_FIRST_FD = 50  # with the 64 that every process has room for

Entry = tuple[bool, int, int, int, int, tuple[str, ...]]


def install(path: str = PATH, *, first: str = "") -> None:
    """Have modules come out of the bundle from here on, if it is one of this interpreter's, and load the `first` one."""
    try:
        bundle = Bundle(path)
    except (OSError, ValueError, EOFError, TypeError):
        return
    sys.meta_path.insert(0, bundle)
    bundle.load_with_all(first)


class Bundle:
    """Finds and loads modules; of each one the source is looked at, none is read.

    Its descriptor has a high number: those from 3 on belong to what the caller may hand over (--preserve-fds). It is kept,
    so that all modules are of one bundle, should another take its place meanwhile.
    """

    def __init__(self, path: str) -> None:
        fd = open_fd(path, O_RDONLY | O_CLOEXEC)
        try:
            self._fd = fcntl(fd, F_DUPFD_CLOEXEC, _FIRST_FD)
        finally:
            close(fd)
        try:
            head = pread(self._fd, HEAD_BYTES, 0)
            if head[: len(MAGIC)] != MAGIC:
                raise ValueError("made by another interpreter")
            index_at, length = (int.from_bytes(head[at : at + 8], "little") for at in (len(MAGIC), len(MAGIC) + 8))
            self._entries: dict[str, Entry]
            self._pieces: list[tuple[int, int]]
            self._extensions: dict[str, str]
            self._entries, self._pieces, self._extensions = loads(pread(self._fd, length, index_at))
            self._pieces_at = index_at + length
            if not self._is_current(NAME):
                raise ValueError("made by another version")
        except (OSError, ValueError, EOFError, TypeError):
            close(self._fd)
            raise
        self._codes: dict[int, tuple[CodeType, ...]] = {}

    def load_with_all(self, name: str) -> None:
        """Load a module and what it imports at once, as far as that is in here.

        One after the other, without the locks and the look-ups of the import system: 15 us less for each.
        """
        if name in self._entries:
            for each in (*self._entries[name][5], name):
                if each not in sys.modules and not self._load(each):
                    return

    def find_spec(self, name: str, path: object = None, target: object = None) -> "ModuleSpec | None":
        if name in self._extensions:
            return self._extension(name)
        if name not in self._entries or not self._is_current(name):
            return None
        for each in self._entries[name][5]:
            if each not in sys.modules and not self._load(each):
                break
        return self._spec(name)

    def create_module(self, spec: ModuleSpec) -> None:
        """Have the interpreter make it."""

    def exec_module(self, module: "ModuleType") -> None:
        name = module.__name__
        is_package, _, _, piece, place, _ = self._entries[name]
        module.__file__ = source_of(name, is_package)
        codes = self._codes.get(piece)
        if codes is None:
            offset, length = self._pieces[piece]
            codes = self._codes[piece] = loads(pread(self._fd, length, self._pieces_at + offset))
        exec(codes[place], module.__dict__)

    def _load(self, name: str) -> bool:
        """Do what the import system does for a module whose parent is there; False if its source has changed."""
        if not self._is_current(name):
            return False
        spec = self._spec(name)
        module = ModuleType(name)
        module.__spec__, module.__package__ = spec, spec.parent
        module.__loader__ = self  # type: ignore[assignment]
        if spec.submodule_search_locations is not None:
            module.__path__ = spec.submodule_search_locations
        sys.modules[name] = module
        try:
            self.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(sys.modules[parent], child, module)
        return True

    def _spec(self, name: str) -> ModuleSpec:
        is_package = self._entries[name][0]
        source = source_of(name, is_package)
        spec = ModuleSpec(name, self, origin=source, is_package=is_package)  # type: ignore[arg-type]
        if is_package:
            spec.submodule_search_locations = [source.removesuffix("/__init__.py")]
        return spec

    def _extension(self, name: str) -> "ModuleSpec | None":
        """Find a module of the interpreter's where it was, in the place of searching sys.path: 0.1 ms."""
        path = self._extensions[name]
        try:
            stat(path)
        except OSError:
            return None
        return ModuleSpec(name, ExtensionFileLoader(name, path), origin=path)

    def _is_current(self, name: str) -> bool:
        """Say whether a module's source is still the one that its code was made of."""
        is_package, mtime_ns, size, _, _, _ = self._entries[name]
        try:
            found = stat(source_of(name, is_package))
        except OSError:
            return False
        return (found.st_mtime_ns, found.st_size) == (mtime_ns, size)


def source_of(name: str, is_package: bool) -> str:
    return f"{LIBRARY}/{name.replace('.', '/')}{'/__init__.py' if is_package else '.py'}"
