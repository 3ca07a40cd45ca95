"""Limits that change, of a container or of a tenant: for good, or for the present run alone (`--transient`).

A change that is kept is of what is on record and of what is in force, which may be another (transient.py); a transient one
is of the latter. Either leaves alone what else is in force.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance
from pycontainer.errors import InvalidState, PycontainerError, Unsupported
from pycontainer.failpoints import reach
from pycontainer.runtime.container import Container
from pycontainer.runtime.tenant import Tenant
from pycontainer.spec.model import ContainerSpec


class Limited(NamedTuple):
    """Whose limits change, as it is before."""

    record: Container | Tenant
    owner: str  # as messages name it
    idle: str  # says that it runs not
    instance: Instance | None  # what controllers act on; None: the kernel holds nothing of it
    in_force: ContainerSpec
    shrinks: bool  # also its disk
    measured: Callable[[ContainerSpec], ContainerSpec]  # what a measure in force leaves
    note: Callable[[ContainerSpec | None], None]  # what is in force, if that is not what is on record
    noted: Callable[[], contextlib.AbstractContextManager[None]]  # that a change is on its way
    follow: Callable[[], None]  # have what depends on its limits follow them


class Change(NamedTuple):
    """What is to be on record, and in force."""

    kept: ContainerSpec
    live: ContainerSpec
    transient: bool

    @property
    def asked(self) -> ContainerSpec:
        """What who asks wants to have."""
        return self.live if self.transient else self.kept


def plan(
    limited: Limited,
    changed: Callable[[ContainerSpec], ContainerSpec],
    check: Callable[[ContainerSpec, ContainerSpec], None],
    *,
    transient: bool,
) -> Change:
    """Return what a change leads to; `changed` makes it, `check` raises an error unless a spec may replace another."""
    before, in_force = limited.record.spec, limited.in_force
    change = Change(before if transient else changed(before), changed(in_force), transient)
    if not transient:
        check(change.kept, before)
    if transient or in_force is not before:
        with contextlib.nullcontext() if transient else _amid_transient():
            check(change.live, in_force)
    if transient and limited.instance is None:
        raise InvalidState(
            f"{limited.idle}: there is nothing a transient change could apply to",
            hint="leave --transient out, and it holds from the next start on",
        )
    if transient and change.live.disk_caps != in_force.disk_caps and not limited.shrinks:
        raise Unsupported(
            f"cannot change the disk of {limited.owner} for a while: it is an image, which grows and does not shrink",
            hint="leave --transient out, and it is changed for good",
            feature="disk",
        )
    return change


def carry_out(limited: Limited, change: Change, *, force: bool) -> None:
    """Have the kernel and the record hold what was planned, or leave both as they were."""
    record, instance = limited.record, limited.instance
    before, warnings = record.spec, record.warnings
    with limited.noted() if instance is not None else contextlib.nullcontext():
        reach("set:noted")
        if instance is not None:
            record.warnings = _apply(limited, instance, change.live, force=force)
        reach("set:applied")
        record.spec = change.kept
        try:
            limited.note(None if change.live == change.kept else change.live)
            if instance is not None:
                limited.follow()
            if not change.transient:
                record.save()
        except BaseException:
            record.spec = before
            if instance is not None:
                with contextlib.suppress(OSError):  # it is known all the same
                    limited.note(None if limited.in_force is before else limited.in_force)
                registry.apply(instance, limited.measured(limited.in_force))
                limited.follow()
            record.warnings = warnings
            raise
        reach("set:recorded")


def _apply(limited: Limited, instance: Instance, live: ContainerSpec, *, force: bool) -> list[str]:
    """Set all caps and return the warnings, or leave them as they were."""
    wanted = limited.measured(live)
    if not force and (excess := registry.excess(instance, wanted)):
        raise InvalidState(
            f"cannot lower the limits of {limited.owner}: {'; '.join(excess)}",
            hint="let it use less first, or use --force: the kernel takes back what it can, and on v2 kills for the rest",
        )
    try:
        return registry.apply(instance, wanted)
    except BaseException:
        registry.apply(instance, limited.measured(limited.in_force))
        raise


@contextlib.contextmanager
def _amid_transient() -> Iterator[None]:
    """Say of a refusal that it is for what else is in force, which no record shows."""
    try:
        yield
    except PycontainerError as error:
        why = "limits are in force that were set with --transient: change these first, or restart it"
        error.hint = f"{error.hint}; {why}" if error.hint else why
        raise
