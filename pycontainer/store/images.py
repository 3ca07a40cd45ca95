"""The image store: names that point to read-only, shared layers.

    images/                              0700: set-user-id files in it are out of reach on the host
    ├── lock                             flock'ed while refs and layers change, never for long
    ├── refs/NAME.json                   version, name, id, created, size_bytes, layers, config; `/` is written %2F
    ├── refs/@sha256-HEX.json            an image whose name went to another one
    ├── layers/sha256-HEX/fs/            unpacked, owners 0 to 65535 as inside; HEX is of the tar stream
    └── staging/RANDOM/fs/               an import at work, its directory flock'ed; without a lock: left over, removed

An image becomes visible by one rename, when its layer is complete and on the disk.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import stat
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, TypedDict

from pycontainer import jsontext
from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError
from pycontainer.linux.files import remove_tree, syncfs, write_atomically
from pycontainer.paths import HostPaths
from pycontainer.record import Record, check_version, read_own, remove_record
from pycontainer.spec.names import check_image
from pycontainer.store.imageconfig import check_config
from pycontainer.units import shown

RECORD_VERSION = 1
_MAX_RECORD_BYTES = 2 << 20
_MAX_NAME_BYTES = 200  # with its ending it must fit into a file name
_MIN_ID_DIGITS = 6
_ID = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)
_LAYER = re.compile(r"sha256-[0-9a-f]{64}", re.ASCII)
_IMAGE_HINT = "'pycontainer image list' shows what there is; 'pycontainer image import SOURCE NAME' brings one in"

Progress = Callable[[dict[str, object]], None]
# Unpacks the source of a descriptor into an empty directory: digest of its tar stream (64 hex digits), bytes of its files.
Unpack = Callable[[int, str, Progress | None], tuple[str, int]]


class ImageInfo(TypedDict):
    """An image as it is listed."""

    name: str
    id: str
    created: float
    size_bytes: int
    config: dict[str, object]
    damaged: str  # why its record cannot be read; empty: it can


class _Record(TypedDict):
    name: str
    id: str
    created: float
    size_bytes: int
    config: dict[str, object]
    layers: list[str]


class Image:
    """What a container is made of: `layer_dirs` are absolute, lowest first."""

    __slots__ = ("config", "id", "layer_dirs", "name")

    def __init__(self, name: str, image_id: str, config: dict[str, object], layer_dirs: tuple[str, ...]) -> None:
        self.name, self.id, self.config, self.layer_dirs = name, image_id, config, layer_dirs


class ImageStore:
    """The images of one world. Several processes may use it at once."""

    def __init__(self, paths: HostPaths) -> None:
        self._directory = paths.images_dir

    def get(self, reference: str) -> Image:
        """Return the image with this name, id, or beginning of an id (6 digits at least).

        Raises NotFound, and InvalidState when its files are gone or damaged.
        """
        record = self._find(reference)
        layer_dirs = tuple(f"{self._directory}/layers/{layer}/fs" for layer in record["layers"])
        for layer_dir in layer_dirs:
            if not os.path.isdir(layer_dir):
                raise InvalidState(
                    f"image '{record['name']}' is damaged: '{layer_dir}' is gone", hint="remove it and import it again"
                )
        return Image(record["name"], record["id"], record["config"], layer_dirs)

    def remove(self, reference: str, in_use: Set[str]) -> None:
        """Remove a name, and the layers that no other image has.

        `in_use` holds the ids that containers are made of. Raises NotFound; InvalidState when one needs this image.
        """
        try:
            self._find(reference)
        except InvalidState:
            self._remove_damaged(reference)
            return
        with self._locked():
            record = self._find(reference)
            others = [other for other in self._records() if other["name"] != record["name"]]
            if record["id"] in in_use and not any(other["id"] == record["id"] for other in others):
                raise InvalidState(
                    f"image '{record['name']}' is used by containers", hint="remove them first: pycontainer rm NAME"
                )
            os.unlink(self._ref_path(record["name"]))
            kept = []
            for other in others:
                if _is_id(other["name"]) and other["id"] not in in_use:  # nothing but a container could hold it
                    os.unlink(self._ref_path(other["name"]))
                else:
                    kept.append(other)
            doomed = [*self._retire_layers(kept, in_use)]
        _remove_all(doomed)

    def _remove_damaged(self, name: str) -> None:
        """Remove a record that cannot be read; its layers go with the next removal that finds nobody who needs them."""
        with self._locked():
            remove_record(self._ref_path(name))

    def import_image(
        self,
        source: str,
        name: str,
        config: Mapping[str, Any] | None,
        unpack: Unpack,
        on_progress: Progress | None = None,
    ) -> ImageInfo:
        """Bring a root file system, a directory or a tar archive, into the store as image `name`.

        `unpack` is what reads the source (runtime/importer.py): nothing of its content is looked at here. A name that is
        taken moves to the new image. Raises InvalidInput for a bad name, config or archive (nothing of it stays), NotFound
        for a missing source.
        """
        _check_new_name(name)
        checked_config = check_config(config or {})
        for directory in ("", "/refs", "/layers", "/staging"):
            os.makedirs(self._directory + directory, 0o700, exist_ok=True)
            os.chmod(self._directory + directory, 0o700)
        self.remove_left_over()
        with self._opened(source) as source_fd, self._staging() as staging:
            digest, size_bytes = unpack(source_fd, f"{staging}/fs", on_progress)
            return self._register(name, f"sha256-{digest}", size_bytes, checked_config, staging)

    def list(self) -> list[ImageInfo]:
        """Return all images by name; of one whose record cannot be read the name and why."""
        found = [_info(record) for record in self._records()]
        for name, error in self.damaged().items():
            found.append(
                {"name": name, "id": "", "created": 0.0, "size_bytes": 0, "config": {}, "damaged": error.message}
            )
        return sorted(found, key=lambda info: info["name"])

    def damaged(self) -> dict[str, PycontainerError]:
        """Return why the records that cannot be read cannot, by the images' names."""
        found: dict[str, PycontainerError] = {}
        for name in self._names():
            try:
                self._read(name)
            except NotFound:
                pass
            except InvalidState as error:
                found[name] = error
        return found

    # -- importing -------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _opened(self, source: str) -> Iterator[int]:
        try:
            fd = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"no file or directory {shown(source)}", hint="give a directory or a tar archive") from error
        except OSError as error:  # a socket, a device without a driver, a loop of links
            raise InvalidInput(f"cannot open {shown(source)}: {os.strerror(error.errno or 0)}") from error
        try:
            mode = os.fstat(fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                raise InvalidInput(f"{shown(source)} is neither a directory nor a file")
            inside = os.path.join(os.path.realpath(source), "")
            if stat.S_ISDIR(mode) and f"{os.path.realpath(self._directory)}/".startswith(inside):
                raise InvalidInput(f"{shown(source)} holds the image store itself", hint="import a copy without it")
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _staging(self) -> Iterator[str]:
        """Give a directory for one import; what is still there at the end goes away."""
        with self._locked():  # nobody takes it for left over before its lock is held
            staging = tempfile.mkdtemp(prefix="import-", dir=f"{self._directory}/staging")
            lock_fd = os.open(staging, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
        try:
            os.mkdir(f"{staging}/fs", 0o755)
            os.chmod(f"{staging}/fs", 0o755)
            yield staging
        finally:
            try:
                remove_tree(staging)
            finally:
                os.close(lock_fd)

    def _register(self, name: str, layer: str, size_bytes: int, config: dict[str, object], staging: str) -> ImageInfo:
        """Make the unpacked layer and the name visible, in this order."""
        described = json.dumps({"layers": [layer], "config": config}, sort_keys=True).encode()
        record: _Record = {
            "name": name,
            "id": f"sha256:{hashlib.sha256(described).hexdigest()}",
            "created": round(time.time(), 3),
            "size_bytes": size_bytes,
            "config": config,
            "layers": [layer],
        }
        _sync_filesystem_of(staging)
        with self._locked():
            try:
                os.rename(staging, f"{self._directory}/layers/{layer}")
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise  # else: the same content is there already
            _sync_directory(f"{self._directory}/layers")
            self._keep_replaced(name, record["id"])
            self._write(record)
        return _info(record)

    def _keep_replaced(self, name: str, new_id: str) -> None:
        """Let the image that had this name go on under its id: containers may be made of it."""
        with contextlib.suppress(NotFound, InvalidState):
            old = self._read(name)
            if old["id"] != new_id:
                self._write({**old, "name": old["id"]})

    def remove_left_over(self) -> None:
        """Remove what imports left that did not live to their end."""
        if not os.path.isdir(f"{self._directory}/staging"):
            return
        with self._locked():
            found = [f"{self._directory}/staging/{entry}" for entry in os.listdir(f"{self._directory}/staging")]
            doomed = [(directory, lock_fd) for directory in found if (lock_fd := _try_lock(directory)) is not None]
        _remove_all(doomed)

    # -- records and layers ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        fd = os.open(f"{self._directory}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)

    def _ref_path(self, name: str) -> str:
        quoted = f"@{name.replace(':', '-')}" if _is_id(name) else name.replace("/", "%2F")
        return f"{self._directory}/refs/{quoted}.json"

    def _write(self, record: _Record) -> None:
        path = self._ref_path(record["name"])
        if os.path.isdir(path):  # what no rename replaces
            remove_record(path)
        write_atomically(path, json.dumps({"version": RECORD_VERSION, **record}, indent=1).encode())
        _sync_directory(f"{self._directory}/refs")

    def _read(self, name: str) -> _Record:
        path = self._ref_path(name)
        try:
            return _parse(read_own(path, _MAX_RECORD_BYTES), name)
        except FileNotFoundError as error:
            raise NotFound(f"no image '{name}'", hint=_IMAGE_HINT) from error
        except (OSError, ValueError, InvalidInput) as error:
            raise InvalidState(
                f"the record of image '{name}' is damaged: '{path}': {getattr(error, 'strerror', None) or error}",
                hint=f"import the image again under this name, or remove it: pycontainer image rm {name}",
            ) from error

    def _records(self) -> Iterator[_Record]:
        """Yield all records that can be read, in the order of their names."""
        for name in self._names():
            with contextlib.suppress(NotFound, InvalidState):
                yield self._read(name)

    def _names(self) -> Iterator[str]:
        """Yield the names of all records, damaged ones as well."""
        for file in self._ref_files():
            stem = file.removesuffix(".json")
            yield stem[1:].replace("-", ":") if stem.startswith("@") else stem.replace("%2F", "/")

    def _ref_files(self) -> tuple[str, ...]:
        try:
            return tuple(sorted(name for name in os.listdir(f"{self._directory}/refs") if name.endswith(".json")))
        except FileNotFoundError:
            return ()

    def _find(self, reference: str) -> _Record:
        with contextlib.suppress(InvalidInput):
            try:
                return self._read(reference if _is_id(reference) else check_image(reference))
            except NotFound:
                pass
        digits = reference.removeprefix("sha256:")
        matches = {record["id"]: record for record in self._records() if record["id"][7:].startswith(digits)}
        if len(digits) < _MIN_ID_DIGITS or not matches:
            raise NotFound(f"no image {shown(reference)}", hint=_IMAGE_HINT)
        if len(matches) > 1:
            raise InvalidInput(
                f"{shown(reference)} is the beginning of {len(matches)} image ids", hint="give more of it"
            )
        return next(iter(matches.values()))

    def _retire_layers(self, kept: Sequence[_Record], in_use: Set[str]) -> Iterator[tuple[str, int]]:
        """Take layers that no record names out of sight; yield their new places, each locked, to be removed.

        While a record is damaged, or gone though a container needs its image, nobody knows whose layers they are: all stay.
        """
        known = {record["id"] for record in kept}
        needed = {layer for record in kept for layer in record["layers"]}
        if len(kept) != len(self._ref_files()) or not in_use <= known:
            return
        for layer in os.listdir(f"{self._directory}/layers"):
            if layer in needed:
                continue
            target = tempfile.mkdtemp(prefix="remove-", dir=f"{self._directory}/staging")
            lock_fd = os.open(target, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(lock_fd, fcntl.LOCK_EX)
            os.rename(f"{self._directory}/layers/{layer}", f"{target}/layer")
            yield target, lock_fd


def _check_new_name(name: str) -> None:
    check_image(name)
    if "@" in name or len(name.replace("/", "%2F")) > _MAX_NAME_BYTES:
        raise InvalidInput(
            f"{shown(name)} cannot name a new image", hint="write NAME or NAME:TAG, up to 200 characters"
        )


def _is_id(reference: str) -> bool:
    return _ID.fullmatch(reference) is not None


def _parse(data: bytes, name: str) -> _Record:
    """Return the record in `data`; ValueError or InvalidInput when it is not one."""
    record = Record(jsontext.loads(data, max_bytes=_MAX_RECORD_BYTES))
    if "version" in record:  # the first ones had none
        check_version(record, RECORD_VERSION)
    if record.text("name") != name:
        raise ValueError(f"it is that of {shown(record['name'])}")
    if not _is_id(record.text("id")):
        raise ValueError(f"field 'id' holds {shown(record['id'])}")
    layers = record.texts("layers")
    if not layers or not all(_LAYER.fullmatch(layer) for layer in layers):
        raise ValueError(f"field 'layers' holds {shown(layers)}")
    return {
        "name": name,
        "id": record.text("id"),
        "created": record.time("created"),
        "size_bytes": record.integer("size_bytes"),
        "config": check_config(record["config"]),
        "layers": layers,
    }


def _info(record: _Record) -> ImageInfo:
    return {
        "name": record["name"],
        "id": record["id"],
        "created": record["created"],
        "size_bytes": record["size_bytes"],
        "config": record["config"],
        "damaged": "",
    }


def _try_lock(directory: str) -> int | None:
    """Lock a staging directory that nobody holds and return the descriptor; None when it is in use or gone."""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _remove_all(doomed: Iterable[tuple[str, int]]) -> None:
    """Remove directories whose locks are held; one that cannot go keeps nobody from the others."""
    failure: OSError | None = None
    for directory, lock_fd in doomed:
        try:
            remove_tree(directory)
        except OSError as error:
            failure = failure or error
        finally:
            os.close(lock_fd)
    if failure is not None:
        raise failure


def _sync_directory(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync_filesystem_of(path: str) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)
