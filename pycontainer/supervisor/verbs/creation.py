"""create: a container with all that it needs, and nothing that runs. Others make theirs by `make`, and `run` by `prepare`."""

import asyncio
import dataclasses
import os
import random
from collections.abc import Sequence
from typing import cast

from pycontainer.controllers import registry
from pycontainer.controllers.protocol import read_host
from pycontainer.disk.beneath import can_map_ids
from pycontainer.disk.storage import Caps, Storage
from pycontainer.errors import AlreadyExists, InvalidInput, NotFound, PycontainerError
from pycontainer.failpoints import reach
from pycontainer.linux.files import write_atomically
from pycontainer.runtime import imagevolumes, planner
from pycontainer.runtime.container import Container, ImageRecord, now
from pycontainer.runtime.hostbinds import check_bind
from pycontainer.runtime.rootfs import fill
from pycontainer.spec.model import ContainerSpec, Mount
from pycontainer.spec.parse import parse_spec
from pycontainer.store.volumes import new_anonymous_name
from pycontainer.supervisor import authorise, making
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import may_see
from pycontainer.supervisor.keeping import keep
from pycontainer.supervisor.report import container_info
from pycontainer.supervisor.world import World
from pycontainer.units import shown

_ADJECTIVES = ("brave", "calm", "eager", "fair", "gentle", "happy", "keen", "lucid", "merry", "noble", "quick", "sunny")
_NOUNS = (
    "acorn",
    "brook",
    "cedar",
    "delta",
    "ember",
    "fjord",
    "grove",
    "harbor",
    "island",
    "juniper",
    "lagoon",
    "meadow",
)
_DISK_KEYS = ("disk", "disk_soft", "disk_inodes", "disk_inodes_soft")


async def create(world: World, call: Call) -> object:
    """Make the container's record and claim what lasts: name, id range, addresses, volumes. Nothing runs yet."""
    spec, image, capped = asked(world, call.mapping("spec"))
    return await make(world, spec, image, capped=capped)


def asked(world: World, given: dict[str, object]) -> tuple[ContainerSpec, ImageRecord | None, bool]:
    """Return the spec that is asked for, with a name, the image, and whether it says what the disk may hold."""
    spec = parse_spec(given)
    if not spec.name:
        spec = dataclasses.replace(spec, name=_new_name(world))
    spec = authorise.admitted(world, spec)  # before anything of the host is looked at
    capped = spec.rootfs_writable or any(given.get(key) is not None for key in _DISK_KEYS)
    return spec, _image_record(world, spec), capped


async def make(
    world: World,
    spec: ContainerSpec,
    image: ImageRecord | None,
    *,
    capped: bool,
    lowers: Sequence[str] = (),
    driver: str = "",
) -> dict[str, object]:
    """Make a container of a spec that was checked. `capped`: the spec says what its disk may hold, nothing if so.

    `lowers` are frozen layers that it begins with, claimed by somebody for as long as this takes.
    """
    container, excess = await prepare(world, spec, image, capped=capped, lowers=lowers, driver=driver)
    try:
        keep(world, container)
    except BaseException as error:
        await _undo(world, container.id, container.spec.name, error)
        raise
    return announce(world, container, excess)


def announce(world: World, container: Container, excess: list[str]) -> dict[str, object]:
    """Let others see a container that was prepared; return what is told of it to who asked for it."""
    del world.making[container.id]
    world.add(container)
    world.schedule.plan(container)
    world.events.emit("create", container)
    return world.capacity.tell(excess, container_info(world, container), container)


async def _undo(world: World, container_id: str, name: str, error: BaseException) -> None:
    del world.names[name]
    world.making.pop(container_id, None)
    try:
        world.removal.retire_half_made(container_id)
        await world.removal.erase_remains(container_id)
    except (OSError, PycontainerError) as other:
        error.add_note(f"what was made of it goes with the next start of the supervisor: {other}")


async def prepare(
    world: World,
    spec: ContainerSpec,
    image: ImageRecord | None,
    *,
    capped: bool,
    lowers: Sequence[str] = (),
    driver: str = "",
) -> tuple[Container, list[str]]:
    """Claim all that a container needs, and make its files; return it, and what it promises beyond the host's capacity.

    It is nothing yet: its records are the caller's to keep, and without them it is gone with this supervisor.
    """
    spec = authorise.admitted(world, spec)
    capped = authorise.is_capped(capped, spec)
    require_free(world, spec.name, hint=f"choose another, or remove it: pycontainer rm --force {spec.name}")
    world.reserve.require_room(f"container '{spec.name}'")
    for mount in spec.mounts:
        if mount.type == "bind":
            check_bind(world.paths, mount)
    planner.command_line(spec, image.config if image else {})
    if spec.tenant:
        authorise.require_place(world, spec.tenant)
    problems = registry.validate(spec, read_host(world.hierarchy.layout))
    if problems:
        raise InvalidInput("; ".join(problems), field="limits")
    rights = world.rights(spec)
    world.filter_of(rights)  # a seccomp profile that is none is refused now, and a label that cannot be had
    world.labels.check(rights, is_reaped=spec.init)
    container_id = os.urandom(6).hex()
    directory = world.paths.container_dir(container_id)
    os.mkdir(directory, 0o700)
    reach("create:claimed")
    world.names[spec.name] = container_id  # nobody else takes it while files are copied
    try:
        base = world.idranges.allocate(directory)
        reach("create:range")
        container = Container(world.paths, container_id, spec, image, base=base, created=now())
        world.making[container_id] = container  # nobody takes away what it needs
        container.driver = driver or spec.rootfs_driver or world.rootfs_driver()
        if spec.tenant and (pool := world.tenants.pool(spec.tenant)).exists():
            pool.admit(directory)
            reach("create:admitted")
        storage = container.storage()
        storage.prepare()
        reach("create:storage")
        if not capped:
            caps = storage.default_caps()
            container.spec = dataclasses.replace(spec, disk_bytes=caps.hard_bytes, disk_inodes=caps.hard_inodes)
        authorise.judge_disk(container.spec, storage.default_caps())
        excess = world.capacity.admit_new(container)
        if not spec.rootfs_writable:
            _check_beneath(container, storage)
        mounts, anonymous, container.image_warnings = _mounts(world, spec, image)
        container.spec = dataclasses.replace(container.spec, mounts=mounts)
        if missing := world.volumes.missing(container.spec.mounts):
            making.note(directory, missing)
            reach("create:noted")
            caps = Caps(container.spec.disk_bytes, None, container.spec.disk_inodes)
            for mount in anonymous:
                world.volumes.create(mount.source, caps, labels=authorise.labels_of(spec.tenant), is_anonymous=True)
            for mount in mounts:
                if mount.type == "volume":
                    world.volumes.ensure(mount.source)
            reach("create:volumes")
        networks = [name for name in spec.networks if name not in ("host", "none")]
        if networks:
            container.addresses = world.networks.reserve(
                container_id,
                spec.name,
                spec.hostname or spec.name,
                networks,
                spec.ip,
                spec.ip6,
                tenant=spec.tenant,
            )
            reach("create:addresses")
        os.mkdir(f"{directory}/etc", 0o700)
        write_atomically(
            f"{directory}/etc/hostname", f"{spec.hostname or spec.name}\n".encode(), mode=0o644, sync=False
        )
        if not networks:
            names = f"127.0.0.1 localhost {spec.hostname or spec.name}\n::1 localhost\n"
            added = "".join(f"{address} {name}\n" for name, address in spec.add_hosts)
            write_atomically(f"{directory}/etc/hosts", (names + added).encode(), mode=0o644, sync=False)
        resolv = world.networks.resolv_conf(list(spec.dns), list(spec.dns_search))
        write_atomically(f"{directory}/etc/resolv.conf", resolv, mode=0o644, sync=False)
        reach("create:files")
        if container.driver == "copy" and not spec.rootfs_writable:
            if container.spec.has_disk_cap:  # before there is anything in it: a disk image cannot take files over
                storage.cap(*container.spec.disk_caps)
            frozen = [world.layers.frozen.path(layer) for layer in lowers]
            await asyncio.to_thread(fill, container, (*(() if frozen else container.base_layers()), *frozen))
            reach("create:filled")
        else:
            container.lowers = list(lowers)
    except BaseException as error:
        await _undo(world, container_id, spec.name, error)
        raise
    return container, excess


def _mounts(
    world: World, spec: ContainerSpec, image: ImageRecord | None
) -> tuple[tuple[Mount, ...], list[Mount], list[str]]:
    """Return all mounts of a container, the anonymous volumes among them, and which of these are left out and why."""
    from_image: list[Mount] = []
    warnings: list[str] = []
    if image is not None:
        targets, warnings = imagevolumes.declared(
            [str(path) for path in cast("list[object]", image.config.get("volumes") or [])],
            image.layers,
            [mount.target for mount in spec.mounts],
            is_system=spec.profile == "system",
        )
        from_image = [Mount("volume", target) for target in targets]
    is_pooled = spec.tenant and world.tenants.pool(spec.tenant).exists()
    mounts: list[Mount] = []
    anonymous: list[Mount] = []
    for mount in (*spec.mounts, *from_image):
        if mount.type != "volume" or mount.source:
            mounts.append(mount)
        elif is_pooled:
            whose = ", which the image asks for" if mount in from_image else ""
            warnings.append(
                f"no volume for {shown(mount.target)}{whose}: it would be outside the pool of tenant '{spec.tenant}', "
                "so its files are the container's own"
            )
        else:
            anonymous.append(dataclasses.replace(mount, source=new_anonymous_name()))
            mounts.append(anonymous[-1])
    return tuple(mounts), anonymous, warnings


def _check_beneath(container: Container, storage: Storage) -> None:
    """Refuse what takes mapped ids where the file system has none (disk/beneath.py)."""
    if can_map_ids(container.directory):
        return
    where = f"the file system of '{container.paths.containers_dir}' cannot map ids"
    if container.driver == "overlay":
        raise InvalidInput(
            f"rootfs_driver: {where}: it can hold no layer of an overlay",
            hint="leave it out, or keep the state directory on ext4, xfs or btrfs",
            field="rootfs_driver",
        )
    if container.spec.disk_bytes is None and not storage.backend:
        raise InvalidInput(
            f"disk: {where}: a container has a disk image there, which is of some size",
            hint="leave it out, or say how much: --disk 10G",
            field="disk",
        )


def _image_record(world: World, spec: ContainerSpec) -> ImageRecord | None:
    if not spec.image:
        if not os.path.isdir(spec.rootfs):
            raise NotFound(
                f"rootfs '{spec.rootfs}' is not a directory", hint="give the path of an unpacked root filesystem"
            )
        return None
    image = world.images.get(authorise.image_name(world, spec.image))
    return ImageRecord(image.name, image.id, list(image.layer_dirs), dict(image.config))


def require_free(world: World, name: str, *, hint: str = "") -> None:
    """Raise AlreadyExists if a container has this name; which one is told to who may see it."""
    if name not in world.names and name not in world.containers:
        return
    container = world.containers.get(world.names.get(name, name))
    holder = (
        f" by container {world.names.get(name, name)}" if container is None or may_see(container.spec.tenant) else ""
    )
    raise AlreadyExists(f"the name '{name}' is taken{holder}", hint=hint)


def _new_name(world: World) -> str:
    while True:
        name = f"{random.choice(_ADJECTIVES)}-{random.choice(_NOUNS)}-{random.randrange(1000)}"
        if name not in world.names:
            return name
