"""Named volumes: directories that outlive the containers that mount them.

volumes/                0700
├── NAME/               0700, so that set-user-id files in it are out of reach on the host
│   ├── data/           what is mounted; 0755 at first, then as the containers have it
│   ├── volume.json     when it was made, its labels, and whether an image asked for it; nothing that decides
│   ├── filling         while the first content is on its way: what a crash leaves of that is taken away, and it begins anew
│   └── disk.img ...    the file system that holds the data instead, if that is what caps it (disk/volume.py)
├── .new-RANDOM/        a volume in the making; it becomes visible by one rename
└── .removed-RANDOM/    one that goes
"""

import errno
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

from pycontainer.errors import AlreadyExists, NotFound
from pycontainer.failpoints import reach
from pycontainer.linux.files import read_bounded, remove_tree, write_atomically
from pycontainer.paths import HostPaths
from pycontainer.spec.names import check_name, is_name

RECORD_VERSION = 1
_NEW, _REMOVED = ".new-", ".removed-"
_MAX_RECORD_BYTES = 1 << 20


class Volume(NamedTuple):
    """What is known of a volume; `created` is None and there are no labels where its record cannot be read."""

    name: str
    directory: str
    created: float | None
    labels: dict[str, str]
    is_anonymous: bool

    @property
    def data(self) -> str:
        return f"{self.directory}/data"


class Volumes:
    """The volumes of one world."""

    def __init__(self, paths: HostPaths) -> None:
        self._directory = paths.volumes_dir

    def create(
        self,
        name: str,
        prepare: Callable[[str], None],
        *,
        labels: Mapping[str, str] | None = None,
        is_anonymous: bool = False,
    ) -> Volume:
        """Make a volume; `prepare` makes `data`, and what caps it, in the directory that it is given.

        Raises InvalidInput for a bad name, AlreadyExists.
        """
        staging = self.begin(name)
        try:
            prepare(staging)
            return self.finish(staging, name, labels=labels, is_anonymous=is_anonymous)
        except BaseException:
            remove_tree(staging)
            raise

    def begin(self, name: str) -> str:
        """Return a directory for a volume that nobody sees before `finish`. Raises InvalidInput, AlreadyExists."""
        check_name(name, "volume")
        if os.path.lexists(f"{self._directory}/{name}"):
            raise AlreadyExists(f"there is a volume '{name}' already")
        staging = f"{self._directory}/{_NEW}{os.urandom(8).hex()}"
        os.makedirs(self._directory, 0o700, exist_ok=True)
        os.mkdir(staging, 0o700)
        reach("volume:begun")
        return staging

    def finish(
        self, staging: str, name: str, *, labels: Mapping[str, str] | None = None, is_anonymous: bool = False
    ) -> Volume:
        """Make what `begin` began visible under its name. Raises AlreadyExists."""
        reach("volume:prepared")
        created = round(time.time(), 3)
        record = {
            "version": RECORD_VERSION,
            "created": created,
            "labels": {**(labels or {})},
            "anonymous": is_anonymous,
        }
        write_atomically(f"{staging}/volume.json", json.dumps(record, indent=1).encode(), sync=False)
        target = f"{self._directory}/{name}"
        try:
            os.rename(staging, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            raise AlreadyExists(f"there is a volume '{name}' already") from error
        reach("volume:named")
        return Volume(name, target, created, {**(labels or {})}, is_anonymous)

    def get(self, name: str) -> Volume:
        """Return a volume. Raises InvalidInput for a bad name, NotFound."""
        check_name(name, "volume")
        if not os.path.isdir(f"{self._directory}/{name}/data"):
            raise NotFound(f"no volume '{name}'", hint="'pycontainer volume list' shows what there is")
        return self._read(name)

    def has(self, name: str) -> bool:
        return is_name(name) and os.path.isdir(f"{self._directory}/{name}/data")

    def directory(self, name: str) -> str:
        """Return where a volume of this name lies, or would lie."""
        return f"{self._directory}/{name}"

    def list(self) -> list[Volume]:
        """Return the volumes, in order of their names."""
        try:
            names = sorted(name for name in os.listdir(self._directory) if is_name(name))
        except FileNotFoundError:
            return []
        return [self._read(name) for name in names]

    def retire(self, name: str) -> str:
        """Take a volume out of sight; return its new place, for the caller to erase. Raises NotFound."""
        check_name(name, "volume")
        place = f"{self._directory}/{_REMOVED}{os.urandom(8).hex()}"
        try:
            os.rename(f"{self._directory}/{name}", place)
        except FileNotFoundError as error:
            raise NotFound(f"no volume '{name}'", hint="'pycontainer volume list' shows what there is") from error
        reach("volume:retired")
        return place

    def left_over(self) -> tuple[str, ...]:
        """Return the directories of volumes that were never finished, or are on their way out."""
        try:
            names = sorted(os.listdir(self._directory))
        except FileNotFoundError:
            return ()
        return tuple(f"{self._directory}/{name}" for name in names if name.startswith((_NEW, _REMOVED)))

    def _read(self, name: str) -> Volume:
        directory = f"{self._directory}/{name}"
        try:
            record = json.loads(read_bounded(f"{directory}/volume.json", _MAX_RECORD_BYTES))
            labels, created, anonymous = record["labels"], record["created"], record["anonymous"]
            if (
                isinstance(labels, dict)
                and all(isinstance(text, str) for pair in labels.items() for text in pair)
                and isinstance(created, (int, float))
                and isinstance(anonymous, bool)
            ):
                return Volume(name, directory, float(created), labels, anonymous)
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            pass  # made by an earlier version, or damaged: the data counts, and what is missing decides nothing
        return Volume(name, directory, None, {}, False)


def new_anonymous_name() -> str:
    """Return a name that nobody gives, for a volume that a person did not ask for."""
    return os.urandom(16).hex()
