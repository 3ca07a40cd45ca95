"""One tenant on disk: a name and the limits that its containers share.

    tenants/NAME.json      version, name, created, spec

In the kernel a tenant is a cgroup with those of its containers beneath it, and a traffic class with theirs beneath it, so
the limits hold whatever the containers were promised one by one. Both come with the first start and go with the tenant.
"""

import json
import os

from pycontainer.errors import PycontainerError
from pycontainer.linux.files import write_atomically
from pycontainer.paths import HostPaths
from pycontainer.runtime.record import check_version, read_record
from pycontainer.spec.model import ContainerSpec
from pycontainer.spec.names import check_name
from pycontainer.spec.parse import from_plain, to_plain

RECORD_VERSION = 1
NO_LIMITS = ContainerSpec(pids_max=None)
_MAX_RECORD_BYTES = 1 << 20


class Tenant:
    """A tenant's record; `spec` holds limits alone."""

    __slots__ = ("_path", "created", "name", "spec", "warnings")

    def __init__(self, paths: HostPaths, name: str, spec: ContainerSpec, *, created: float) -> None:
        self._path = f"{paths.tenants_dir}/{name}.json"
        self.name, self.spec, self.created = name, spec, created
        self.warnings: list[str] = []

    def save(self) -> None:
        """Write the record, all at once or not at all."""
        record = {
            "version": RECORD_VERSION,
            "name": self.name,
            "created": self.created,
            "spec": to_plain(self.spec),
            "warnings": self.warnings,
        }
        write_atomically(self._path, json.dumps(record, indent=1).encode())

    def delete(self) -> None:
        """Forget it; already gone is success."""
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass


def load_tenants(paths: HostPaths) -> list[Tenant]:
    """Read all records. Raises PycontainerError naming the file that cannot be understood."""
    try:
        names = sorted(name for name in os.listdir(paths.tenants_dir) if name.endswith(".json"))
    except FileNotFoundError:
        return []
    return [_load(paths, f"{paths.tenants_dir}/{name}") for name in names]


def _load(paths: HostPaths, path: str) -> Tenant:
    try:
        record = read_record(path, _MAX_RECORD_BYTES)
        check_version(record, RECORD_VERSION)
        name = check_name(record["name"], "tenant")
        if os.path.basename(path) != f"{name}.json":
            raise ValueError(f"it is that of tenant '{name}'")
        tenant = Tenant(paths, name, from_plain(record["spec"]), created=record.time("created"))
        tenant.warnings = record.texts("warnings")
        return tenant
    except (ValueError, OSError, PycontainerError) as error:
        raise PycontainerError(
            f"cannot read '{path}': {error}", hint="the file is damaged; repair or delete it"
        ) from error
