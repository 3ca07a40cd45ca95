"""The file of a trace: its format to the letter, and what asks for one."""

import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from pycontainer.api.messages import send_frame
from pycontainer.client.client import Client
from pycontainer.client.connection import Connection, Pool
from pycontainer.client.tracefile import Trace, events, process_began_ns
from pycontainer.errors import InvalidInput, NotFound
from pycontainer.paths import HostPaths
from pycontainer.trace import Span
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor


def span_event(name: str, process: str, ts: float, dur: float, pid: int, tid: int) -> dict[str, Any]:
    return {"name": name, "cat": process, "ph": "X", "ts": ts, "dur": dur, "pid": pid, "tid": tid}


def test_events_to_the_letter() -> None:
    spans: list[Span] = [
        ("supervisor", "start", 2_000_500, 3_000_000),
        ("client", "request start", 2_000_000, 4_000_000),
        ("init", "user", 2_500_000, 2_500_000),
    ]
    assert events(spans) == [
        {"name": "process_name", "ph": "M", "pid": 1, "tid": 0, "args": {"name": "client"}},
        {"name": "process_sort_index", "ph": "M", "pid": 1, "tid": 0, "args": {"sort_index": 1}},
        {"name": "thread_name", "ph": "M", "pid": 1, "tid": 1, "args": {"name": "client"}},
        {"name": "process_name", "ph": "M", "pid": 2, "tid": 0, "args": {"name": "supervisor"}},
        {"name": "process_sort_index", "ph": "M", "pid": 2, "tid": 0, "args": {"sort_index": 2}},
        {"name": "thread_name", "ph": "M", "pid": 2, "tid": 1, "args": {"name": "supervisor"}},
        {"name": "process_name", "ph": "M", "pid": 4, "tid": 0, "args": {"name": "init"}},
        {"name": "process_sort_index", "ph": "M", "pid": 4, "tid": 0, "args": {"sort_index": 4}},
        {"name": "thread_name", "ph": "M", "pid": 4, "tid": 1, "args": {"name": "init"}},
        span_event("request start", "client", 2000.0, 2000.0, 1, 1),
        span_event("start", "supervisor", 2000.5, 999.5, 2, 1),
        span_event("user", "init", 2500.0, 0.0, 4, 1),
    ]


@pytest.mark.parametrize(
    ("times", "rows"),
    [
        ([(0, 10), (1, 5), (5, 9), (10, 11)], [1, 1, 1, 1]),  # within, and one after the other
        ([(0, 10), (5, 15), (6, 9), (12, 14)], [1, 2, 1, 1]),  # two requests at once
        ([(0, 10), (1, 11), (2, 12)], [1, 2, 3]),
        ([(0, 10), (0, 10)], [1, 1]),
    ],
)
def test_rows(times: list[tuple[int, int]], rows: list[int]) -> None:
    found = events([("client", f"{begin}", begin, end) for begin, end in times])
    assert [event["tid"] for event in found if event["ph"] == "X"] == rows


def test_the_file(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"
    path.write_text("what was there")
    trace = Trace(path)
    trace.step("work")
    trace.write("all of it")
    document = json.loads(path.read_text())
    assert set(document) == {"traceEvents", "displayTimeUnit", "otherData"}
    assert document["displayTimeUnit"] == "ms" and document["otherData"] == {"clock": "CLOCK_MONOTONIC", "lost": 0}
    assert [event["name"] for event in document["traceEvents"] if event["ph"] == "X"] == ["all of it", "work"]
    assert os.listdir(tmp_path) == ["trace.json"]


def test_a_link_stays_and_a_pipe_is_written_into(tmp_path: Path) -> None:
    """Else `--trace /dev/null` would leave a file there, and no device."""
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        for name in ("link", "pipe"):
            Trace(tmp_path / name).write(name)
        assert b'"name": "pipe"' in os.read(reader, 65536)
    finally:
        os.close(reader)
    assert (tmp_path / "link").is_symlink() and '"name": "link"' in (tmp_path / "file").read_text()
    assert (tmp_path / "pipe").is_fifo() and sorted(os.listdir(tmp_path)) == ["file", "link", "pipe"]
    with pytest.raises(InvalidInput, match="Is a directory"):
        Trace(tmp_path).write("x")


def test_a_file_that_cannot_be(tmp_path: Path) -> None:
    trace = Trace(tmp_path / "no" / "where")
    with pytest.raises(
        InvalidInput, match=rf"^cannot write the trace to '{tmp_path}/no/where': No such file"
    ) as caught:
        trace.write("x")
    assert caught.value.field == "trace"


def test_who_does_not_ask_sends_no_such_field(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []

    def send(sock: socket.socket, message: object, fds: list[int]) -> None:
        sent.append(message)
        send_frame(sock, message, fds)

    monkeypatch.setattr("pycontainer.client.connection.send_frame", send)
    with FakeSupervisor({"ping": lambda exchange: 1}) as fake:
        connection = Connection(fake.paths)
        connection.request("ping", {})
        connection.close()
        trace = Trace("/nowhere")
        connection = Connection(fake.paths, trace=trace)
        connection.request("ping", {})
        connection.send("events", {})
        connection.close()
        trace.recorder.close()
    assert sent == [
        {"verb": "ping", "args": {}}, {"verb": "ping", "args": {}, "trace": True}, {"verb": "events", "args": {}},
    ]  # fmt: skip
    assert [name for _, name, _, _ in trace.recorder.spans] == ["connect", "request ping"]


def test_a_client_asks_how_runs_ended_and_writes_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "trace.json"

    def fail(exchange: Exchange) -> object:
        raise NotFound("no container 'web'")

    def told(exchange: Exchange) -> object:
        return {"spans": [["supervisor", "end:over", 1, 2]], "lost": 3}

    with FakeSupervisor({"stop": fail, "info": lambda exchange: {}, "trace": told}) as fake:
        host = Client(fake.root, trace=path)
        host.info()
        trace = host._own_trace
        assert trace is not None
        trace.take({"spans": [["monitor", "clone", 1, 2]], "lost": 0, "token": "t"})
        trace.take({"spans": [], "lost": 0, "token": ""})
        host.close()
        host.close()
        assert fake.requests == [("info", {}), ("trace", {"token": "t"})]
    document = json.loads(path.read_text())
    names = [event["name"] for event in document["traceEvents"] if event["ph"] == "X"]
    assert {"clone", "end:over", "request info", "connect", "ask how the run ended", "client"} == set(names)
    assert document["otherData"]["lost"] == 3


def test_when_this_process_began() -> None:
    at_ns = time.monotonic_ns()
    with open("/proc/self/stat", "rb") as file:
        ticks = int(file.read().rpartition(b")")[2].split()[19])
    slept_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - time.monotonic_ns()
    tick_ns = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    assert abs(process_began_ns(0, 0) + slept_ns - ticks * tick_ns) < 100_000  # of what it remembers it is a fork
    for computed_ns in (0, 5_000_000, 10**15):
        assert 0 <= process_began_ns(at_ns, computed_ns) + slept_ns - ticks * tick_ns + 100_000 <= tick_ns + 200_000


def test_no_supervisor_is_started_to_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command may have been the one that ended it."""

    def start(*_: object) -> None:
        raise AssertionError("a supervisor is started")

    monkeypatch.setattr("pycontainer.client.connection._start_supervisor", start)
    trace = Trace(tmp_path / "trace.json")
    trace.take({"token": "a"})
    trace.ask(Pool(HostPaths(str(tmp_path)), trace))
    trace.recorder.close()
