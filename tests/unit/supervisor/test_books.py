"""What is added up: runs, counters that begin anew, links that come and go, months, clocks, disks that take nothing."""

import os
from pathlib import Path

import pytest

from pycontainer.errors import PycontainerError
from pycontainer.net.linkcounts import AtLeast
from pycontainer.store import ledgerfile
from pycontainer.store.ledgerfile import Key, LedgerFile, Owner, Sums, Used
from pycontainer.supervisor.books import Books, Counters, Sample, month_at

NOVEMBER, DECEMBER = 1795700000.0, 1796500000.0  # 2026-11-26, 2026-12-05
WEB = Owner("acme", "acme-web-0")
CPU = Counters(0, 0, 0, 0, 0, {})


class Bench:
    """Books with clocks in our hands."""

    def __init__(self, directory: Path, boot: str = "boot", clock: float = 1000.0) -> None:
        self.clock, self.wall, self._boot, self._path = clock, NOVEMBER, boot, f"{directory}/ledger.db"
        self.books = self._books()
        self.books.open({"a", "b"})

    def _books(self) -> Books:
        return Books(self._path, self._boot, lambda: self.clock, wall=lambda: self.wall)

    def die(self, boot: str = "boot", clock: float | None = None, known: tuple[str, ...] = ("a", "b")) -> None:
        """End without a word, and come up again."""
        self._boot, self.clock = boot, self.clock if clock is None else clock
        self.books = self._books()
        self.books.open(known)

    def sample(self, counters: Counters, run: str = "1", *, is_last: bool = False, began: float = 1000.0) -> None:
        self.books.add([Sample("a", WEB, run, began, self.clock, counters, is_last)])

    def sums(self, month: str = "2026-11", container: str = "a") -> Sums:
        found = self.books.used(month).get(Key(month, container))
        return Sums() if found is None else found.sums


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_counters_of_one_run_are_differences(bench: Bench) -> None:
    for cpu_usec in (10, 15, 15, 40):
        bench.clock += 60
        bench.sample(CPU._replace(cpu_usec=cpu_usec, io_read_bytes=2 * cpu_usec, io_write_bytes=3 * cpu_usec))
    assert bench.sums() == Sums(run_seconds=240, cpu_usec=40, io_read_bytes=80, io_write_bytes=120)


def test_a_new_run_counts_from_nothing_even_if_its_counters_are_larger(bench: Bench) -> None:
    bench.sample(CPU._replace(cpu_usec=10))
    bench.sample(CPU._replace(cpu_usec=12), is_last=True)
    bench.sample(CPU._replace(cpu_usec=100), run="2")
    assert bench.sums().cpu_usec == 112


def test_a_counter_that_is_smaller_than_before_has_begun_anew(bench: Bench) -> None:
    bench.sample(CPU._replace(cpu_usec=1000, links={5: (100, 10)}))
    bench.sample(CPU._replace(cpu_usec=7, links={5: (3, 2)}))
    assert (bench.sums().cpu_usec, bench.sums().net_in_bytes, bench.sums().net_out_bytes) == (1007, 103, 12)


def test_a_sample_that_was_overtaken_counts_nothing(bench: Bench) -> None:
    bench.sample(CPU._replace(cpu_usec=1000))
    bench.clock -= 1
    bench.sample(CPU._replace(cpu_usec=900))
    bench.clock += 2
    bench.sample(CPU._replace(cpu_usec=1100))
    assert bench.sums().cpu_usec == 1100


def test_links_come_and_go_one_by_one(bench: Bench) -> None:
    """The sum of all falls when one is taken away: what the others have counted already is not counted again."""
    bench.sample(CPU._replace(links={5: (1000, 100), 6: (10, 1)}))
    bench.sample(CPU._replace(links={5: (1001, 100)}))
    bench.sample(CPU._replace(links={5: (1001, 101), 6: (4, 0)}))
    assert (bench.sums().net_in_bytes, bench.sums().net_out_bytes) == (1015, 102)


def test_links_that_cannot_be_read_stand_still(bench: Bench) -> None:
    bench.sample(CPU._replace(links={5: (1000, 100)}))
    bench.sample(CPU._replace(links=None))
    bench.sample(CPU._replace(links={5: (1001, 100)}))
    assert (bench.sums().net_in_bytes, bench.sums().net_out_bytes) == (1001, 100)


def test_what_a_link_received_is_made_up_for_when_it_is_known_again(bench: Bench) -> None:
    """Root inside may move its end just then; what he sent is counted all the same, and nothing twice."""
    bench.sample(CPU._replace(links={5: (1000, 100)}))
    bench.sample(CPU._replace(links={5: (AtLeast(400), 150)}))
    assert (bench.sums().net_in_bytes, bench.sums().net_out_bytes) == (1000, 150)
    bench.sample(CPU._replace(links={5: (1800, 150), 6: (AtLeast(8), 3)}))
    assert (bench.sums().net_in_bytes, bench.sums().net_out_bytes) == (1808, 153)
    bench.sample(CPU._replace(links={5: (1800, 150), 6: (20, 3)}))
    bench.sample(CPU._replace(links={5: (AtLeast(1900), 150), 6: (20, 3)}), is_last=True)
    assert (bench.sums().net_in_bytes, bench.sums().net_out_bytes) == (1920, 153)


def test_memory_is_the_mean_of_two_looks_times_the_time_between(bench: Bench) -> None:
    bench.clock += 3600
    bench.sample(CPU._replace(memory_bytes=100, peak_bytes=500))
    bench.clock += 1800
    bench.sample(CPU._replace(memory_bytes=300, peak_bytes=500))
    bench.clock += 3600
    bench.sample(CPU._replace(memory_bytes=0, peak_bytes=500), is_last=True)  # all have ended by then
    assert bench.sums().memory_byte_hours == 100 + 100 + 300


def test_a_run_too_short_for_a_look_counts_with_its_peak(bench: Bench) -> None:
    bench.clock += 36
    bench.sample(CPU._replace(memory_bytes=1, peak_bytes=500), is_last=True)
    assert bench.sums().memory_byte_hours == pytest.approx(5)


def test_who_is_killed_counts_nothing_twice_and_loses_nothing_that_was_written(bench: Bench) -> None:
    bench.sample(CPU._replace(cpu_usec=1000, links={5: (1000, 100)}))
    bench.die()
    bench.sample(CPU._replace(cpu_usec=1500, links={5: (1200, 110)}))
    assert (bench.sums().cpu_usec, bench.sums().net_in_bytes) == (1500, 1200)


def test_after_a_reboot_everything_begins_at_nothing(bench: Bench) -> None:
    bench.books.hold("a", WEB, 3600)
    bench.sample(CPU._replace(cpu_usec=1000))
    bench.die(boot="other", clock=50.0)
    bench.clock += 1
    bench.books.add([Sample("a", WEB, "other/1", 40.0, bench.clock, CPU._replace(cpu_usec=5))], passes_time=True)
    assert (bench.sums().cpu_usec, bench.sums().disk_byte_hours) == (1005, 1.0)


def test_a_run_that_began_and_ended_while_nobody_looked_counts_in_full(bench: Bench) -> None:
    bench.die(clock=5000.0)
    bench.sample(CPU._replace(cpu_usec=77), run="9", is_last=True, began=2000.0)
    assert bench.sums() == Sums(run_seconds=3000, cpu_usec=77)


def test_without_a_ledger_what_ran_already_begins_to_count_now(tmp_path: Path) -> None:
    """Months of counters would otherwise be those of this month."""
    bench = Bench(tmp_path, clock=9e6)
    bench.sample(CPU._replace(cpu_usec=10**12, links={5: (10**12, 0)}), began=5.0)
    assert bench.sums() == Sums()
    bench.clock += 10
    bench.sample(CPU._replace(cpu_usec=10**12 + 3, links={5: (10**12 + 4, 0)}), began=5.0)
    assert bench.sums() == Sums(run_seconds=10, cpu_usec=3, net_in_bytes=4)
    bench.sample(CPU._replace(cpu_usec=9), run="2", began=9e6 + 1, is_last=True)
    assert bench.sums().cpu_usec == 12


def test_disk_is_bytes_times_time_held_by_this_boots_clock(bench: Bench) -> None:
    bench.books.hold("a", WEB, 100)
    bench.clock += 3600
    bench.books.hold("a", WEB, 300)
    bench.clock += 1800
    bench.books.add([], passes_time=True)
    assert bench.sums().disk_byte_hours == 100 + 150
    bench.die(clock=bench.clock + 3600)  # nobody was there, and it was held all the same
    bench.books.add([], passes_time=True)
    assert bench.sums().disk_byte_hours == 100 + 150 + 300
    bench.books.forget("a")
    bench.clock += 3600
    bench.books.add([], passes_time=True)
    assert bench.sums().disk_byte_hours == 550


def test_what_is_removed_while_nobody_looks_holds_nothing(bench: Bench, tmp_path: Path) -> None:
    bench.books.hold("a", WEB, 100)
    bench.books.add([], passes_time=True)
    bench.die(clock=bench.clock + 3600, known=("b",))
    assert bench.sums().disk_byte_hours == 0
    file = LedgerFile(f"{tmp_path}/ledger.db")
    file.open()
    assert file.load()[1] == {}


def test_the_wall_clock_chooses_the_month_and_changes_no_sum(bench: Bench) -> None:
    bench.sample(CPU._replace(cpu_usec=10))
    for wall in (DECEMBER, NOVEMBER, DECEMBER, 0.0, NOVEMBER):
        bench.wall, bench.clock = wall, bench.clock + 60
        before = bench.books._counted["a"].cpu_usec
        bench.sample(CPU._replace(cpu_usec=before + 5))
    bench.die()
    found = {month: bench.sums(month) for month in ("2026-11", "2026-12", "1970-01")}
    assert {month: sums.cpu_usec for month, sums in found.items()} == {"2026-11": 20, "2026-12": 10, "1970-01": 5}
    assert sum(sums.run_seconds for sums in found.values()) == 300


def test_where_nothing_happens_nothing_is_written(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []
    monkeypatch.setattr(LedgerFile, "write", lambda self, changes: written.append(changes))
    for _ in range(3):
        bench.clock += 60
        bench.books.add([], passes_time=True, sync=True)
    assert written == []


def test_the_month_is_that_of_utc() -> None:
    assert [month_at(seconds) for seconds in (1796083199.9, 1796083200.0)] == ["2026-11", "2026-12"]


def test_transfer_of_a_tenant_is_told_by_month(bench: Bench) -> None:
    def transferred(received: int) -> int:
        sample = Sample("a", WEB, "1", 1000.0, bench.clock, CPU._replace(links={5: (received, 5)}))
        return bench.books.add([sample]).transferred.get("acme", 0)

    assert transferred(100) == 105
    bench.die()
    assert bench.books.add([]).transferred == {"acme": 105}
    assert transferred(110) == 115
    bench.wall = DECEMBER
    assert transferred(110) == 0
    assert transferred(200) == 90


def test_a_full_disk_is_told_once_and_nothing_is_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: LedgerFile, changes: object) -> None:
        raise OSError(28, "database or disk is full", "ledger.db")

    with monkeypatch.context() as patched:
        patched.setattr(LedgerFile, "write", full)
        notices = [
            bench.books.add([Sample("a", WEB, "1", 1000.0, 1000.0, CPU._replace(cpu_usec=n))]).notices for n in (5, 9)
        ]
        assert notices == [["'ledger.db': database or disk is full"], []]
        assert bench.sums().cpu_usec == 9, "who asks is told all of it"
        bench.wall = DECEMBER
        bench.sample(CPU._replace(cpu_usec=10))
    bench.sample(CPU._replace(cpu_usec=12))
    bench.die()
    assert (bench.sums().cpu_usec, bench.sums("2026-12").cpu_usec) == (9, 3)


def test_a_file_that_cannot_be_opened_at_first_is_added_to_later(bench: Bench, tmp_path: Path) -> None:
    bench.sample(CPU._replace(cpu_usec=100, links={5: (7, 0)}))
    bench.books.close()
    os.rename(tmp_path / "ledger.db", tmp_path / "away")
    late = Bench.__new__(Bench)
    late.clock, late.wall, late._boot, late._path = 2000.0, NOVEMBER, "boot", f"{tmp_path}/none/ledger.db"
    late.books = late._books()
    assert late.books.open({"a"}).notices
    late.sample(CPU._replace(cpu_usec=3), run="2", began=1500.0)
    (tmp_path / "none").mkdir()
    os.rename(tmp_path / "away", tmp_path / "none" / "ledger.db")
    late.sample(CPU._replace(cpu_usec=5), run="2", began=1500.0)
    assert late.sums().cpu_usec == 105
    assert late.books.add([]).transferred == {"acme": 7}


def test_damage_while_we_know_better_costs_nothing_of_this_month(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.sample(CPU._replace(cpu_usec=100))
    bench.books.hold("b", WEB, 5)
    bench.books._file.close()
    (tmp_path / "ledger.db").write_bytes(b"damaged" * 1000)
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"ledger.db{suffix}").unlink(missing_ok=True)
    news = bench.books.add([Sample("a", WEB, "1", 1000.0, 1000.0, CPU._replace(cpu_usec=101))])
    assert len(news.set_aside) == 1 and "set aside as" in news.set_aside[0]
    bench.die()
    bench.sample(CPU._replace(cpu_usec=103))
    assert bench.sums().cpu_usec == 103
    bench.clock += 3600
    bench.books.add([], passes_time=True)
    assert bench.sums(container="b").disk_byte_hours == 5


def test_a_file_that_somebody_took_away_is_made_anew_with_all_that_is_known(bench: Bench, tmp_path: Path) -> None:
    bench.sample(CPU._replace(cpu_usec=100))
    for path in tmp_path.iterdir():
        path.unlink()
    bench.sample(CPU._replace(cpu_usec=101))
    bench.sample(CPU._replace(cpu_usec=102))
    bench.die()
    assert bench.sums().cpu_usec == 102


def test_damage_found_at_the_beginning_begins_anew_and_says_so(bench: Bench, tmp_path: Path) -> None:
    bench.sample(CPU._replace(cpu_usec=100))
    bench.books.close()
    (tmp_path / "ledger.db").write_bytes(b"damaged" * 1000)
    bench.books = bench._books()
    bench.clock += 1
    assert bench.books.open({"a"}).set_aside
    bench.sample(CPU._replace(cpu_usec=103))
    bench.sample(CPU._replace(cpu_usec=104))
    assert bench.sums().cpu_usec == 1, "what it had counted before is not of this month for certain"


def test_a_past_month_that_cannot_be_read_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: LedgerFile, month: str) -> dict[Key, Used]:
        raise ledgerfile.Damaged("it is damaged")

    monkeypatch.setattr(LedgerFile, "used", fails)
    with pytest.raises(PycontainerError):
        bench.books.used("2026-10")
    assert bench.books.used("2026-11") == {}
