"""The relay of `exec`: bytes both ways, the exit code after all output, nothing that hangs."""

import os
import subprocess
import threading

import pytest

from pycontainer.client.client import Client
from pycontainer.client.connection import Pool
from pycontainer.client.exec import run_exec
from pycontainer.client.feed import Feed
from pycontainer.errors import StartFailed
from tests.unit.client.fake_supervisor import Exchange, FakeSupervisor, container_info

BIG = os.urandom(3_000_000)


def really_run(exchange: Exchange) -> object:
    """Run the command here, as the runtime would inside."""
    assert len(exchange.fds) == 3
    process = subprocess.Popen(
        exchange.args["command"], stdin=exchange.fds[0], stdout=exchange.fds[1], stderr=exchange.fds[2]
    )
    exchange.close_fds()
    exchange.event({"started": {"pid": process.pid}})
    return {"exit_code": process.wait(timeout=20)}


def world() -> FakeSupervisor:
    return FakeSupervisor({"exec": really_run, "inspect": lambda exchange: container_info()})


def test_exit_code_and_both_outputs() -> None:
    with world() as fake, Client(fake.root) as host:
        done = host.container("web").exec(["sh", "-c", "echo out; echo err >&2; exit 3"])
    assert (done.exit_code, done.stdout, done.stderr) == (3, "out\n", "err\n")
    verb, args = fake.requests[-1]
    assert verb == "exec"
    assert args == {
        "container": "0123456789ab", "command": ["sh", "-c", "echo out; echo err >&2; exit 3"], "env": [], "user": "",
        "workdir": "", "tty": False, "privileged": False,
    }  # fmt: skip


def test_one_that_is_left_alone_has_three_times_nothing() -> None:
    def answer(exchange: Exchange) -> object:
        null = os.stat(os.devnull).st_rdev
        assert [os.fstat(fd).st_rdev for fd in exchange.fds] == [null] * 3
        exchange.close_fds()
        return {"pid": 4711}

    with (
        FakeSupervisor({"exec": answer, "inspect": lambda exchange: container_info()}) as fake,
        Client(fake.root) as host,
    ):
        assert host.container("web").exec_detached(["daemon"], user="www-data") == 4711
    verb, args = fake.requests[-1]
    assert (verb, args["detach"], args["user"], args["tty"]) == ("exec", True, "www-data", False)


def test_large_input_comes_back_whole() -> None:
    with world() as fake, Client(fake.root) as host:
        done = host.container("web").exec(["cat"], stdin=BIG)
    assert done.exit_code == 0
    assert done.stdout_bytes == BIG


def test_empty_input_is_an_end_of_file() -> None:
    with world() as fake, Client(fake.root) as host:
        assert host.container("web").exec(["cat"], stdin=b"").stdout_bytes == b""
        assert host.container("web").exec(["cat"]).stdout_bytes == b""


def test_input_that_is_not_read_does_no_harm() -> None:
    with world() as fake, Client(fake.root) as host:
        assert host.container("web").exec(["sh", "-c", "exec <&-; echo done"], stdin=BIG).stdout == "done\n"


def test_grandchild_that_holds_the_output_does_not_hang() -> None:
    holders: list[int] = []

    def leaves_a_holder(exchange: Exchange) -> object:
        os.write(exchange.fds[1], b"x" * 60_000)
        holders.append(os.dup(exchange.fds[1]))  # the grandchild
        exchange.event({"started": {"pid": 1}})
        return {"exit_code": 0}

    with FakeSupervisor({"exec": leaves_a_holder, "inspect": lambda exchange: container_info()}) as fake:
        with Client(fake.root) as host:
            assert host.container("web").exec(["daemon"]).stdout_bytes == b"x" * 60_000
    os.close(holders[0])


def test_error_instead_of_a_start() -> None:
    def fails(exchange: Exchange) -> object:
        raise StartFailed("cannot run 'nginxx': no such file", step="execve", errno=2)

    with (
        FakeSupervisor({"exec": fails, "inspect": lambda exchange: container_info()}) as fake,
        Client(fake.root) as host,
    ):
        container = host.container("web")
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with pytest.raises(StartFailed) as caught:
                container.exec(["nginxx"], stdin=b"x")
            assert caught.value.exit_code == 127
        assert len(os.listdir("/proc/self/fd")) == before


def test_reader_that_leaves_ends_the_workload() -> None:
    def broken(data: bytes) -> None:
        raise BrokenPipeError

    with world() as fake:
        pool = Pool(fake.paths)
        args = {"container": "web", "command": ["sh", "-c", "yes; exit 7"], "tty": False}
        assert run_exec(pool, args, None, broken, broken) in (7, -13)
        pool.close()


def test_terminal_output_after_exit_is_complete() -> None:
    def with_pty(exchange: Exchange) -> object:
        assert exchange.fds == []
        master_fd, slave_fd = os.openpty()
        exchange.event({"started": {"pid": 1}}, [master_fd])
        os.close(master_fd)
        typed = os.read(slave_fd, 100)
        os.write(slave_fd, b"got " + typed + b"z" * 3000)
        exchange.fds.append(slave_fd)
        return {"exit_code": 5}

    out: list[bytes] = []
    with FakeSupervisor({"exec": with_pty}) as fake:
        pool = Pool(fake.paths)
        code = run_exec(
            pool,
            {"container": "web", "command": ["sh"], "tty": True},
            Feed(data=b"hello\r"),
            out.append,
            out.append,
        )
        pool.close()
    assert code == 5
    assert b"".join(out).replace(b"\r\n", b"\n") == b"hello\ngot hello\n" + b"z" * 3000


def test_two_threads_share_a_client() -> None:
    results: list[str] = []
    with world() as fake, Client(fake.root) as host:
        container = host.container("web")
        threads = [
            threading.Thread(target=lambda n=n: results.append(container.exec(["echo", str(n)]).stdout))
            for n in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == [f"{n}\n" for n in range(8)]
