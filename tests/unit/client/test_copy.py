"""cp: honest copies both ways, and hostile tar streams that must not reach outside of the target."""

import io
import os
import signal
import socket
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from pycontainer.client.client import Client
from pycontainer.errors import InvalidInput, NotFound, PycontainerError
from tests.support.poll import poll_until
from tests.support.world import PROGRAM
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, container_info


def entry(
    name: str, kind: bytes = tarfile.REGTYPE, data: bytes = b"", link: str = "", mode: int = 0o644
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname, info.mode = kind, len(data), link, mode
    return info, data


def stream(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def giving(data: bytes) -> FakeSupervisor:
    """A world whose container answers every cp_from with `data`."""

    def cp_from(exchange: Exchange) -> object:
        try:
            with os.fdopen(exchange.fds.pop(), "wb") as out:
                out.write(data)
        except BrokenPipeError:
            pass
        return {}

    return FakeSupervisor({"cp_from": cp_from, "inspect": lambda exchange: container_info()})


def get(data: bytes, path: str, target: Path | str) -> list[str]:
    with giving(data) as fake, Client(fake.root) as host:
        return host.container("web").get(path, str(target))


TREE = stream(
    entry("site", tarfile.DIRTYPE, mode=0o750),
    entry("site/index.html", data=b"<p>", mode=0o4755),
    entry("site/link", tarfile.SYMTYPE, link="/etc/passwd"),
    entry("site/same", tarfile.LNKTYPE, link="site/index.html"),
    entry("site/null", tarfile.CHRTYPE),
)


def test_get_into_a_directory(tmp_path: Path) -> None:
    assert get(TREE, "/var/site", tmp_path) == ["'site/null' is a device, fifo or socket"]
    site = tmp_path / "site"
    assert sorted(os.listdir(site)) == ["index.html", "link", "same"]
    assert (site / "index.html").read_bytes() == b"<p>"
    assert (site / "index.html").stat().st_mode & 0o7777 == 0o755  # set-user-id stays behind
    assert site.stat().st_mode & 0o777 == 0o750
    assert os.readlink(site / "link") == "/etc/passwd"
    assert (site / "same").stat().st_ino == (site / "index.html").stat().st_ino


def test_get_under_a_new_name(tmp_path: Path) -> None:
    get(TREE, "/var/site", tmp_path / "copy")
    assert sorted(os.listdir(tmp_path)) == ["copy"]
    assert (tmp_path / "copy" / "same").read_bytes() == b"<p>"


def test_get_over_an_existing_file(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("old")
    get(stream(entry("index.html", data=b"new")), "/index.html", tmp_path / "index.html")
    assert (tmp_path / "index.html").read_text() == "new"


def test_get_to_nowhere(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is no directory"):
        get(TREE, "/var/site", tmp_path / "a" / "b")


def test_get_through_a_link_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to("old")
    get(stream(entry("index.html", data=b"new")), "/index.html", tmp_path / "link")
    assert (tmp_path / "old").read_text() == "new"
    assert os.readlink(tmp_path / "link") == "old"


@pytest.mark.parametrize(
    ("target", "error", "words"),
    [
        ("fifo", InvalidInput, "to '{}', which is a device, fifo or socket"),
        ("file", InvalidInput, "directory '/var/site' onto '{}', which is a file"),
        ("file/", InvalidInput, "directory '/var/site' onto '{}', which is a file"),
    ],
)
def test_get_to_what_is_no_directory(target: str, error: type[Exception], words: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("old")
    with pytest.raises(error, match=words.format(f"{tmp_path}/{target}")):
        get(TREE, "/var/site", f"{tmp_path}/{target}")
    assert sorted(os.listdir(tmp_path)) == ["fifo", "file"]
    assert (tmp_path / "file").read_text() == "old"


def test_get_a_file_to_a_directory_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such directory"):
        get(stream(entry("f", data=b"1")), "/f", f"{tmp_path}/new/")
    assert os.listdir(tmp_path) == []


def test_a_file_that_does_not_come_whole_replaces_nothing(tmp_path: Path) -> None:
    cut = stream(entry("first", data=b"1"), entry("f", data=os.urandom(1 << 20)))[: 1 << 19]
    (tmp_path / "f").write_text("old")
    with pytest.raises(PycontainerError, match="cannot copy '/.' from container"):
        get(cut, "/.", tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["f", "first"]
    assert (tmp_path / "f").read_text() == "old"


@pytest.mark.parametrize("is_there", [True, False])
def test_an_interrupt_leaves_what_was_there(is_there: bool, tmp_path: Path) -> None:
    data = stream(entry("f", data=os.urandom(1 << 20)))
    is_over = threading.Event()

    def cp_from(exchange: Exchange) -> object:
        with os.fdopen(exchange.fds.pop(), "wb") as out:
            out.write(data[: 1 << 19])
            out.flush()
            is_over.wait(10)
        return {}

    if is_there:
        (tmp_path / "f").write_text("old")
    verbs = {"cp_from": cp_from, "inspect": lambda exchange: container_info()}
    with FakeSupervisor(verbs) as fake:
        command = [PROGRAM, "--root", fake.root, "cp", "web:/f", str(tmp_path / "f")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        poll_until(
            lambda: sum(path.stat().st_size for path in tmp_path.iterdir()) > 1 << 18, what="half of it is there"
        )
        assert not is_there or (tmp_path / "f").read_text() == "old"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
        is_over.set()
        assert (process.returncode, b"Traceback" in errors) == (130, False)
    assert os.listdir(tmp_path) == ["f"] * is_there
    assert not is_there or (tmp_path / "f").read_text() == "old"


def test_a_directory_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        get(stream(entry("f", data=b"1")), "/.", tmp_path)
    assert caught.value.filename == "f"
    assert os.listdir(tmp_path) == ["f"]


def test_device_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "null")
    with pytest.raises(InvalidInput, match="in the place of 'null'"):
        get(stream(entry("null", data=b"1")), "/", tmp_path)
    assert (tmp_path / "null").is_fifo()


def test_zeros_become_a_hole_and_the_rest_stays(tmp_path: Path) -> None:
    data = bytes(1 << 20) + b"end" + bytes(1 << 20)
    get(stream(entry("f", data=data)), "/f", tmp_path)
    assert (tmp_path / "f").read_bytes() == data
    assert (tmp_path / "f").stat().st_blocks * 512 < len(data) // 4


OUTSIDE = "the target must not be left"


@pytest.mark.parametrize(
    "entries",
    [
        [entry("d", tarfile.SYMTYPE, link="{outside}"), entry("d/f", data=b"x")],
        [entry("s", tarfile.DIRTYPE), entry("s/d", tarfile.SYMTYPE, link="../.."), entry("s/d/outside/f", data=b"x")],
        [entry("d/../../outside/f", data=b"x")],
        [entry("../outside/f", data=b"x")],
        [entry("f", tarfile.LNKTYPE, link="../outside/secret")],
        [entry("l", tarfile.SYMTYPE, link="{outside}"), entry("f", tarfile.LNKTYPE, link="l/secret")],
        [entry("d", tarfile.SYMTYPE, link="{outside}"), entry("d", tarfile.DIRTYPE)],
    ],
)
def test_hostile_stream_stays_inside(entries: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.mkdir()
    target.mkdir()
    (outside / "secret").write_text("secret")
    for info, _ in entries:
        info.linkname = info.linkname.replace("{outside}", str(outside))
    with pytest.raises(InvalidInput):
        get(stream(*entries), "/", target)
    assert os.listdir(outside) == ["secret"]
    assert (outside / "secret").stat().st_nlink == 1


def test_file_replaces_a_link_instead_of_following_it(tmp_path: Path) -> None:
    outside, target = tmp_path / "outside", tmp_path / "target"
    outside.write_text("safe")
    target.mkdir()
    get(stream(entry("f", tarfile.SYMTYPE, link=str(outside)), entry("f", data=b"evil")), "/", target)
    assert outside.read_text() == "safe"
    assert (target / "f").read_text() == "evil"
    assert not (target / "f").is_symlink()


def test_absolute_names_are_inside(tmp_path: Path) -> None:
    get(stream(entry("/etc/x", data=b"x")), "/", tmp_path)
    assert (tmp_path / "etc" / "x").read_bytes() == b"x"


def test_missing_path_is_told_by_its_name(tmp_path: Path) -> None:
    def cp_from(exchange: Exchange) -> object:
        raise NotFound("no '/x' in container 'web'")

    with FakeSupervisor({"cp_from": cp_from, "inspect": lambda x: container_info()}) as fake, Client(fake.root) as host:
        with pytest.raises(NotFound, match="no '/x'"):
            host.container("web").get("/x", str(tmp_path))
    assert os.listdir(tmp_path) == []


class Receiver:
    """A world whose container has the directories `there`, and which keeps what it was sent."""

    def __init__(self, *there: str) -> None:
        self.there = there
        self.names: list[tuple[str, int]] = []
        self.directory = ""

    def cp_from(self, exchange: Exchange) -> object:
        if exchange.args["path"] not in self.there:
            raise NotFound("not there")
        with os.fdopen(exchange.fds.pop(), "wb") as out:
            out.write(stream(entry("x", tarfile.DIRTYPE)))
        return {}

    def cp_to(self, exchange: Exchange) -> object:
        self.directory = exchange.args["path"]
        with os.fdopen(exchange.fds.pop(), "rb") as source, tarfile.open(fileobj=source, mode="r|") as tar:
            self.names = [(member.name, member.uid) for member in tar]
        return {}

    def world(self) -> FakeSupervisor:
        return FakeSupervisor({"cp_from": self.cp_from, "cp_to": self.cp_to, "inspect": lambda x: container_info()})


@pytest.mark.parametrize(
    ("path", "directory", "names"),
    [
        ("/var/www", "/var/www", ["site", "site/a"]),
        ("/var/new", "/var", ["new", "new/a"]),
        ("/new/", "/", ["new", "new/a"]),
    ],
)
def test_put_a_directory(path: str, directory: str, names: list[str], tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "a").write_text("a")
    os.chown(tmp_path / "site" / "a", os.getuid(), os.getgid())
    receiver = Receiver("/var/www")
    with receiver.world() as fake, Client(fake.root) as host:
        host.container("web").put(f"{tmp_path}/site", path)
    assert (receiver.directory, sorted(receiver.names)) == (directory, [(name, 0) for name in names])


def test_put_the_contents_only(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    receiver = Receiver("/var/www")
    with receiver.world() as fake, Client(fake.root) as host:
        host.container("web").put(f"{tmp_path}/.", "/var/www")
    assert sorted(receiver.names) == [(".", 0), ("./a", 0)]


def test_put_tells_of_sockets(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    with socket.socket(socket.AF_UNIX) as server, Receiver("/var/www").world() as fake, Client(fake.root) as host:
        server.bind(f"{tmp_path}/site/socket")
        assert host.container("web").put(f"{tmp_path}/site", "/var/www") == [
            "'site/socket' is a device, fifo or socket"
        ]


def test_put_what_is_not_there(tmp_path: Path) -> None:
    with Receiver().world() as fake, Client(fake.root) as host:
        with pytest.raises(NotFound, match="on the host"):
            host.container("web").put(f"{tmp_path}/no", "/x")


def test_refusal_in_the_middle_is_the_error_that_is_told(tmp_path: Path) -> None:
    def cp_to(exchange: Exchange) -> object:
        exchange.close_fds()
        raise NotFound("no directory '/x'")

    (tmp_path / "big").write_bytes(os.urandom(1_000_000))
    verbs = {"cp_to": cp_to, "cp_from": Receiver("/x").cp_from, "inspect": lambda exchange: container_info()}
    with FakeSupervisor(verbs) as fake, Client(fake.root) as host:
        with pytest.raises(NotFound, match="no directory '/x'"):
            host.container("web").put(f"{tmp_path}/big", "/x")
