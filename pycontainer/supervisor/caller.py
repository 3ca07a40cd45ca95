"""On whose behalf something is done: the host's (the supervisor itself, root, the operators' group) or one tenant's.

A context variable, as who causes an event is (events.py): the server sets it for a request, and whatever looks for an object
on the way asks it. Nothing set means the host: a timer, a restart, the boot.
"""

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from fnmatch import fnmatchcase
from typing import NamedTuple

from pycontainer.spec.names import NAME, NAME_HINT


class Caller(NamedTuple):
    """Somebody who may manage what is of one tenant, and nothing else.

    What he names lies in a space of its own: NAME becomes NAME.TENANT, and no tenant that has users bears a dot in its
    name. So no two tenants' names ever meet, and a name that is taken tells of nobody else.
    """

    tenant: str
    images: tuple[str, ...] = ()  # patterns of names that he may start from
    networks: tuple[str, ...] = ()  # that he may join besides `default` and `none`
    ports: tuple[int, int] | None = None  # of the host that he may publish, the last one included

    def full_name(self, name: str) -> str:
        """Return the name of this tenant's that `name` stands for; one that is whole already stays."""
        return name if not name or name.endswith(f".{self.tenant}") else f"{name}.{self.tenant}"

    def short_name(self, name: str) -> str:
        """Return the name as the tenant's own users write it."""
        return name.removesuffix(f".{self.tenant}")

    def may_use_image(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.images)

    def may_use_network(self, name: str) -> bool:
        return name in ("default", "none", *self.networks)

    def name_problem(self, name: str) -> str:
        """Return what is wrong with a name that is to be given, if it is only too long; its form is others' to judge."""
        full = self.full_name(name)
        if NAME.fullmatch(name) and not NAME.fullmatch(full):
            return f"'{full}' is too long for a name: {NAME_HINT}"
        return ""


_caller: ContextVar[Caller | None] = ContextVar("caller", default=None)


@contextlib.contextmanager
def calling(caller: Caller | None) -> Iterator[None]:
    """Have `caller` be for whom all is done in the block, and in the tasks that begin in it; None is the host."""
    token = _caller.set(caller)
    try:
        yield
    finally:
        _caller.reset(token)


def current_caller() -> Caller | None:
    """Return for whom this is done; None is the host."""
    return _caller.get()


def may_see(tenant: str) -> bool:
    """Tell whether who asks may know of what is of `tenant`."""
    caller = _caller.get()
    return caller is None or caller.tenant == tenant
