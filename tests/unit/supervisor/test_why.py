"""Why it stopped and why it is slow, told from events and counts as the kernel and the journal have them."""

from pathlib import Path
from typing import Any

import pytest

from pycontainer.controllers.protocol import Reading
from pycontainer.supervisor.journal import Event
from pycontainer.supervisor.why import Sample, hindrances, host_pressure, how_it_ended, start_failure, summary

KILLED = "'php' (pid 42), which held 64MiB, was killed for want of memory"
ASKING = "uid 0 (pid 7, pycontainer)"


def event(kind: str, **details: Any) -> Event:
    return {"seq": 1, "time": 1764144000.0, "type": kind, "actor": "kernel", "cause": "", "id": "a" * 12, **details}


def story(*found: Event) -> str:
    ended = how_it_ended([event("create"), event("start"), *found])
    assert ended is not None
    return str(ended["text"])


OOM = event(
    "oom",
    victim={"pid": 42, "command": "php", "rss_bytes": 64 << 20},
    limit_of="tenant",
    limit_bytes=1 << 30,
    tenant="acme",
)


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ([event("die", cause="exit", exit_code=0)], "it ended by itself with exit code 0"),
        ([event("die", cause="failure", exit_code=3)], "it ended by itself with exit code 3"),
        (
            [event("die", cause="failure", exit_code=139)],
            "it ended by itself with exit code 139, which is what a shell or an init says of a child that ended by SIGSEGV",
        ),
        (
            [event("die", cause="signal", exit_code=139, signal=11)],
            "it ended by SIGSEGV; that is how the kernel ends a program at fault, unless somebody sent it",
        ),
        (
            [event("die", cause="signal", exit_code=137, signal=9)],
            "it ended by SIGKILL; neither pycontainer nor the kernel's out-of-memory killer sent it: a process inside did, "
            "or root on the host",
        ),
        (
            [
                event("kill", actor=ASKING, cause="kill", signal=10),
                event("die", actor=ASKING, cause="signal", exit_code=138, signal=10),
            ],
            f"it ended by SIGUSR1; {ASKING} sent it",
        ),
        (
            [
                event("kill", actor=ASKING, cause="stop", signal=15),
                event("die", actor=ASKING, cause="asked", exit_code=0),
            ],
            f"{ASKING} asked for it (stop) with SIGTERM; it ended with exit code 0",
        ),
        (
            [
                event("kill", actor=ASKING, cause="stop", signal=15),
                event("kill", actor=ASKING, cause="stop: still running after 10 s", signal=9),
                event("die", actor=ASKING, cause="asked", exit_code=137, signal=9),
            ],
            f"{ASKING} asked for it (stop) with SIGTERM, then SIGKILL (stop: still running after 10 s); it ended by SIGKILL",
        ),
        (
            [
                event("kill", actor="policy health", cause="unhealthy", signal=15),
                event("die", actor="policy health", cause="health", exit_code=143, signal=15),
            ],
            "policy health asked for it (it was unhealthy) with SIGTERM; it ended by SIGTERM",
        ),
        (
            [event("die", cause="asked", exit_code=0)],
            "it was asked to end, by whom is not known any more; it ended with exit code 0",
        ),
        ([event("die", cause="reboot", exit_code=0)], "it asked inside to be started anew"),
        (
            [event("die", cause="unknown", exit_code=None)],
            "nobody saw how it ended: the monitor had died, or its record was damaged",
        ),
        (
            [OOM, event("die", cause="oom", exit_code=137, signal=9)],
            f"{KILLED}: the limit of 1GiB of its tenant 'acme' was reached",
        ),
        (  # the kernel's log was read after the end was heard of
            [event("oom"), event("die", cause="oom", exit_code=137, signal=9), {**OOM, "limit_of": "container"}],
            f"{KILLED}: its own limit of 1GiB was reached",
        ),
        (
            [event("oom"), event("die", cause="oom", exit_code=137, signal=9)],
            "something in it was killed for want of memory; the kernel's log did not tell us what",
        ),
        (
            [OOM, OOM, event("die", cause="exit", exit_code=0)],
            f"it ended by itself with exit code 0; before that, {KILLED} (the last of 2 kills): "
            "the limit of 1GiB of its tenant 'acme' was reached",
        ),
    ],
)
def test_how_it_ended(found: list[Event], text: str) -> None:
    assert story(*found) == text


def test_an_earlier_run_is_not_mixed_in() -> None:
    earlier = [event("kill", actor=ASKING, cause="stop", signal=15), OOM, event("die", cause="asked", exit_code=0)]
    assert (
        story(*earlier, event("start"), event("die", cause="exit", exit_code=0))
        == "it ended by itself with exit code 0"
    )
    ended = how_it_ended([event("start"), event("die", cause="exit", exit_code=0), event("start"), OOM])
    assert ended is not None and ended["oom"] is None


def test_the_victim_that_is_known_is_told() -> None:
    ended = how_it_ended([event("start"), OOM, event("oom"), event("die", cause="oom", exit_code=137)])
    assert ended is not None and ended["oom"] is OOM


def test_what_a_start_failed_at() -> None:
    failed = event("start-failed", detail="cannot start 'web': mount", step="mount", actor=ASKING)
    assert start_failure([event("start"), event("die"), failed]) == {
        "time": 1764144000.0,
        "actor": ASKING,
        "step": "mount",
        "text": "cannot start 'web': mount",
    }
    assert start_failure([failed, event("start")]) is None


def test_the_answer_in_one_sentence() -> None:
    ended: dict[str, object] = {"text": "it ended by itself with exit code 3"}
    assert summary("stopped", [], ended, None, []) == "stopped: it ended by itself with exit code 3"
    assert summary("created", [], None, None, []) == "never started"
    assert summary("stopped", [], ended, {"text": "no such file"}, []) == "it could not be started: no such file"
    assert summary("removed", [event("remove", actor=ASKING)], ended, None, []) == (
        f"removed by {ASKING}; before that, it ended by itself with exit code 3"
    )
    assert summary("paused", [event("pause", actor=ASKING)], None, None, []) == (
        f"paused: nothing in it runs; {ASKING} asked for it"
    )
    slow: list[dict[str, object]] = [{"text": "cpu: throttled", "is_now": True}, {"text": "old", "is_now": False}]
    assert summary("running", [], ended, None, slow) == "running, held up: cpu: throttled"
    assert summary("running", [], ended, None, slow[1:]) == "running; nothing is in its way now"


def sample(
    *,
    periods: int = 0,
    throttled: int = 0,
    throttled_usec: int = 0,
    oom_kills: int = 0,
    **readings: tuple[str, Reading],
) -> Sample:
    return Sample(readings, periods, throttled, throttled_usec, oom_kills)


def told(before: Sample, after: Sample, whose: str = "container") -> list[tuple[str, object]]:
    return [(str(each["text"]), each["is_now"]) for each in hindrances(whose, before, after, 1)]


def test_throttled_cpu_time() -> None:
    cpu = ("usec", Reading(None, None, 50_000, 90))
    before = sample(periods=100, throttled=80, throttled_usec=1_000_000, cpu=cpu)
    after = sample(periods=110, throttled=89, throttled_usec=1_500_000, cpu=cpu)
    text = "cpu: throttled by its limit of 0.5 CPUs in 90% of the periods of the last 1 s (in all: 81% of all periods, 1.5 s)"
    assert told(before, after) == [(text, True)]
    text = "its tenant: cpu: throttled by its limit of 0.5 CPUs before, not now (in all: 81% of all periods, 1.5 s)"
    assert told(after, after, "tenant") == [(text, False)]
    assert told(sample(), sample(periods=10)) == []


def test_refusals_and_pressure() -> None:
    before = sample(pids=("tasks", Reading(20, 20, 20, 3)), memory=("bytes", Reading(1 << 20, None, 1 << 20, 0)))
    after = sample(
        pids=("tasks", Reading(20, 20, 20, 5)),
        memory=("bytes", Reading(1 << 20, None, 1 << 20, 0, 35.2)),  # full of page cache, which is no harm
        disk=("bytes", Reading(95 << 20, None, 100 << 20, 0)),
        io_read=("bytes/s", Reading(None, None, None, 0, 12.0)),
        io_write=("bytes/s", Reading(None, None, None, 0, 12.0)),
        oom_kills=2,
    )
    assert told(before, after) == [
        ("memory: 2 of its processes were killed for want of memory in all", True),
        ("pids: 5 forks were refused in all, 2 of them in the last 1 s (limit 20)", True),
        ("memory: in 35% of the last 10 s something in it waited for that", True),
        ("disk: 95MiB of 100MiB are in use", True),
        ("io: in 12% of the last 10 s something in it waited for that", True),
    ]
    assert ("pids: 5 forks were refused in all (limit 20)", False) in told(after, after)


def test_pressure_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "cpu").write_text(
        "some avg10=42.10 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0 avg300=0 total=0\n"
    )
    (tmp_path / "memory").write_text("some avg10=0.10 avg60=1.00 avg300=0.00 total=1\n")
    (tmp_path / "io").write_text("")
    assert [each["text"] for each in host_pressure(str(tmp_path))] == [
        "the host: in 42% of the last 10 s something waited for cpu"
    ]
    assert host_pressure(f"{tmp_path}/none") == []
