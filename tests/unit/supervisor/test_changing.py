"""A change of limits, of a container or a tenant: what it leads to, and that it happens altogether or not at all."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.controllers import registry
from pycontainer.errors import InvalidInput, InvalidState, Unsupported
from pycontainer.spec.model import ContainerSpec
from pycontainer.supervisor.changing import Change, Limited, carry_out, plan

RECORDED = ContainerSpec(name="x", memory_bytes=96, pids_max=50)
IN_FORCE = dataclasses.replace(RECORDED, pids_max=40)


class Bench:
    """Something with limits, of which each step is logged; `failing` names the step that fails."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, runs: bool = True, failing: str = "") -> None:
        self.log: list[Any] = []
        self.failing = failing
        self.record = cast(Any, SimpleNamespace(spec=RECORDED, warnings=["old"], save=self._step("save")))
        self.limited = Limited(
            self.record,
            "'x'",
            "container 'x' does not run",
            cast(Any, "instance") if runs else None,
            IN_FORCE if runs else RECORDED,
            shrinks=False,
            measured=lambda spec: dataclasses.replace(spec, cpu_weight=7),
            note=self._step("note"),
            noted=self._noted,
            follow=self._follow,
        )
        monkeypatch.setattr(registry, "excess", lambda instance, spec: ["pids: 60"] if spec.pids_max < 30 else [])
        monkeypatch.setattr(registry, "apply", self._apply)

    def _step(self, name: str) -> Callable[..., None]:
        def step(*what: object) -> None:
            self.log.append((name, *what))
            if name == self.failing:
                raise OSError(28, "no space")

        return step

    @contextlib.contextmanager
    def _noted(self) -> Iterator[None]:
        self.log.append("noted")
        yield
        self.log.append("over")

    def _follow(self) -> None:
        self.record.warnings = [*self.record.warnings, "followed"]
        self.log.append(("follow", self.record.spec))

    def _apply(self, instance: object, spec: ContainerSpec) -> list[str]:
        assert spec.cpu_weight == 7
        self._step("apply")(dataclasses.replace(spec, cpu_weight=None))
        return ["new"]

    def change(self, *, transient: bool, force: bool = False, **asked: Any) -> Change:
        change = plan(
            self.limited, lambda spec: dataclasses.replace(spec, **asked), lambda *_: None, transient=transient
        )
        carry_out(self.limited, change, force=force)
        return change


def test_what_is_kept_leaves_alone_what_else_is_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    change = bench.change(transient=False, memory_bytes=80)
    kept, live = dataclasses.replace(RECORDED, memory_bytes=80), dataclasses.replace(IN_FORCE, memory_bytes=80)
    assert change == Change(kept, live, False)
    assert change.asked == kept
    assert bench.log == ["noted", ("apply", live), ("note", live), ("follow", kept), ("save",), "over"]
    assert (bench.record.spec, bench.record.warnings) == (kept, ["new", "followed"])


def test_a_transient_change_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    change = bench.change(transient=True, memory_bytes=80)
    live = dataclasses.replace(IN_FORCE, memory_bytes=80)
    assert change.asked == live
    assert bench.log == ["noted", ("apply", live), ("note", live), ("follow", RECORDED), "over"]
    assert bench.record.spec == RECORDED


def test_what_is_as_on_record_again_needs_no_note(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.change(transient=True, pids_max=50)
    assert ("note", None) in bench.log


def test_of_what_does_not_run_the_record_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, runs=False)
    bench.change(transient=False, pids_max=5)
    assert bench.log == [("note", None), ("save",)]
    assert bench.record.spec.pids_max == 5


@pytest.mark.parametrize("failing", ["note", "save"])
def test_what_fails_leaves_all_as_it_was(monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    bench = Bench(monkeypatch, failing=failing)
    with pytest.raises(OSError, match="no space"):
        bench.change(transient=False, memory_bytes=80)
    assert (bench.record.spec, bench.record.warnings) == (RECORDED, ["old"])
    assert bench.log[-3:] == [("note", IN_FORCE), ("apply", IN_FORCE), ("follow", RECORDED)]


def test_caps_that_are_refused_are_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, failing="apply")
    with pytest.raises(OSError, match="no space"):
        bench.change(transient=True, memory_bytes=80)
    assert bench.log[1:] == [("apply", dataclasses.replace(IN_FORCE, memory_bytes=80)), ("apply", IN_FORCE)]
    assert (bench.record.spec, bench.record.warnings) == (RECORDED, ["old"])


def test_what_is_in_use_is_not_taken_away_unless_by_force(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    with pytest.raises(InvalidState, match="cannot lower the limits of 'x': pids: 60"):
        bench.change(transient=False, pids_max=10)
    assert bench.log == ["noted"]
    assert bench.change(transient=False, pids_max=10, force=True).live.pids_max == 10


def test_what_cannot_be_for_a_while_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidState, match="container 'x' does not run: there is nothing a transient change could"):
        Bench(monkeypatch, runs=False).change(transient=True, pids_max=10)
    bench = Bench(monkeypatch)
    with pytest.raises(Unsupported, match="cannot change the disk of 'x' for a while"):
        bench.change(transient=True, disk_bytes=1 << 20)
    assert bench.log == []
    assert bench.change(transient=False, disk_bytes=1 << 20).kept.disk_bytes == 1 << 20
    bench.limited = bench.limited._replace(shrinks=True)
    assert bench.change(transient=True, disk_bytes=1 << 20).live.disk_bytes == 1 << 20


def test_a_refusal_tells_for_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    limited = Bench(monkeypatch).limited

    def check(spec: ContainerSpec, old: ContainerSpec) -> None:
        if spec.pids_max == refused:
            raise InvalidInput("no", hint="ask for less")

    refused = 50  # as it is on record
    with pytest.raises(InvalidInput) as caught:
        plan(limited, lambda spec: spec, check, transient=False)
    assert caught.value.hint == "ask for less"
    plan(limited, lambda spec: spec, check, transient=True)
    refused = 40  # as it is in force
    with pytest.raises(InvalidInput) as caught:
        plan(limited, lambda spec: spec, check, transient=False)
    assert caught.value.hint.startswith("ask for less; limits are in force that were set with --transient")
    with pytest.raises(InvalidInput) as caught:
        plan(limited, lambda spec: spec, check, transient=True)
    assert caught.value.hint == "ask for less"
