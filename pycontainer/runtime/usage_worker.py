"""How much directories hold, counted in a process of its own: `usage_worker PARENT SECONDS` (runtime/worker.py).

A JSON list of absolute paths comes in on standard input; one JSON object goes out, path -> the fields of Counted
(linux/treecount.py). All of it ends after SECONDS, and says then what was not counted to its end; the least important work of
the host, as far as processor and disk go.
"""

import json
import os
import resource
import sys
import time

from pycontainer.linux.treecount import count
from pycontainer.runtime.worker import end_with

_MAX_REQUEST_BYTES = 16 << 20
_MAX_MEMORY_BYTES = 512 << 20


def main() -> int:
    """Serve the one request of standard input; return the exit status."""
    parent, seconds = sys.argv[1:]
    end_with(int(parent))
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, _MAX_MEMORY_BYTES))
    os.nice(19)
    deadline = time.monotonic() + float(seconds)
    paths = json.loads(sys.stdin.buffer.read(_MAX_REQUEST_BYTES))
    print(json.dumps({path: count(path, deadline) for path in paths}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
