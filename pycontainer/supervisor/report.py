"""What clients are told of a container: ContainerInfo and the full record of `inspect` (shapes in docs/api.md)."""

from pycontainer.cgroup.base import GONE
from pycontainer.controllers import devices, registry
from pycontainer.controllers.protocol import Instance
from pycontainer.runtime import planner, view
from pycontainer.runtime.container import Container
from pycontainer.runtime.start import Run
from pycontainer.security.profile import loosened
from pycontainer.spec.parse import to_plain
from pycontainer.supervisor.world import World


def container_info(world: World, container: Container) -> dict[str, object]:
    """Return the short form that `list` and most verbs answer."""
    spec = container.spec
    status = world.status(container)
    config = container.image.config if container.image else {}
    ports = world.networks.published(container.id) if container.addresses else []
    return {
        "id": container.id,
        "name": spec.name,
        "image": spec.image,
        "rootfs": spec.rootfs,
        "tenant": spec.tenant,
        "command": planner.command_line(spec, config),
        "status": status,
        "created": container.created,
        "started": container.started,
        "finished": container.finished if status in ("stopped", "restarting") else None,
        "exit_code": container.exit_code if status in ("stopped", "restarting") else None,
        "cause": container.cause if status in ("stopped", "restarting") else "",
        "oom_killed": container.oom_killed,
        "health": container.health,
        "pid": container.pid,
        "ports": [
            {
                "host_ip": port.host_ip,
                "host_port": port.host_port,
                "container_port": port.container_port,
                "protocol": port.protocol,
            }
            for port in (ports or spec.ports)
        ],
        "networks": container.addresses or {name: {"ip": "", "ip6": ""} for name in spec.networks},
        "labels": dict(spec.labels),
        "restart": restart_text(container),
        "onboot": spec.starts_at_boot,
        "restart_count": container.restart_count,
        "auto_remove": spec.auto_remove,
        "tty": spec.tty,
        "stdin_open": spec.stdin_open,
        "memory_bytes": spec.memory_bytes,
        "profile": spec.profile,
        "loosened": loosened(spec),
        "warnings": [
            *container.missing_walls,
            *container.image_warnings,
            *container.damaged_snapshots,
            *container.warnings,
        ],
    }


def restart_text(container: Container) -> str:
    policy = container.spec.restart
    return f"{policy.name}:{policy.max_retries}" if policy.max_retries else policy.name


def full_record(world: World, container: Container) -> dict[str, object]:
    """Return everything: the short form, the spec, and where things lie and what they were given."""
    run = world.runs.get(container.id)
    image = container.image
    devices_held, limits = _held(world, container, run)
    return {
        **container_info(world, container),
        "spec": to_plain(container.spec),
        "image_id": image.id if image else "",
        "image_config": image.config if image else {},
        "id_map": {"host_base": container.base, "count": 65536},
        "directory": container.directory,
        "rootfs_driver": "bind" if container.spec.rootfs_writable else container.driver,
        "layers": container.base_layers(),
        "frozen_layers": list(container.lowers),
        "snapshots": list(container.snapshots),
        "mounted": world.paths.mount_dir(container.id) if container.id in world.mounted else "",
        "log_path": f"{container.directory}/log",
        "dropped_output_bytes": container.dropped_output_bytes,
        "cgroup": {"version": world.hierarchy.layout.version, "paths": run.cgroup.paths() if run else {}},
        "security": {**_security(world, container), "devices": devices_held},
        "disk": {"backend": "" if container.spec.rootfs_writable else container.storage().backend},
        "view": view.kind(f"{container.directory}/etc") if run else "host",
        "health_check": world.health.describe(container),
        "limits": limits,
    }


def _held(world: World, container: Container, run: Run | None) -> tuple[list[str] | None, dict[str, object]]:
    """Return what the kernel says of its devices and of each limit; of one that does not run, the devices it will have."""
    if run is not None:
        instance = world.instance(container, run.cgroup)
        try:
            return devices.describe(instance, container.spec), _limits(instance)
        except OSError as error:  # a supervisor died while it removed the cgroup, and the end was not looked at since
            if error.errno not in GONE:
                raise
    return devices.describe(None, container.spec), {}


def _security(world: World, container: Container) -> dict[str, object]:
    """Return what the container may do, after its profile and its options."""
    rights = world.rights_of(container)
    asked = dict(container.spec.security_opt).get("seccomp", "default")
    seccomp = "unconfined" if rights.seccomp is None else "own profile" if asked.startswith("{") else "default"
    return {
        "profile": container.spec.profile,
        "loosened": loosened(container.spec),
        "capabilities": sorted(rights.capabilities),
        "no_new_privileges": rights.no_new_privs,
        "seccomp": seccomp,
        "label": ": ".join(container.label[:2]),
        "masked_paths": list(rights.masked_paths),
        "read_only_paths": list(rights.read_only_paths),
    }


def _limits(instance: Instance) -> dict[str, object]:
    """Return what the kernel says of each limit of a running container."""
    return {name: {"unit": unit, **reading._asdict()} for name, (unit, reading) in registry.readings(instance).items()}
