"""The supervisor's log: text for people, an object a line for programs."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from pycontainer.paths import HostPaths
from pycontainer.runtime.container import Container
from pycontainer.supervisor import log, main
from pycontainer.supervisor.events import Events
from pycontainer.supervisor.log import JSON, TEXT, Log, Stray

WEB = cast(Container, SimpleNamespace(id="0123456789ab", spec=SimpleNamespace(name="web", tenant="acme")))


class Sink:
    """A file that a Log writes to."""

    def __init__(self, path: Path, form: str, max_bytes: int = log.MAX_BYTES) -> None:
        self.path = path
        self.fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.log = Log(form, fd=self.fd, path=str(path), max_bytes=max_bytes)

    def text(self) -> str:
        return self.path.read_text()

    def objects(self) -> list[dict[str, Any]]:
        """Return the lines without what each has of the time and the process."""
        found = [json.loads(line) for line in self.text().splitlines()]
        for each in found:
            assert each.pop("supervisor_pid") == os.getpid()
            assert len(each.pop("time")) == len("2026-11-26T12:00:00.000123Z")
        return found


@pytest.fixture
def text(tmp_path: Path) -> Iterator[Sink]:
    sink = Sink(tmp_path / "log", TEXT)
    yield sink
    os.close(sink.fd)


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Sink]:
    sink = Sink(tmp_path / "log", JSON)
    yield sink
    os.close(sink.fd)


def test_text_is_for_people(text: Sink) -> None:
    text.log.say("the disk is full", hint="make room", container=WEB, detail=5)
    text.log.say("that is all")
    assert text.text() == "the disk is full\nhint: make room\nthat is all\n"


def test_an_object_has_it_in_keys(objects: Sink) -> None:
    objects.log.say("the disk is full", hint="make room", level="error", container=WEB, detail=5)
    assert objects.objects() == [
        {"level": "error", "message": "the disk is full", "hint": "make room", "detail": 5,
         "container_id": "0123456789ab", "container": "web", "tenant": "acme"}
    ]  # fmt: skip


def test_a_message_is_one_line_whatever_is_in_it(objects: Sink) -> None:
    """Log injection: control bytes, line ends of Unicode and half characters are escaped."""
    for message in ('a\n{"level": "info"}', "\x1b[31m", "\u2028", "\udcff", '"'):
        objects.log.say(message, detail=message)
    assert [each["message"] for each in objects.objects()][:3] == ['a\n{"level": "info"}', "\x1b[31m", "\u2028"]
    assert objects.text().isascii() and objects.text().count("\n") == 5 and "\x1b" not in objects.text()


def test_a_detail_does_not_take_the_place_of_the_message(objects: Sink) -> None:
    objects.log.event({"type": "x", "message": "evil", "level": "evil", "detail": {1, 2}.__class__})
    (found,) = objects.objects()
    assert (found["message"], found["level"]) == ("x", "info")


def test_events_are_lines_in_json_alone(objects: Sink, text: Sink) -> None:
    events = Events()
    events.tell(objects.log.event)
    events.emit("die", WEB, cause="oom", actor="kernel", exit_code=137)
    events.emit("oom", WEB, victim={"pid": 7})
    found = objects.objects()
    assert found[0] == {
        "level": "info", "message": "die 'web': oom", "event": "die", "seq": 1, "actor": "kernel", "cause": "oom",
        "exit_code": 137, "container_id": "0123456789ab", "container": "web", "tenant": "acme",
    }  # fmt: skip
    assert (found[1]["level"], found[1]["victim"]) == ("warning", {"pid": 7})
    silent = Events()
    before = text.text()
    text.log.form = TEXT
    silent.tell(text.log.event)
    silent.emit("die", WEB)
    assert text.text() == before


def test_a_failure_has_its_traceback(objects: Sink) -> None:
    try:
        raise KeyError("gone")
    except KeyError:
        objects.log.failure("a fault in 'stop'", verb="stop")
    (found,) = objects.objects()
    assert (found["level"], found["message"], found["verb"]) == ("error", "a fault in 'stop'", "stop")
    assert found["traceback"].startswith("Traceback") and "KeyError: 'gone'" in found["traceback"]


def test_what_others_write_becomes_objects(objects: Sink) -> None:
    """A library's words line by line, a traceback in one piece, nothing lost at the end."""
    stray = cast(Any, Stray(objects.log))
    print("one", "two", file=stray)
    stray.write("Traceback (most recent call last):\n")
    stray.write('  File "a.py", line 1, in b\n    c()\nValue')
    stray.write("Error: d\nafter it\n\nrest")
    stray.close()
    assert [(each["level"], each["message"]) for each in objects.objects()] == [
        ("warning", "one two"),
        ("error", 'Traceback (most recent call last):\n  File "a.py", line 1, in b\n    c()\nValueError: d'),
        ("warning", "after it"),
        ("warning", "rest"),
    ]


def test_the_file_is_kept_small(tmp_path: Path) -> None:
    """RES-05: /run is memory. Two files at most, each about as long as may be, none of it cut in the middle of a line."""
    sink = Sink(tmp_path / "log", JSON, max_bytes=10_000)
    for number in range(500):
        sink.log.say("x" * 100, number=number)
    assert sorted(os.listdir(tmp_path)) == ["log", "log.1"]
    assert all((tmp_path / name).stat().st_size < 30_000 for name in ("log", "log.1"))
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    kept = [
        json.loads(line)["number"] for name in ("log.1", "log") for line in (tmp_path / name).read_text().splitlines()
    ]
    assert kept == list(range(kept[0], 500)) and len(kept) > 10
    os.close(sink.fd)


def test_a_file_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    """systemd's journal, or a file that the administrator had stderr go to."""
    other = Sink(tmp_path / "other", JSON, max_bytes=1000)
    (tmp_path / "log").write_text("")
    other.log._path = str(tmp_path / "log")
    for _ in range(100):
        other.log.say("x" * 100)
    assert sorted(os.listdir(tmp_path)) == ["log", "other"] and not (tmp_path / "log").read_text()
    os.close(other.fd)


def test_a_file_that_cannot_be_turned_over_goes_on(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "log", TEXT, max_bytes=1000)
    (tmp_path / "log.new").mkdir()
    for number in range(100):
        sink.log.say(f"{number} {'x' * 100}")
    assert len(sink.text().splitlines()) == 100
    os.close(sink.fd)


def test_a_log_that_cannot_be_written_ends_nothing(tmp_path: Path) -> None:
    full_fd = os.open("/dev/full", os.O_WRONLY)
    Log(TEXT, fd=full_fd).say("lost")
    Log(JSON, fd=full_fd).say("lost")
    os.close(full_fd)
    Log(JSON, fd=full_fd, path="/nowhere").say("lost")


def test_threads_do_not_mix_their_lines(objects: Sink) -> None:
    def say() -> None:
        for _ in range(20):
            objects.log.say("x" * 5000)

    threads = [threading.Thread(target=say) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(objects.objects()) == 80


def test_which_format(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert main._arguments(["--log-format", "json", "--root", "/x"]) == ("/x", "json", -1, -1)
    begun: list[str] = []
    said: list[str] = []
    monkeypatch.setattr(log, "begin", lambda form, path: begun.append(form))
    monkeypatch.setattr(log, "say", lambda message, **fields: said.append(message))
    for form in ("", "text", "json", "yaml\n"):
        main._begin_log(form, HostPaths(str(tmp_path)))
    assert begun == ["text", "text", "json", "text"]
    assert said == ["there is no log format 'yaml\\n'; it is text now"]
    assert sys.stderr.writable()
