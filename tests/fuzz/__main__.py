"""Feed one parser with inputs that coverage leads to: `python -m tests.fuzz PARSER [LIBFUZZER OPTIONS] [INPUT]`.

With INPUT, a file, that is tried once: how a finding is looked at. Without it goes on until something is found or an
option such as -max_total_time=60 ends it. The corpus is a directory of its own that begins with the target's seeds.
Options: https://llvm.org/docs/LibFuzzer.html
"""

import importlib
import os
import signal
import sys
import tempfile

import atheris

_INSTRUMENTED = ["pycontainer", "tarfile", "json", "ipaddress", "tests.fuzz"]
_OPTIONS = ("-rss_limit_mb=1024", "-timeout=20")


def main() -> int:
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=_INSTRUMENTED):
        target = importlib.import_module(f"tests.fuzz.{name}")
        importlib.import_module("tests.fuzz.inputs").directory()  # made here, so that it is removed here
    with tempfile.TemporaryDirectory(prefix="pct-corpus-") as corpus:
        if not any(os.path.isfile(argument) for argument in arguments):
            for number, seed in enumerate(target.SEEDS):
                with open(f"{corpus}/seed-{number}", "wb") as file:
                    file.write(seed)
            arguments = [f"-max_len={target.MAX_BYTES}", *arguments, corpus]
        child = os.fork()  # libFuzzer ends its process without a word to Python: somebody must remove the corpus
        if child == 0:
            atheris.Setup([sys.argv[0], *_OPTIONS, *arguments], target.try_one)
            atheris.Fuzz()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    sys.exit(main())
