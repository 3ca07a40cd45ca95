"""Two lines of the kernel's log make one kill; what tasks call themselves does not confuse them."""

import pytest

from pycontainer.supervisor.oomwatch import Kill, KillReader

SUMMARY = (
    "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=905814704094,mems_allowed=0,"
    "oom_memcg=/pycontainer/tenant-acme,task_memcg=/pycontainer/tenant-acme/905814704094,task={name},pid=14867,uid=268828672"
)
KILLED = (
    "Memory cgroup out of memory: Killed process 14867 ({name}) total-vm:3292kB, anon-rss:1024kB, file-rss:1584kB, "
    "shmem-rss:8kB, UID:268828672 pgtables:40kB oom_score_adj:0"
)


@pytest.mark.parametrize("name", ["dd", "a b", "x,pid=1,uid=0", "(evil)"])
def test_a_kill(name: str) -> None:
    reader = KillReader()
    assert reader.feed("dd invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0") is None
    assert reader.feed(SUMMARY.format(name=name)) is None
    expected = Kill("/pycontainer/tenant-acme/905814704094", "/pycontainer/tenant-acme", name, 14867, 2616 * 1024)
    assert reader.feed(KILLED.format(name=name)) == expected


def test_what_is_no_number_of_the_kernels_is_no_kill() -> None:
    """VAL-02: int() refuses more than 4300 digits, and this runs in the supervisor's event loop."""
    reader = KillReader()
    assert reader.feed(SUMMARY.format(name="dd").replace("14867", "9" * 5000)) is None
    assert reader.feed(KILLED.format(name="dd").replace("14867", "9" * 5000)) is None
    assert reader.feed(SUMMARY.format(name="dd") + "\n") is None
    assert reader.feed(KILLED.format(name="dd")) is None


def test_summaries_without_a_kill_are_forgotten() -> None:
    reader = KillReader()
    for pid in range(1, 1000):
        reader.feed(SUMMARY.format(name="dd").replace("14867", str(pid)))
    assert reader.feed(KILLED.format(name="dd").replace("14867", "1")) is None
    assert reader.feed(KILLED.format(name="dd").replace("14867", "999")) is not None


def test_a_kill_without_a_summary_is_not_ours() -> None:
    reader = KillReader()
    assert reader.feed(KILLED.format(name="dd")) is None
    assert reader.feed("oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),task=dd,pid=1,uid=0") is None


@pytest.mark.parametrize(
    ("cgroup", "place"),
    [
        ("/ours/c1", ("c1", "/ours/c1")),
        ("/ours/c1/payload/system.slice/x.service", ("c1", "/ours/c1")),
        ("/ours/tenant-acme/c1/payload", ("c1", "/ours/tenant-acme/c1")),
        ("/system.slice/ours.scope/ours/c1/payload/ours/c2", ("c1", "/system.slice/ours.scope/ours/c1")),
        ("/others/c1", None),
        ("/ours/tenant-acme", None),
    ],
)
def test_whose_cgroup_it_is(cgroup: str, place: tuple[str, str] | None) -> None:
    """Names below the container's own are chosen inside."""
    assert Kill(cgroup, cgroup, "dd", 1, 0).place("ours") == place
