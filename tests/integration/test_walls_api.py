"""The control socket under hostile clients: who gets in, what a broken frame costs, what races end in."""

import json
import os
import socket
import stat
import struct
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from pycontainer import Client
from pycontainer.api.messages import MAX_FRAME_BYTES
from pycontainer.errors import PycontainerError
from tests.integration.conftest import IMAGE
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World, unique_name

NOBODY = 65534


def connect(world: World) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(world.paths.supervisor_socket)  # waits while the backlog is full
    sock.settimeout(60 * SLOWNESS)
    return sock


def framed(body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + body


def reply(sock: socket.socket) -> dict[str, object] | None:
    """Return the next frame, None at the end of the connection."""
    header = b""
    while len(header) < 4:
        part = sock.recv(4 - len(header))
        if not part:
            return None
        header += part
    (length,) = struct.unpack(">I", header)
    body = b""
    while len(body) < length:
        body += sock.recv(length - len(body))
    frame = json.loads(body)
    assert isinstance(frame, dict)
    return frame


def error_of(frame: dict[str, object] | None) -> dict[str, object]:
    assert frame is not None, "the connection ended without a word"
    error = frame["error"]
    assert isinstance(error, dict), frame
    text = json.dumps(error)
    for trace in ("Traceback", '.py"', "Error:", "File "):
        assert trace not in text, text
    return error


def ping(world: World) -> None:
    with connect(world) as sock:
        sock.sendall(framed(b'{"verb":"ping"}'))
        frame = reply(sock)
        assert frame is not None
        assert "result" in frame


def test_nothing_is_open_to_others_also_with_umask_000(own_world: World) -> None:
    """API-01"""
    world = own_world
    world.ok("service", "stop")
    poll_until(lambda: not world.processes(), what="the services are gone")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-umask-") as directory:
        os.chmod(directory, 0o755)
        root = f"{directory}/made/on/the/way"
        argv = world.network.inside.argv(world.argv()[3], "--root", root)
        script = 'umask 000; "$@" ps && "$@" network create extra && "$@" create --rootfs /nowhere x; "$@" service stop'
        done = subprocess.run(
            ["sh", "-c", script, "sh", *argv], capture_output=True, text=True, env=world.environment, check=False
        )
        assert "supervisor stopped" in done.stdout, done
        poll_until(lambda: not _running(root), what="the other world's services are gone")
        assert _mode(directory) == 0o755
        for above in ("made", "made/on", "made/on/the", "made/on/the/way"):
            assert _mode(f"{directory}/{above}") == 0o755, above
        assert _mode(f"{root}/run") == 0o750
        assert _mode(f"{root}/lib") == 0o700
        for parent, directories, files in os.walk(f"{root}/run"):
            for name in (*directories, *files):
                assert not _mode(f"{parent}/{name}") & 0o077, f"{parent}/{name}"


def test_modes_of_a_running_world(world: World) -> None:
    """API-01"""
    name = unique_name()
    world.ok("run", "-d", "--name", name, "-v", "data:/data", IMAGE, "payload", "sleep", "0")
    assert _mode(world.paths.run_dir) == 0o750
    for path in (world.paths.supervisor_socket, world.paths.monitor_socket):
        assert stat.S_ISSOCK(os.stat(path).st_mode)
        assert _mode(path) == 0o600, path
    for directory in (
        world.paths.state_dir,
        world.paths.containers_dir,
        world.paths.images_dir,
        world.paths.volumes_dir,
    ):
        assert _mode(directory) == 0o700, directory
    assert {os.stat(path).st_uid for path in (world.paths.run_dir, world.paths.state_dir)} == {0}


def test_nobody_is_turned_away(world: World) -> None:
    """API-01: by the modes, and by what the kernel says about the peer where the modes would let it in."""
    for opened in (False, True):
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                here = os.open(world.paths.run_dir, os.O_PATH)
                if opened:  # as if an administrator had opened the directory and the socket to all
                    os.fchdir(here)
                os.setgroups([])
                os.setresgid(NOBODY, NOBODY, NOBODY)
                os.setresuid(NOBODY, NOBODY, NOBODY)
                try:
                    sock.connect("supervisor.sock" if opened else world.paths.supervisor_socket)
                except PermissionError:
                    os._exit(1)
                said = reply(sock)  # to nothing: it is not even asked
                code = 2 if said and "may not control containers" in str(said.get("error")) else 3
            finally:
                os._exit(code)
        if not opened:
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
            os.chmod(world.paths.supervisor_socket, 0o666)
            os.chmod(world.paths.run_dir, 0o755)
            os.chmod(world.root, 0o755)
        else:
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            os.chmod(world.paths.supervisor_socket, 0o600)
            os.chmod(world.paths.run_dir, 0o750)
            os.chmod(world.root, 0o700)
            assert code == 2


BAD_REQUESTS = {
    "no JSON": b"hello",
    "nothing": b"",
    "a list": b"[]",
    "a number": b"1",
    "null": b"null",
    "no verb": b"{}",
    "verb of a wrong type": b'{"verb":1}',
    "args of a wrong type": b'{"verb":"list","args":[]}',
    "unknown verb": b'{"verb":"format"}',
    "a name of ours": b'{"verb":"start_now"}',
    "a dunder": b'{"verb":"__init__"}',
    "key twice": b'{"verb":"ping","verb":"shutdown"}',
    "inner key twice": b'{"verb":"create","args":{"spec":{"image":"busybox","image":"x"}}}',
    "NaN": b'{"verb":"stop","args":{"container":"x","timeout_seconds":NaN}}',
    "Infinity": b'{"verb":"stop","args":{"container":"x","timeout_seconds":-Infinity}}',
    "beyond a float": b'{"verb":"stop","args":{"container":"x","timeout_seconds":1e999}}',
    "giant number": b'{"verb":"stop","args":{"container":"x","timeout_seconds":' + b"9" * 5000 + b"}}",
    "large number": b'{"verb":"stop","args":{"container":"x","timeout_seconds":' + b"9" * 400 + b"}}",
    "nested 10000": b'{"verb":"create","args":{"spec":{"labels":' + b"[" * 10000 + b"]" * 10000 + b"}}}",
    "nested 500": b'{"verb":"create","args":{"spec":{"labels":' + b"[" * 500 + b"]" * 500 + b"}}}",
    "lone surrogate": b'{"verb":"inspect","args":{"container":"\\ud800"}}',
    "surrogate in a command": b'{"verb":"create","args":{"spec":{"image":"busybox","command":["\\udfff"]}}}',
    "NUL": b'{"verb":"cp_from","args":{"container":"x","path":"/etc/passwd\\u0000.txt"}}',
    "NUL in a key": b'{"verb":"create","args":{"spec":{"image":"busybox","env":{"A\\u0000B":"1"}}}}',
    "not UTF-8": b'{"verb":"inspect","args":{"container":"\xff\xfe"}}',
    "UTF-16": '{"verb":"ping"}'.encode("utf-16"),
    "container of a wrong type": b'{"verb":"inspect","args":{"container":{"a":1}}}',
    "spec of a wrong type": b'{"verb":"create","args":{"spec":"busybox"}}',
    "unknown field": b'{"verb":"create","args":{"spec":{"image":"busybox","memroy":1}}}',
    "true as a number": b'{"verb":"stop","args":{"container":"x","timeout_seconds":true}}',
    "exec without descriptors": b'{"verb":"exec","args":{"container":"x","command":["true"]}}',
    "numbers as a command": b'{"verb":"exec","args":{"container":"x","command":[1,2]}}',
}


@pytest.mark.parametrize("body", BAD_REQUESTS.values(), ids=BAD_REQUESTS.keys())
def test_bad_request_gets_one_error_and_the_next_is_served(world: World, body: bytes) -> None:
    """API-04"""
    with connect(world) as sock:
        sock.sendall(framed(body))
        error = error_of(reply(sock))
        assert "internal" not in str(error["message"]), error
        sock.sendall(framed(b'{"verb":"ping"}'))
        frame = reply(sock)
        assert frame is not None
        assert "result" in frame, frame
    assert world.ok("ps", "-aq") == ""


@pytest.mark.parametrize(
    "verb", sorted({"create", "exec", "set", "tenant_create", "network_create", "image_import", "cp_to"})
)
@pytest.mark.parametrize("value", ["null", "0", '""', "[]", "{}", "[[]]", '{"a":[]}', '"x"', "-1", "1e300"])
def test_any_type_anywhere_is_the_clients_fault(world: World, verb: str, value: str) -> None:
    """API-04: never an internal error, whatever stands where."""
    keys = ("spec", "container", "command", "env", "name", "image", "path", "subnet", "source", "config", "user", "tty")
    with connect(world) as sock:
        for key in keys:
            args = {"container": "x", "spec": {"image": IMAGE}, "name": "n", "image": IMAGE, key: json.loads(value)}
            sock.sendall(framed(json.dumps({"verb": verb, "args": args}).encode()))
            frame = reply(sock)
            assert frame is not None
            if "error" in frame:
                assert "internal" not in str(error_of(frame)["message"]), (key, frame)
    for name in ("n", "x"):
        world.cli("network", "rm", name)


def test_frames_in_pieces_and_many_at_once(world: World) -> None:
    """API-04"""
    one = framed(b'{"verb":"ping"}')
    with connect(world) as sock:
        for byte in one:
            sock.sendall(bytes([byte]))
        assert "result" in (reply(sock) or {})
        sock.sendall(one * 200)
        for _ in range(200):
            assert "result" in (reply(sock) or {})
        sock.sendall(one)
        sock.shutdown(socket.SHUT_WR)  # half closed: what was asked is still answered
        assert "result" in (reply(sock) or {})
        assert reply(sock) is None


def test_too_large_a_frame_is_refused_before_it_is_read(world: World) -> None:
    """API-04"""
    with connect(world) as sock:
        sock.sendall(struct.pack(">I", MAX_FRAME_BYTES + 1))
        assert str(MAX_FRAME_BYTES) in str(error_of(reply(sock))["message"])
        assert reply(sock) is None
    ping(world)


def test_half_a_frame_is_waited_for_a_while_only(world: World) -> None:
    """API-04: who never ends a request is turned away, and others do not wait."""
    slow = [connect(world) for _ in range(20)]
    for number, sock in enumerate(slow):
        sock.sendall(framed(b'{"verb":"ping"}')[: 2 + number % 10])
    ping(world)
    for sock in slow:
        assert "did not come whole" in str(error_of(reply(sock))["message"])
        assert reply(sock) is None
        sock.close()


def test_client_that_reads_no_reply_is_given_up(world: World) -> None:
    """API-04: its connection ends; the supervisor holds one reply for it, not all."""
    with connect(world) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request = framed(b'{"verb":"info"}')
        sock.settimeout(0.2)
        sent = 0
        try:
            while sent < 100_000:
                sock.sendall(request)
                sent += 1
        except TimeoutError:
            pass
        assert sent < 100_000, "the supervisor takes requests without end"
        ping(world)
        poller_ends = time.monotonic() + 60 * SLOWNESS
        ended = False
        while not ended and time.monotonic() < poller_ends:
            time.sleep(1)
            try:
                sock.send(b"\0")
            except TimeoutError:
                continue
            except OSError:
                ended = True
        assert ended, "still there"
    ping(world)


def test_a_request_behind_a_wait_costs_no_cpu(world: World) -> None:
    """API-04: bytes that lie there unread must not keep the loop awake."""
    name = unique_name()
    world.ok("run", "-d", "--name", name, IMAGE, "payload", "sleep", "0")
    with connect(world) as sock:
        sock.sendall(framed(json.dumps({"verb": "wait", "args": {"container": name}}).encode()))
        sock.sendall(framed(b'{"verb":"ping"}'))
        before = _cpu_ticks(world.supervisor_pid())
        time.sleep(2)
        assert _cpu_ticks(world.supervisor_pid()) - before < os.sysconf("SC_CLK_TCK")  # of two seconds
        world.ok("stop", "-t", "0", name)
        assert "exit_code" in str(reply(sock))
        assert "result" in (reply(sock) or {})


def test_too_many_connections_are_told_so(world: World) -> None:
    """API-04"""
    held: list[socket.socket] = []
    try:
        for _ in range(600):
            held.append(connect(world))
        refused = [frame for frame in (_waiting_reply(sock) for sock in held) if frame]
        assert refused, "600 connections of one user"
        assert all("too many connections" in str(error_of(frame)["message"]) for frame in refused)
    finally:
        for sock in held:
            sock.close()
    poll_until(lambda: world.cli("ps").exit_code == 0, what="there is room again")


ROUNDS = 200
Act = Callable[[Client, str], object]
ACTS: dict[str, tuple[Act, str]] = {  # what is asked, and how it may end: done, or the name of the error
    "start": (lambda c, n: c.container(n).start(), "done InvalidState NotFound"),
    "stop": (lambda c, n: c.container(n).stop(timeout_seconds=0), "done NotFound"),
    "rename": (lambda c, n: c.container(n).rename(f"{n}-new"), "done"),
    "update": (lambda c, n: c.container(n).set(pids=100), "done NotFound"),
    "exec": (lambda c, n: c.container(n).exec(["true"]).exit_code, "0 137 InvalidState NotFound StartFailed"),
    "delete": (lambda c, n: c.container(n).remove(force=True), "done"),
}


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("start", "start"),
        ("start", "delete"),
        ("stop", "delete"),
        ("exec", "delete"),
        ("rename", "start"),
        ("update", "delete"),
    ],
)
def test_operations_that_race(world: World, one: str, two: str) -> None:
    """API-05: 200 rounds, now the one and now the other a little later, through all that the first one does.

    Each has one of its outcomes, and the container is then what the outcomes say. The fixture compares the host.
    """
    seen: Counter[tuple[str, str]] = Counter()
    with world.client() as client, Client(root=world.root) as second, ThreadPoolExecutor(2) as threads:
        for number in range(ROUNDS):
            name = unique_name()
            container = client.create(IMAGE, ["payload", "sleep", "0"], name=name)
            if two == "delete" and one != "start":
                container.start()
            late = number / ROUNDS * 0.02
            first = threads.submit(_attempt, one, client, name, late if number % 2 else 0)
            other = threads.submit(_attempt, two, second, name, 0 if number % 2 else late)
            ended = first.result(60 * SLOWNESS), other.result(60 * SLOWNESS)
            seen[ended] += 1
            left = {info["name"]: info["status"] for info in client.list_containers(all=True)}
            if two == "delete":
                assert left == {}, ended
                continue
            assert left == {
                f"{name}-new" if one == "rename" else name: "running"
                if "done" in ended[one == "rename" :]
                else "created"
            }, ended
            container.remove(force=True)
    if (one, two) == ("start", "start"):
        assert set(seen) == {("done", "InvalidState"), ("InvalidState", "done")}
    else:
        assert len(seen) > 1, f"nothing raced: {seen}"


def _attempt(act: str, client: Client, name: str, late_seconds: float) -> str:
    """Return how it ended, which is one of the ways that it may end."""
    do, outcomes = ACTS[act]
    words = ""
    time.sleep(late_seconds)
    try:
        ended = do(client, name)
        outcome = str(ended) if isinstance(ended, int) else "done"
    except PycontainerError as error:
        outcome, words = type(error).__name__, str(error)
    assert outcome in outcomes.split(), f"{act}: {outcome}: {words}"
    return outcome


@pytest.mark.parametrize(
    "text", ["-rf", "; touch /x", "$(touch /x)", "a\nb", "'\"", "%n%s", "`id`", "--help", "\x1b[31m"]
)
def test_values_are_taken_as_they_are_or_refused(world: World, text: str) -> None:
    """API-06: never a shell, never an option."""
    name = unique_name()
    world.ok(
        "create",
        "--name",
        name,
        "-e",
        f"VALUE={text}",
        "--label",
        f"note={text}",
        IMAGE,
        "sh",
        "-c",
        'printf %s "$VALUE"',
    )
    assert world.inspect(name)["labels"]["note"] == text
    world.ok("start", "-a", name)
    assert world.ok("logs", name).encode() == text.encode()
    result = world.cli("run", "--rm", IMAGE, "payload", "out", text)
    assert result.stdout == text + "\n"
    for arguments in (("network", "create", "--", text), ("create", f"--hostname={text}", IMAGE, "true")):
        assert world.cli(*arguments).exit_code == 2, arguments
    assert not os.path.exists("/x")


def _mode(path: str) -> int:
    return stat.S_IMODE(os.lstat(path).st_mode)


def _running(root: str) -> bool:
    done = subprocess.run(["pgrep", "-f", root], capture_output=True, check=False)
    return done.returncode == 0


def _cpu_ticks(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _waiting_reply(sock: socket.socket) -> dict[str, object] | None:
    sock.settimeout(0.002)
    try:
        return reply(sock)
    except TimeoutError:
        return None
