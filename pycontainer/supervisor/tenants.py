"""The tenants of a world, and what the kernel holds for them.

A tenant's cgroup and traffic class are there from the first start of one of its containers, and stay until it is removed
or nothing of the world runs any more. Its containers' limits are applied anew when its own change: cgroup v1 refuses a
child more than its parent, where v2 lets the parent's limit hold.
"""

import contextlib
import os
from collections.abc import Callable, Iterable

from pycontainer.cgroup.hierarchy import Hierarchy
from pycontainer.controllers import registry
from pycontainer.controllers.protocol import Instance
from pycontainer.disk.pool import Pool
from pycontainer.errors import NotFound, StartFailed
from pycontainer.failpoints import reach
from pycontainer.net.manager import NetworkManager
from pycontainer.paths import HostPaths
from pycontainer.runtime.tenant import Tenant, forget, load_tenants, set_aside
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import is_container_id
from pycontainer.units import shown


class Tenants:
    """All tenants, by name."""

    def __init__(
        self,
        paths: HostPaths,
        hierarchy: Hierarchy,
        networks: NetworkManager,
        spec_of: Callable[[Tenant], ContainerSpec] = lambda tenant: tenant.spec,
    ) -> None:
        """`spec_of` returns the limits that are in force, which may be others than those on record."""
        self._paths, self._hierarchy, self._networks, self._spec_of = paths, hierarchy, networks, spec_of
        whole, self.damaged = load_tenants(paths)
        self.by_name: dict[str, Tenant] = {tenant.name: tenant for tenant in whole}
        self._disks: dict[str, set[str]] = {}  # of each tenant that is raised

    def find(self, name: str) -> Tenant:
        """Return a tenant by name; NotFound, InvalidState if its record is damaged."""
        if (damage := self.damaged.get(name)) is not None:
            raise type(damage)(damage.message, hint=damage.hint)
        tenant = self.by_name.get(name)
        if tenant is None:
            raise NotFound(f"no tenant {shown(name)}", hint="'pycontainer tenant list' shows what there is")
        return tenant

    def put(self, tenant: Tenant) -> None:
        """Record a new tenant, also in the place of a damaged one of its name."""
        if tenant.name in self.damaged:
            set_aside(self._paths, tenant.name)
            del self.damaged[tenant.name]
        tenant.save()
        self.by_name[tenant.name] = tenant

    def remove(self, name: str) -> None:
        """Forget a tenant that has no containers, damaged or not, with what the kernel holds for it.

        The record goes first: a tenant without its pool would cap nothing, a pool without a tenant is what `adopt` erases.
        """
        forget(f"{self._paths.tenants_dir}/{name}.json")
        self.by_name.pop(name, None)
        self.damaged.pop(name, None)
        reach("tenant:unnamed")
        self.drop_limits(name)
        reach("tenant:lowered")
        self.pool(name).erase()
        reach("tenant:erased")
        self._networks.forget_tenant(name)

    def is_raised(self, name: str) -> bool:
        """Say whether the kernel holds the tenant's limits now."""
        return self._hierarchy.open_tenant(name).exists()

    def cgroup_paths(self, name: str) -> dict[str, str]:
        """Return controller -> directory on the host, for who only looks."""
        return self._hierarchy.open_tenant(name).paths()

    def instance(self, name: str) -> Instance:
        """Return what controllers act on."""
        network = self._networks.tenant_bandwidth(name)
        return Instance(
            self._hierarchy.open_tenant(name),
            lambda: tuple(sorted(self._disks.get(name, ()))),
            network,
            self.pool(name),
            is_tenant=True,
        )

    def pool(self, name: str) -> Pool:
        """Return what holds the layers of the tenant's containers, if their sum is capped."""
        return Pool(self._paths.tenant_pool(name))

    def memory_bytes(self, name: str) -> int | None:
        """Return what the tenant's containers may have together; None without a cap, or where nobody knows it."""
        tenant = self.by_name.get(name)
        return self._spec_of(tenant).memory_bytes if tenant is not None else None

    def raise_limits(self, name: str, disks: tuple[str, ...]) -> None:
        """Have the kernel hold the tenant's limits, before a container that uses `disks` starts."""
        self.find(name)
        if self.is_raised(name) and self._disks.get(name, set()).issuperset(disks):
            return
        self._hierarchy.create_tenant(name)
        try:
            self.apply(name, disks)
        except OSError as error:
            raise StartFailed(
                f"cannot hold the limits of tenant '{name}': '{error.filename}': {error.strerror or error}",
                step="limits",
                errno=error.errno or 0,
            ) from error

    def apply(self, name: str, disks: Iterable[str] = ()) -> None:
        """Write the limits of a tenant that is raised, also for `disks`. Raises what a controller does."""
        tenant = self.find(name)
        self._disks[name] = self._disks.get(name, set()) | set(disks)
        tenant.warnings = registry.apply(self.instance(name), self._spec_of(tenant))

    def drop_limits(self, name: str) -> None:
        """Take away what the kernel holds; nothing happens if there is nothing."""
        if self.is_raised(name):
            registry.release(self.instance(name))
            self._hierarchy.open_tenant(name).delete()
        self._disks.pop(name, None)

    def adopt(self) -> None:
        """Learn after a restart what is raised; what tenants have left that are no more, or never were, goes."""
        known = {*self.by_name, *self.damaged}
        for name in self._hierarchy.tenants():
            if name not in known:
                self._hierarchy.open_tenant(name).delete()
        for name in self._pools() - known:  # who makes a tenant makes its pool first, who removes it erases that last
            with contextlib.suppress(OSError):  # damaged: `doctor` tells of it
                if not (pool := self.pool(name)).exists() or not any(map(is_container_id, pool.layers())):
                    pool.erase()
        self._networks.forget_tenants_but(known)

    def _pools(self) -> set[str]:
        suffix = self._paths.tenant_pool("").rpartition("/")[2]
        return {file.removesuffix(suffix) for file in os.listdir(self._paths.tenants_dir) if file.endswith(suffix)}
