"""What a tenant's user may do: the one place that says it, for every verb and for every setting of a container.

    request ──▶ caller (operators.py) ──▶ require: VERBS, a row for each verb ──▶ the verb
                                                                                    │ a spec after all merging
                                             admitted: SETTINGS, a row for each ◀───┘

The host's own (root, the operators' group) may do all, and nothing here is asked. A tenant's user finds only what is of that
tenant: anything else is NotFound in the words of what does not exist. A verb, or a setting, that has no row is refused to him
until somebody decides; tests say that none is missing.

What he makes is the tenant's, and bears NAME.TENANT for a name (caller.py). What he asks for is judged as it results: with
what a clone inherits, with the settings that were there before. What an operator gave to a container of his tenant it keeps;
nothing he does gives it more.
"""

import contextlib
import dataclasses
import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from pycontainer.disk.storage import Caps
from pycontainer.errors import AlreadyExists, Busy, InvalidInput, InvalidState, NotFound, NotPermitted
from pycontainer.security.profile import app_or_system
from pycontainer.spec.fields import BY_KEY
from pycontainer.spec.model import ContainerSpec, Device, Mount, Port, SnapshotSchedule, Ulimit
from pycontainer.spec.names import check_name
from pycontainer.spec.parse import to_plain
from pycontainer.store.refs import not_found
from pycontainer.supervisor.books import month_at
from pycontainer.supervisor.call import Call
from pycontainer.supervisor.caller import Caller, current_caller
from pycontainer.units import format_bytes, parse_bytes, parse_count, shown

if TYPE_CHECKING:
    from pycontainer.runtime.container import Container
    from pycontainer.supervisor.world import World

TENANT_LABEL = "tenant"  # of a volume: whose it is; an operator may set it, a tenant's user has it set
MANAGED_LABELS = "hosting."  # say which site a container serves
MAX_CONTAINERS, MAX_SNAPSHOTS = 100, 10  # of a tenant that was given no number; of one container
_MAX_SPEC_BYTES = 64 * 1024
_LEAST_CHECK_SECONDS, _LEAST_SNAPSHOT_SECONDS, _MAX_WAIT_SECONDS = 5, 3600, 90
_MAX_HEAVY = 4
_BYTES_PER_INODE = 16384  # as mkfs.ext4 has it
_ASK = "ask who runs this host"
_DEFAULTS = ContainerSpec()

Row = Callable[["World", Caller, Call], None]
Setting = Callable[[Caller, Any], str]


# -- settings --------------------------------------------------------------------------------------------------------------


def _free(caller: Caller, value: object) -> str:
    return ""


def _never(reason: str) -> Setting:
    return lambda caller, value: reason


def _labels(caller: Caller, labels: tuple[tuple[str, str], ...]) -> str:
    managed = [key for key, _ in labels if key.startswith(MANAGED_LABELS)]
    return f"{shown(managed[0])} is set by who runs this host" if managed else ""


def _at_least(least: int) -> Setting:
    return lambda caller, value: f"the least is {least} s" if value is not None and value < least else ""


def _too_long(seconds: float) -> str:
    return (
        f"the most is {_MAX_WAIT_SECONDS} s: who renews the service waits for it" if seconds > _MAX_WAIT_SECONDS else ""
    )


def _snapshots(caller: Caller, schedule: SnapshotSchedule | None) -> str:
    if schedule is None:
        return ""
    if schedule.every_seconds < _LEAST_SNAPSHOT_SECONDS:
        return f"no more often than every {_LEAST_SNAPSHOT_SECONDS} s"
    return f"no more than {MAX_SNAPSHOTS} can be kept" if schedule.keep > MAX_SNAPSHOTS else ""


def _networks(caller: Caller, names: tuple[str, ...]) -> str:
    return "'host' is the host's own" if "host" in names else ""  # what else he may not join is not found


def _ports(caller: Caller, ports: tuple[Port, ...]) -> str:
    if caller.ports is None:
        return "this tenant has no ports of the host"
    first, last = caller.ports
    outside = [port.host_port for port in ports if not first <= port.host_port <= last]
    return f"host ports {first} to {last} are this tenant's, not {outside[0] or 'a free one'}" if outside else ""


def _mounts(caller: Caller, mounts: tuple[Mount, ...]) -> str:
    bound = [mount.source for mount in mounts if mount.type not in ("volume", "tmpfs")]
    return f"{shown(bound[0])} is the host's: use a volume" if bound else ""


def _ulimits(caller: Caller, ulimits: tuple[Ulimit, ...]) -> str:
    """Refuse what is shared beyond the container's cgroup: turns on the CPU that no quota bounds, queues of the user's."""
    own = {"as", "core", "cpu", "data", "fsize", "locks", "memlock", "nofile", "nproc", "rss", "stack"}
    others = [ulimit.name for ulimit in ulimits if ulimit.name not in own]
    return f"{shown(others[0])} reaches beyond the container" if others else ""


def _devices(caller: Caller, devices: tuple[Device, ...]) -> str:
    return f"{shown(devices[0].host_path)} is the host's" if devices else ""


def _security(caller: Caller, options: tuple[tuple[str, str], ...]) -> str:
    tight = {("no-new-privileges", "true"), ("seccomp", "default"), ("apparmor", "default"), ("landlock", "default")}
    loose = [f"{name}={value}"[:40] for name, value in options if (name, value) not in tight]
    return f"{shown(loose[0])} changes the walls around it" if loose else ""


SETTINGS: dict[str, Setting] = {
    **dict.fromkeys(
        (
            "name", "image", "entrypoint", "command", "env", "workdir", "user", "hostname", "domainname", "tty", "stdin_open",
            "auto_remove", "init", "restart", "onboot", "stop_signal", "notify", "health_cmd",
            "health_http", "health_tcp", "health_timeout_seconds", "health_retries", "health_start_period_seconds",
            "health_action", "memory_bytes", "memory_swap_bytes", "memory_high_bytes", "memory_low_bytes",
            "memory_min_bytes", "oom_group", "cpu_quota_usec", "cpu_period_usec", "cpu_burst_usec", "cpu_weight",
            "io_read_bps", "io_write_bps", "io_read_ops_per_second", "io_write_ops_per_second", "io_weight", "disk_bytes",
            "disk_soft_bytes", "disk_inodes", "disk_soft_inodes", "net_in_bits", "net_out_bits", "net_in_min_bits",
            "net_out_min_bits", "net_packets_per_second", "shm_bytes", "tenant", "dns", "dns_search", "add_hosts",
            "read_only", "cap_drop", "profile",
        ),
        _free,
    ),
    "labels": _labels,
    "notify_timeout_seconds": lambda caller, value: (
        f"the most is {_MAX_WAIT_SECONDS} s: others wait for their turn at boot" if value > _MAX_WAIT_SECONDS else ""
    ),
    "stop_timeout_seconds": lambda caller, value: _too_long(value),
    "health_interval_seconds": _at_least(_LEAST_CHECK_SECONDS),
    "health_start_interval_seconds": _at_least(_LEAST_CHECK_SECONDS),
    "snapshots": _snapshots,
    "networks": _networks,
    "ports": _ports,
    "mounts": _mounts,
    "ulimits": _ulimits,
    "devices": _devices,
    "security_opt": _security,
    "pids_max": lambda caller, value: "it needs a number" if value is None else "",
    "rootfs": _never("it is a directory of the host"),
    "rootfs_writable": _never("it is a directory of the host"),
    "rootfs_driver": _never("how layers are kept is the host's"),
    "boot_order": _never("the order at boot is the host's"),
    "boot_delay_seconds": _never("others wait for it at boot"),
    "cpuset_cpus": _never("which CPUs are whose is the host's"),
    "cpuset_mems": _never("which memory is whose is the host's"),
    "cgroup_conf": _never("it is written to the kernel as it is"),
    "hugetlb": _never("huge pages are the host's"),
    "net_connections": _never("the table of connections is the host's"),
    "limits": _never("what other packages add is the host's"),
    "best_effort": _never("a limit that cannot be held is refused"),
    "ip": _never("addresses are given by the host"),
    "ip6": _never("addresses are given by the host"),
    "cap_add": _never("its profile says what it can do"),
    "privileged": _never("it would be the host's"),
    "sysctls": _never("they change the host's kernel for it"),
}  # fmt: skip
_KEYS = {field.target: field.key for field in reversed(BY_KEY.values())}


def refusals(caller: Caller, spec: ContainerSpec, before: ContainerSpec = _DEFAULTS) -> list[str]:
    """Return why a tenant's user may not have what `spec` asks for beyond `before`, setting by setting."""
    found = []
    for name in (field.name for field in dataclasses.fields(spec)):
        value = getattr(spec, name)
        if value == getattr(before, name):
            continue
        if name == "cap_add":
            value = tuple(one for one in value if one not in app_or_system(spec.profile))
            if not value:
                continue
        setting = SETTINGS.get(name)
        if reason := setting(caller, value) if setting is not None else "nobody has decided about it yet":
            found.append(f"{_KEYS.get(name, name)}: {reason}")
    if len(json.dumps(to_plain(spec))) > _MAX_SPEC_BYTES:
        found.append(f"all settings together: more than {_MAX_SPEC_BYTES // 1024} KiB")
    return found


def admitted(world: "World", spec: ContainerSpec) -> ContainerSpec:
    """Return the spec of a container that is to be made as who asks may have it; NotPermitted names all that he may not."""
    caller = current_caller()
    if caller is None:
        return spec
    _require(caller, refusals(caller, spec))
    if problem := caller.name_problem(spec.name):
        raise InvalidInput(problem, field="name")
    for network in spec.networks:
        _require_network(caller, network)
    mounts = tuple(
        dataclasses.replace(mount, source=_own_volume(world, caller, mount.source))
        if mount.type == "volume" and mount.source
        else mount
        for mount in spec.mounts
    )
    return dataclasses.replace(
        spec,
        name=caller.full_name(spec.name),
        hostname=spec.hostname or caller.short_name(spec.name),
        tenant=caller.tenant,
        mounts=mounts,
    )


@contextlib.contextmanager
def telling_no_holder(container: "Container") -> Iterator[None]:
    """Have a tenant's container that gets no port, or no address, tell nobody, now or in its events, who has it."""
    try:
        yield
    except AlreadyExists as error:
        if not container.spec.tenant:
            raise
        raise AlreadyExists(error.message.partition(" by ")[0], hint="free it, or take another") from None


def judge_change(spec: ContainerSpec, before: ContainerSpec, defaults: Caps) -> None:
    """Raise NotPermitted if a change gives a container what who asks for it may not give. `defaults` are its disk's."""
    if (caller := current_caller()) is not None:
        changed = (spec.disk_bytes, spec.disk_inodes) != (before.disk_bytes, before.disk_inodes)
        _require(caller, [*refusals(caller, spec, before), *(_disk_refusals(spec, defaults) if changed else ())])


def judge_disk(spec: ContainerSpec, defaults: Caps) -> None:
    """Raise NotPermitted for a layer beyond what the host gives to who asks for nothing, where no pool caps the sum."""
    if (caller := current_caller()) is not None:
        _require(caller, _disk_refusals(spec, defaults))


def is_capped(asked: bool, spec: ContainerSpec) -> bool:
    """Tell whether the spec says what its disk may hold; `unlimited` is no word of a tenant's user."""
    return asked and (current_caller() is None or spec.disk_bytes is not None)


def _disk_refusals(spec: ContainerSpec, defaults: Caps) -> list[str]:
    most = defaults.hard_bytes
    if most is None:  # in the tenant's pool
        return []
    if spec.disk_bytes is None or spec.disk_bytes > most:
        return [f"disk: the most is {format_bytes(most)}, as this tenant has no disk of its own to share out"]
    return []


def _require(caller: Caller, refused: list[str]) -> None:
    if refused:
        raise NotPermitted(f"a user of tenant '{caller.tenant}' may not ask for {'; '.join(refused)}", hint=_ASK)


def without_managed_labels(spec: ContainerSpec) -> ContainerSpec:
    """Return the spec of a clone: one that a tenant's user makes serves no site of the original's."""
    if current_caller() is None:
        return spec
    return dataclasses.replace(
        spec, labels=tuple((key, value) for key, value in spec.labels if not key.startswith(MANAGED_LABELS))
    )


def labels_of(tenant: str) -> dict[str, str]:
    """Return the labels of a volume that is made for a container of a tenant, or of none."""
    return {TENANT_LABEL: tenant} if tenant else {}


def require_place(world: "World", tenant: str) -> None:
    """Raise InvalidState if a tenant has as many containers as it may."""
    most = world.tenants.find(tenant).max_containers
    if most is None:
        if current_caller() is None:
            return
        most = MAX_CONTAINERS
    count = sum(container.spec.tenant == tenant for container in world.present())
    count += sum(damaged.tenant == tenant for damaged in world.broken.values())
    if count >= most:
        raise InvalidState(
            f"tenant '{tenant}' has {count} containers, and may have {most}", hint="remove one that is not needed"
        )


# -- objects ---------------------------------------------------------------------------------------------------------------


def may_see_image(name: str) -> bool:
    """Tell whether who asks may know of an image."""
    caller = current_caller()
    return caller is None or caller.may_use_image(name)


def image_name(world: "World", reference: str) -> str:
    """Return the name of the image that is meant, of those that who asks may start from; NotFound for any other."""
    caller = current_caller()
    if caller is None:
        return reference
    seen = [image for image in world.images.list() if caller.may_use_image(image["name"])]
    if any(image["name"] == reference for image in seen):
        return reference
    digits = reference.removeprefix("sha256:")
    matches = {str(image.get("id", "")): image["name"] for image in seen if image.get("id", "")[7:].startswith(digits)}
    if len(digits) < 6 or not matches:
        raise not_found(reference, [image["name"] for image in seen])
    if len(matches) > 1:
        raise InvalidInput(f"{shown(reference)} is the beginning of {len(matches)} image ids", hint="give more of it")
    return matches.popitem()[1]


def may_see_volume(labels: dict[str, str]) -> bool:
    """Tell whether who asks may know of a volume with these labels."""
    caller = current_caller()
    return caller is None or labels.get(TENANT_LABEL) == caller.tenant


def may_see_network(name: str) -> bool:
    """Tell whether who asks may know of a network."""
    caller = current_caller()
    return caller is None or caller.may_use_network(name)


def _own_volume(world: "World", caller: Caller, reference: str) -> str:
    check_name(reference, "volume")
    for name in (caller.full_name(reference), reference):
        if world.volumes.has(name) and may_see_volume(world.volumes.get(name).labels):
            return name
    raise NotFound(f"no volume '{reference}'", hint="'pycontainer volume list' shows what there is")


def _require_network(caller: Caller, name: str) -> None:
    if not caller.may_use_network(name):
        raise NotFound(f"no network {shown(name)}", hint="'pycontainer network list' shows what there is")


# -- verbs -----------------------------------------------------------------------------------------------------------------


def _anything(world: "World", caller: Caller, call: Call) -> None:
    """The verb itself looks at nothing but what the caller may see, or judges what results."""


def _own(world: "World", caller: Caller, call: Call) -> None:
    """The container must be the tenant's; the verb gets its id, which leads to no other."""
    call.change(container=world.find(call.text("container")).id)


def _own_ones(world: "World", caller: Caller, call: Call) -> None:
    call.change(containers=[world.find(reference).id for reference in call.texts("containers")])
    for tenant in call.texts("tenants"):
        _require_own_tenant(caller, tenant)


def _own_tenant(world: "World", caller: Caller, call: Call) -> None:
    """The tenant must be the caller's; left out, it is."""
    tenant = call.text("tenant")
    if tenant:
        _require_own_tenant(caller, tenant)
    call.change(tenant=caller.tenant)


def _usage(world: "World", caller: Caller, call: Call) -> None:
    """Not of months in which the tenant was none of his: one of that name may have been somebody else's."""
    _own_tenant(world, caller, call)
    first = month_at(world.tenants.find(caller.tenant).created)
    if (month := call.text("month")) and month < first:
        raise NotFound(f"tenant '{caller.tenant}' is there since {first}", hint="ask for a later month")


def _require_own_tenant(caller: Caller, tenant: str) -> None:
    if tenant != caller.tenant:
        raise NotFound(f"no tenant {shown(tenant)}", hint="'pycontainer tenant list' shows what there is")


def _named(world: "World", caller: Caller, call: Call) -> None:
    _own(world, caller, call)
    name = call.text("name")
    if problem := caller.name_problem(name):
        raise InvalidInput(problem, field="name")
    call.change(name=caller.full_name(name))


def _stop(world: "World", caller: Caller, call: Call) -> None:
    _own(world, caller, call)
    if reason := _too_long(call.number("timeout_seconds") or 0):
        _require(caller, [f"timeout_seconds: {reason}"])


def _exec(world: "World", caller: Caller, call: Call) -> None:
    _own(world, caller, call)
    if call.flag("privileged"):
        _require(caller, ["privileged: it would have more rights than the container"])


def _snapshot(world: "World", caller: Caller, call: Call) -> None:
    _own(world, caller, call)
    container = world.find(call.text("container"))
    if len(container.snapshots) >= MAX_SNAPSHOTS:
        raise InvalidState(
            f"container '{container.spec.name}' has {len(container.snapshots)} snapshots, the most there can be",
            hint=f"remove one: pycontainer snapshot rm {container.spec.name} NAME",
        )


def _image(world: "World", caller: Caller, call: Call) -> None:
    call.change(image=image_name(world, call.text("image")))


def _images(world: "World", caller: Caller, call: Call) -> None:
    call.change(images=[image_name(world, reference) for reference in call.texts("images")])
    if call.flag("links"):
        _require(caller, ["links: the files would be the host's own"])
    if call.text("format") == "oci-dir":  # he could lead whoever writes into it elsewhere
        _require(caller, ["oci-dir: root would write into his directory; an archive holds the same"])


def _network(world: "World", caller: Caller, call: Call) -> None:
    _require_network(caller, call.text("network"))


def _connect(world: "World", caller: Caller, call: Call) -> None:
    _own(world, caller, call)
    _require_network(caller, call.text("network"))
    given = [f"{key}: addresses are given by the host" for key in ("ip", "ip6") if call.text(key)]
    _require(caller, given)


def _disconnect(world: "World", caller: Caller, call: Call) -> None:
    _own(world, caller, call)
    if call.text("network") not in world.find(call.text("container")).addresses:
        _require_network(caller, call.text("network"))


def _volume(world: "World", caller: Caller, call: Call) -> None:
    call.change(volume=_own_volume(world, caller, call.text("volume")))


def _new_volume(world: "World", caller: Caller, call: Call) -> None:
    name = call.text("name")
    if problem := caller.name_problem(name):
        raise InvalidInput(problem, field="name")
    call.change(name=caller.full_name(name), labels={**call.mapping("labels"), TENANT_LABEL: caller.tenant})
    _require_room(world, caller, call, "", needs_size=True)


def _resized(world: "World", caller: Caller, call: Call) -> None:
    _volume(world, caller, call)
    _require_room(world, caller, call, call.text("volume"), needs_size=False)


def _restored(world: "World", caller: Caller, call: Call) -> None:
    """Into an empty volume of the tenant's, or a new one, which volumes.py labels."""
    try:
        _volume(world, caller, call)
    except NotFound:
        if problem := caller.name_problem(call.text("volume")):
            raise InvalidInput(problem, field="volume") from None
        call.change(volume=caller.full_name(call.text("volume")))
        _require_room(world, caller, call, "", needs_size=True)
    else:
        _require_room(world, caller, call, call.text("volume"), needs_size=False)


def _require_room(world: "World", caller: Caller, call: Call, changed: str, *, needs_size: bool) -> None:
    """Hold all volumes of a tenant together to what its disk may hold; a volume lies outside of its pool."""
    size, inodes = call.text("size"), call.text("inodes")
    if not size and not needs_size:
        if inodes:
            _require(caller, ["inodes: say the size with it"])
        return
    most = world.tenants.find(caller.tenant).spec.disk_bytes
    if most is None:
        _require(caller, ["a volume: this tenant has no disk to share out"])
    assert most is not None
    if size in ("", "unlimited") or inodes == "unlimited":
        _require(caller, ["a volume without end: give it a size, such as 1G"])
    wanted = parse_bytes(size)
    call.change(inodes=str(min(parse_count(inodes) if inodes else wanted, max(wanted // _BYTES_PER_INODE, 16))))
    held = 0
    for volume in world.volumes.all():
        if volume.name != changed and volume.labels.get(TENANT_LABEL) == caller.tenant:
            held += world.volumes.data(volume.name).caps().hard_bytes or 0
    if held + wanted > most:
        raise InvalidState(
            f"tenant '{caller.tenant}' may have volumes of {format_bytes(most)} in all, others hold {format_bytes(held)}",
            hint="make it smaller, or remove another",
        )


_ALL, _PATH = "it concerns the whole host", "it reads a path of the host"
VERBS: dict[str, Row | str] = {
    "ping": _anything,
    "trace": _anything,  # what was done for who has the token, if it is his tenant's
    "info": _anything,
    "create": _anything,
    "run": _anything,
    "list": _anything,
    "events": _anything,
    "why": _anything,
    "image_list": _anything,
    "network_list": _anything,
    "volume_list": _anything,
    "tenant_list": _anything,
    **dict.fromkeys(
        (
            "start", "kill", "rm", "inspect", "wait", "attach", "logs", "set", "top", "pause", "unpause",
            "cp_from", "cp_to", "snapshot_list", "snapshot_restore", "snapshot_rm", "diff", "export",
        ),
        _own,
    ),
    "stop": _stop,
    "restart": _stop,
    "rename": _named,
    "clone": _named,
    "exec": _exec,
    "snapshot_create": _snapshot,
    "limits": _own_ones,
    "stats": _own_ones,
    "tenant_inspect": _own_tenant,
    "usage": _usage,
    "image_inspect": _image,
    "image_save": _images,
    "network_inspect": _network,
    "network_connect": _connect,
    "network_disconnect": _disconnect,
    "volume_create": _new_volume,
    "volume_inspect": _volume,
    "volume_set": _resized,
    "volume_rm": _volume,
    "volume_backup": _volume,
    "volume_restore": _restored,
    "mount": "its files would be mounted on the host, where root alone can reach them; 'pycontainer cp' takes them out",
    "umount": "its files would be mounted on the host, where root alone can reach them; 'pycontainer cp' takes them out",
    "commit": "images lie outside of a tenant's disk; 'pycontainer export' and 'pycontainer snapshot' keep what there is",
    "instance_import": _PATH,
    "image_import": _PATH,
    "image_load": _PATH,
    "image_tag": "images are the host's",
    "image_rm": "images are the host's",
    "image_prune": "images are the host's",
    "network_create": "networks are the host's",
    "network_set": "networks are the host's",
    "network_rm": "networks are the host's",
    "volume_prune": "it looks at all volumes; 'pycontainer volume rm' removes one",
    "tenant_create": "tenants are the host's",
    "tenant_set": "what a tenant may use is the host's to say",
    "tenant_rm": "tenants are the host's",
    **dict.fromkeys(
        ("system_df", "system_prune", "capacity", "metrics", "doctor", "boot", "stop_all", "reload", "shutdown"), _ALL
    ),
}  # fmt: skip
# Each takes a worker of ours, and copies for as long as it likes.
HEAVY = frozenset(
    {"clone", "cp_from", "cp_to", "diff", "export", "image_save", "snapshot_create", "snapshot_restore", "volume_backup",
     "volume_restore"}
)  # fmt: skip
# What a request of a tenant's user counts for, where it is more than one: some read all that ever happened, or walk volumes,
# and what changes something is an event, for which the journal has so much room.
COSTS = {
    **dict.fromkeys(HEAVY, 10),
    **dict.fromkeys(("events", "why", "usage", "volume_list", "volume_inspect"), 20),
    **dict.fromkeys(
        ("create", "start", "stop", "restart", "rm", "exec", "set", "rename", "kill", "pause", "unpause", "snapshot_rm",
         "volume_create", "volume_rm"),
        3,
    ),
    "run": 6,
    **dict.fromkeys(("list", "stats", "limits", "top", "inspect"), 2),
}  # fmt: skip


def require_tenant(world: "World", caller: Caller) -> None:
    """Raise NotPermitted if the caller's tenant is not there (any more), InvalidState if its record is damaged."""
    try:
        world.tenants.find(caller.tenant)
    except NotFound:
        raise NotPermitted(
            f"tenant '{caller.tenant}', for which you may act, does not exist on this host", hint=_ASK
        ) from None


def require(world: "World", caller: Caller | None, call: Call) -> None:
    """Raise unless the caller may ask for this, of this object; the call's arguments are what he may, from here on."""
    if caller is None:
        return
    row = VERBS.get(call.verb, "nobody has decided about it yet")
    if isinstance(row, str):
        raise NotPermitted(f"a user of tenant '{caller.tenant}' may not '{call.verb}': {row}", hint=_ASK)
    row(world, caller, call)


@contextlib.contextmanager
def at_work(caller: Caller | None, verb: str, at_once: Counter[str]) -> Iterator[None]:
    """Count what one tenant's users have us do at the same time, of what costs much; Busy when that is enough."""
    if caller is None or verb not in HEAVY:
        yield
        return
    if at_once[caller.tenant] >= _MAX_HEAVY:
        raise Busy(
            f"{_MAX_HEAVY} copies, snapshots or backups of tenant '{caller.tenant}' are under way",
            hint="try again later",
        )
    at_once[caller.tenant] += 1
    try:
        yield
    finally:
        at_once[caller.tenant] -= 1
