"""The validation suite of the OCI project: built once from Debian's source, and run against a runtime by command line.

    .venv/bin/python -m tests.conformance.runtimetools         print the table of docs/oci.md
    … RUNTIME PROGRAM                                          print what one program says

    ~/.cache/pycontainer-runtime-tools/VERSION/
        NAME                      the 58 programs of validation/
        runtimetest               what they run inside
        rootfs-amd64.tar.gz       the root file system of their bundles

Debian's package golang-github-opencontainers-runtime-tools-dev has the libraries only; the programs are in its source
package. apt fetches that; it is taken if its hash is the one below. One import of theirs is in no package of Debian: the
stand-in is in tap/.
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from tests.conformance.nursery import Nursery
from tests.support.images import CHECKOUT

SOURCE = "golang-github-opencontainers-runtime-tools"
SUITE, VERSION = "trixie", "0.9.0.109.ge931285-1"
TARBALL = f"{SOURCE}_{VERSION.rsplit('-', 1)[0]}.orig.tar.xz"
TARBALL_SHA256 = "203989a1ea98cf2aaced79155bbda09270b20db19b03376dde91ab12e5e6a0fe"
CACHE = os.path.expanduser("~/.cache/pycontainer-runtime-tools")
HERE = os.path.dirname(os.path.abspath(__file__))
DEBIAN_GO_LIBRARIES = "/usr/share/gocode"
ROOTFS = "rootfs-amd64.tar.gz"  # the source has none but for x86
ATTEMPTS = 3
PROGRAM_TIMEOUT_SECONDS = 60


class Verdict(NamedTuple):
    """What one program found; `why` is its first complaint, empty when it passed."""

    passed: bool
    why: str
    text: str


# Building


def programs(directory: str) -> list[str]:
    return sorted(set(os.listdir(directory)) - {"runtimetest"} - {ROOTFS})


def build() -> str:
    """Return the directory of the programs, which takes two minutes when it is made. RuntimeError says why it cannot."""
    finished = f"{CACHE}/{VERSION}"
    if os.path.isdir(finished):
        return finished
    os.makedirs(CACHE, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE, prefix=".build-") as work:
        source = f"{work}/src/github.com/opencontainers/runtime-tools"
        os.makedirs(source)
        _run(["tar", "-xf", _fetch(work), "-C", source, "--strip-components=1"])
        shutil.copytree(f"{HERE}/tap", f"{work}/src/github.com/mndrix/tap-go")
        made = f"{work}/made"
        os.mkdir(made)
        names = sorted(
            entry.name for entry in os.scandir(f"{source}/validation") if entry.is_dir() and entry.name != "util"
        )
        packages = [*(f"./validation/{name}" for name in names), "./cmd/runtimetest"]
        environment = {
            "PATH": os.environ["PATH"],
            "GO111MODULE": "off",
            "GOPATH": f"{work}:{DEBIAN_GO_LIBRARIES}",
            "GOCACHE": f"{CACHE}/.objects",  # a build that was broken off goes on
            "GOFLAGS": "-trimpath",
            "CGO_ENABLED": "0",  # runtimetest runs in a root file system without a library
        }
        command = ["nice", "-n", "10", "go", "build", "-ldflags=-s -w", "-o", f"{made}/", *packages]
        _run(command, cwd=source, env=environment)
        shutil.copy(f"{source}/{ROOTFS}", made)
        shutil.rmtree(f"{CACHE}/.objects", ignore_errors=True)
        try:
            os.rename(made, finished)
        except OSError:
            if not os.path.isdir(finished):  # somebody else was faster
                raise
    return finished


def _fetch(directory: str) -> str:
    """Let apt, with lists of its own, fetch the source package, and return the path of the upstream tarball."""
    site = _debian_site()
    state = f"{directory}/apt"
    os.makedirs(f"{state}/lists/partial")
    with open(f"{state}/sources.list", "w") as file:
        file.write(f"deb-src {site} {SUITE} main\n")
    options = [
        f"-oDir::Etc::SourceList={state}/sources.list",
        "-oDir::Etc::SourceParts=/dev/null",
        f"-oDir::State::Lists={state}/lists",
        "-oDir::Cache::pkgcache=",
        "-oDir::Cache::srcpkgcache=",
        "-oAPT::Sandbox::User=root",
        "-oAcquire::Retries=3",
    ]
    _run(["apt-get", "-q", *options, "update"])
    # A mirror may lack the package's description; the tarball itself is known by its hash.
    done = subprocess.run(
        ["apt-get", "-q", *options, "source", "--download-only", f"{SOURCE}={VERSION}"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    path = f"{directory}/{TARBALL}"
    if not os.path.exists(path):
        raise RuntimeError(f"apt did not fetch {TARBALL}: {done.stderr.strip().splitlines()[-1:]}")
    with open(path, "rb") as tarball:
        found = hashlib.file_digest(tarball, "sha256").hexdigest()
    if found != TARBALL_SHA256:
        raise RuntimeError(f"{TARBALL} has the hash {found}, not {TARBALL_SHA256}")
    return path


def _debian_site() -> str:
    """Return the mirror that apt uses for Debian itself."""
    for line in _run(["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE) $(COMPONENT)"]).splitlines():
        site, release, component = (*line.split(), "", "", "")[:3]
        if component == "main" and re.fullmatch(r"bookworm|trixie|stable|testing|sid", release):
            return site
    raise RuntimeError("apt has no source for Debian's main component")


def _run(command: Sequence[str], *, cwd: str | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return done.stdout


# Running


_PREPARE = (
    "mount --make-rshared /",  # as the tests of propagation want it
    "mknod -m 666 $TMPDIR/null c 1 3",  # some runtimes give what is on stdin to the container's user
    "mount --bind $TMPDIR/null /dev/null",
)
_PREPARE_FOR = {
    # It refuses hosts where the v2 tree has a controller beside v1's.
    "crun": ("{ ! mountpoint -q /sys/fs/cgroup/unified || umount /sys/fs/cgroup/unified; }",),
}


_CGROUPS = {"cgrouptest", "testdir"}
"""What the programs call the parents of their cgroups, which runtimes leave."""


class Suite:
    """The programs and a runtime, which keeps its state in a directory of the suite's own."""

    def __init__(self, runtime_path: str, directory: str, nursery: Nursery) -> None:
        self._directory, self._runtime_path, self._nursery = directory, runtime_path, nursery
        self._work = tempfile.mkdtemp(prefix="pct-oci-tools-", dir="/var/tmp")
        os.chmod(self._work, 0o755)
        self.wrapper = f"{self._work}/runtime"
        with open(self.wrapper, "w") as file:
            file.write(f'#!/bin/sh\nexec {runtime_path} --root {self._work}/state "$@"\n')
        os.chmod(self.wrapper, 0o755)

    def run(self, program: str, *, expected: bool = True) -> Verdict:
        """Run one program until it passes, or not, as expected; three times at most: several race with their container."""
        for _ in range(ATTEMPTS):
            verdict = self._run_once(program)
            if verdict.passed == expected:
                break
        return verdict

    def _run_once(self, program: str) -> Verdict:
        """Run one program in a mount namespace of its own (_PREPARE)."""
        script = " && ".join([*_PREPARE, *_PREPARE_FOR.get(os.path.basename(self._runtime_path), ()), "exec ./$0"])
        temporary = f"{self._work}/tmp"
        os.mkdir(temporary)
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as feed:
            command = self._nursery.start(
                ["/usr/bin/unshare", "--mount", "--propagation", "private", "sh", "-c", script, program],
                fds=[feed.fileno(), out.fileno(), out.fileno()],
                env={"PATH": os.environ["PATH"], "RUNTIME": self.wrapper, "TMPDIR": temporary},
                cwd=self._directory,
            )
            try:
                code = command.wait(timeout_seconds=PROGRAM_TIMEOUT_SECONDS)
            except TimeoutError:
                os.kill(command.pid, 9)
                code = command.wait()
            text = os.pread(out.fileno(), 1 << 20, 0).decode(errors="replace")
        self._clear()
        shutil.rmtree(temporary)
        return judge(code, text)

    def close(self) -> None:
        shutil.rmtree(self._work)

    def _clear(self) -> None:
        """Delete what a program left, as many do when they fail."""
        listed = subprocess.run([self.wrapper, "list", "--format", "json"], capture_output=True, text=True, check=False)
        try:
            containers = json.loads(listed.stdout) or []
        except ValueError:
            containers = []
        for container in containers:
            subprocess.run([self.wrapper, "delete", "--force", container["id"]], capture_output=True, check=False)
        for path, _, _ in os.walk("/sys/fs/cgroup", topdown=False):
            if _CGROUPS & set(path.split("/")):
                with contextlib.suppress(OSError):  # of a runtime that runs beside this one
                    os.rmdir(path)


_SAYS_NOTHING = r"exit status \d+|\d+\.\.\d+|TAP version 13"


def judge(code: int, text: str) -> Verdict:
    """Return the verdict of a program by its TAP. Some hook programs print none, but an error if there is one."""
    verdicts = [found for found in re.findall(r"^(ok|not ok)\b(.*)$", text, re.MULTILINE) if "# TODO" not in found[1]]
    bad = [rest.lstrip(" -0123456789") for word, rest in verdicts if word == "not ok"]
    if code:
        said = [line for line in text.splitlines() if line.strip() and not re.fullmatch(_SAYS_NOTHING, line)]
        last = said[-1] if said else "without a word"
        return Verdict(False, bad[0] if bad else f"ended with {code}: {last}", text)
    if bad:
        return Verdict(False, bad[0], text)
    if not verdicts and (error := re.search(r'"error": "(.*)"', text)):
        return Verdict(False, error.group(1), text)
    if verdicts and all("# SKIP" in rest for _, rest in verdicts):
        return Verdict(False, "skipped: " + verdicts[0][1].split("# SKIP")[1].strip(), text)
    return Verdict(True, "", text)


# The table

RUNTIMES = ("pycontainer-oci", "runc", "crun")
DOCUMENT = f"{CHECKOUT}/docs/oci.md"
MARK = "<!-- runtime-tools: made by `python -m tests.conformance.runtimetools --write` -->"
_PASSED = "yes"


def runtime_path(name: str) -> str:
    """Return the path of a runtime by name, empty if it is not installed."""
    return f"{CHECKOUT}/.venv/bin/{name}" if name == "pycontainer-oci" else shutil.which(name) or ""


def table(found: dict[str, dict[str, Verdict]]) -> str:
    """Return the table of verdicts: runtime → program → verdict."""
    names = list(found)
    lines = [f"| program | {' | '.join(names)} | what is wrong |", f"|---|{'---|' * (len(names) + 1)}"]
    for program in next(iter(found.values())):
        row = [found[name][program] for name in names]
        complaints = dict.fromkeys(_short(verdict.why) for verdict in row if not verdict.passed)
        marks = " | ".join(_PASSED if verdict.passed else "no" for verdict in row)
        lines.append(f"| `{program}` | {marks} | {'; '.join(complaints)} |")
    counts = " | ".join(str(sum(verdict.passed for verdict in found[name].values())) for name in names)
    return "\n".join([*lines, f"| passed | {counts} | of {len(next(iter(found.values())))} |"])


def documented() -> dict[str, dict[str, bool]]:
    """Return the table of docs/oci.md: runtime → program → whether it passes."""
    with open(DOCUMENT) as file:
        _, _, after = file.read().partition(MARK)
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in after.strip().split("\n\n")[0].splitlines()
    ]
    names = rows[0][1:-1]
    return {
        name: {row[0].strip("`"): row[1 + column] == _PASSED for row in rows[2:-1]} for column, name in enumerate(names)
    }


def _short(why: str) -> str:
    why = re.sub(r'^ended with 1: (time=\S+ level=error msg="?|\S+Z: )?', "", why.split("\\n")[0])
    why = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|/var/tmp/\S+", "…", why).replace("|", "/").strip(' "')
    return why if len(why) <= 120 else why[:119] + "…"


def _write(text: str) -> None:
    with open(DOCUMENT) as file:
        before, mark, after = file.read().partition(MARK)
    rest = after.strip("\n").split("\n\n", 1)[1:]
    with open(DOCUMENT, "w") as file:
        file.write("\n\n".join([before + mark, text, *rest]).rstrip("\n") + "\n")


def main() -> None:
    """Print the table of all runtimes that work here, or what one program says."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--write", action="store_true", help="put the table into docs/oci.md")
    parser.add_argument("runtime", nargs="?")
    parser.add_argument("program", nargs="?")
    options = parser.parse_args()
    directory = build()
    chosen = [options.runtime] if options.runtime else RUNTIMES
    nursery = Nursery()
    found: dict[str, dict[str, Verdict]] = {}
    for name in chosen:
        path = runtime_path(name)
        if not path or subprocess.run([path, "--version"], capture_output=True, check=False).returncode:
            print(f"no {name} here", file=sys.stderr)
            continue
        suite = Suite(path, directory, nursery)
        found[name] = {one: suite.run(one) for one in ([options.program] if options.program else programs(directory))}
        suite.close()
    nursery.close()
    if options.program:
        print("\n".join(verdict.text for each in found.values() for verdict in each.values()))
    text = table(found)
    print(text)
    if options.write:
        _write(text)


if __name__ == "__main__":
    main()
