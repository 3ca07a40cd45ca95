"""The ledger on disk: what was used in each month, and what the kernel's counters said when that was last added up.

    STATE/ledger.db                     SQLite, with a write-ahead log (-wal, -shm) beside it
          ledger.db.damaged-TIME        what could not be read, set aside as it was; the newest three are kept

    used      one row for each month and container: sums, which only grow
    counted   one row for each container that runs: the run, and its counters at the last sample
    held      one row for each container: bytes on disk, which count from sample to sample
    clock     until when, by which boot's clock, the bytes on disk have been counted

What is added to `used` and what `counted` says then change in one transaction: nothing is counted twice, whoever dies when.
A write outlives us at once, and a power cut after `sync`. All of it belongs to one thread.
"""

import contextlib
import errno
import json
import operator
import os
import sqlite3
import stat
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from pycontainer.errors import PycontainerError

VERSION = 1
KEEP_MONTHS = 36
_KEEP_ASIDE = 3
_BUSY_MILLISECONDS = 5000
_LOG_PAGES = 1000  # beyond, the log is cut when it has been taken over
_ASIDE = ".damaged-"
_ERRNOS = {
    sqlite3.SQLITE_FULL: errno.ENOSPC,
    sqlite3.SQLITE_READONLY: errno.EROFS,
    sqlite3.SQLITE_BUSY: errno.EAGAIN,
    sqlite3.SQLITE_LOCKED: errno.EAGAIN,
}
_FOREIGN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_MISMATCH)

_SCHEMA = """
CREATE TABLE used (
    month TEXT NOT NULL, container TEXT NOT NULL, tenant TEXT NOT NULL, name TEXT NOT NULL,
    run_seconds REAL NOT NULL, cpu_usec INTEGER NOT NULL, memory_byte_hours REAL NOT NULL, disk_byte_hours REAL NOT NULL,
    io_read_bytes INTEGER NOT NULL, io_write_bytes INTEGER NOT NULL, net_in_bytes INTEGER NOT NULL,
    net_out_bytes INTEGER NOT NULL, PRIMARY KEY (month, container)) WITHOUT ROWID;
CREATE TABLE counted (
    container TEXT PRIMARY KEY, run TEXT NOT NULL, clock REAL NOT NULL, cpu_usec INTEGER NOT NULL,
    memory_bytes INTEGER NOT NULL, io_read_bytes INTEGER NOT NULL, io_write_bytes INTEGER NOT NULL, links TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE held (
    container TEXT PRIMARY KEY, tenant TEXT NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE clock (one INTEGER PRIMARY KEY CHECK (one = 1), boot TEXT NOT NULL, seconds REAL NOT NULL);
"""


class Sums(NamedTuple):
    """What was used, added up. Byte-hours are what was held, times how long."""

    run_seconds: float = 0.0
    cpu_usec: int = 0
    memory_byte_hours: float = 0.0
    disk_byte_hours: float = 0.0
    io_read_bytes: int = 0
    io_write_bytes: int = 0
    net_in_bytes: int = 0
    net_out_bytes: int = 0

    def __add__(self, other: object) -> "Sums":
        assert isinstance(other, Sums)
        return Sums(*map(operator.add, self, other))


class Key(NamedTuple):
    """Whose sums of which month; `container` is an id, or `pool:TENANT` for what a tenant's pool holds beyond them."""

    month: str  # 2026-11
    container: str


class Owner(NamedTuple):
    """Under which names; a container that is renamed goes on under its new one."""

    tenant: str
    name: str


class Used(NamedTuple):
    owner: Owner
    sums: Sums


class Counted(NamedTuple):
    """The counters of a run at its last sample; `links` are (in, out) bytes by the index of a link."""

    run: str
    clock: float
    cpu_usec: int
    memory_bytes: int
    io_read_bytes: int
    io_write_bytes: int
    links: Mapping[int, tuple[int, int]]


class Held(NamedTuple):
    owner: Owner
    size_bytes: int


class Clock(NamedTuple):
    boot: str
    seconds: float


class Changes(NamedTuple):
    """What one transaction writes; None takes a row away."""

    used: Mapping[Key, Used]  # to be added to what is there
    counted: Mapping[str, Counted | None]
    held: Mapping[str, Held | None]
    clock: Clock | None


class Damaged(PycontainerError):
    """The file is no ledger of ours, or not whole."""


class LedgerFile:
    """The ledger at `path`. Every method raises Damaged, or OSError where the disk is full, read-only or failing."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None

    def open(self) -> bool:
        """Open it, or make it where there is none, and tell whether it was made; open already is fine."""
        if self._database is not None:
            if _identity(self._path) == self._identity:
                return False
            self.close()  # SQLite would go on writing to a file that nobody can find
        _require_own(self._path)
        with self._told():
            database = sqlite3.connect(self._path, timeout=_BUSY_MILLISECONDS / 1000, isolation_level=None)
            try:
                database.execute("PRAGMA journal_mode = WAL")
                database.execute("PRAGMA synchronous = NORMAL")  # `sync` is a checkpoint, and that syncs
                database.execute(f"PRAGMA journal_size_limit = {_LOG_PAGES * 4096}")
                (version,) = database.execute("PRAGMA user_version").fetchone()
                if version == 0:
                    database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")
                elif version != VERSION:
                    raise Damaged(f"'{self._path}': version {version}, and this pycontainer knows {VERSION}")
                if (found := database.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
                    raise Damaged(f"'{self._path}': {found}")
            except BaseException:
                database.close()
                raise
            self._database, self._identity = database, _identity(self._path)
            return bool(version == 0)

    def close(self) -> None:
        database, self._database = self._database, None
        if database is not None:
            with contextlib.suppress(sqlite3.Error):
                database.close()

    def set_aside(self) -> str:
        """Take a damaged file out of the way, with its log, and return where it is now."""
        self.close()
        place = f"{self._path}{_ASIDE}{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
        for suffix in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                os.rename(self._path + suffix, place + suffix)
        directory, name = os.path.split(self._path)
        kept = sorted({each.removesuffix("-wal").removesuffix("-shm") for each in os.listdir(directory)
                       if each.startswith(name + _ASIDE)})  # fmt: skip
        for each in kept[:-_KEEP_ASIDE]:
            for suffix in ("", "-wal", "-shm"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(f"{directory}/{each}{suffix}")
        return place

    def load(self) -> tuple[dict[str, Counted], dict[str, Held], Clock | None]:
        """Return the last counters of each run, what each container holds on disk, and until when that was counted."""
        with self._told() as database:
            counted = {
                container: Counted(run, clock, cpu, memory, read, written, _links(links))
                for container, run, clock, cpu, memory, read, written, links in database.execute(
                    "SELECT * FROM counted"
                )
            }
            held = {row[0]: Held(Owner(*row[1:3]), row[3]) for row in database.execute("SELECT * FROM held")}
            clock = database.execute("SELECT boot, seconds FROM clock").fetchone()
            return counted, held, Clock(*clock) if clock else None

    def used(self, month: str) -> dict[Key, Used]:
        """Return the sums of one month."""
        with self._told() as database:
            rows = database.execute("SELECT * FROM used WHERE month = ?", (month,))
            return {Key(*row[:2]): Used(Owner(*row[2:4]), Sums(*row[4:])) for row in rows}

    def write(self, changes: Changes) -> None:
        """Write all of it or nothing."""
        with self._told() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                _write(database, changes)
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise

    def sync(self) -> None:
        """Bring all that was written to the disk, the log first and then what is taken over from it."""
        with self._told() as database:
            database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def forget_old(self) -> None:
        """Keep the newest months that there are: by their number, as no clock may decide what is deleted."""
        newest = f"SELECT DISTINCT month FROM used ORDER BY month DESC LIMIT {KEEP_MONTHS}"
        with self._told() as database:
            database.execute(f"DELETE FROM used WHERE month NOT IN ({newest})")

    @contextlib.contextmanager
    def _told(self) -> Iterator[sqlite3.Connection]:
        """Turn the errors of SQLite into Damaged, for a file that has to go out of the way, and OSError."""
        try:
            yield self._database  # type: ignore[misc]  # before `open` nobody uses it
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_IOERR)
            if code & 0xFF in _FOREIGN:
                raise Damaged(f"'{self._path}': {error}") from error
            raise OSError(_ERRNOS.get(code & 0xFF, errno.EIO), f"{error}", self._path) from error


def _write(database: sqlite3.Connection, changes: Changes) -> None:
    added = ", ".join(f"{field} = {field} + excluded.{field}" for field in Sums._fields)
    database.executemany(
        f"INSERT INTO used VALUES ({_marks(12)}) ON CONFLICT DO UPDATE SET tenant = excluded.tenant, "
        f"name = excluded.name, {added}",
        ((*key, *used.owner, *used.sums) for key, used in changes.used.items()),
    )
    database.executemany(f"REPLACE INTO counted VALUES ({_marks(8)})", _counted_rows(changes.counted))
    database.executemany(
        f"REPLACE INTO held VALUES ({_marks(4)})",
        ((container, *held.owner, held.size_bytes) for container, held in changes.held.items() if held is not None),
    )
    for table, rows in (("counted", changes.counted), ("held", changes.held)):
        database.executemany(
            f"DELETE FROM {table} WHERE container = ?", ((container,) for container, row in rows.items() if row is None)
        )
    if changes.clock is not None:
        database.execute("REPLACE INTO clock VALUES (1, ?, ?)", changes.clock)


def _counted_rows(counted: Mapping[str, Counted | None]) -> Iterable[tuple[object, ...]]:
    for container, row in counted.items():
        if row is not None:
            yield (container, *row[:6], json.dumps({str(index): counts for index, counts in row.links.items()}))


def _links(text: str) -> dict[int, tuple[int, int]]:
    try:
        return {int(index): (int(got), int(sent)) for index, (got, sent) in json.loads(text).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _marks(count: int) -> str:
    return ", ".join("?" * count)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        details = os.lstat(path)
    except FileNotFoundError:
        return None
    return details.st_dev, details.st_ino


def _require_own(path: str) -> None:
    """Make the file where there is none; Damaged for one that others could have written."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
    except (IsADirectoryError, FileExistsError) as error:
        raise Damaged(f"'{path}' is not a file") from error
    except OSError as error:
        if os.path.islink(path):
            raise Damaged(f"'{path}' is a symbolic link") from error
        raise
    try:
        details = os.fstat(fd)
    finally:
        os.close(fd)
    if not stat.S_ISREG(details.st_mode):
        raise Damaged(f"'{path}' is not a regular file")
    if details.st_uid != os.geteuid() or stat.S_IMODE(details.st_mode) & 0o022:
        raise Damaged(f"'{path}' belongs to user {details.st_uid}: others could have written it")
