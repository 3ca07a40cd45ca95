"""Many containers of ours at the same time: what it takes to start them, to ask for them, and to hold them."""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pycontainer import Client
from tests.benchmarks.bed import Bed, touch_memory
from tests.benchmarks.figures import SUBJECT_COMMAND, SUBJECT_LIBRARY, Row, row
from tests.benchmarks.memory import cpu_seconds, kernel_bytes, pss_bytes, runtime_pids
from tests.benchmarks.peers.base import Peer
from tests.benchmarks.peers.ours import timed
from tests.benchmarks.runner import Runner
from tests.support.deaths import kill_supervisor
from tests.support.hostns import HostNetwork
from tests.support.world import World

NAME = "fleet"
TITLE = "Many instances"
COMPARES = False
TEXT = (
    "Containers that sleep, each with its user namespace, cgroups, overlay and network, started one after the other "
    "by one client, and that seven times (quick: once), with all removed in between. Starts per second are those up to "
    "that number; the n-th start is the median of the twenty (quick: three) that end with it. The memory that they take "
    "was written to before, as on a host that has been at work: where it is new to a virtual machine, each page costs a "
    "fault of the host below as well. Memory is that of the first time: PSS, less what is there without a container. With "
    "`pycontainer, command` each `ps` and `inspect` is a new process; its `stats` watches for half a second. Re-adoption "
    "is from the death of the supervisor (SIGKILL) until the next one has answered `ps`."
)
_COUNTS = (10, 100, 1000)
_SLEEP = ("sleep", "1000000")
_AT_ONCE = 4
# Of what others do on the machine meanwhile, a growth of some ten seconds sees now more, now less at its end.
_TIMES = 7
_SETTLE_SECONDS = 10.0  # in which the kernel takes down what is left of those that were removed
_TOUCHED_BYTES = 2 << 20  # for each container: its half of that, and what is on disk and in caches


def measure(bed: Bed, peers: Sequence[Peer]) -> Iterator[Row]:
    counts, rounds, idle_seconds, window = ((10,), 3, 2.0, 3) if bed.quick else (_COUNTS, 10, 60.0, 20)
    network = HostNetwork()
    world = World(network)
    runner = Runner(network.inside.argv(), world.environment)
    try:
        world.import_image(str(bed.rootfs), "busybox")
        with world.client() as host:
            host.run("busybox", _SLEEP, name="warm").remove(force=True)
            touch_memory(max(counts) * _TOUCHED_BYTES)
            yield from _grow(world, host, counts, window, 1 if bed.quick else _TIMES)
            yield from _ask(world, host, runner, rounds)
            yield from _idle(world, idle_seconds)
            yield from _adopt(world, runner, 2 if bed.quick else 5)
        with world.client() as host:
            yield _start_more(host, 10 if bed.quick else 200)
            yield row(NAME, SUBJECT_LIBRARY, f"removed per second, {_AT_ONCE} at once", "/s", [_remove_all(host)])
    finally:
        runner.close()
        try:
            world.close()
        finally:
            world.scrub()
            network.close()


def _grow(world: World, host: Client, counts: Sequence[int], window: int, times: int) -> Iterator[Row]:
    before, kernel_before = _ours(world), kernel_bytes()
    count = max(counts)
    starts = [_start(host, count)]
    after, kernel = _ours(world), kernel_bytes()
    for _ in range(times - 1):
        _remove_all(host)
        time.sleep(_SETTLE_SECONDS)
        starts.append(_start(host, count))
    for number in counts:
        rates = [number / sum(seconds[:number]) for seconds in starts]
        yield row(NAME, SUBJECT_LIBRARY, f"starts per second up to {number}", "/s", rates)
        last = [each * 1000 for seconds in starts for each in seconds[max(0, number - window) : number]]
        yield row(NAME, SUBJECT_LIBRARY, f"start of the {number}th", "ms", last)
    ratios = [statistics.median(seconds[-window:]) / statistics.median(seconds[:window]) for seconds in starts]
    yield row(NAME, SUBJECT_LIBRARY, f"the {count}th of the 10th", "×", ratios)
    each = sum(after.values()) - sum(before.values())
    yield row(NAME, SUBJECT_LIBRARY, "memory of ours, each", "KB", [each / count / 1024])
    yield row(NAME, SUBJECT_LIBRARY, "memory of the kernel, each", "KB", [(kernel - kernel_before) / count / 1024])
    for kind in ("supervisor", "monitor"):
        yield row(NAME, SUBJECT_LIBRARY, f"memory of the {kind}", "MB", [after[kind] / 2**20])


def _start(host: Client, count: int) -> list[float]:
    """Start so many, and return how many seconds each took."""
    return [timed(lambda name=f"c{each}": host.run("busybox", _SLEEP, name=name)) for each in range(1, count + 1)]  # type: ignore[misc]


def _remove_all(host: Client) -> float:
    """Remove all containers, and return how many that were in a second."""
    ids = [each["id"] for each in host.list_containers()]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return len(ids) / timed(lambda: list(pool.map(lambda each: host.remove(each, force=True), ids)))


def _start_more(host: Client, count: int) -> Row:
    """Several clients at once, while all the others run."""
    numbers = range(count)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        seconds = timed(lambda: list(pool.map(lambda each: host.run("busybox", _SLEEP, name=f"m{each}"), numbers)))
    return row(NAME, SUBJECT_LIBRARY, f"starts per second, {count} more, {_AT_ONCE} at once", "/s", [count / seconds])


def _ask(world: World, host: Client, runner: Runner, rounds: int) -> Iterator[Row]:
    base = (world.program, "--root", world.root)
    works: dict[tuple[str, str], Callable[[], float]] = {
        (SUBJECT_LIBRARY, "ps"): lambda: timed(host.list_containers),
        (SUBJECT_LIBRARY, "inspect of one"): lambda: timed(host.container("c5").inspect),
        (SUBJECT_LIBRARY, "stats of all"): lambda: timed(host.stats),
        (SUBJECT_COMMAND, "ps"): lambda: runner.time(*base, "ps"),
        (SUBJECT_COMMAND, "ps -q"): lambda: runner.time(*base, "ps", "-q"),
        (SUBJECT_COMMAND, "inspect of one"): lambda: runner.time(*base, "inspect", "c5"),
        (SUBJECT_COMMAND, "stats of all"): lambda: runner.time(*base, "stats", "--no-stream"),
    }
    for (subject, item), work in works.items():
        work()
        yield row(NAME, subject, item, "ms", [work() * 1000 for _ in range(rounds)])


def _idle(world: World, seconds: float) -> Iterator[Row]:
    """Nothing is asked. A minute, in which what looks at all instances each minute does so once."""
    pids = _pids(world)
    before = {kind: cpu_seconds(pid) for kind, pid in pids.items()}
    time.sleep(seconds)
    for kind, pid in pids.items():
        used = cpu_seconds(pid) - before[kind]
        yield row(NAME, SUBJECT_LIBRARY, f"{kind}, idle", "% of a core", [100 * used / seconds])


def _adopt(world: World, runner: Runner, rounds: int) -> Iterator[Row]:
    seconds = []
    for _ in range(rounds):
        kill_supervisor(world)
        seconds.append(runner.time(world.program, "--root", world.root, "ps", "-q"))
    yield row(NAME, SUBJECT_LIBRARY, "re-adoption", "s", seconds)


def _pids(world: World) -> dict[str, int]:
    found = {}
    for pid in runtime_pids(world.network.inside):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            command = file.read()
        for kind in ("supervisor", "monitor"):
            if f"pycontainer.{kind}.main".encode() in command:
                found[kind] = pid
    return found


def _ours(world: World) -> dict[str, int]:
    """Return the memory of the supervisor, of the monitor, and of what else of ours is there."""
    pids = _pids(world)
    sizes = {kind: pss_bytes(pid) for kind, pid in pids.items()}
    sizes["others"] = sum(map(pss_bytes, set(runtime_pids(world.network.inside)) - set(pids.values())))
    return sizes
