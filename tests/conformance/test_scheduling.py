"""What the schedulers are told: process.scheduler, ioPriority and execCPUAffinity, of the first process and of later ones."""

import json
import os

import pytest

from tests.conformance.runtime import PATH, SLEEP, Container, Json

SCHEDULER = pytest.mark.deviates("runc", "1.1 does not know scheduler")
IO_PRIORITY = pytest.mark.deviates("runc", "1.1 does not know ioPriority")
AFFINITY = pytest.mark.deviates("runc", "1.1 does not know execCPUAffinity")
POLICIES = {"SCHED_OTHER": 0, "SCHED_FIFO": 1, "SCHED_RR": 2, "SCHED_BATCH": 3, "SCHED_IDLE": 5, "SCHED_DEADLINE": 6}


def allow_real_time(container: Container) -> None:
    """Groups of a kernel with CONFIG_RT_GROUP_SCHED have no time for such processes unless they are given some."""
    if os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):
        container.linux["resources"]["cpu"] = {"realtimePeriod": 1_000_000, "realtimeRuntime": 10_000}


def seen(stat: str) -> Json:
    """Return what /proc/PID/stat says. proc_pid_stat(5): 19 nice, 40 rt_priority, 41 policy"""
    fields = stat.rsplit(")", 1)[1].split()
    return {"nice": int(fields[19 - 3]), "priority": int(fields[40 - 3]), "policy": int(fields[41 - 3])}


@SCHEDULER
@pytest.mark.parametrize(
    "wanted",
    [
        {"policy": "SCHED_OTHER", "nice": -7},
        {"policy": "SCHED_BATCH", "nice": 19},
        {"policy": "SCHED_IDLE"},
        {"policy": "SCHED_FIFO", "priority": 10},
        {"policy": "SCHED_RR", "priority": 99},
    ],
    ids=lambda wanted: wanted["policy"],
)
def test_scheduler(container: Container, wanted: Json) -> None:
    allow_real_time(container)
    container.process["scheduler"] = wanted
    found = seen(container.output_of("cat", "/proc/self/stat"))
    assert found["policy"] == POLICIES[wanted["policy"]]
    assert found["priority"] == wanted.get("priority", 0)
    if wanted["policy"] in ("SCHED_OTHER", "SCHED_BATCH"):
        assert found["nice"] == wanted["nice"]


@SCHEDULER
def test_deadline(container: Container) -> None:
    container.process["scheduler"] = {
        "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000,
    }  # fmt: skip
    assert seen(container.output_of("cat", "/proc/self/stat"))["policy"] == POLICIES["SCHED_DEADLINE"]


@SCHEDULER
def test_reset_on_fork(container: Container) -> None:
    allow_real_time(container)
    container.process["scheduler"] = {"policy": "SCHED_RR", "priority": 1, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    out = container.output_of("sh", "-c", "cat /proc/$$/stat; cat /proc/self/stat; true")
    assert [seen(line)["policy"] for line in out.splitlines()] == [2, 0]


@SCHEDULER
@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ({"policy": "SCHED_FIFO", "priority": 100}, "process.scheduler.priority"),
        ({"policy": "SCHED_FIFO"}, "process.scheduler.priority"),
        ({"policy": "SCHED_OTHER", "nice": 20}, "process.scheduler.nice"),
        ({"policy": "SCHED_NONE"}, "process.scheduler.policy"),
        ({"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_X"]}, "process.scheduler.flags[0]"),
        ({"policy": "SCHED_DEADLINE", "runtime": 5, "deadline": 4}, "process.scheduler"),
        ({"policy": "SCHED_OTHER", "runtime": 5}, "process.scheduler.runtime"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_scheduler(container: Container, wanted: Json, path: str) -> None:
    container.process["scheduler"] = wanted
    done = container.try_create("true")
    assert done.code == 1 and path in done.err
    assert not container.exists()


@IO_PRIORITY
@pytest.mark.parametrize(
    ("kind", "priority", "shown"),
    [("RT", 3, "realtime: prio 3"), ("BE", 0, "best-effort: prio 0"), ("IDLE", 0, "idle")],
)
def test_io_priority(container: Container, kind: str, priority: int, shown: str) -> None:
    container.process["ioPriority"] = {"class": f"IOPRIO_CLASS_{kind}", "priority": priority}
    assert container.output_of("ionice", "-p", "1").strip() in (shown, f"{shown}: prio {priority}")


@SCHEDULER
def test_process_of_exec(container: Container) -> None:
    container.create_and_start(*SLEEP)
    process = {
        "args": ["sh", "-c", "cat /proc/$$/stat; ionice -p $$"], "cwd": "/", "env": [f"PATH={PATH}"],
        "user": {"uid": 0, "gid": 0},
        "scheduler": {"policy": "SCHED_BATCH", "nice": 3},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
    }  # fmt: skip
    with open(f"{container.bundle}/process.json", "w") as file:
        json.dump(process, file)
    stat, io = container.exec(options=["--process", f"{container.bundle}/process.json"]).out.splitlines()
    assert seen(stat) == {"policy": POLICIES["SCHED_BATCH"], "nice": 3, "priority": 0}
    assert io == "best-effort: prio 6"


# execCPUAffinity


def cpus_of(text: str) -> str:
    return next(line.split()[1] for line in text.splitlines() if line.startswith("Cpus_allowed_list"))


def of_first(container: Container) -> str:
    with open(f"/proc/{container.pid()}/status") as file:
        return cpus_of(file.read())


@AFFINITY
@pytest.mark.parametrize("cpu", sorted({min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))}))
def test_affinity_of_exec(container: Container, cpu: int) -> None:
    """It is of later processes alone."""
    container.process["execCPUAffinity"] = {"initial": str(min(os.sched_getaffinity(0))), "final": str(cpu)}
    container.create_and_start(*SLEEP)
    before = of_first(container)
    assert cpus_of(container.exec("cat", "/proc/self/status").out) == str(cpu)
    with open("/proc/self/status") as file:
        assert before == of_first(container) == cpus_of(file.read())


@AFFINITY
def test_affinity_of_a_process_file(container: Container) -> None:
    container.create_and_start(*SLEEP)
    cpu = max(os.sched_getaffinity(0))
    process = {
        "args": ["cat", "/proc/self/status"], "cwd": "/", "env": [f"PATH={PATH}"], "user": {"uid": 0, "gid": 0},
        "execCPUAffinity": {"final": f"{cpu}-{cpu}"},
    }  # fmt: skip
    with open(f"{container.bundle}/process.json", "w") as file:
        json.dump(process, file)
    assert cpus_of(container.exec(options=["--process", f"{container.bundle}/process.json"]).out) == str(cpu)


@AFFINITY
def test_affinity_to_what_is_not_there(container: Container) -> None:
    container.process["execCPUAffinity"] = {"final": "1020"}
    container.create_and_start(*SLEEP)
    assert "execCPUAffinity" in container.runtime.fails("exec", container.id, "true", code=255)
    assert container.status() == "running"


@AFFINITY
@pytest.mark.parametrize("text", ["x", "1-0", "0,,1", "-1", "99999999999999999999"])
def test_bad_affinity(container: Container, text: str) -> None:
    container.process["execCPUAffinity"] = {"initial": text}
    done = container.try_create("true")
    assert done.code == 1 and "process.execCPUAffinity.initial" in done.err
