"""The ledger on disk: transactions, what it refuses to read, what is set aside."""

import os
import sqlite3
from pathlib import Path

import pytest

from pycontainer.store.ledgerfile import Changes, Clock, Counted, Damaged, Held, Key, LedgerFile, Owner, Sums, Used

KEY, OWNER = Key("2026-11", "0123456789ab"), Owner("acme", "acme-web-0")
COUNTED = Counted("boot/7/100", 12.5, 1000, 4096, 10, 20, {5: (1, 2), 6: (3, 4)})
SUMS = Sums(1.5, 2, 3.5, 4.5, 5, 6, 7, 8)


def changes(**given: object) -> Changes:
    nothing: dict[str, object] = {"used": {}, "counted": {}, "held": {}, "clock": None}
    return Changes(**{**nothing, **given})  # type: ignore[arg-type]


@pytest.fixture
def file(tmp_path: Path) -> LedgerFile:
    made = LedgerFile(f"{tmp_path}/ledger.db")
    made.open()
    return made


def again(tmp_path: Path) -> LedgerFile:
    file = LedgerFile(f"{tmp_path}/ledger.db")
    file.open()
    return file


def test_what_is_written_is_there_for_the_next(file: LedgerFile, tmp_path: Path) -> None:
    held = Held(OWNER, 1 << 40)
    file.write(
        changes(used={KEY: Used(OWNER, SUMS)}, counted={"a": COUNTED}, held={"a": held}, clock=Clock("boot", 12.5))
    )
    file.close()
    other = again(tmp_path)
    assert other.load() == ({"a": COUNTED}, {"a": held}, Clock("boot", 12.5))
    assert other.used("2026-11") == {KEY: Used(OWNER, SUMS)}
    assert other.used("2026-10") == {}
    assert os.stat(f"{tmp_path}/ledger.db").st_mode & 0o777 == 0o600


def test_sums_are_added_and_the_newest_name_holds(file: LedgerFile) -> None:
    renamed = Owner("acme", "acme-shop-0")
    file.write(changes(used={KEY: Used(OWNER, SUMS)}))
    file.write(changes(used={KEY: Used(renamed, SUMS)}))
    assert file.used("2026-11") == {KEY: Used(renamed, SUMS + SUMS)}


def test_none_takes_a_row_away(file: LedgerFile) -> None:
    file.write(changes(counted={"a": COUNTED, "b": COUNTED}, held={"a": Held(OWNER, 1)}))
    file.write(changes(counted={"a": None}, held={"a": None}))
    assert file.load() == ({"b": COUNTED}, {}, None)


def test_a_write_that_fails_in_the_middle_leaves_nothing(file: LedgerFile) -> None:
    """Sums and counters change together, or usage would be counted twice, or never."""
    broken = COUNTED._replace(cpu_usec=None)  # type: ignore[arg-type]
    with pytest.raises(OSError):
        file.write(changes(used={KEY: Used(OWNER, SUMS)}, counted={"a": broken}))
    assert file.used("2026-11") == {}
    file.write(changes(used={KEY: Used(OWNER, SUMS)}, counted={"a": COUNTED}))
    assert file.used("2026-11") == {KEY: Used(OWNER, SUMS)}


def test_what_is_synced_is_in_the_file_itself(file: LedgerFile, tmp_path: Path) -> None:
    """Without the log beside it, which a power cut may take, all is there."""
    file.write(changes(used={KEY: Used(OWNER, SUMS)}))
    file.sync()
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "ledger.db").write_bytes((tmp_path / "ledger.db").read_bytes())
    assert again(copy).used("2026-11") == {KEY: Used(OWNER, SUMS)}


def test_the_newest_months_are_kept(file: LedgerFile) -> None:
    months = [f"{year}-{month:02d}" for year in range(2020, 2024) for month in range(1, 13)]
    file.write(changes(used={Key(month, name): Used(OWNER, SUMS) for month in months for name in "ab"}))
    file.forget_old()
    file.forget_old()
    assert [month for month in months if len(file.used(month)) == 2] == months[-36:]


@pytest.mark.parametrize("content", [b"no database" * 500, b"SQLite format 3\0" + b"\xff" * 8176], ids=["text", "torn"])
def test_what_is_no_database_is_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    with pytest.raises(Damaged):
        again(tmp_path)


def test_another_database_is_damaged(tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "ledger.db")
    other.execute("CREATE TABLE x (y)")
    other.execute("PRAGMA user_version = 2")
    other.commit()
    other.close()
    with pytest.raises(Damaged, match="version 2"):
        again(tmp_path)


def test_a_page_that_was_overwritten_is_noticed(file: LedgerFile, tmp_path: Path) -> None:
    file.write(changes(used={Key("2026-11", f"{number:012x}"): Used(OWNER, SUMS) for number in range(2000)}))
    file.close()
    with open(tmp_path / "ledger.db", "r+b") as raw:
        raw.seek(5 * 4096)
        raw.write(b"\xff" * 4096 * 5)
    with pytest.raises(Damaged):
        again(tmp_path)


@pytest.mark.parametrize("kind", ["link", "directory", "fifo", "writable"])
def test_what_others_could_have_written_is_not_read(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "ledger.db"
    if kind == "link":
        path.symlink_to(tmp_path / "elsewhere")
    elif kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.touch()
        path.chmod(0o666)
    with pytest.raises(Damaged):
        again(tmp_path)
    assert not (tmp_path / "elsewhere").exists()


def test_what_is_damaged_goes_aside_and_the_newest_three_are_kept(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"ledger.db.damaged-2026112{number}T000000Z").write_text(str(number))
    (tmp_path / "ledger.db").write_bytes(b"no database" * 500)
    (tmp_path / "ledger.db-wal").write_bytes(b"log")
    place = LedgerFile(f"{tmp_path}/ledger.db").set_aside()
    assert Path(place).read_bytes() == b"no database" * 500
    assert Path(f"{place}-wal").read_bytes() == b"log"
    assert len([path for path in tmp_path.iterdir() if not path.name.endswith("-wal")]) == 3
    assert again(tmp_path).load() == ({}, {}, None)


def test_a_directory_that_takes_nothing_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        LedgerFile(f"{tmp_path}/none/ledger.db").open()
