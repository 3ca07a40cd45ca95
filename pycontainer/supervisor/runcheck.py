"""What containers that run, and tenants, have lost because somebody changed it behind our back: caps, links, the firewall.

The record says what should be, the kernel is asked what is, and the repair is to apply it again, as a start or `set` would.
"""

import functools
import os
import select
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from pycontainer.cgroup.base import Above
from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance
from pycontainer.net.shaping import tenant_owner
from pycontainer.supervisor.finding import Finding

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.world import World


class Common(NamedTuple):
    """What is read once for all containers of a look. It may be a moment old: what is wrong by it is read again."""

    links: Collection[int]  # those that there are
    above: Above | None


_Check = Callable[["Container", "World", Common], Iterable[Finding]]


def of_run(world: "World", container_id: str, common: Common) -> Iterator[Finding]:
    """Yield what a running container has lost, in the order in which it is put right: a new link gets all limits, too."""
    container = world.containers[container_id]
    for check in (_limits, _links, _bandwidth):
        for finding in check(container, world, common):
            if not _is_up(container, world):  # it is ending, and loses all
                return
            yield finding._replace(check=functools.partial(_again, check, container), container_id=container_id)


def _again(check: _Check, container: "Container", world: "World") -> Iterable[Finding]:
    return check(container, world, Common((), None)) if _is_up(container, world) else ()


def _is_up(container: "Container", world: "World") -> bool:
    """Tell whether its first process lives and is not just ending.

    Who ends leaves its namespaces first, and the kernel takes the links, before it waits for the others inside and we hear.
    """
    run = world.runs.get(container.id)
    if run is None or not os.path.exists(f"/proc/{run.pid}/ns/net"):
        return False
    poll = select.poll()
    poll.register(run.pidfd, select.POLLIN)  # or the pid may be somebody else's by now
    return not poll.poll(0)


def _links(container: "Container", world: "World", common: Common) -> Iterator[Finding]:
    if not container.addresses:
        return
    for network in world.networks.lost_links(container.id, common.links):
        yield Finding(
            "lost link", f"container '{container.spec.name}', network '{network}'", "its link was deleted",
            "makes it anew", lambda network=network: _attach(world, container, network),  # type: ignore[misc]
        )  # fmt: skip


def _attach(world: "World", container: "Container", network: str) -> None:
    """Make a link again; what its first process set up by itself inside is not known to us."""
    netns_fd = os.open(f"/proc/{container.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        world.networks.attach_again(container.id, network, netns_fd)
    finally:
        os.close(netns_fd)
    _apply(world, container)


def _limits(container: "Container", world: "World", common: Common) -> Iterator[Finding]:
    instance = Instance(world.runs[container.id].cgroup, container.disks)
    changed = registry.differences(instance, world.spec_in_force(container), common.above)
    if changed:
        yield Finding(
            "changed limits", f"container '{container.spec.name}'", "; ".join(changed), "sets them again",
            lambda: _apply(world, container),
        )  # fmt: skip


def _apply(world: "World", container: "Container") -> None:
    run = world.runs[container.id]
    container.warnings = registry.apply(world.instance(container, run.cgroup), world.spec_in_force(container))


def _bandwidth(container: "Container", world: "World", common: Common) -> Iterator[Finding]:
    if not container.addresses:
        return
    if harm := world.networks.shaping_harm(container.id):
        yield Finding(
            "changed bandwidth", f"container '{container.spec.name}'", harm, "sets it again",
            lambda: world.networks.mend_shaping(container.id),
        )  # fmt: skip


def shaping(world: "World") -> Iterator[Finding]:
    """What the caps of all links need."""
    if harm := world.networks.shaping_harm():
        yield Finding(
            "changed bandwidth", f"links '{world.paths.interface_prefix}*'", harm, "makes it anew",
            lambda: world.networks.mend_shaping(),
        )  # fmt: skip


def tenants(world: "World") -> Iterator[Finding]:
    """Limits of tenants, before those of their containers: v1 lets none exceed its parent's."""
    for name, tenant in world.tenants.by_name.items():
        if not world.tenants.is_raised(name):
            continue
        spec = tenant.measured(world.transient.spec_of_tenant(tenant))
        changed = registry.differences(world.tenants.instance(name), spec)
        if changed:
            yield Finding(
                "changed limits", f"tenant '{name}'", "; ".join(changed), "sets them again, and its containers'",
                lambda name=name: world.apply_to_tenant(name),  # type: ignore[misc]
            )  # fmt: skip
        owner = tenant_owner(name)
        if harm := world.networks.shaping_harm(owner):
            yield Finding(
                "changed bandwidth", f"tenant '{name}'", harm, "sets it again",
                lambda owner=owner: world.networks.mend_shaping(owner),  # type: ignore[misc]
            )  # fmt: skip


def firewall(world: "World") -> Iterator[Finding]:
    """Elements and rules that are missing or changed."""
    if harm := world.networks.firewall_harm():
        yield Finding(
            "changed firewall", f"table '{world.paths.marker.replace('-', '_')}'", harm, "writes it anew",
            lambda: world.networks.repair(), check=firewall,
        )  # fmt: skip
