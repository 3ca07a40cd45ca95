"""Recording: spans and steps, who gets them, that they have an end, and that nobody pays who did not ask."""

import asyncio

from pycontainer import failpoints, trace
from pycontainer.trace import MAX_NAME_CHARACTERS, MAX_SPANS, Recorder, recording, span, step


def names(recorder: Recorder) -> list[str]:
    return [name for _, name, _, _ in recorder.spans]


def test_steps_follow_one_another_within_a_span() -> None:
    recorder = Recorder("supervisor")
    with span("whole", recorder):
        step("first")
        with span("within"):
            step("deep")
        failpoints.reach("start:cgroup")
    recorder.close()
    assert names(recorder) == ["first", "deep", "within", "start:cgroup", "whole"]
    first, deep, within, second, whole = recorder.spans
    assert {each[0] for each in recorder.spans} == {"supervisor"}
    assert whole[2] <= first[2] <= first[3] == second[2] <= within[2] <= deep[2] <= deep[3]
    assert deep[3] <= within[3] <= second[3] <= whole[3]


def test_nothing_is_recorded_where_nobody_asked() -> None:
    assert trace.recorders == 0 and trace.current() is None
    step("x")
    with span("y"):
        step("z")
    recorder = Recorder("client")
    try:
        step("not for it")  # somebody else's work
        with recording(recorder), recording(None):
            step("nobody's")
            assert trace.current() is None
        assert recorder.spans == []
    finally:
        recorder.close()
    assert trace.recorders == 0


def test_a_recorder_that_is_closed_takes_nothing_more() -> None:
    recorder = Recorder("client")
    with recording(recorder):
        recorder.close()
        recorder.close()
        step("late")
    assert (recorder.spans, trace.recorders) == ([], 0)


def test_bounds() -> None:
    recorder = Recorder("monitor")
    for number in range(MAX_SPANS + 7):
        recorder.add(f"{number}" + "x" * 200, 1, 2)
    recorder.close()
    assert (len(recorder.spans), recorder.lost) == (MAX_SPANS, 7)
    assert {len(name) for name in names(recorder)} == {MAX_NAME_CHARACTERS}


def test_what_another_process_told_is_looked_at() -> None:
    recorder = Recorder("supervisor")
    recorder.add_told([["monitor", "clone", 1, 2], ["init", "user", 3, 4]])
    nonsense: object
    for nonsense in (None, {}, "spans", [1], [["monitor"]], [["monitor", "a", "b", "c"]], [["root", "a", 1, 2]],
                     [["monitor", "a", 1, True]], [["monitor", 1, 1, 2]]):  # fmt: skip
        recorder.add_told(nonsense)
    recorder.add_told([["monitor", "x", 1, 2]] * (MAX_SPANS * 2))
    recorder.close()
    assert recorder.spans[:3] == [("monitor", "clone", 1, 2), ("init", "user", 3, 4), ("monitor", "x", 1, 2)]
    assert len(recorder.spans) == MAX_SPANS


def test_told_is_told_once() -> None:
    recorder = Recorder("monitor")
    assert trace.told(None) == trace.told(recorder) == {}
    recorder.add("clone", 1, 2)
    assert trace.told(recorder) == {"trace": [("monitor", "clone", 1, 2)]}
    assert trace.told(recorder) == {}
    recorder.close()


def test_tasks_inherit_and_requests_do_not_mix() -> None:
    async def work(name: str) -> None:
        await asyncio.sleep(0)
        step(f"{name} began")
        await asyncio.to_thread(step, f"{name} in a thread")

    async def request(name: str) -> list[str]:
        recorder = Recorder("supervisor")
        with span(name, recorder):
            await asyncio.create_task(work(name))
        recorder.close()
        return names(recorder)

    async def both() -> list[list[str]]:
        return [*await asyncio.gather(request("a"), request("b"))]

    assert asyncio.run(both()) == [[f"{x} began", f"{x} in a thread", x] for x in "ab"]
