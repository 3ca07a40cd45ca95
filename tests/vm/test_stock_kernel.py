"""The tests marked `vm`, on a stock Debian kernel with pure cgroup v2: what most hosts of today are."""

import shlex
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.vm import kernel, machine

SLOWNESS = 4  # of the emulated processor, against this one
FEATURES = (
    "root,cgroup_v2,hugetlb,overlay,idmapped_mounts,user_namespaces,veth,nft,seccomp,project_quota,cap_sys_resource,"
    "apparmor,landlock_scopes"
)


_MACHINES = {  # of the emulated processors none has more than a core of its own: two at a time
    "1": ("vm --part=1/2", FEATURES, False),
    "2": ("vm --part=2/2", FEATURES, False),
    "under systemd": ("systemd", f"{FEATURES},systemd", True),
}


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[str, Future[tuple[int, str]]]]:
    """All machines, started at once; each gives the exit status and the output of its tests."""
    stock = kernel.fetch("6.12")
    with ThreadPoolExecutor(max_workers=2) as pool:
        yield {name: pool.submit(_run, stock, *what) for name, what in _MACHINES.items()}


def _run(stock: kernel.Kernel, marker: str, features: str, systemd: bool) -> tuple[int, str]:
    command = f"""PYCONTAINER_TEST_WHOLE_HOST=1 PYCONTAINER_TEST_SLOWNESS={SLOWNESS} .venv/bin/python -m pytest
        -q --durations=25 -m {marker} --must-run={features} tests/integration"""
    return machine.run(stock, shlex.join(shlex.split(command)), timeout_seconds=2400, systemd=systemd)


@pytest.mark.requires("root", "vm")
@pytest.mark.parametrize("name", _MACHINES)
def test_marked_tests_pass_there(
    runs: dict[str, Future[tuple[int, str]]], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, output = runs[name].result()
    with capsys.disabled():
        print(f"\non Linux 6.12, {name}: {output.strip().splitlines()[-1] if output.strip() else 'no output'}")
    assert status == 0, f"exit {status}:\n{output}"
