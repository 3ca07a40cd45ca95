"""The tests marked `vm` and `systemd` on a stock Debian kernel with pure cgroup v2, in machines of their own.

    python -m tests.vm.suite DIRECTORY MACHINE...     boot those that nobody has taken yet, one after the other

An emulated processor is slow but never needs more than one core, and most tests of this host wait more than they
compute. So conftest.py starts one worker when the session begins, and a second one when the tests are over that hold
something against the clock; both get the least. What holds something against the clock in a machine comes first there,
when this host runs its unit tests. Workers agree by files in DIRECTORY:

    MACHINE.taken     by the worker whose pid it holds
    MACHINE.output    what its tests wrote
    MACHINE.status    its exit status, once all is written
    rootfs            the image of the tests, which takes twenty seconds to make in a machine
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tests.support.images import build_rootfs
from tests.vm import kernel, machine

SERIES = "6.12"
SLOWNESS = (
    5  # of the emulated processor that others share, against this one; what that bends all the same is tried again
)
TIMEOUT_SECONDS = 3000
FEATURES = (
    "root,cgroup_v2,hugetlb,overlay,idmapped_mounts,user_namespaces,veth,nft,seccomp,project_quota,cap_sys_resource,"
    "apparmor,landlock_scopes,pycontainer_oci,runc,own_clock"
)
PLACES = ("tests/integration", "tests/conformance")
_SOME_FAILED = 1  # as pytest exits
_NICE = 10  # a tenth of the weight of a test or a container
_PROJECT = Path(__file__).parents[2]


class Machine(NamedTuple):
    """What one machine runs."""

    marks: str  # of the tests: the first word is one that all have
    arguments: str = ""  # of pytest
    features: str = FEATURES
    systemd: bool = False
    reboots: int = 0  # that it does: then it runs reboot.py, and no marks count


PARTS = 2
MACHINES = {"measures": Machine("vm and measures")}
MACHINES |= {
    f"part {number}": Machine("vm and not alike and not measures", f"--part={number}/{PARTS}")
    for number in range(1, PARTS + 1)
}
MACHINES["systemd"] = Machine("systemd", features=f"{FEATURES},systemd", systemd=True)
MACHINES["reboot"] = Machine("", systemd=True, reboots=2)


class Machines:
    """Machines `names`, and the processes that boot them; those end with the thread that made this."""

    def __init__(self, names: list[str]) -> None:
        place = kernel.cache_directory()  # where machines see it: their /tmp is their own
        place.mkdir(parents=True, exist_ok=True)
        self._directory = tempfile.mkdtemp(prefix=f"{machine.MARKER}.suite-", dir=place)
        build_rootfs(f"{self._directory}/rootfs")
        self._names = names
        self._workers = [self._start_worker()]

    def hurry(self) -> None:
        """Add a worker: this host has time for it."""
        if len(self._workers) == 1:
            self._workers.append(self._start_worker())

    def result(self, name: str) -> tuple[int, str]:
        """Wait for a machine; return its exit status and what its tests wrote."""
        status = Path(self._directory, f"{name}.status")
        while not status.exists():
            if all(worker.poll() is not None for worker in self._workers) and not status.exists():
                return machine.MACHINE_FAILED, Path(self._directory, "log").read_text(errors="replace")
            time.sleep(0.2)
        return int(status.read_text()), Path(self._directory, f"{name}.output").read_text()

    def close(self) -> None:
        """End the workers, and the machines with them."""
        for worker in self._workers:
            worker.kill()
            worker.wait()
        shutil.rmtree(self._directory)

    def _start_worker(self) -> "subprocess.Popen[bytes]":
        ends_with_us = ("setpriv", "--pdeathsig", "KILL")
        command = [
            *ends_with_us,
            "nice",
            "-n",
            str(_NICE),
            sys.executable,
            "-m",
            __name__,
            self._directory,
            *self._names,
        ]
        with open(f"{self._directory}/log", "ab") as log:
            return subprocess.Popen(command, cwd=_PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def work(directory: str, names: list[str]) -> None:
    """Boot each machine that nobody has taken."""
    stock = kernel.fetch(SERIES)
    for name in names:
        try:
            taken = os.open(f"{directory}/{name}.taken", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            continue
        os.write(taken, str(os.getpid()).encode())
        os.close(taken)
        status, output = _run(stock, MACHINES[name], f"{directory}/rootfs")
        Path(directory, f"{name}.output").write_text(output)
        Path(directory, f"{name}.written").write_text(str(status))
        os.rename(f"{directory}/{name}.written", f"{directory}/{name}.status")


def _run(stock: kernel.Kernel, what: Machine, rootfs: str) -> tuple[int, str]:
    return machine.run(
        stock,
        f"export PYCONTAINER_TEST_SLOWNESS={SLOWNESS} PYCONTAINER_TEST_BUSYBOX={rootfs}; "
        + (".venv/bin/python -m tests.vm.reboot" if what.reboots else _tests(what)),
        timeout_seconds=TIMEOUT_SECONDS,
        systemd=what.systemd,
        reboots=what.reboots,
    )


def _tests(what: Machine) -> str:
    """Return the command that runs them. What fails is tried once more, by a process that nothing has happened to yet."""
    pytest = shlex.join(
        [".venv/bin/python", "-m", "pytest", "-q", "-rfER", "--durations=25", "-m", what.marks]
        + [f"--must-run={what.features}", *_modules(what.marks)]
    )
    return f"""export PYCONTAINER_TEST_WHOLE_HOST=1 PYCONTAINER_TEST_FORKING=1 PYCONTAINER_TEST_RUNTIMES=pycontainer-oci
        {pytest} {what.arguments}
        status=$?
        [ $status -eq {_SOME_FAILED} ] || exit $status
        echo "==> what failed, once more"
        exec {pytest} --last-failed"""


def _modules(marks: str) -> list[str]:
    """Return the modules that have such tests: to import all others takes a machine a minute."""
    mark = f"pytest.mark.{marks.split()[0]}"
    found = [path for place in PLACES for path in (_PROJECT / place).rglob("test_*.py") if mark in path.read_text()]
    return sorted(str(path.relative_to(_PROJECT)) for path in found)


def main() -> None:
    """The worker. A session of its own, with little weight: else it would have that of the session it was started in."""
    os.setsid()
    with contextlib.suppress(FileNotFoundError):  # a kernel without autogroups: sched(7)
        Path("/proc/self/autogroup").write_text(str(os.nice(0)))
    work(sys.argv[1], sys.argv[2:])


if __name__ == "__main__":
    main()
