"""The tests marked `vm`, on a stock Debian kernel with pure cgroup v2: what most hosts of today are."""

import shlex

import pytest

from tests.vm import kernel, machine

SLOWNESS = 4  # of the emulated processor, against this one
FEATURES = (
    "root,cgroup_v2,hugetlb,overlay,idmapped_mounts,user_namespaces,veth,nft,seccomp,project_quota,cap_sys_resource,"
    "apparmor,landlock_scopes"
)


@pytest.mark.requires("root", "vm")
@pytest.mark.parametrize(
    ("marker", "features", "systemd"),
    [("vm", FEATURES, False), ("systemd", f"{FEATURES},systemd", True)],
    ids=["alone", "under systemd"],
)
def test_marked_tests_pass_there(marker: str, features: str, systemd: bool, capsys: pytest.CaptureFixture[str]) -> None:
    command = f"""PYCONTAINER_TEST_WHOLE_HOST=1 PYCONTAINER_TEST_SLOWNESS={SLOWNESS} .venv/bin/python -m pytest
        -q -m {marker} --must-run={features} tests/integration"""
    status, output = machine.run(
        kernel.fetch("6.12"), shlex.join(shlex.split(command)), timeout_seconds=2400, systemd=systemd
    )
    with capsys.disabled():
        print(f"\non Linux 6.12: {output.strip().splitlines()[-1] if output.strip() else 'no output'}")
    assert status == 0, f"exit {status}:\n{output}"
