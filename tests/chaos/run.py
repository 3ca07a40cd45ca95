"""The run: clients play, a killer kills by a list that its seed decides, and in the end what was answered must be true.

    clients     killed, and a new incarnation begins with containers of new names; what the old one has left is looked at and
                removed after the next death of the supervisor, when none of its requests can be at work any more
    supervisor  killed; the next request of anybody starts another
    monitor     killed; its containers go on
    inits       killed; a container with a policy comes back

What is reproducible is who is killed in which order after which pause, and what each client does; not how far others have
come by then.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from pycontainer import Client
from pycontainer.errors import NotFound
from tests.chaos.client import ALWAYS
from tests.chaos.model import Possible, State, read, replay
from tests.support.poll import SLOWNESS, poll_until
from tests.support.world import World

_CHECKOUT = Path(__file__).parents[2]
_VICTIMS = ("client", "supervisor", "monitor", "init", "init")
_LEAST_SECONDS, _MOST_SECONDS = 0.3, 1.5  # between two kills
_BACK_SECONDS = 90  # a policy waits up to a minute
_BETWEEN_SECONDS = (
    30  # after which the supervisor is killed if it was not by chance: others' leavings are looked at then
)


class Incarnation:
    """One life of a client: its process, and the journal that outlives it."""

    def __init__(self, world: World, directory: str, number: int, life: int, seed: str) -> None:
        self.name = f"c{number}-{life}"
        self.journal = f"{directory}/{self.name}"
        command = [
            sys.executable,
            "-m",
            "tests.chaos.client",
            world.root,
            self.name,
            f"{seed}/{self.name}",
            self.journal,
        ]
        self.process = subprocess.Popen(
            world.network.inside.argv(*command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=_CHECKOUT,
            env=world.environment,
        )

    def possible(self) -> dict[str, Possible]:
        return replay(read(self.journal)) if os.path.exists(self.journal) else {}

    def kill(self) -> None:
        """Kill it; AssertionError if it had ended by itself."""
        self._require_alive()
        self.process.kill()
        self.process.communicate()

    def let_end(self) -> None:
        """Let it finish the operation that it is at."""
        self._require_alive()
        _, words = self.process.communicate(timeout=120 * SLOWNESS)
        assert self.process.returncode == 0, words.decode()

    def _require_alive(self) -> None:
        if self.process.poll() is not None:
            _, words = self.process.communicate()
            raise AssertionError(f"client {self.name} ended with {self.process.returncode}: {words.decode()}")


class Chaos:
    """One run in a world that is its alone."""

    def __init__(self, world: World, seed: int, clients: int = 8) -> None:
        self._world, self._seed, self._random = world, str(seed), random.Random(seed)
        self._directory = tempfile.mkdtemp(prefix="journals-", dir=world.root)
        self._lives = Counter[int]()
        self._playing = {number: self._incarnate(number) for number in range(clients)}
        self._orphans: list[Incarnation] = []
        self._killed_supervisor = time.monotonic()
        self.kills: Counter[str] = Counter()
        self.answers: Counter[str] = Counter()
        self.checked = 0

    def play(self, seconds: float) -> None:
        """Kill for so long; AssertionError as soon as something that was answered is found not to be true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            time.sleep(self._random.uniform(_LEAST_SECONDS, _MOST_SECONDS) * SLOWNESS)
            victim = self._random.choice(_VICTIMS)
            if time.monotonic() - self._killed_supervisor > _BETWEEN_SECONDS * SLOWNESS:
                victim = "supervisor"
            choice = self._random.random()
            if victim == "client":
                self._kill_client(int(choice * len(self._playing)))
            elif victim == "supervisor":
                self._kill_supervisor()
            else:
                self._kill_one(victim, choice)

    def finish(self) -> None:
        """Let the clients end, kill the supervisor once more, and look at all that is there."""
        for incarnation in self._playing.values():
            incarnation.let_end()
        self._orphans += self._playing.values()
        self._playing = {}
        self._kill_supervisor()
        for path in Path(self._directory).iterdir():
            for line in read(str(path)):
                self.answers[line.answer.partition(":")[0] if line.answer else "none"] += 1
                assert "internal error" not in (line.answer or ""), line
        assert self._world.ok("ps", "-aq") == ""

    def close(self) -> None:
        """End what may still play, after a failure."""
        for incarnation in self._playing.values():
            incarnation.process.kill()
            incarnation.process.communicate()

    def forget(self) -> None:
        """Remove the journals."""
        shutil.rmtree(self._directory)

    # -- kills

    def _incarnate(self, number: int) -> Incarnation:
        self._lives[number] += 1
        return Incarnation(self._world, self._directory, number, self._lives[number], self._seed)

    def _kill_client(self, number: int) -> None:
        self._playing[number].kill()
        self._orphans.append(self._playing[number])
        self._playing[number] = self._incarnate(number)
        self.kills["client"] += 1

    def _kill_supervisor(self) -> None:
        orphans, self._orphans = self._orphans, []
        if (pid := self._service("supervisor")) is not None:
            self._kill("supervisor", pid)
        self._killed_supervisor = time.monotonic()
        if orphans:
            # A client, or this, has started another. A child that was just forked may have held the socket of the last one.
            poll_until(lambda: self._world.cli("info").exit_code == 0, what="a supervisor answers")
            with Client(root=self._world.root) as host:
                for orphan in orphans:
                    for container, possible in orphan.possible().items():
                        self._check(host, container, possible)

    def _kill_one(self, victim: str, choice: float) -> None:
        pids = self._inits() if victim == "init" else [self._service("monitor")]
        if pids and (pid := pids[int(choice * len(pids))]) is not None:
            self._kill(victim, pid)

    def _kill(self, victim: str, pid: int) -> None:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self.kills[victim] += 1
        poll_until(lambda: not _is_alive(pid), what=f"the {victim} is gone")

    def _service(self, name: str) -> int | None:
        """Return the pid of the supervisor or the monitor of the world, if it lives."""
        for pid in self._world.processes():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            root = self._world.root.encode()
            if any(f"pycontainer.{name}.main".encode() in word for word in words) and any(
                root in word for word in words
            ):
                return pid
        return None

    def _inits(self) -> Sequence[int | None]:
        """Return the first processes of the containers, as their present runs say, in order of their ids."""
        found = []
        for path in sorted(Path(self._world.paths.run_containers_dir).glob("*.json")):
            try:
                text = path.read_text()
            except FileNotFoundError:
                continue
            pid = int(text.partition('"pid": ')[2].partition(",")[0] or 0)
            if pid and _is_of(pid, self._world.paths.marker):
                found.append(pid)
        return found

    # -- what is true

    def _check(self, host: Client, container: str, possible: Possible) -> None:
        """Look whether a container is in one of the states that are possible, then remove it."""
        self.checked += 1
        try:
            found = host.container(container)
        except NotFound:
            assert None in possible, f"container '{container}' is gone, and should be one of {possible}"
            return
        info = found.info
        snapshots = frozenset(snapshot["name"] for snapshot in found.snapshots.list())
        fitting = [
            state
            for state in possible
            if state is not None
            and info["memory_bytes"] == state.memory_mib << 20
            and snapshots == {name for name, _ in state.snapshots}
        ]
        assert fitting, (
            f"container '{container}' is {info['status']}, {info['memory_bytes']} bytes, {snapshots}: {possible}"
        )
        self._check_run(container, found.status, fitting)
        if found.status != "running":
            found.start()
        token = found.exec(["cat", "/token"]).stdout.strip()
        assert token in {state.token for state in fitting}, f"container '{container}' holds {token!r}: {fitting}"
        for name in snapshots:
            found.snapshots.restore(name, force=True)
            found.start()
            token = found.exec(["cat", "/token"]).stdout.strip()
            assert token in {dict(state.snapshots)[name] for state in fitting}, (
                f"snapshot '{name}' of '{container}': {token!r}"
            )
        found.remove(force=True)
        self._world.ok("run", "--rm", "--name", container, "busybox", "true")

    def _check_run(self, container: str, status: str, fitting: list[State]) -> None:
        """One that was stopped stays so; one with a policy runs. Any other that ran may have been killed."""
        expected = {state.is_running for state in fitting}
        if expected == {False}:
            assert status in ("created", "stopped"), f"container '{container}' was stopped, and is {status}"
        if expected == {True} and container.endswith(ALWAYS):
            poll_until(
                lambda: self._world.status(container) == "running",
                timeout_seconds=_BACK_SECONDS,
                interval_seconds=0.5,
                what=f"container '{container}' comes back",
            )


def _is_alive(pid: int) -> bool:
    """Tell whether a process is there, and not only waits to be reaped."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False


def _is_of(pid: int, marker: str) -> bool:
    """Tell whether a process is in a cgroup of the world: a number on record may be another's by now."""
    try:
        return f"/{marker}/" in Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
