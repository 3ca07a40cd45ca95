"""What an OCI runtime's command line costs, cold: ours against runc and crun, in turns on the same bundle.

    .venv/bin/python -m tests.benchmarks.oci [--rounds N] [--runtime PATH...]

Each round runs, with every runtime, `run` of /bin/true, and then create, start, state and delete of a container, one process
each. Medians in ms, and the ratio to runc: of the time that passed, and of the CPU time of the process and of its children
that it has waited for, which others' load changes less. Needs root; the bundle is runc's own default (`runc spec`) without a
terminal. A runtime that does not run it here is left out; crun refuses a host with both versions of cgroups.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.images import CHECKOUT, build_rootfs

STEPS = ("run", "create", "start", "state", "delete")

Taken = dict[str, tuple[float, float]]  # step -> seconds that passed, seconds of CPU


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--runtime", action="append", help="default: ours, runc, and crun if it is there")
    arguments = parser.parse_args()
    runtimes = arguments.runtime or [
        f"{CHECKOUT}/.venv/bin/pycontainer-oci", *filter(None, map(shutil.which, ("runc", "crun")))
    ]  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="pct-bench-", dir="/var/tmp") as name:
        directory = Path(name)
        bundle = make_bundle(directory / "bundle")
        for runtime in list(runtimes):  # which fills caches, too
            try:
                one_round(runtime, directory, bundle, "first")
            except subprocess.CalledProcessError as error:
                print(f"{Path(runtime).name}: left out: it ends with code {error.returncode}")
                runtimes.remove(runtime)
        taken: dict[str, list[Taken]] = {each: [] for each in runtimes}
        for number in range(arguments.rounds):
            for runtime in runtimes:
                taken[runtime].append(one_round(runtime, directory, bundle, f"b{number}"))
        show(taken, runtimes)


def make_bundle(bundle: Path) -> Path:
    """Make a bundle that executes /bin/true."""
    bundle.mkdir()
    build_rootfs(str(bundle / "rootfs"))
    subprocess.run(["runc", "spec", "--bundle", str(bundle)], check=True)
    config = json.loads((bundle / "config.json").read_text())
    config["process"] |= {"terminal": False, "args": ["/bin/true"]}
    (bundle / "config.json").write_text(json.dumps(config))
    return bundle


def one_round(runtime: str, directory: Path, bundle: Path, name: str) -> Taken:
    base = [runtime, "--root", f"{directory}/{Path(runtime).name}"]
    pid_file = f"{directory}/pid"
    found = {"run": timed([*base, "run", "--bundle", str(bundle), f"run-{name}"])}
    found["create"] = timed([*base, "create", "--bundle", str(bundle), "--pid-file", pid_file, name])
    found["start"] = timed([*base, "start", name])
    found["state"] = timed([*base, "state", name])
    wait_until_ended(int(Path(pid_file).read_text()))
    found["delete"] = timed([*base, "delete", name])
    return found


def timed(command: list[str]) -> tuple[float, float]:
    begun = time.monotonic()
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    passed = time.monotonic() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return passed, usage.ru_utime + usage.ru_stime


def wait_until_ended(pid: int) -> None:
    """Wait until a process has ended; whoever adopted it may reap it or not."""
    while True:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            return
        if fields[0] in "ZX":
            return
        time.sleep(0.001)


def show(taken: dict[str, list[Taken]], runtimes: list[str]) -> None:
    against = next((each for each in runtimes if Path(each).name == "runc"), runtimes[-1])
    print(f"load {os.getloadavg()[0]:.1f}; {len(taken[against])} rounds")
    print(f"{'ms, median (least)':24}" + "".join(f"{step:>20}" for step in STEPS))
    for runtime in runtimes:
        for column, what in enumerate(("passed", "CPU")):
            line = f"{Path(runtime).name:17}{what:7}"
            for step in STEPS:
                ours, theirs = ([found[step][column] for found in taken[each]] for each in (runtime, against))
                ratio = statistics.median(ours) / statistics.median(theirs)
                line += f"{statistics.median(ours) * 1000:7.1f} ({min(ours) * 1000:4.1f}) x{ratio:4.2f}"
            print(line)


if __name__ == "__main__":
    main()
