"""One client: random operations on containers of its own, each written down before it is asked and when it was answered.

    python -m tests.chaos.client ROOT NAME SEED JOURNAL

It goes on until it is killed, or its standard input ends. Containers of another incarnation are not its business: an
operation of that may still be at work.
"""

import json
import os
import random
import select
import sys
from typing import Any

from pycontainer import Client
from pycontainer.errors import PycontainerError, SupervisorUnavailable
from tests.chaos.model import ABSENT, State, begun, succeeded

IMAGE = "busybox"
CONTAINERS = 3
ALWAYS = "-always"  # how the names of those end that are started again whenever they end
_MEMORY_MIB = (32, 48, 64)
_PAUSE_SECONDS = 0.1
_WRITE = 'echo "$0" > /token.new && mv /token.new /token'


class Player:
    """The state of one client."""

    def __init__(self, root: str, name: str, seed: str, journal: str) -> None:
        self._host, self._random = Client(root=root), random.Random(seed)
        self._journal_fd = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._possible = {f"{name}-{n}{ALWAYS * (n == 0)}": ABSENT for n in range(CONTAINERS)}
        self._count = 0

    def step(self) -> None:
        """Do one operation that makes sense in one of the states that are possible."""
        container = self._random.choice(sorted(self._possible))
        possible = self._possible[container]
        operation, args = self._choose(self._random.choice(sorted(possible, key=repr)))
        self._note({"container": container, "operation": operation, "args": args})
        try:
            self._do(container, operation, args)
            answer = "ok"
        except SupervisorUnavailable:
            answer = "unavailable"
        except PycontainerError as error:
            answer = f"{type(error).__name__}: {error.message}"
        except OSError as error:
            answer = f"OSError: {error}"
        self._note({"answer": answer})
        step = succeeded if answer == "ok" else begun
        self._possible[container] = step(operation, args, possible)

    def _choose(self, state: State | None) -> tuple[str, dict[str, Any]]:
        self._count += 1
        memory = {"memory_mib": self._random.choice(_MEMORY_MIB)}
        if state is None:
            return "create", memory
        choices: list[tuple[str, dict[str, Any]]] = [("set", memory), ("rm", {})]
        if len(state.snapshots) < 3:
            choices.append(("snapshot", {"snapshot": f"s{self._count}"}))
        if state.snapshots:
            name = self._random.choice(sorted(state.snapshots))[0]
            choices += [("restore", {"snapshot": name}), ("unsnapshot", {"snapshot": name})]
        if state.is_running:
            choices += [("write", {"token": f"t{self._count}"})] * 3 + [("stop", {}), ("restart", {})]
        else:
            choices += [("start", {})] * 4
        return self._random.choice(choices)

    def _do(self, name: str, operation: str, args: dict[str, Any]) -> None:
        host = self._host
        if operation == "create":
            policy = "always" if name.endswith(ALWAYS) else "no"
            memory = f"{args['memory_mib']}M"
            host.create(IMAGE, ["sleep", "100000"], name=name, memory=memory, restart=policy, stop_signal="KILL")
            return
        container = host.container(name)
        if operation == "set":
            container.set(memory=f"{args['memory_mib']}M")
        elif operation == "rm":
            container.remove(force=True)
        elif operation == "snapshot":
            container.snapshots.create(args["snapshot"])
        elif operation == "unsnapshot":
            container.snapshots.remove(args["snapshot"])
        elif operation == "restore":
            container.snapshots.restore(args["snapshot"], force=True)
        elif operation == "write":
            done = container.exec(["sh", "-c", _WRITE, args["token"]])
            if done.exit_code:
                raise PycontainerError(f"the command ended with {done.exit_code}")
        elif operation == "start":
            container.start()
        else:
            getattr(container, operation)(timeout_seconds=0)

    def pause(self) -> bool:
        """Wait a little; False when it is over."""
        seconds = self._random.uniform(0, 2 * _PAUSE_SECONDS)
        return not select.select([sys.stdin], [], [], seconds)[0]

    def _note(self, entry: dict[str, Any]) -> None:
        os.write(self._journal_fd, json.dumps(entry).encode() + b"\n")


def main() -> None:
    player = Player(*sys.argv[1:])
    while player.pause():
        player.step()


if __name__ == "__main__":
    main()
