"""The tour of README.md shows what really happens."""

import os
import re
import subprocess
import sys

from tests.support.readme import console_steps
from tests.support.world import World

# What differs from run to run, and what stands for it when outputs are compared.
_VARYING = (
    (r"\b[0-9a-f]{12}\b", "ID"),
    (r"\[?[0-9a-f:]*:[0-9a-f:.]*:[0-9a-f:.]*\]?(?=[\s:,]|$)", "IP6"),
    (r"\d+(\.\d+)?", "N"),
    (r"Up (N|less than a|about a)? ?\w+", "Up"),
    (r"N(B|KiB|MiB|kB)", "SIZE"),
    (r"[ \t]+", " "),
)


def normal(output: str) -> list[str]:
    """Return the lines of an output without what varies."""
    for pattern, word in _VARYING:
        output = re.sub(pattern, word, output, flags=re.IGNORECASE if word == "ID" else 0)
    return [line.strip() for line in output.splitlines() if line.strip()]


def test_tour(own_world: World, busybox_rootfs: str) -> None:
    world = own_world
    environment = {
        **world.environment,
        "PYCONTAINER_ROOT": world.root,
        "COLUMNS": "200",
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
    }
    steps = console_steps()
    assert len(steps) > 8
    for command, shown in steps:
        done = subprocess.run(
            world.network.inside.argv("sh", "-c", command.replace("/srv/busybox", busybox_rootfs)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            timeout=60,
            check=False,
        )
        assert normal(done.stdout.replace(busybox_rootfs, "/srv/busybox")) == normal(shown), command
