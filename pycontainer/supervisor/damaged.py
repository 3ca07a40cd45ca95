"""A container whose record cannot be read: it is shown, it keeps what it has, and nothing is done to it but `rm --force`.

What its record still tells, or what lies beside it, keeps its name, its image and its tenant from being given away. Its id
range is claimed by its directory, its addresses by a record of their own.
"""

import os

from pycontainer.disk.pool import pool_of
from pycontainer.errors import InvalidState, PycontainerError
from pycontainer.paths import HostPaths
from pycontainer.record import Record, read_record
from pycontainer.runtime.container import Container
from pycontainer.spec.names import is_name

_POOL = ".pool"


class Damaged:
    """What is known of it; empty is unknown. `is_alive` says whether its first process, or any of it, still lives."""

    __slots__ = ("error", "id", "image_id", "is_alive", "name", "tenant")

    def __init__(
        self, container_id: str, error: PycontainerError, *, name: str, image_id: str | None, tenant: str
    ) -> None:
        """`image_id` is "" for a container without an image, None if nobody knows."""
        self.id, self.error, self.name, self.image_id, self.tenant = container_id, error, name, image_id, tenant
        self.is_alive = False

    def refuse(self) -> PycontainerError:
        """Return the error for whoever wants something of it."""
        return type(self.error)(self.error.message, hint=self.error.hint)

    def info(self) -> dict[str, object]:
        """Return ContainerInfo."""
        return {
            "id": self.id,
            "name": self.name,
            "image": "",
            "rootfs": "",
            "tenant": self.tenant,
            "command": [],
            "status": "damaged",
            "created": 0.0,
            "started": None,
            "finished": None,
            "exit_code": None,
            "cause": "",
            "oom_killed": False,
            "health": "",
            "pid": 0,
            "ports": [],
            "networks": {},
            "labels": {},
            "restart": "no",
            "restart_count": 0,
            "auto_remove": False,
            "tty": False,
            "stdin_open": False,
            "memory_bytes": None,
            "profile": "",
            "loosened": [],
            "warnings": [self.error.message],
        }


def from_directory(paths: HostPaths, container_id: str, error: PycontainerError) -> Damaged:
    """Look at what is left of a record that `error` says cannot be used."""
    directory = paths.container_dir(container_id)
    name, image_id, tenant = "", None, ""
    try:
        record = read_record(f"{directory}/spec.json")
        spec = Record(record["spec"])
        name, tenant = _name(spec, "name"), _name(spec, "tenant")
        image_id = "" if record["image"] is None else Record(record["image"]).text("id")
    except (OSError, ValueError):
        pass
    try:
        if not tenant and (pool := pool_of(directory)):
            tenant = os.path.basename(pool[0]).removesuffix(_POOL)
    except OSError:  # something else is in the place of the link
        pass
    return Damaged(container_id, error, name=name, image_id=image_id, tenant=tenant)


def from_container(container: Container, error: PycontainerError) -> Damaged:
    """Set a container aside whose own record is whole."""
    image_id = container.image.id if container.image else ""
    return Damaged(container.id, error, name=container.spec.name, image_id=image_id, tenant=container.spec.tenant)


def lost_record(paths: HostPaths, container_id: str) -> PycontainerError:
    """Return the error for a container that has run, and has no record."""
    return InvalidState(
        f"cannot read the record of container '{container_id}': '{paths.container_dir(container_id)}/spec.json': it is gone",
        hint=f"bring it back from a copy, then 'pycontainer service stop'; 'pycontainer rm --force {container_id}' removes "
        "the container",
    )


def same_name(container: Container, other_id: str) -> PycontainerError:
    """Return the error for a second container of one name, as a record brought back from a copy can make it."""
    return InvalidState(
        f"container '{container.id}' is called '{container.spec.name}' like container '{other_id}'",
        hint=f"'pycontainer rm --force' removes either; or change the name in '{container.directory}/spec.json', then "
        "'pycontainer service stop'",
    )


def _name(spec: Record, key: str) -> str:
    return spec.text(key) if key in spec and is_name(spec[key]) else ""
