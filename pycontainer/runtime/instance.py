"""An instance as an image: what it is made of, and in a label of the image's config what was asked of it.

The archive is an OCI archive as any other. The label is data of whoever wrote the archive: it is read like a record of
unknown origin, checked like a user's wish, and gives nothing that an ordinary container has not, unless somebody says so.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping

from pycontainer import jsontext
from pycontainer.errors import InvalidInput
from pycontainer.security.profile import loosened
from pycontainer.spec.asked import check_as_asked
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import check_name
from pycontainer.spec.parse import from_plain, to_plain
from pycontainer.spec.ports import format_port

LABEL = "org.pycontainer.instance"
_VERSION = 1
_MAX_BYTES = 1 << 20


def described(spec: ContainerSpec) -> str:
    """Return the label of an instance; what names things of this host alone is left out."""
    portable = dataclasses.replace(spec, image="", rootfs="", ip="", ip6="", tenant="")
    return json.dumps({"version": _VERSION, "spec": to_plain(portable)}, separators=(",", ":"))


def read_description(labels: Mapping[str, str]) -> ContainerSpec:
    """Return the spec that a label describes, in form; InvalidInput if there is none, or it is none."""
    text = labels.get(LABEL)
    if text is None:
        raise InvalidInput(
            "the archive holds an image, but no instance of a container",
            hint="'pycontainer image load' takes images",
            field="source",
        )
    try:
        found = jsontext.loads(text.encode(), max_bytes=_MAX_BYTES)
        if not isinstance(found, dict) or found.get("version") != _VERSION:
            raise ValueError("it is of another version")
        spec = from_plain(found.get("spec"))
        check_name(spec.name)
        return spec
    except (ValueError, InvalidInput) as error:
        raise InvalidInput(f"what the archive says of its instance cannot be read: {error}", field="source") from error


def checked(
    spec: ContainerSpec, *, is_trusted: bool, has_volume: Callable[[str], bool], own_ports: bool = False
) -> ContainerSpec:
    """Return the spec if a user could ask for it, and if it asks for nothing that reaches the host; InvalidInput names all.

    With `is_trusted` it may reach the host as its owner's own containers may. `has_volume` says which volumes are there
    already, and `own_ports` that the ports are not the archive's word, but of who brings it in.
    """
    if spec.rootfs or not spec.image:
        raise InvalidInput("what the archive says of its instance is no container of an image", field="source")
    check_as_asked(spec)
    asked = reaches_host(dataclasses.replace(spec, ports=()) if own_ports else spec, has_volume)
    if asked and not is_trusted:
        raise InvalidInput(
            f"the instance asks for what an ordinary container has not: {', '.join(asked)}",
            hint="if you trust who made the archive, give --trusted as well; -p replaces the ports it publishes",
            field="source",
        )
    return spec


def reaches_host(spec: ContainerSpec, has_volume: Callable[[str], bool]) -> list[str]:
    """Return, as options that a person would write, what of a spec reaches beyond the container; sorted.

    A volume that is there already holds somebody's data, a port is the host's. No limit is lifted that holds who asks for
    nothing.
    """
    found = set(loosened(spec))
    found |= {f"--volume {mount.source}:{mount.target}" for mount in spec.mounts if mount.type == "bind"}
    found |= {
        f"--volume {mount.source}:{mount.target}"
        for mount in spec.mounts
        if mount.type == "volume" and mount.source and has_volume(mount.source)
    }
    found |= {f"--publish {format_port(port)}" for port in spec.ports}
    if spec.pids_max is None:
        found.add("--pids unlimited")
    if spec.disk_bytes is None and (spec.disk_soft_bytes, spec.disk_inodes, spec.disk_soft_inodes) != (None,) * 3:
        found.add("--disk unlimited")  # with none of the four it gets what who asks for nothing gets
    found |= {f"--sysctl {name}={value}" for name, value in spec.sysctls}
    found |= {f"--cgroup-conf {name}={value}" for name, value in spec.cgroup_conf}
    return sorted(found)
