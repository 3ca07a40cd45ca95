"""A program to be started from a dump: it tells what a process of its own is given, as far as that can go wrong."""

import gc
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from typing import Any

MORE = "".join(chr(97 + each % 26) for each in range(1000))  # content of a segment


def main() -> int:
    """Do what the first argument says; return the exit code."""
    verb, *words = sys.argv[1:]
    return int(getattr(sys.modules[__name__], f"_{verb}")(*words) or 0)


def _tell(*words: str) -> None:
    told: dict[str, Any] = {
        "argv": sys.argv,
        "environment": dict(os.environ),
        "child": subprocess.run(["/usr/bin/env"], capture_output=True, text=True).stdout.splitlines(),
        "pid": os.getpid(),
        "native_ids": [threading.main_thread().native_id, threading.get_native_id()],
        "ignored": [number for number in range(1, 32) if signal.getsignal(number) == signal.SIG_IGN],
        "interrupt": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
        "zone": time.strftime("%z", time.localtime(0)),
        "cwd": os.getcwd(),
        "streams": [stream is not None and stream.errors for stream in (sys.stdin, sys.stdout, sys.stderr)],
        "random": random.random(),
        "descriptors": sorted(int(each) for each in os.listdir("/proc/self/fd")),
        "clock": time.monotonic(),
    }
    print(json.dumps(told))


def _memory() -> None:
    """Have more memory than the heap of the dump, in small pieces and large ones, across forks and threads."""
    gc.enable()
    kept = [bytes([each % 251]) * (1000 * (1 + each % 200)) for each in range(3000)]
    assert all(len(set(each)) == 1 for each in kept)
    del kept[::2]
    kept += [os.urandom(100_000) for _ in range(100)]
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(sum(map(len, kept)))) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    pid = os.fork()
    if pid == 0:
        os._exit(7 if len(kept) == 1600 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert len(set(found)) == 1 and len(found) == 8
    gc.collect()
    print("whole")


def _recurse() -> None:
    """Go as deep in C as Python lets anybody."""
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    try:
        repr(nested)
    except RecursionError:
        print("refused")


def _read() -> None:
    print(sys.stdin.read().upper(), end="")


def _exit(code: str) -> None:
    sys.exit(int(code) if code.isdigit() else code)


def _raise() -> None:
    raise ValueError("from the dump")


def _interrupt() -> None:
    try:
        print("waits", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("interrupted")


def _pipe() -> None:
    while True:
        print(MORE)


def _imports() -> None:
    """Load what the dump has not: a module in C, and a library that is looked for by its name; ask what the kernel told."""
    import ctypes.util
    import decimal

    assert ctypes.CDLL("libz.so.1").zlibVersion() and not ctypes.util.find_library("nonexistent")
    getauxval = ctypes.CDLL(None).getauxval
    getauxval.restype = ctypes.c_void_p
    assert getauxval(6) == os.sysconf("SC_PAGE_SIZE")  # AT_PAGESZ
    assert ctypes.string_at(getauxval(15)).decode() == os.uname().machine  # AT_PLATFORM
    print(decimal.Decimal(1) / 3)


if __name__ == "__main__":  # the slow way: DUMP NAME ARGUMENTS...
    del sys.argv[:2]
    sys.exit(main())
