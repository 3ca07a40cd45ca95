"""One tenant: a pool of resources that its containers share."""

from typing import TYPE_CHECKING, Any

from pycontainer.client.connection import Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pycontainer.client.types import Limit, TenantInfo


class Tenant:
    """A handle on the tenant `name`; made by `Client.tenant`, `tenants` and `create_tenant`, whose `warnings` it has."""

    def __init__(self, pool: Pool, name: str, warnings: "Sequence[str]" = ()) -> None:
        self._pool = pool
        self.name = name
        self.warnings = tuple(warnings)

    def __repr__(self) -> str:
        return f"Tenant({self.name!r})"

    @property
    def info(self) -> "TenantInfo":
        """Its limits and containers, asked for now."""
        return self._pool.request("tenant_inspect", {"tenant": self.name})  # type: ignore[no-any-return]

    def set(self, *, transient: bool = False, force: bool = False, **limits: Any) -> "TenantInfo":
        """Change limits, at once if containers of it run; "unlimited" takes one away.

        Raises InvalidState for a limit below what is in use, unless `force`, and for more than the host may promise.
        """
        args = {"tenant": self.name, "spec": limits, "transient": transient, "force": force}
        return self._pool.request("tenant_set", args)  # type: ignore[no-any-return]

    def limits(self, *, recent: bool = False) -> "Sequence[Limit]":
        """Return what its containers hold together; nothing before one of them ran."""
        return self._pool.request("limits", {"tenants": [self.name], "recent": recent})  # type: ignore[no-any-return]

    def remove(self) -> None:
        """Delete it. Raises InvalidState while it has containers."""
        self._pool.request("tenant_rm", {"tenant": self.name})
