"""The one way to our cgroups, whichever hierarchies the host has."""

import errno

from pycontainer.cgroup import reserve
from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import Layout
from pycontainer.cgroup.v1 import TreeV1
from pycontainer.cgroup.v2 import TreeV2
from pycontainer.errors import Unsupported

REQUIRED = ("memory", "cpu", "cpuset", "pids")

_NAME_BYTES_MAX = 128
_TENANT = "tenant-"  # no id of a container begins so: they are hexadecimal


class Hierarchy:
    """The cgroups of one world: all directories below `parent_name` in each hierarchy in use.

        parent_name/ID                  a container
                   /tenant-NAME/ID      a container of a tenant

    Raises Unsupported if a controller that every container needs is missing. Nothing is made before the first `create`.
    """

    def __init__(self, layout: Layout, parent_name: str, *, memory_bytes: int | None = None) -> None:
        """`memory_bytes` is what all containers may have together; None is no cap."""
        required = REQUIRED if layout.is_v2 else (*REQUIRED, "cpuacct", "freezer")
        if missing := layout.missing(*required):
            raise Unsupported(
                f"cgroup controllers are missing on this {layout.version} host: {', '.join(missing)}",
                hint="boot with them enabled (memory: cgroup_enable=memory), or enable them in the parent's "
                "cgroup.subtree_control; see 'pycontainer check'",
                feature="cgroup",
            )
        self.layout = layout
        self.parent_name = _checked(parent_name)
        self._tree = TreeV2(layout, parent_name) if layout.is_v2 else TreeV1(layout, parent_name)
        self._memory_bytes = memory_bytes
        self._is_prepared = False

    def create(self, container_id: str, tenant: str = "") -> Cgroup:
        """Make and return the cgroup of `container_id`; FileExistsError if it is there, and then nothing was made.

        That of its tenant has to be there.
        """
        path = _path(container_id, tenant)
        if self._is_prepared:
            try:
                return self._tree.create(path)
            except FileNotFoundError:
                self._is_prepared = False  # somebody removed our empty parent: make it again
        self._prepare()
        return self._tree.create(path)

    def open(self, container_id: str, tenant: str = "") -> Cgroup:
        """Return the cgroup of `container_id` as it is, without looking whether it exists."""
        return self._tree.open(_path(container_id, tenant))

    def containers(self) -> list[tuple[str, str]]:
        """Return (id, tenant or "") of all containers' cgroups below our parent, half-removed ones included."""
        found = []
        for name in self._tree.list():
            if name.startswith(_TENANT):
                found += [(child, name.removeprefix(_TENANT)) for child in self._tree.list(name)]
            else:
                found.append((name, ""))
        return found

    def create_tenant(self, name: str) -> Cgroup:
        """Make and return the cgroup beneath which those of a tenant's containers lie; it may be there already."""
        self._prepare()
        try:
            return self._tree.create(_tenant_path(name), inner=True)
        except FileExistsError:
            return self.open_tenant(name)

    def open_tenant(self, name: str) -> Cgroup:
        """Return a tenant's cgroup as it is, without looking whether it exists."""
        return self._tree.open(_tenant_path(name))

    def open_parent(self) -> Cgroup:
        """Return the cgroup that all others lie beneath as it is, without looking whether it exists."""
        return self._tree.open(".")

    def tenants(self) -> list[str]:
        """Return the names of the tenants that have a cgroup."""
        return [name.removeprefix(_TENANT) for name in self._tree.list() if name.startswith(_TENANT)]

    def remove_parent(self) -> bool:
        """Remove our parent directory, so that nothing is left on the host; False if containers are in it."""
        self._is_prepared = False
        if self.containers():
            return False
        try:
            for name in self.tenants():
                self.open_tenant(name).delete()
            self._tree.remove_parent()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True

    def _prepare(self) -> None:
        if not self._is_prepared:
            self._tree.prepare()
            if self._memory_bytes is not None:
                reserve.hold(self._tree.open("."), self._memory_bytes)
            self._is_prepared = True


def _tenant_path(name: str) -> str:
    return _TENANT + _checked(name)


def _path(container_id: str, tenant: str) -> str:
    return f"{_tenant_path(tenant)}/{_checked(container_id)}" if tenant else _checked(container_id)


def _checked(name: str) -> str:
    """Return `name` if it is one plain path component that cannot climb; ValueError otherwise."""
    is_plain = name.isascii() and all(character.isalnum() or character in "_.-" for character in name)
    if not (is_plain and 0 < len(name) <= _NAME_BYTES_MAX and name[0].isalnum()):
        raise ValueError(f"not a name for a cgroup: {name!r}")
    return name
