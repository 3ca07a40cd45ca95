"""The one way to our cgroups, whichever hierarchies the host has."""

import errno

from pycontainer.cgroup.base import Cgroup
from pycontainer.cgroup.detect import Layout
from pycontainer.cgroup.v1 import TreeV1
from pycontainer.cgroup.v2 import TreeV2
from pycontainer.errors import Unsupported

REQUIRED = ("memory", "cpu", "cpuset", "pids")

_NAME_BYTES_MAX = 128


class Hierarchy:
    """The cgroups of one world: all directories below `parent_name` in each hierarchy in use.

    Raises Unsupported if a controller that every container needs is missing. Nothing is made before the first `create`.
    """

    def __init__(self, layout: Layout, parent_name: str) -> None:
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
        self._is_prepared = False

    def create(self, container_id: str) -> Cgroup:
        """Make and return the cgroup of `container_id`; FileExistsError if it is there, and then nothing was made."""
        _checked(container_id)
        if self._is_prepared:
            try:
                return self._tree.create(container_id)
            except FileNotFoundError:
                pass  # somebody removed our empty parent: make it again
        self._tree.prepare()
        self._is_prepared = True
        return self._tree.create(container_id)

    def open(self, container_id: str) -> Cgroup:
        """Return the cgroup of `container_id` as it is, without looking whether it exists."""
        return self._tree.open(_checked(container_id))

    def list(self) -> list[str]:
        """Return the ids of all cgroups below our parent, half-removed ones included."""
        return self._tree.list()

    def remove_parent(self) -> bool:
        """Remove our parent directory, so that nothing is left on the host; False if containers are in it."""
        self._is_prepared = False
        if self.list():
            return False
        try:
            self._tree.remove_parent()
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            return False
        return True


def _checked(name: str) -> str:
    """Return `name` if it is one plain path component that cannot climb; ValueError otherwise."""
    is_plain = name.isascii() and all(character.isalnum() or character in "_.-" for character in name)
    if not (is_plain and 0 < len(name) <= _NAME_BYTES_MAX and name[0].isalnum()):
        raise ValueError(f"not a name for a cgroup: {name!r}")
    return name
