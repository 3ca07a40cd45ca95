"""The Python API on a real host: what the command can do, and its errors by class."""

import os
import tempfile
import threading
from collections.abc import Iterator

import pytest

from pycontainer import AlreadyExists, Client, InvalidInput, InvalidState, NotFound, StartFailed
from tests.integration.conftest import IMAGE
from tests.support.poll import poll_until
from tests.support.world import World, unique_name

STUBBORN = ["payload", "sleep", "0"]


@pytest.fixture
def host(world: World) -> Iterator[Client]:
    with world.client() as client:
        yield client


def test_the_tour_of_the_readme(world: World, host: Client) -> None:
    web = host.run(
        IMAGE,
        ["sh", "-c", "mkdir -p /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www"],
        name="web",
        memory="200M",
        cpus=0.5,
        pids=100,
        ports={8080: 80},
    )
    assert web.status == "running"
    assert (web.name, web.ports[0]["host_port"], web.ports[0]["container_port"]) == ("web", 8080, 80)
    assert world.network.inside.http_get_soon("http://127.0.0.1:8080/") == "hello\n"
    done = web.exec(["payload", "out", "a", "err", "b", "exit", "3"])
    assert (done.exit_code, done.stdout, done.stderr) == (3, "a\n", "b\n")
    use = web.stats()
    assert (use["memory_limit_bytes"], use["pids_limit"]) == (200 << 20, 100)
    assert [info["name"] for info in host.list_containers()] == ["web"]
    assert any("httpd" in process["command"] for process in web.top())
    web.stop(timeout_seconds=0)
    assert (web.status, web.exit_code) == ("stopped", 137)
    web.remove()
    with pytest.raises(NotFound, match="'web'"):
        host.container("web")


def test_run_to_the_end(host: Client) -> None:
    done = host.run(IMAGE, ["payload", "echo", "exit", "4"], detach=False, stdin=b"in", auto_remove=True)
    assert (done.exit_code, done.stdout_bytes, done.stderr_bytes) == (4, b"in", b"")
    assert host.containers(all=True) == []


def test_life_of_a_handle(host: Client) -> None:
    container = host.create(IMAGE, STUBBORN, name=unique_name())
    assert container.status == "created"
    container.start()
    with pytest.raises(InvalidState, match="already running"):
        container.start(remove_on_failure=True)
    container.pause()
    assert container.info["status"] == "paused"
    container.unpause()
    other = unique_name()
    container.rename(other)
    assert host.container(other) == container
    container.restart(timeout_seconds=0)
    container.kill()
    assert container.wait() == 137
    container.remove()


def test_what_has_ended_is_gone_for_who_asks_next(world: World, host: Client) -> None:
    """Ends are answered before they are taken down: what comes next finds all of it free, and soon the host does."""
    before, name = world.network.inside.links(), unique_name()
    first = host.run(IMAGE, STUBBORN, name=name)
    address = first.addresses["default"]["ip"]
    first.remove(force=True)
    for number in range(20):
        done = host.run(IMAGE, ["payload", "exit", str(number)], name=name, ip=address, auto_remove=True, detach=False)
        assert done.exit_code == number
        if number % 2:
            assert name not in [info["name"] for info in host.list_containers(all=True)]
    poll_until(lambda: world.network.inside.links() == before, what="its link is gone")


@pytest.mark.parametrize("detach", [True, False])
def test_what_cannot_run_leaves_nothing(world: World, host: Client, detach: bool) -> None:
    before = world.network.inside.links()
    with pytest.raises(StartFailed, match="executable 'nosuch' not found"):
        host.run(IMAGE, ["nosuch"], name="nothing", detach=detach)  # type: ignore[call-overload]
    assert host.list_containers(all=True) == []
    poll_until(lambda: world.network.inside.links() == before, what="its link is gone")


def test_what_does_not_become_ready_leaves_nothing(host: Client) -> None:
    with pytest.raises(StartFailed, match="container 'nothing' ended before it said READY=1, exit code 0"):
        host.run(IMAGE, ["true"], name="nothing", notify=True)
    assert host.list_containers(all=True) == []


def test_logs(host: Client) -> None:
    container = host.run(IMAGE, ["payload", "out", "one", "err", "two"])
    container.wait()
    assert sorted((line.stream, line.text) for line in container.logs()) == [("stderr", "two"), ("stdout", "one")]


def test_files_go_both_ways(host: Client) -> None:
    container = host.run(IMAGE, STUBBORN)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="pct-files-") as directory:
        with open(f"{directory}/source", "w") as file:
            file.write("content")
        container.put(f"{directory}/source", "/tmp")
        assert container.exec(["cat", "/tmp/source"]).stdout == "content"
        assert container.get("/tmp/source", f"{directory}/back") == []
        with open(f"{directory}/back") as file:
            assert file.read() == "content"
        assert os.stat(f"{directory}/back").st_uid == os.getuid()


def test_events_tell_the_life(world: World, host: Client) -> None:
    seen: list[tuple[str, str]] = []
    ready = threading.Event()

    def listen() -> None:
        with Client(world.root) as listener:
            ready.set()
            for event in listener.events():
                seen.append((event["type"], event.get("name", "")))
                if event["type"] == "remove":
                    return

    thread = threading.Thread(target=listen)
    thread.start()
    ready.wait()
    name = unique_name()

    def removed() -> bool:
        """Live until the listener, which may have come late, has seen a whole life."""
        container = host.run(IMAGE, ["true"], name=name)
        container.wait()
        container.remove()
        return not thread.is_alive()

    poll_until(removed, timeout_seconds=30)
    thread.join()
    assert ("remove", name) in seen


def test_errors_have_their_class(host: Client) -> None:
    with pytest.raises(NotFound, match="'no-such-image'"):
        host.create("no-such-image")
    with pytest.raises(InvalidInput, match="'200Q'"):
        host.create(IMAGE, memory="200Q")
    container = host.create(IMAGE, STUBBORN, name=unique_name())
    with pytest.raises(AlreadyExists, match=container.name):
        host.create(IMAGE, name=container.name)
    with pytest.raises(InvalidState, match=container.name):
        container.pause()
    with pytest.raises(StartFailed) as caught:
        host.run(IMAGE, "no-such-program")
    assert (caught.value.step, caught.value.errno, caught.value.exit_code) == ("execve", 2, 127)
    assert len(host.containers(all=True)) == 1


def test_images_and_networks(world: World, host: Client, busybox_rootfs: str) -> None:
    image = host.import_image(busybox_rootfs, "another", {"cmd": ["payload", "out", "from the image"]})
    assert sorted(info["name"] for info in host.list_images()) == sorted(["another", IMAGE])
    assert host.run("another", detach=False, auto_remove=True).stdout == "from the image\n"
    image.remove()
    network = host.create_network("segment", driver="bridge")
    container = host.run(IMAGE, STUBBORN, networks=["segment"])
    assert list(container.addresses) == ["segment"]
    assert list(network.info["containers"]) == [container.id]
    container.remove(force=True)
    network.remove()
    assert "segment" not in [info["name"] for info in host.list_networks()]
