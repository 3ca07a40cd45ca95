"""One tenant on disk: a name and the limits that its containers share.

    tenants/NAME.json              version, name, created, spec, max_containers, transfer, measure, to_start
            NAME.json.damaged      what a new record replaced, if that could not be read

In the kernel a tenant is a cgroup with those of its containers beneath it, and a traffic class with theirs beneath it, so
the limits hold whatever the containers were promised one by one. Both come with the first start and go with the tenant.
"""

import dataclasses
import json
import os
from typing import Any

from pycontainer.errors import InvalidState, PycontainerError
from pycontainer.linux.files import write_atomically
from pycontainer.paths import HostPaths
from pycontainer.record import Record, check_version, read_record, remove_record
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import check_name
from pycontainer.spec.parse import from_plain, to_plain
from pycontainer.spec.transfer import Allowance, Measure, parse_action
from pycontainer.units import shown

RECORD_VERSION = 1
NO_LIMITS = ContainerSpec(pids_max=None)
_MAX_RECORD_BYTES = 1 << 20
_ASIDE = ".damaged"


class Tenant:
    """A tenant's record; `spec` holds limits alone, `max_containers` is None where there may be any number."""

    __slots__ = ("_path", "allowance", "created", "max_containers", "measure", "name", "spec", "to_start", "warnings")

    def __init__(
        self, paths: HostPaths, name: str, spec: ContainerSpec, *, created: float, max_containers: int | None = None
    ) -> None:
        self._path = f"{paths.tenants_dir}/{name}.json"
        self.name, self.spec, self.created, self.max_containers = name, spec, created, max_containers
        self.warnings: list[str] = []
        self.allowance = Allowance()
        self.measure: Measure | None = None  # in force, as more than the allowance was used
        self.to_start: tuple[str, ...] = ()  # containers that a measure had stopped, and that do not run again yet

    @property
    def slowed_bits(self) -> int | None:
        """The rate each way that its containers have together until the month is over; None if they are not slowed."""
        return self.measure.action.bits if self.measure is not None and self.measure.action.kind == "slow" else None

    def measured(self, spec: ContainerSpec) -> ContainerSpec:
        """Return what a measure in force leaves of `spec`, which is the tenant's."""
        bits = self.slowed_bits
        if bits is None:
            return spec
        lowest: dict[str, Any] = {key: min(getattr(spec, key) or bits, bits) for key in ("net_in_bits", "net_out_bits")}
        return dataclasses.replace(spec, **lowest)

    def measured_member(self, spec: ContainerSpec) -> ContainerSpec:
        """Return what it leaves of the spec of a container of it: of a rate that was cut nothing is guaranteed."""
        if self.slowed_bits is None:
            return spec
        return dataclasses.replace(spec, net_in_min_bits=None, net_out_min_bits=None)

    def save(self) -> None:
        """Write the record, all at once or not at all."""
        record = {
            "version": RECORD_VERSION,
            "name": self.name,
            "created": self.created,
            "spec": to_plain(self.spec),
            "max_containers": self.max_containers,
            "warnings": self.warnings,
            "transfer": {"size_bytes": self.allowance.size_bytes, "action": str(self.allowance.action)},
            "measure": None,
            "to_start": [*self.to_start],
        }
        if (measure := self.measure) is not None:
            record["measure"] = {"month": measure.month, "action": str(measure.action), "stopped": [*measure.stopped]}
        write_atomically(self._path, json.dumps(record, indent=1).encode())

    def delete(self) -> None:
        """Forget it; already gone is success."""
        forget(self._path)


def load_tenants(paths: HostPaths) -> tuple[list[Tenant], dict[str, PycontainerError]]:
    """Read all records; return also why those that are damaged, by name, cannot be understood."""
    try:
        names = sorted(name.removesuffix(".json") for name in os.listdir(paths.tenants_dir) if name.endswith(".json"))
    except FileNotFoundError:
        return [], {}
    whole: list[Tenant] = []
    damaged: dict[str, PycontainerError] = {}
    for name in names:
        try:
            whole.append(_load(paths, f"{paths.tenants_dir}/{name}.json"))
        except PycontainerError as error:
            damaged[name] = error
    return whole, damaged


def set_aside(paths: HostPaths, name: str) -> None:
    """Take a damaged record out of the way of a new one; it may be a newer version's, so it is kept beside that."""
    path = f"{paths.tenants_dir}/{name}.json"
    remove_record(f"{path}{_ASIDE}")
    os.rename(path, f"{path}{_ASIDE}")


def forget(path: str) -> None:
    """Delete a record, damaged or not, and one that it replaced; already gone is success."""
    remove_record(path)
    remove_record(f"{path}{_ASIDE}")


def _load(paths: HostPaths, path: str) -> Tenant:
    name = os.path.basename(path).removesuffix(".json")
    try:
        record = read_record(path, _MAX_RECORD_BYTES)
        check_version(record, RECORD_VERSION)
        if check_name(record["name"], "tenant") != name:
            raise ValueError(f"it is that of tenant '{record['name']}'")
        tenant = Tenant(
            paths,
            name,
            from_plain(record["spec"]),
            created=record.time("created"),
            max_containers=record.integer_or_none("max_containers"),
        )
        tenant.warnings = record.texts("warnings")
        if "transfer" in record:  # else it is from a version that counted nothing
            transfer = Record(record["transfer"])
            tenant.allowance = Allowance(transfer.integer_or_none("size_bytes"), parse_action(transfer.text("action")))
            if record["measure"] is not None:
                measure = Record(record["measure"])
                tenant.measure = Measure(
                    measure.text("month"), parse_action(measure.text("action")), tuple(measure.texts("stopped"))
                )
            tenant.to_start = tuple(record.texts("to_start"))
        return tenant
    except (ValueError, OSError, PycontainerError) as error:
        raise InvalidState(
            f"cannot read the record of tenant {shown(name)}: '{path}': {getattr(error, 'strerror', None) or error}",
            hint=f"repair it, then 'pycontainer service stop'; or give it its limits anew: pycontainer tenant create {name}",
        ) from error
