"""Users of tenants: real accounts with real groups, who manage what is their tenant's and learn of nothing else.

What each verb and each setting is to them the unit tests say (supervisor/test_authorise.py); here the kernel says who asks.
"""

import contextlib
import grp
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pycontainer.api import messages
from pycontainer.api.messages import receive_frame, send_frame
from pycontainer.linux.acl import group_rights
from tests.integration.conftest import IMAGE
from tests.integration.test_bad_input import one_clear_line
from tests.support.poll import SLOWNESS, poll_until
from tests.support.stuckfile import stuck_file
from tests.support.world import Result, World

ACME, BETA, NOBODY, BOTH = "acme", "beta", "nobody", "both"
GROUPS = {ACME: ["games"], BETA: ["uucp"], NOBODY: ["news"], BOTH: ["games", "uucp"]}
IDS = {ACME: 20001, BETA: 20002, NOBODY: 20003, BOTH: 20004}
PEOPLE = """\
groups: {games: acme, uucp: beta}
images: [busybox]
tenants:
  acme: {networks: [acme-net], ports: 20000-20001}
  beta: {ports: 20001-20002}
"""
Replies = list[dict[str, Any]]
Request = tuple[str, dict[str, Any], int]  # verb, arguments, how many descriptors


def write_people(world: World, text: str = PEOPLE) -> None:
    os.makedirs(world.paths.config_dir, exist_ok=True)
    path = f"{world.paths.tenant_groups_file}.new"
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, 0o644)
    os.rename(path, world.paths.tenant_groups_file)


def open_to_users(world: World) -> World:
    os.chmod(world.root, 0o711)
    world.ok("tenant", "create", ACME, "--memory", "512M", "--pids-limit", "500", "--max-containers", "6")
    world.ok("tenant", "create", BETA, "--memory", "512M", "--pids-limit", "500")
    world.ok("network", "create", "acme-net")
    write_people(world)
    world.ok("info")  # whoever connects has the file looked at
    return world


@pytest.fixture
def shared(own_world: World) -> Iterator[World]:
    """A world whose tenants acme and beta have users."""
    yield open_to_users(own_world)


def as_user(world: World, who: str, *arguments: str, stdin: str | None = None) -> Result:
    """Run `pycontainer ARGUMENTS` as a user of a tenant, or of none."""
    uid = str(IDS[who])
    done = subprocess.run(
        ["setpriv", "--reuid", uid, "--regid", uid, "--groups", ",".join(GROUPS[who]), *world.argv(*arguments)[3:]],
        capture_output=True,
        text=True,
        check=False,
        env=world.environment,
        cwd="/",
        timeout=60 * SLOWNESS,
        **({"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}),
    )
    assert "Traceback" not in done.stderr, done
    return Result(done.returncode, done.stdout, done.stderr)


def ok(world: World, who: str, *arguments: str, stdin: str | None = None) -> str:
    result = as_user(world, who, *arguments, stdin=stdin)
    assert result.exit_code == 0, (who, arguments, result)
    return result.stdout.removesuffix("\n")


def refused(world: World, who: str, exit_code: int, *arguments: str) -> str:
    result = as_user(world, who, *arguments)
    assert (result.exit_code, result.stdout) == (exit_code, ""), (who, arguments, result)
    return one_clear_line(result.stderr).removeprefix("pycontainer: ")


def become(who: str, work: Callable[[], Any]) -> Any:
    """Return what `work` returns, or the name of what it raises, in a process of that user."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([grp.getgrnam(group).gr_gid for group in GROUPS[who]])
            os.setresgid(IDS[who], IDS[who], IDS[who])
            os.setresuid(IDS[who], IDS[who], IDS[who])
            try:
                said = work()
            except OSError as error:
                said = type(error).__name__
            with os.fdopen(write_fd, "w") as file:
                json.dump(said, file)
        finally:
            os._exit(0)
    os.close(write_fd)
    with open(read_fd) as file:
        text = file.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def connected(world: World) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(60 * SLOWNESS)
    sock.connect(world.paths.supervisor_socket)
    return sock


def exchange(
    sock: socket.socket, verb: str, arguments: dict[str, Any], fd_count: int = 0, **more: object
) -> dict[str, Any]:
    """Send one request; return its last frame, with the events before it as `events`."""
    fds = [os.open("/dev/null", os.O_RDWR) for _ in range(fd_count)]
    try:
        with contextlib.suppress(BrokenPipeError):
            send_frame(sock, {"verb": verb, "args": arguments, **more}, fds)
    finally:
        for fd in fds:
            os.close(fd)
    events: Replies = []
    while (received := receive_frame(sock)) is not None:
        frame, new_fds = received
        for fd in new_fds:
            os.close(fd)
        assert isinstance(frame, dict)
        if "event" not in frame:
            return {**frame, "events": events}
        events.append(frame["event"])
    return {"error": {"class": "closed"}, "events": events}


def ask(world: World, who: str, *requests: Request) -> Replies:
    """Send requests as a user, over a connection each."""

    def work() -> Replies:
        replies = []
        for verb, arguments, fd_count in requests:
            with connected(world) as sock:
                replies.append(exchange(sock, verb, arguments, fd_count))
        return replies

    replies = become(who, work)
    assert isinstance(replies, list), replies
    return replies


@contextlib.contextmanager
def in_background(who: str, work: Callable[[], Replies]) -> Iterator[Replies]:
    """Have a user do something during the block; what it returns is in the list when the block is over."""
    heard: Replies = []
    with tempfile.TemporaryFile("w+") as file:
        pid = os.fork()
        if pid == 0:
            try:
                json.dump(become(who, work), file)
                file.flush()
            finally:
                os._exit(0)
        try:
            yield heard
        finally:
            os.waitpid(pid, 0)
            file.seek(0)
            heard += json.load(file)


def stream_until(world: World, last: str) -> Replies:
    """Follow the events, at most for a minute, until one of this type has come."""
    frames = []
    with connected(world) as sock:
        send_frame(sock, {"verb": "events", "args": {"follow": True}})
        while (received := receive_frame(sock)) is not None:
            frame = received[0]
            assert isinstance(frame, dict)
            frames.append(frame)
            if frame.get("event", {}).get("type") == last:
                break
    return frames


# What each verb is asked, of the object X; where nothing is asked of an object, what is asked of the host.
OF_CONTAINERS: dict[str, tuple[dict[str, Any], int]] = {
    "start": ({}, 0),
    "stop": ({}, 0),
    "restart": ({}, 0),
    "kill": ({"signal": "KILL"}, 0),
    "rm": ({"force": True, "volumes": True}, 0),
    "inspect": ({}, 0),
    "wait": ({}, 0),
    "rename": ({"name": "taken-over"}, 0),
    "exec": ({"command": ["true"]}, 3),
    "attach": ({}, 1),
    "logs": ({"open": True}, 0),
    "set": ({"spec": {"memory": "1G"}}, 0),
    "top": ({}, 0),
    "pause": ({}, 0),
    "unpause": ({}, 0),
    "cp_from": ({"path": "/etc/passwd"}, 1),
    "cp_to": ({"path": "/tmp"}, 1),
    "snapshot_create": ({"name": "s"}, 0),
    "snapshot_list": ({}, 0),
    "snapshot_restore": ({"snapshot": "first"}, 0),
    "snapshot_rm": ({"snapshots": ["first"]}, 0),
    "clone": ({"name": "copy"}, 0),
    "diff": ({}, 0),
    "export": ({}, 1),
    "why": ({"seconds": 0}, 0),
    "network_connect": ({"network": "default"}, 0),
    "network_disconnect": ({"network": "default"}, 0),
}
OF_OTHERS: dict[str, tuple[str, dict[str, Any], int]] = {
    "image_inspect": ("image", {}, 0),
    "network_inspect": ("network", {}, 0),
    "volume_inspect": ("volume", {}, 0),
    "volume_set": ("volume", {"size": "1M"}, 0),
    "volume_rm": ("volume", {"force": True}, 0),
    "volume_backup": ("volume", {}, 1),
    "tenant_inspect": ("tenant", {}, 0),
    "usage": ("tenant", {}, 0),
}
IN_LISTS = {"stats": "containers", "limits": "containers", "image_save": "images"}
NAMES_NOTHING = {
    "ping", "info", "create", "run", "list", "events", "image_list", "network_list", "volume_list", "tenant_list",
    "volume_create", "volume_restore", "trace",
}  # fmt: skip
OF_THE_HOST = {
    "mount", "umount", "commit", "instance_import", "image_import", "image_load", "image_tag", "image_rm", "image_prune",
    "network_create", "network_set", "network_rm", "volume_prune", "tenant_create", "tenant_set", "tenant_rm", "system_df",
    "system_prune", "capacity", "metrics", "doctor", "boot", "stop_all", "reload", "shutdown",
}  # fmt: skip


def requests_about(kind: str, reference: str) -> list[Request]:
    """Return a request of each verb about an object of this kind."""
    found: list[Request] = []
    if kind == "container":
        found += [(verb, {"container": reference, **more}, count) for verb, (more, count) in OF_CONTAINERS.items()]
        found += [(verb, {"containers": [reference]}, 0) for verb in ("stats", "limits")]
    found += [(verb, {of: reference, **more}, count) for verb, (of, more, count) in OF_OTHERS.items() if of == kind]
    if kind == "image":
        found += [
            ("image_save", {"images": [reference], "format": "oci-archive"}, 1),
            ("create", {"spec": {"image": reference}}, 0),
            ("run", {"spec": {"image": reference}}, 0),
        ]
    if kind == "network":
        found += [(verb, {"spec": {"image": IMAGE, "networks": [reference]}}, 0) for verb in ("create", "run")]
        found += [
            (verb, {"container": "own", "network": reference}, 0) for verb in ("network_connect", "network_disconnect")
        ]
    if kind == "volume":
        found += [(verb, {"spec": {"image": IMAGE, "volumes": [f"{reference}:/x"]}}, 0) for verb in ("create", "run")]
    if kind == "tenant":
        found.append(("limits", {"tenants": [reference]}, 0))
    return found


def test_every_verb_is_in_the_matrix() -> None:
    """A new one fails here until somebody says what becomes of another tenant's object under it."""
    assert {*OF_CONTAINERS, *OF_OTHERS, *IN_LISTS, *NAMES_NOTHING, *OF_THE_HOST} == set(messages.VERBS)


def test_all_verbs_by_all_callers(shared: World) -> None:
    """API-01: of what is another's each verb says what it says of nothing, by name, id and prefix; of the host it says no."""
    world = shared
    ok(world, ACME, "run", "-d", "--name", "web", IMAGE, "payload", "sleep", "0")
    ok(world, ACME, "snapshot", "create", "web", "first")
    ok(world, BETA, "run", "-d", "--name", "own", IMAGE, "payload", "sleep", "0")
    world.ok("run", "-d", "--name", "hosts", IMAGE, "payload", "sleep", "0")
    world.ok("image", "tag", IMAGE, "secret")
    world.ok("volume", "create", "-l", "tenant=acme", "data.acme")
    world.ok("volume", "create", "plain")
    web, hosts = world.inspect("web.acme")["id"], world.inspect("hosts")["id"]
    others = {
        "container": ["web", "web.acme", web, web[:6], "hosts", hosts, hosts[:5]],
        "image": ["secret"],
        "network": ["acme-net"],
        "volume": ["data", "data.acme", "plain"],
        "tenant": [ACME],
    }
    nothing = {
        "container": ["xyz", "xyz.acme", "0123456789ab", "012345", "nobody", "fedcba987654", "fedcb"],
        "image": ["nothing"],
        "network": ["nothing"],
        "volume": ["nix", "nix.acme", "nothing"],
        "tenant": ["gamma"],
    }
    before = world.inspect("web.acme"), world.inspect("hosts")
    for kind, references in others.items():
        for reference, absent in zip(references, nothing[kind], strict=True):
            asked, unasked = requests_about(kind, reference), requests_about(kind, absent)
            for request, reply, control in zip(
                asked, ask(world, BETA, *asked), ask(world, BETA, *unasked), strict=True
            ):
                assert reply["error"]["class"] == "NotFound", (request, reply)
                said, expected = (
                    json.dumps(each).replace(f"'{name}'", "X") for each, name in ((reply, reference), (control, absent))
                )
                assert said == expected, request
    after = world.inspect("web.acme"), world.inspect("hosts")
    assert [each["pid"] for each in before] == [each["pid"] for each in after]
    assert [each["snapshots"] for each in after] == [["first"], []]
    assert after[0]["memory_bytes"] == before[0]["memory_bytes"] and set(after[0]["networks"]) == {"default"}

    for who in (ACME, BETA):
        for verb, reply in zip(
            sorted(OF_THE_HOST), ask(world, who, *((verb, {}, 0) for verb in sorted(OF_THE_HOST))), strict=True
        ):
            assert reply["error"]["class"] == "NotPermitted", (verb, reply)
            assert reply["error"]["message"].startswith(f"a user of tenant '{who}' may not '{verb}': ")
    assert world.status("hosts") == "running" and world.ok("image", "inspect", "secret")

    everything: list[Request] = [(verb, {}, 0) for verb in sorted(messages.VERBS)]
    assert become(NOBODY, lambda: ask_here(world, everything[:1])) == "PermissionError"
    os.chmod(world.paths.run_dir, 0o755)  # somebody's mistake, or a descriptor of the directory that he was handed
    os.chmod(world.paths.supervisor_socket, 0o666)
    for (verb, _, _), reply in zip(everything, become(NOBODY, lambda: ask_here(world, everything)), strict=True):
        assert reply["error"]["class"] == "NotPermitted", (verb, reply)
    with connected(world) as sock:  # root, on the same objects
        for reference in others["container"]:
            assert "result" in exchange(sock, "inspect", {"container": reference}) or reference == "web"
        assert {each["name"] for each in exchange(sock, "list", {"all": True})["result"]} == {
            "web.acme",
            "own.beta",
            "hosts",
        }


def ask_here(world: World, requests: list[Request]) -> Replies:
    replies = []
    for verb, arguments, fd_count in requests:
        with connected(world) as sock:
            replies.append(exchange(sock, verb, arguments, fd_count))
    return replies


def test_a_user_does_all_that_is_his(shared: World) -> None:
    """API-01: through the command that root uses; what he makes is his tenant's, and by both names his."""
    world = shared
    assert ok(world, ACME, "run", "--rm", IMAGE, "payload", "out", "seen") == "seen"
    ok(world, ACME, "run", "-d", "--name", "web", "--tenant", BETA, "-p", "20000:80", "-m", "64M", IMAGE, "sh", "-c",
       "echo hello; exec payload sleep 0")  # fmt: skip
    record = world.inspect("web.acme")
    assert (record["tenant"], record["spec"]["hostname"], record["memory_bytes"]) == (ACME, "web", 64 << 20)
    assert ok(world, ACME, "ps", "-q") == ok(world, ACME, "ps", "-q", "--filter", "name=web.acme") != ""
    assert ok(world, ACME, "exec", "web", "sh", "-c", "echo inside; hostname") == "inside\nweb"
    poll_until(lambda: ok(world, ACME, "logs", "web.acme") == "hello", what="its line is there")
    with tempfile.TemporaryDirectory(prefix="pct-user-", dir="/var/tmp") as directory:
        os.chown(directory, IDS[ACME], IDS[ACME])
        ok(world, ACME, "cp", "web:/etc/passwd", f"{directory}/copy")
        assert os.stat(f"{directory}/copy").st_uid == IDS[ACME]
        ok(world, ACME, "cp", f"{directory}/copy", "web:/tmp/back")
        ok(world, ACME, "export", "web", "-o", f"{directory}/web.tar")
        assert os.stat(f"{directory}/web.tar").st_size > 1000
    for arguments in (
        ("pause", "web"),
        ("unpause", "web"),
        ("set", "web", "--memory", "128M"),
        ("snapshot", "create", "web", "one"),
        ("snapshot", "list", "web"),
        ("diff", "web"),
        ("top", "web"),
        ("stats", "--no-stream", "web"),
        ("limits", "web"),
        ("limits", "--tenant", ACME),
        ("inspect", "web"),
        ("why", "web"),
        ("info",),
        ("network", "connect", "acme-net", "web"),
        ("network", "disconnect", "acme-net", "web"),
        ("network", "inspect", "default"),
        ("image", "inspect", IMAGE),
        ("tenant", "inspect", ACME),
        ("restart", "-t", "0", "web"),
        ("kill", "web"),
        ("wait", "web"),
        ("snapshot", "restore", "web", "one"),
        ("clone", "web", "copy", "-p", "20001:80"),
        ("rename", "copy", "kept"),
        ("start", "kept"),
        ("stop", "-t", "0", "kept"),
        ("rm", "kept"),
        ("rm", "web.acme"),
    ):
        if arguments[:1] == ("wait",):
            assert as_user(world, ACME, *arguments).exit_code in (0, 137)
        else:
            ok(world, ACME, *arguments)
    assert world.ok("ps", "-aq") == ""
    assert ok(world, ACME, "why", "web").startswith("web.acme: removed by uid 20001 ")  # its events are still his
    assert refused(world, BETA, 3, "why", "web") == "no container 'web'"
    for arguments, said in (
        (("run", "--privileged", IMAGE), "privileged: it would be the host's"),
        (("run", "-v", "/etc:/x", IMAGE), "volumes: '/etc' is the host's: use a volume"),
        (("create", "--rootfs", "/"), None),
        (("create", "--rootfs", "/no/such/place"), "rootfs: it is a directory of the host"),
        (("run", "-p", "80:80", IMAGE), "ports: host ports 20000 to 20001 are this tenant's, not 80"),
    ):
        code = 125 if arguments[0] == "run" else 7
        line = refused(world, ACME, code if said else 2, *arguments)
        if said:
            assert line == f"a user of tenant 'acme' may not ask for {said}"


def test_nothing_of_others_is_told(shared: World) -> None:
    """API-01: not in lists, statistics, events of now or of before, or the history of a tenant that had the same name."""
    world = shared
    secret = "verysecret"
    world.ok("run", "-d", "--name", f"{secret}-host", "-l", f"a={secret}", IMAGE, "payload", "sleep", "0")
    ok(world, ACME, "run", "-d", "--name", f"{secret}-web", IMAGE, "payload", "sleep", "0")
    world.ok("volume", "create", "-l", "tenant=acme", f"{secret}-volume")
    world.ok("network", "create", f"{secret}-net")
    world.ok("image", "tag", IMAGE, f"{secret}-image")
    ok(world, BETA, "run", "-d", "--name", "mine", IMAGE, "payload", "sleep", "0")
    ids = [world.inspect(f"{secret}-host")["id"], world.inspect(f"{secret}-web.acme")["id"]]

    with in_background(BETA, lambda: stream_until(world, "pause")) as heard:
        time.sleep(0.5)  # for what comes to be new to it; if it came later it would be told of the same
        ok(world, ACME, "restart", "-t", "0", f"{secret}-web")
        world.ok("exec", f"{secret}-host", "true")
        world.ok("volume", "create", f"{secret}-more")
        ok(world, BETA, "pause", "mine")
    told = json.dumps(heard)
    assert '"pause"' in told and "mine.beta" in told

    asked: list[Request] = [
        ("list", {"all": True}, 0),
        ("list", {"all": True, "filters": {"name": [secret]}}, 0),
        ("stats", {}, 0),
        ("limits", {}, 0),
        ("events", {"since": 0, "follow": False}, 0),
        ("events", {"after": 0, "follow": False}, 0),
        ("events", {"since": 0, "follow": False, "filters": {"tenant": [ACME]}}, 0),
        ("events", {"since": 0, "follow": False, "filters": {"container": [f"{secret}-web", *ids]}}, 0),
        ("image_list", {}, 0),
        ("network_list", {}, 0),
        ("network_inspect", {"network": "default"}, 0),
        ("volume_list", {}, 0),
        ("tenant_list", {}, 0),
        ("tenant_inspect", {}, 0),
        ("usage", {}, 0),
        ("info", {}, 0),
    ]
    replies = ask(world, BETA, *asked)
    told += json.dumps(replies)
    assert all("result" in reply for reply in replies)
    assert not [word for word in (secret, *ids, ACME, "games") if word in told]
    assert [each["name"] for each in replies[0]["result"]] == ["mine.beta"]
    assert [event["type"] for event in replies[4]["events"][1:]][:2] == ["tenant-create", "create"]
    assert not replies[6]["events"][1:] and not replies[7]["events"][1:]
    assert replies[-1]["result"]["containers"] == replies[-1]["result"]["images"] == 1

    ok(world, BETA, "rm", "-f", "mine")
    world.ok("tenant", "rm", BETA)
    assert refused(world, BETA, 7, "ps") == "tenant 'beta', for which you may act, does not exist on this host"
    world.ok("tenant", "create", BETA)
    (reply,) = ask(world, BETA, ("events", {"since": 0, "follow": False}, 0))
    assert [event["type"] for event in reply["events"][1:]] == ["tenant-create"]
    assert refused(world, BETA, 3, "why", "mine") == "no container 'mine'"


def test_names_never_meet(shared: World) -> None:
    """API-01: whoever has a name already, and whatever it is, is nobody else's to find out."""
    world = shared
    world.ok("create", "--name", "db", IMAGE, "true")
    for who in (ACME, BETA):
        ok(world, who, "create", "--name", "db", IMAGE, "true")
        ok(world, who, "create", "--name", "other", IMAGE, "true")
    ok(world, BETA, "rename", "other", "db.acme")
    assert {each["name"] for each in json.loads(world.ok("ps", "-a", "--format", "json"))} == {
        "db",
        "db.acme",
        "db.beta",
        "other.acme",
        "db.acme.beta",
    }
    assert refused(world, ACME, 4, "rename", "other", "db").startswith("the name 'db.acme' is taken by container ")
    assert refused(world, ACME, 4, "create", "--name", "db", IMAGE).startswith(
        "the name 'db.acme' is taken by container "
    )
    assert refused(world, ACME, 4, "clone", "other", "db").startswith("the name 'db.acme' is taken by container ")
    world.ok("create", "--name", "odd.beta", IMAGE, "true")  # an operator's, in beta's space
    assert refused(world, BETA, 4, "create", "--name", "odd", IMAGE) == "the name 'odd.beta' is taken"
    ok(world, ACME, "rm", "db")
    assert world.status("db") == "created" and world.status("db.beta") == "created"
    assert refused(world, ACME, 3, "rm", "-f", "db") == "no container 'db'"


def test_what_an_operator_gave_stays_and_is_not_passed_on(shared: World) -> None:
    """API-01: on the resulting object: a tenant's user works with it, and makes no second one of it."""
    world = shared
    labels = ("-l", "hosting.site=acme/shop", "-l", "tier=front")
    world.ok(
        "run", "-d", "--name", "shop", "--tenant", ACME, "-v", "/srv:/srv:ro", *labels, IMAGE, "payload", "sleep", "0"
    )
    world.ok("create", "--name", "plain", "--tenant", ACME, *labels, IMAGE, "true")
    assert ok(world, ACME, "exec", "shop", "payload", "out", "in") == "in"
    ok(world, ACME, "set", "shop", "--memory", "100M")
    line = "a user of tenant 'acme' may not ask for volumes: '/srv' is the host's: use a volume"
    assert refused(world, ACME, 7, "clone", "shop", "mine") == line
    assert refused(world, ACME, 7, "set", "shop", "--boot-order", "1").endswith(
        "boot_order: the order at boot is the host's"
    )
    assert "privileged: it would have more rights" in refused(world, ACME, 125, "exec", "--privileged", "shop", "true")
    ok(world, ACME, "clone", "plain", "mine")
    assert world.inspect("mine.acme")["labels"] == {"tier": "front"}
    world.ok("clone", "plain", "another")
    assert world.inspect("another")["labels"]["hosting.site"] == "acme/shop"
    assert "shop" not in ok(world, BETA, "ps", "-a")


def test_ports_and_networks(shared: World) -> None:
    """API-01, NET-05: a port that somebody has is taken, by whom is not told: not now, and not in the events."""
    world = shared
    world.ok("run", "-d", "--name", "topsecret", "-p", "20001:80", IMAGE, "payload", "sleep", "0")
    ok(world, ACME, "create", "--name", "web", "-p", "20001:80", IMAGE, "payload", "sleep", "0")
    assert refused(world, ACME, 4, "start", "web") == "port 20001/tcp is taken"
    (reply,) = ask(world, ACME, ("events", {"since": 0, "follow": False}, 0))
    assert "topsecret" not in json.dumps(reply) and reply["events"][-1]["type"] == "start-failed"
    world.ok("rm", "-f", "topsecret")
    ok(world, ACME, "start", "web")
    ok(world, ACME, "network", "disconnect", "default", "web")
    world.ok("run", "-d", "--name", "topsecret", "-p", "20001:80", IMAGE, "payload", "sleep", "0")
    assert refused(world, ACME, 4, "network", "connect", "default", "web") == "port 20001/tcp is taken"
    world.ok("rm", "-f", "topsecret")
    ok(world, ACME, "network", "connect", "default", "web")
    ok(world, ACME, "run", "-d", "--name", "db", "--network", "acme-net", IMAGE, "payload", "sleep", "0")
    ok(world, ACME, "network", "connect", "acme-net", "web")
    ok(world, ACME, "restart", "-t", "0", "web")
    assert "db.acme db" in ok(world, ACME, "exec", "web", "cat", "/etc/hosts").replace("\t", " ")
    members = json.loads(ok(world, ACME, "network", "inspect", "default"))
    assert "web.acme" in json.dumps(members)


def test_volumes(shared: World) -> None:
    """API-01, API-05: of a size, within the tenant's disk, and no other tenant's."""
    world = shared
    assert refused(world, ACME, 7, "volume", "create", "--size", "1M", "data").endswith("has no disk to share out")
    world.ok("tenant", "create", "disky", "--disk", "64M")
    write_people(world, "groups: {games: disky, uucp: beta}\nimages: [busybox]\n")
    world.ok("info")
    ok(world, ACME, "volume", "create", "--size", "32M", "data")
    assert refused(world, ACME, 5, "volume", "create", "--size", "33M", "more").startswith(
        "tenant 'disky' may have volumes of 64MiB in all, others hold 32MiB"
    )
    assert ok(world, ACME, "run", "--rm", "-v", "data:/x", IMAGE, "sh", "-c", "echo kept > /x/file") == ""
    assert ok(world, ACME, "run", "--rm", "-v", "data.disky:/x", IMAGE, "cat", "/x/file") == "kept"
    assert refused(world, ACME, 125, "run", "--rm", "-v", "new:/x", IMAGE) == "no volume 'new'"
    with tempfile.TemporaryDirectory(prefix="pct-user-", dir="/var/tmp") as directory:
        os.chown(directory, IDS[ACME], IDS[ACME])
        ok(world, ACME, "volume", "backup", "data", "-o", f"{directory}/data.tar")
        ok(world, ACME, "volume", "restore", "back", f"{directory}/data.tar", "--size", "16M")
    assert ok(world, ACME, "run", "--rm", "-v", "back:/x", IMAGE, "cat", "/x/file") == "kept"
    assert json.loads(world.ok("volume", "inspect", "back.disky"))[0]["labels"] == {"tenant": "disky"}
    assert refused(world, BETA, 3, "volume", "inspect", "data.disky") == "no volume 'data.disky'"
    assert set(ok(world, ACME, "volume", "list", "-q").split()) == {"data.disky", "back.disky"}
    ok(world, ACME, "volume", "rm", "data", "back")
    assert world.ok("volume", "list", "-q") == ""
    world.ok("tenant", "rm", "disky")


def test_budgets(shared: World) -> None:
    """API-05: connections, frames and containers of one tenant have an end, long before the host's own feel it."""
    world = shared

    def crowd() -> list[int]:
        socks = [connected(world) for _ in range(70)]
        served = 0
        for sock in socks:
            served += "result" in exchange(sock, "ping", {})
        return [served, len(socks)]

    assert become(BETA, crowd) == [64, 70]
    large = ("create", {"spec": {"image": IMAGE, "env": {"A": "x" * 300000}}}, 0)
    poll_until(lambda: "connections" not in str(ask(world, BETA, large)), what="the crowd's connections are closed")
    (reply,) = ask(world, BETA, large)
    assert "the most is 262144" in reply["error"]["message"]
    for number in range(6):
        ok(world, ACME, "create", "--name", f"c{number}", IMAGE, "true")
    assert refused(world, ACME, 5, "create", IMAGE, "true") == "tenant 'acme' has 6 containers, and may have 6"
    assert "has 6 containers" in refused(world, ACME, 5, "clone", "c0", "more")
    assert "has 6 containers" in world.refused(5, "create", "--tenant", ACME, IMAGE, "true")
    world.ok("tenant", "set", ACME, "--max-containers", "unlimited")
    ok(world, ACME, "create", IMAGE, "true")

    def hurry() -> float:
        with connected(world) as sock:
            began = time.monotonic()
            for _ in range(160):
                assert "result" in exchange(sock, "ping", {})
            return time.monotonic() - began

    assert become(BETA, hurry) > 1  # 100 at once, then 50 in a second


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="no /dev/fuse")
def test_a_file_that_never_answers_keeps_nobody_waiting(shared: World) -> None:
    """API-05: neither having nor closing it is ours; others, and the same user's other requests, are served."""
    world = shared
    ok(world, ACME, "run", "-d", "--name", "web", IMAGE, "payload", "sleep", "0")
    with stuck_file() as path:
        read_fd, done = os.pipe()

        def hand_over() -> Replies:
            fd = os.open(path, os.O_RDWR)
            with connected(world) as sock:
                send_frame(sock, {"verb": "ping", "args": {}}, [fd])
                received = receive_frame(sock)
                said = received[0] if received else {}
            assert isinstance(said, dict)
            os.write(done, json.dumps(said).encode())
            return []  # this process waits, too, when it ends

        pid = os.fork()
        if pid == 0:
            become(ACME, hand_over)
            os._exit(0)
        os.close(done)
        said = json.loads(os.read(read_fd, 1 << 16))
        os.close(read_fd)
        assert said["error"]["class"] == "NotPermitted", said
        assert said["error"]["message"].endswith("may not hand over a file on a file system that need not answer")
        assert ok(world, ACME, "exec", "web", "payload", "out", "served") == "served"
        assert world.ok("exec", "web.acme", "payload", "out", "served") == "served"
        assert os.waitpid(pid, os.WNOHANG) == (0, 0)  # who closes it does wait
    os.waitpid(pid, 0)
    with socket.socket(socket.AF_INET) as foreign, open("/proc/self/maps") as file:

        def hand_over_others() -> Replies:
            replies = []
            for each in (foreign, file):
                with connected(world) as sock:
                    send_frame(sock, {"verb": "ping", "args": {}}, [each.fileno()])
                    received = receive_frame(sock)
                    replies.append(received[0] if received else {})
            return replies  # type: ignore[return-value]

        for reply in become(ACME, hand_over_others):
            assert reply["error"]["class"] == "NotPermitted"


def test_what_is_written_down_holds_at_once(shared: World) -> None:
    """API-01: on connections that are open, too; the modes of the socket follow, and a reload changes nothing."""
    world = shared
    gids = {group: grp.getgrnam(group).gr_gid for group in ("games", "uucp")}
    assert group_rights(world.paths.supervisor_socket) == (0o600, dict.fromkeys(gids.values(), 0o6))
    assert group_rights(world.paths.run_dir) == (0o750, dict.fromkeys(gids.values(), 0o1))
    assert "group 'games' for tenant 'acme', group 'uucp' for tenant 'beta'" in world.ok("info")
    assert refused(world, BOTH, 7, "ps").startswith("user 20004 is in groups of tenants 'acme' and 'beta': ")
    assert refused(world, NOBODY, 7, "ps").startswith("pycontainer must run as root")

    ready_read, ready_write = os.pipe()
    go_read, go_write = os.pipe()

    def stay() -> Replies:
        with connected(world) as sock:
            first = exchange(sock, "tenant_list", {})
            os.write(ready_write, b"1")
            os.read(go_read, 1)
            return [first, exchange(sock, "ping", {})]

    with in_background(ACME, stay) as heard:
        os.read(ready_read, 1)
        write_people(world, "groups: {uucp: beta}\nimages: [busybox]\n")
        os.write(go_write, b"1")
    for fd in (ready_read, ready_write, go_read, go_write):
        os.close(fd)
    assert [each["name"] for each in heard[0]["result"]] == [ACME]
    assert heard[1]["error"]["class"] == "NotPermitted"
    assert group_rights(world.paths.supervisor_socket) == (0o600, {gids["uucp"]: 0o6})
    assert refused(world, ACME, 7, "ps").startswith("pycontainer must run as root")

    ok(world, BETA, "run", "-d", "--name", "mine", IMAGE, "payload", "sleep", "0")
    uid = str(IDS[BETA])
    command = ["setpriv", "--reuid", uid, "--regid", uid, "--groups", "uucp", *world.argv("wait", "mine")[3:]]
    waiting = subprocess.Popen(command, env=world.environment, cwd="/", stdout=subprocess.PIPE)
    time.sleep(0.5)
    world.ok("service", "reload")
    assert group_rights(world.paths.supervisor_socket) == (0o600, {gids["uucp"]: 0o6})
    assert [each["name"] for each in json.loads(ok(world, BETA, "ps", "--format", "json"))] == ["mine.beta"]
    ok(world, BETA, "kill", "mine")
    assert waiting.communicate(timeout=30 * SLOWNESS)[0] == b"137\n"
    ok(world, BETA, "rm", "mine")

    write_people(world, "groups: {uucp: beta\n")
    assert "no users of tenants: " in world.ok("info")
    assert group_rights(world.paths.supervisor_socket) == (0o600, {})
    assert refused(world, BETA, 7, "ps").startswith("pycontainer must run as root")
    write_people(world)
    assert "group 'uucp' for tenant 'beta'" in world.ok("info")
    assert ok(world, BETA, "ps", "-q") == ""
    world.ok("service", "stop")
    poll_until(lambda: not os.path.exists(world.paths.supervisor_socket), what="it has left")
    assert refused(world, BETA, 7, "ps") == "the supervisor is not running, and only root can start it"
