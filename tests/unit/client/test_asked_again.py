"""A supervisor that ends before it has read a request: whatever was asked, the next one is, and nothing of it is lost."""

import io
import os
import socket
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import pytest

from pycontainer import Client
from pycontainer.api.messages import send_frame
from pycontainer.client import service
from pycontainer.client.connection import NotRead
from pycontainer.errors import NotFound
from pycontainer.paths import HostPaths
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, HangUp, container_info


def archive(name: str = "x", data: bytes = b"content") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def everything(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        return file.read()


class Answers:
    """What the fake does once it reads; `received` is what it was sent."""

    def __init__(self) -> None:
        self.received = b""

    def exec(self, exchange: Exchange) -> object:
        exchange.event({"started": {"pid": 1}})
        self.received = everything(exchange.fds[0])
        os.write(exchange.fds[1], self.received.upper())
        return {"exit_code": 3}

    def cp_from(self, exchange: Exchange) -> object:
        os.write(exchange.fds[0], archive())
        return {}

    def cp_to(self, exchange: Exchange) -> object:
        self.received = everything(exchange.fds[0])
        return {}

    def events(self, exchange: Exchange) -> object:
        exchange.event({})
        exchange.event({"type": "die", "id": "1"})
        return {}

    def logs(self, exchange: Exchange) -> object:
        read_fd, write_fd = os.pipe()
        os.write(write_fd, b"lines")
        os.close(write_fd)
        exchange.event({}, [read_fd])
        os.close(read_fd)
        return {}

    def volume_backup(self, exchange: Exchange) -> object:
        os.write(exchange.fds[0], b"tar")
        return {}

    def volume_restore(self, exchange: Exchange) -> object:
        self.received = everything(exchange.fds[0])
        return {}

    def volume_inspect(self, exchange: Exchange) -> object:
        return {"name": "data"}

    def inspect(self, exchange: Exchange) -> object:
        return container_info()


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def fake(answers: Answers) -> Iterator[FakeSupervisor]:
    names = (name for name in vars(Answers) if not name.startswith("_"))
    with FakeSupervisor({name: getattr(answers, name) for name in names}) as fake:
        yield fake


def asks(verb: str, fake: FakeSupervisor, ask: Callable[[], object]) -> object:
    """Have the next two supervisors end at that very moment; return what was answered to the one request that was read."""
    fake.requests.clear()
    fake.deaf_count = 2
    found = ask()
    assert [each for each, _ in fake.requests].count(verb) == 1
    assert fake.deaf_count == 0
    return found


def test_exec_has_all_of_its_input(fake: FakeSupervisor, answers: Answers) -> None:
    with Client(fake.root) as host:
        container = host.container("web")
        host._pool._close_idle()
        done = asks("exec", fake, lambda: container.exec(["tr"], stdin=b"input"))
        assert (done.exit_code, done.stdout, answers.received) == (3, "INPUT", b"input")  # type: ignore[attr-defined]


def test_what_is_copied_out_is_whole(fake: FakeSupervisor, tmp_path: Path) -> None:
    with Client(fake.root) as host:
        container = host.container("web")
        host._pool._close_idle()
        assert asks("cp_from", fake, lambda: container.get("/x", str(tmp_path))) == []
    assert (tmp_path / "x").read_bytes() == b"content"


def test_what_is_copied_in_is_whole(fake: FakeSupervisor, answers: Answers, tmp_path: Path) -> None:
    """Also one that is larger than a pipe, of which a part was written to nobody."""
    source = tmp_path / "large"
    source.write_bytes(os.urandom(300_000))
    with Client(fake.root) as host:
        container = host.container("web")

        def there_is_none_and_here_we_go(exchange: Exchange) -> object:
            fake.deaf_count = 2
            send_frame(exchange.sock, {"error": NotFound("no '/y'").to_wire()})
            raise HangUp

        fake.verbs["cp_from"] = there_is_none_and_here_we_go
        assert container.put(str(source), "/y") == []
    assert [verb for verb, _ in fake.requests] == ["inspect", "cp_from", "cp_to"]
    with tarfile.open(fileobj=io.BytesIO(answers.received)) as tar:
        content = tar.extractfile(tar.getmembers()[0])
        assert content is not None
        assert content.read() == source.read_bytes()


def test_a_stream_is_sent_once(fake: FakeSupervisor, tmp_path: Path) -> None:
    (tmp_path / "tar").write_bytes(archive())
    with Client(fake.root) as host, open(tmp_path / "tar", "rb") as file:
        container = host.container("web")
        host._pool._close_idle()
        fake.deaf_count = 1
        with pytest.raises(NotRead):
            container.put_tar(file.fileno(), "/y")


def test_what_is_asked_of_the_supervisor_itself(fake: FakeSupervisor) -> None:
    with Client(fake.root) as host:
        fake.verbs |= {name: lambda exchange: {"version": "9"} for name in ("ping", "reload", "shutdown")}
        assert asks("ping", fake, lambda: host.version()["supervisor"]) == "9"
        assert asks("reload", fake, lambda: service.reload(fake.paths)) == "9"


def test_one_that_ends_by_itself_has_not_been_stopped(tmp_path: Path) -> None:
    """Whoever listens goes without having accepted the connection, and no other comes."""
    paths = HostPaths(f"{tmp_path}")
    os.makedirs(paths.run_dir)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(paths.supervisor_socket)
    listener.listen()
    threading.Timer(0.2, listener.close).start()
    assert service.stop(paths) is False


def test_events(fake: FakeSupervisor) -> None:
    with Client(fake.root) as host:
        assert asks("events", fake, lambda: list(host.events())) == [{"type": "die", "id": "1"}]


def test_logs(fake: FakeSupervisor) -> None:
    with Client(fake.root) as host:
        container = host.container("web")
        host._pool._close_idle()
        fds = cast("list[int]", asks("logs", fake, container._open_log))  # as who is not root has it
        assert [everything(fd) for fd in fds] == [b"lines"]
        os.close(fds[0])


def test_a_backup_and_what_is_restored(fake: FakeSupervisor, answers: Answers, tmp_path: Path) -> None:
    with Client(fake.root) as host:
        volume = host.volume("data")
        host._pool._close_idle()
        target = tmp_path / "backup.tar"
        assert asks("volume_backup", fake, lambda: volume.backup(target, compress="none")) == []
        assert target.read_bytes() == b"tar"
        host._pool._close_idle()
        asks("volume_restore", fake, lambda: host.restore_volume("data", target))
        assert answers.received == b"tar"
