"""Records of tenants, whole and damaged (FLT-09)."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pycontainer.paths import HostPaths
from pycontainer.runtime.tenant import Tenant, load_tenants
from pycontainer.spec.model import ContainerSpec


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    paths = HostPaths(str(tmp_path))
    assert load_tenants(paths) == ([], {})
    os.makedirs(paths.tenants_dir)
    tenant = Tenant(paths, "acme", ContainerSpec(memory_bytes=5, pids_max=None), created=5.5)
    tenant.warnings = ["w"]
    tenant.save()
    (found,), damaged = load_tenants(paths)
    assert damaged == {}
    assert (found.name, found.spec, found.created, found.warnings) == ("acme", tenant.spec, 5.5, ["w"])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"version": 9}, "version 9 is of a newer pycontainer, this one knows 1"),
        ({"name": "other"}, "it is that of tenant 'other'"),
        ({"name": "../x"}, "'../x' is not a tenant name"),
        ({"created": None}, "field 'created' holds None"),
        ({"warnings": "w"}, "field 'warnings' holds 'w'"),
        ({"spec": {"memory_bytes": 1.5}}, "spec.memory_bytes: 1.5 is of a wrong type"),
    ],
)
def test_a_record_of_another_kind(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    paths = HostPaths(str(tmp_path))
    os.makedirs(paths.tenants_dir)
    path = f"{paths.tenants_dir}/acme.json"
    record = {"version": 1, "name": "acme", "created": 5.0, "spec": {}, "warnings": []}
    with open(path, "w") as file:
        json.dump({**record, **changes}, file)
    os.chmod(path, 0o600)
    whole, damaged = load_tenants(paths)
    assert whole == []
    assert damaged["acme"].message == f"cannot read the record of tenant 'acme': '{path}': {reason}"
    assert "pycontainer tenant create acme" in damaged["acme"].hint
