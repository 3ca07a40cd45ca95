"""When a measure is taken against a tenant, what it is, and when it is undone; and what a hook may be."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.errors import InvalidInput, InvalidState
from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.runtime.tenant import NO_LIMITS, Tenant, load_tenants
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.transfer import Action, Allowance, Measure, parse_action
from pycontainer.supervisor.transfer import Transfer, describe, require_hook


class Caps:
    """Notes the caps of one owner."""

    def __init__(self, log: list[Any], owner: str) -> None:
        self._log, self._owner = log, owner

    def cap(self, direction: str, guaranteed: int | None, ceiling: int | None) -> None:
        self._log.append((self._owner, direction, guaranteed, ceiling))


class Run:
    """A run, whose cgroup can be killed."""

    def __init__(self) -> None:
        self.cgroup = self
        self.is_killed = False

    def kill(self) -> None:
        self.is_killed = True


class Restarts(set[str]):
    """Who waits for the next start."""

    def cancel(self, container: Container) -> None:
        self.discard(container.id)


class Bench:
    """A world with tenant `acme` and its containers `a` (runs) and `b` (stopped)."""

    def __init__(self, directory: Path, action: str, size_bytes: int | None = 1000) -> None:
        self.paths = HostPaths(str(directory))
        os.makedirs(self.paths.tenants_dir)
        spec = ContainerSpec(pids_max=None, net_out_bits=5_000_000)
        self.tenant = Tenant(self.paths, "acme", spec, created=1.0)
        self.tenant.allowance = Allowance(size_bytes, parse_action(action))
        self.tenant.save()
        self.log: list[Any] = []
        members = [
            Container(
                self.paths,
                name * 12,
                ContainerSpec(name=name, image="x", tenant="acme", net_out_min_bits=2_000_000),
                None,
                base=0,
                created=0.0,
            )
            for name in "ab"
        ]
        members[0].addresses = {"default": {}}
        self.containers = {member.id: member for member in members}
        self.runs: dict[str, Run] = {"a" * 12: Run()}
        self.tasks: list[asyncio.Task[None]] = []
        self.locks: dict[str, asyncio.Lock] = {}
        self.world: Any = SimpleNamespace(
            containers=self.containers,
            runs=self.runs,
            restarts=Restarts(),
            transient=SimpleNamespace(spec_of_tenant=lambda tenant: tenant.spec),
            spec_in_force=lambda container: self.tenant.measured_member(container.spec),
            ledger=SimpleNamespace(month="2026-11", transferred={}),
            broken={},
            tenants=SimpleNamespace(
                by_name={"acme": self.tenant},
                is_raised=lambda name: True,
                instance=lambda name: SimpleNamespace(network=Caps(self.log, "tenant")),
            ),
            networks=SimpleNamespace(bandwidth=lambda container_id, tenant: Caps(self.log, container_id[0])),
            events=SimpleNamespace(emit=lambda kind, *_, **details: self.log.append((kind, details))),
            lock=lambda container: self.locks.setdefault(container.id, asyncio.Lock()),
            spawn=lambda work: self.tasks.append(asyncio.get_running_loop().create_task(work)),
        )
        self.transfer = Transfer(cast(Any, self.world))
        self.transfer.start, self.transfer.stop = self._start, self._stop
        self._run(self._recover)

    async def _start(self, container: Container) -> None:
        self.transfer.refuse(self.tenant)
        self.runs[container.id] = Run()
        self.log.append(("start", container.spec.name))

    async def _stop(self, container: Container, seconds: float) -> None:
        del self.runs[container.id]
        self.log.append(("stop", container.spec.name))

    def check(self, month: str, used: Mapping[str, int]) -> list[Any]:
        """Check once and return what was done, in order."""

        self.world.ledger.month, self.world.ledger.transferred = month, dict(used)

        async def check() -> None:
            self.transfer.check()

        return self._run(check)

    def later(self) -> list[Any]:
        """Check once more when it is time to try again what has failed."""
        self.transfer._retry_at.clear()
        return self.check(self.world.ledger.month, self.world.ledger.transferred)

    def next_supervisor(self, month: str = "2026-11", used: Mapping[str, int] | None = None) -> list[Any]:
        """Come up with what the records say, while that is known of the ledger; return what was done."""
        self.tenant = self.recorded()
        self.world.tenants.by_name["acme"] = self.tenant
        self.world.ledger.month, self.world.ledger.transferred = month, dict(used or {})
        self.locks.clear()
        self.transfer = Transfer(cast(Any, self.world))
        self.transfer.start, self.transfer.stop = self._start, self._stop
        return self._run(self._recover)

    async def _recover(self) -> None:
        self.transfer.recover()

    def _run(self, work: Any) -> list[Any]:
        async def until_done() -> None:
            await work()
            while self.tasks:
                await self.tasks.pop(0)

        self.log.clear()
        self.tasks.clear()
        asyncio.run(until_done())
        return list(self.log)

    def recorded(self) -> Tenant:
        """Return the tenant as the next supervisor reads it."""
        (tenant,), damaged = load_tenants(self.paths)
        assert not damaged
        return tenant


def kinds(log: list[Any]) -> list[str]:
    return [entry[0] for entry in log]


def test_below_the_allowance_nothing_happens(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    assert bench.check("2026-11", {"acme": 999}) == []
    assert bench.check("2026-11", {}) == []
    assert Bench(tmp_path / "other", "stop", size_bytes=None).check("2026-11", {"acme": 10**15}) == []


def test_a_warning_is_given_once_a_month(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "warn")
    ((kind, details),) = bench.check("2026-11", {"acme": 1000})
    assert (kind, details["used_bytes"], details["allowance_bytes"]) == ("transfer-used-up", 1000, 1000)
    assert bench.check("2026-11", {"acme": 2000}) == []
    assert kinds(bench.check("2026-12", {})) == ["transfer-reset"]
    assert kinds(bench.check("2026-12", {"acme": 1000})) == ["transfer-used-up"]


def test_slowed_both_ways_below_its_own_caps_with_nothing_guaranteed(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slow:1mbit")
    log = bench.check("2026-11", {"acme": 1000})
    assert log[1:] == [
        ("a", "in", None, None), ("a", "out", None, None),
        ("tenant", "in", None, 1_000_000), ("tenant", "out", None, 1_000_000),
        ("a", "in", None, None), ("a", "out", None, None),
    ]  # fmt: skip
    assert bench.recorded().slowed_bits == 1_000_000
    again = ["a", "a", "tenant", "tenant", "a", "a"]
    assert kinds(bench.next_supervisor(used={"acme": 1000})) == again, "who comes up holds it again"
    assert kinds(bench.next_supervisor(month="")) == again, "also while nobody knows what was used"
    log = bench.check("2026-12", {"acme": 5})
    assert log == [
        ("transfer-reset", {"tenant": "acme", "month": "2026-12", "cause": "slow"}),
        ("tenant", "in", None, None), ("tenant", "out", None, 5_000_000),
        ("a", "in", None, None), ("a", "out", 2_000_000, None),
    ]  # fmt: skip
    assert bench.recorded().measure is None
    assert bench.next_supervisor("2026-12") == []


def test_a_container_that_starts_meanwhile_is_slowed_too(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "slow:1mbit")
    bench.check("2026-11", {"acme": 1000})
    bench.log.clear()
    bench.transfer.began(bench.containers["a" * 12])
    assert bench.log == [("a", "in", None, None), ("a", "out", None, None)]


def test_a_lower_cap_of_its_own_stays(tmp_path: Path) -> None:
    tenant = Tenant(HostPaths(str(tmp_path)), "acme", ContainerSpec(net_out_bits=500_000), created=0.0)
    assert tenant.measured(tenant.spec) is tenant.spec
    tenant.measure = Measure("2026-11", Action("slow", bits=1_000_000))
    held = tenant.measured(tenant.spec)
    assert (held.net_in_bits, held.net_out_bits) == (1_000_000, 500_000)


def test_stopped_and_started_again_when_the_month_is_over(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    assert kinds(bench.check("2026-11", {"acme": 1000})) == ["transfer-used-up", "stop"]
    assert bench.transfer.is_waiting(), "the supervisor stays for the month's turn"
    with pytest.raises(InvalidState, match="used up its transfer of 2026-11"):
        bench.transfer.refuse(bench.tenant)
    assert bench.recorded().measure == Measure("2026-11", Action("stop"), ("a" * 12,))
    assert bench.next_supervisor(used={"acme": 1000}) == []
    log = bench.check("2026-12", {})
    assert kinds(log) == ["transfer-reset", "start"]
    assert log[1] == ("start", "a"), "only what was stopped is started"
    assert not bench.transfer.is_waiting()
    assert (bench.recorded().measure, bench.recorded().to_start) == (None, ())


def test_what_runs_all_the_same_is_stopped_and_comes_back_with_the_others(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})
    bench.runs["b" * 12] = Run()  # it was starting
    assert bench.later() == [("stop", "b")]
    assert kinds(bench.check("2026-12", {})) == ["transfer-reset", "start", "start"]


def test_what_a_boot_or_a_policy_would_start_waits_for_the_month_instead(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    b = bench.containers["b" * 12]
    assert not bench.transfer.holds(b)
    bench.check("2026-11", {"acme": 1000})
    assert bench.transfer.holds(b)
    assert bench.recorded().measure == Measure("2026-11", Action("stop"), ("a" * 12, "b" * 12))


def test_a_measure_of_another_month_keeps_nobody_from_starting(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})
    bench.world.ledger.month = "2026-12"
    bench.transfer.refuse(bench.tenant)
    assert not bench.transfer.holds(bench.containers["b" * 12])


def test_more_transfer_ends_a_measure_at_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})
    bench.tenant.allowance = Allowance(2000, Action("stop"))
    assert kinds(bench.check("2026-11", {"acme": 1000})) == ["transfer-reset", "start"]


def test_no_end_of_transfer_ends_a_measure_even_while_the_ledger_is_not_known(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})
    assert bench.check("", {}) == []
    bench.tenant.allowance = Allowance(None, Action("stop"))
    assert kinds(bench.check("", {})) == ["transfer-reset", "start"]


def test_another_action_takes_the_place_of_the_one_in_force(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})
    bench.tenant.allowance = Allowance(1000, Action("warn"))
    assert kinds(bench.check("2026-11", {"acme": 1000})) == ["transfer-reset", "transfer-used-up", "start"]
    bench.tenant.allowance = Allowance(1000, Action("stop"))
    assert kinds(bench.check("2026-11", {"acme": 1000})) == ["transfer-reset", "transfer-used-up", "stop"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InvalidState("its port is taken"), RuntimeError("a bug")])
def test_what_was_stopped_is_started_in_the_end(tmp_path: Path, error: BaseException) -> None:
    """FLT-01. A death, or what cannot be started now, loses nothing; nor does a record that is written meanwhile."""
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})

    async def fails(container: Container) -> None:
        bench.tenant.save()
        raise error

    bench.transfer.start = fails
    with pytest.raises(KeyboardInterrupt) if isinstance(error, KeyboardInterrupt) else contextlib.nullcontext():
        assert kinds(bench.check("2026-12", {})) == ["transfer-reset", "transfer-failed"]
        assert bench.check("2026-12", {}) == [], "not at each check"
        assert kinds(bench.later()) == ["transfer-failed"]
    assert bench.recorded().to_start == ("a" * 12,)
    assert bench.transfer.is_waiting()
    assert bench.next_supervisor("2026-12") == [("start", "a")]
    assert bench.next_supervisor("2026-12") == []


def test_nothing_is_done_before_it_is_known_what_runs(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})
    bench.transfer = Transfer(cast(Any, bench.world))
    assert bench.check("2026-12", {}) == []


def test_what_runs_already_is_not_started_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    bench.check("2026-11", {"acme": 1000})
    bench.runs["a" * 12] = Run()
    assert kinds(bench.check("2026-12", {})) == ["transfer-reset"]
    assert not bench.transfer.is_waiting()


def test_what_cannot_be_stopped_is_killed_and_told_and_the_rest_is_done(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "stop")
    run_a = bench.runs["a" * 12]
    bench.runs["b" * 12] = Run()

    async def fails_for_a(container: Container, seconds: float) -> None:
        if container.spec.name == "a":
            raise InvalidState("it cannot be stopped")
        await bench._stop(container, seconds)

    bench.transfer.stop = fails_for_a
    log = bench.check("2026-11", {"acme": 1000})
    assert sorted(log[1:]) == [
        ("stop", "b"),
        ("transfer-failed", {"tenant": "acme", "detail": "'a': it cannot be stopped"}),
    ]
    assert run_a.is_killed


def test_a_hook_is_told_of_both(tmp_path: Path) -> None:
    hook = tmp_path / "hook"
    hook.write_text(f'#!/bin/sh\necho "$@ $PYCONTAINER_MONTH $PYCONTAINER_USED_BYTES" >>{tmp_path}/told\n')
    hook.chmod(0o700)
    bench = Bench(tmp_path / "world", f"hook:{hook}")
    assert kinds(bench.check("2026-11", {"acme": 1234})) == ["transfer-used-up"]
    assert kinds(bench.check("2026-12", {})) == ["transfer-reset"]
    assert (tmp_path / "told").read_text() == "used-up acme 2026-11 1234\nreset acme 2026-12 0\n"


def test_a_hook_that_fails_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\nexit 3\n")
    hook.chmod(0o700)
    bench = Bench(tmp_path / "world", f"hook:{hook}")
    assert bench.check("2026-11", {"acme": 1234})[1] == (
        "transfer-failed",
        {"tenant": "acme", "detail": "its hook failed; the supervisor's log says why"},
    )
    assert f"hook of tenant 'acme': '{hook}' ended with 3" in capfd.readouterr().err
    hook.unlink()
    bench.check("2026-12", {})
    assert "cannot be run" in capfd.readouterr().err


@pytest.mark.parametrize("mode", [0o722, 0o702, 0o600])
def test_a_hook_that_others_could_change_is_refused(tmp_path: Path, mode: int) -> None:
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(mode)
    with pytest.raises(InvalidInput):
        require_hook(str(hook))


def test_a_record_of_before_has_no_allowance(tmp_path: Path) -> None:
    bench = Bench(tmp_path, "warn")
    path = f"{bench.paths.tenants_dir}/acme.json"
    text = Path(path).read_text()
    Path(path).write_text(text[: text.index(',\n "transfer"')] + "\n}")
    os.chmod(path, 0o600)
    tenant = bench.recorded()
    assert (tenant.allowance, tenant.measure) == (Allowance(), None)
    assert describe(tenant, 5) is None


@pytest.mark.parametrize(
    ("old", "new"), [('"action": "warn"', '"action": "burn"'), ('"size_bytes": 1000', '"size_bytes": "1"')]
)
def test_a_damaged_allowance_is_a_damaged_record(tmp_path: Path, old: str, new: str) -> None:
    bench = Bench(tmp_path, "warn")
    path = Path(f"{bench.paths.tenants_dir}/acme.json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    assert list(load_tenants(bench.paths)[1]) == ["acme"]
    assert NO_LIMITS.net_in_bits is None
