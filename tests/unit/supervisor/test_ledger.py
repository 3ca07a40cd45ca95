"""Who is looked at when: rounds in slices, runs that end meanwhile, whose disk is next."""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.cgroup.v2 import CgroupV2
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.spec.model import ContainerSpec
from pycontainer.store.ledgerfile import Key
from pycontainer.supervisor import ledger as module
from pycontainer.supervisor.books import Sample, month_at, pool
from pycontainer.supervisor.ledger import Ledger


class Bench:
    """A world of containers whose cgroups are directories of ours; the clock is in our hands."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch, running: int, stopped: int = 0) -> None:
        self.now = 1000.0
        monkeypatch.setattr(module, "clock", lambda: self.now)
        monkeypatch.setattr(Ledger, "_later", lambda ledger, what, seconds, do: None)
        self.directory, self.paths = directory, HostPaths(str(directory))
        self.containers: dict[str, Container] = {}
        self.runs: dict[str, Any] = {}
        for number in range(running + stopped):
            container = Container(
                self.paths, f"{number:012x}", ContainerSpec(name=f"c{number}", image="x"), None, base=0, created=0.0
            )
            self.containers[container.id] = container
            if number < running:
                self.run(container.id)
        self.events: list[str] = []
        self.pools: set[str] = set()
        self.tenants = SimpleNamespace(
            by_name={}, damaged={}, pool=lambda name: SimpleNamespace(exists=lambda: name in self.pools)
        )
        self.world: Any = SimpleNamespace(
            paths=SimpleNamespace(ledger_file=f"{directory}/ledger.db"),
            containers=self.containers,
            broken={},
            runs=self.runs,
            tenants=self.tenants,
            networks=SimpleNamespace(links=lambda container_id: {}, link_bytes=lambda container_id: {}),
            events=SimpleNamespace(emit=lambda kind, **details: self.events.append(kind)),
            transfer=SimpleNamespace(check=lambda month, transferred: None),
        )
        self.ledger = Ledger(cast(Any, self.world))

    def run(self, container_id: str, cpu_usec: int = 5) -> None:
        """Begin a new run, with a cgroup that has counted so much."""
        place = self.directory / container_id
        place.mkdir(exist_ok=True)
        for name, text in (("cpu.stat", f"usage_usec {cpu_usec}\n"), ("memory.current", "8192\n"), ("memory.stat", "")):
            (place / name).write_text(text)
        container = self.containers[container_id]
        container.pid, container.start_ticks = container.pid + 1, 100_000
        cgroup = CgroupV2(container_id, {name: str(place) for name in ("cpu", "memory")})
        self.runs[container_id] = SimpleNamespace(cgroup=cgroup)

    def go(self, work: Callable[[], Awaitable[None]]) -> None:
        async def within() -> None:
            self.ledger.open()
            try:
                await work()
            finally:
                self.ledger.close()

        asyncio.run(within())

    async def settled(self) -> None:
        await asyncio.wrap_future(self.ledger._submit(lambda: None) or _nothing())


def _nothing() -> Any:
    raise AssertionError("the ledger is closed")


def test_a_round_looks_at_each_once_in_slices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, running=250)
    slices: list[list[str]] = []
    real = Ledger._read

    def read(ledger: Ledger, subjects: Any) -> list[Sample]:
        slices.append([subject.container for subject in subjects])
        return real(ledger, subjects)

    monkeypatch.setattr(Ledger, "_read", read)

    async def rounds() -> None:
        for _ in range(24):
            bench.ledger._tick()
            await bench.settled()
        assert bench.ledger._pause == pytest.approx(60 / 12)

    bench.go(rounds)
    assert [len(each) for each in slices[:12]] == [21] * 11 + [19]
    for half in (slices[:12], slices[12:]):
        assert sorted(sum(half, [])) == sorted(bench.runs)


def test_few_are_one_slice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, running=3)

    async def one() -> None:
        bench.ledger._tick()
        assert (bench.ledger._pause, bench.ledger._turn) == (60.0, [])
        await bench.settled()

    bench.go(one)


def test_a_look_that_the_next_run_answered_is_thrown_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread is late; meanwhile a run ends and another begins in the cgroup of the same name."""
    bench = Bench(tmp_path, monkeypatch, running=1)
    (container,) = bench.containers.values()
    late = threading.Event()

    async def work() -> None:
        await bench.settled()
        bench.ledger._submit(late.wait)
        bench.ledger._sample([container.id], passes_time=False)
        bench.now += 10
        bench.ledger.ended(container, bench.runs[container.id].cgroup)
        bench.ledger.write_counted()
        bench.run(container.id, cpu_usec=1000)
        late.set()
        await bench.settled()
        month = month_at(time.time())
        assert (await bench.ledger.used(month))[Key(month, container.id)].sums.cpu_usec == 1005

    bench.go(work)


def test_an_end_without_a_cgroup_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, running=1)
    (container,) = bench.containers.values()

    async def work() -> None:
        bench.ledger.ended(container, CgroupV2(container.id, {"cpu": "/none", "memory": "/none"}))
        await bench.settled()
        assert await bench.ledger.used("2001-01") == {}

    bench.go(work)


def test_whose_disk_is_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(tmp_path, monkeypatch, running=1, stopped=1)
    runs, stopped = bench.containers
    ledger = bench.ledger

    def next_one() -> str:
        key, _ = ledger._next()
        if key:
            ledger._looked[key] = bench.now
            ledger._stale.discard(key)
        return key

    assert next_one() == "", "what is younger than a minute may be gone before it is worth a look"
    bench.now += 60
    assert [next_one(), next_one(), next_one()] == [runs, stopped, ""]
    bench.now += 600
    assert [next_one(), next_one()] == [runs, ""], "one that is stopped changes rarely"
    bench.now += 60
    bench.pools.add("acme")
    bench.tenants.by_name["acme"] = None
    ledger._stale.add(stopped)
    assert [next_one(), next_one(), next_one()] == [pool("acme"), stopped, ""]
    ledger._stale.add(stopped)
    bench.now += 59
    assert next_one() == "", "one that ends all the time is not looked at all the time"
    bench.now += 86400
    assert sorted([next_one(), next_one(), next_one()]) == sorted([runs, stopped, pool("acme")])


def test_what_went_wrong_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ledger.db").write_bytes(b"damaged" * 1000)
    bench = Bench(tmp_path, monkeypatch, running=0)

    async def work() -> None:
        await bench.settled()
        await asyncio.sleep(0)

    bench.go(work)
    assert bench.events == ["ledger-damaged"]
