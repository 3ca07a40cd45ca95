"""Building a dump: start the program, wait until it has loaded all and stopped, write its memory, try what came of it.

    python -m pycontainer.startup.build PROGRAM      one of programs.PROGRAMS

The program is started under ptrace(2) for one instant, its first: the kernel tells every process where it has mapped the
vDSO, code of the kernel's own, which is elsewhere in each. For ours that is struck out, so that libc calls the kernel as it
did before there was one, and nothing in the dump points there.
"""

import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any

from pycontainer.linux import ffi
from pycontainer.linux.libc import checked, declare
from pycontainer.linux.process import PR_SET_PDEATHSIG, prctl
from pycontainer.startup import dump, launcher
from pycontainer.startup.programs import LIBRARY, PROGRAMS, Program
from pycontainer.startup.renewal import FAILED, SWITCH

_LOAD_SECONDS, _TRIAL_SECONDS = 60.0, 20.0
_LEFT_SECONDS = 600.0  # from which on nobody is at work on a file any more
_PTRACE_TRACEME, _PTRACE_DETACH = 0, 17
_AT_NULL, _AT_IGNORE, _AT_SYSINFO_EHDR = 0, 1, 33  # getauxval(3)
_START_STACK_FIELD = 28  # of /proc/PID/stat, proc(5)
_STACK_READ_BYTES = 1 << 16  # far more than arguments, environment and auxiliary vector of what we start take
_LEFT_OUT = ("[vvar]", "[vvar_vclock]", "[vdso]", "[vsyscall]")
_LOCK = ".lock"
_BOOT_ID = "/proc/sys/kernel/random/boot_id"  # random(4)
_PAGE_PRESENT, _PAGE_OF_FILE = 1 << 63, 1 << 61
_FDS = 1 << 20  # more than any process has; close_range(2) takes no notice
# What the program is to find when it starts. rseq: an area that the kernel is told of, and would not be again.
_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": os.defpath, "LD_BIND_NOW": "1", "GLIBC_TUNABLES": "glibc.pthread.rseq=0"}

_ptrace = declare("ptrace", ffi.c_long, ffi.c_long, ffi.c_void_p, ffi.c_void_p, restype=ffi.c_long)


class CannotBuild(Exception):
    """Why there will be no dump here."""


def build(program: Program) -> bool:
    """Make the dump of a program; False if there is one that is true, or somebody else is at it.

    CannotBuild says why it cannot be; for `renewal` that is remembered. The umask decides who may write to directories
    above that of the dumps: the caller sees to that.
    """
    path = program.dump_path()
    directory = os.path.dirname(path)
    os.makedirs(directory, mode=0o755, exist_ok=True)
    _check_owner(os.path.dirname(directory))
    # The seed of hashes, and what guards the stack, are those of each of root's commands.
    os.chmod(directory, 0o700)
    with open(_BOOT_ID, "rb") as file:
        boot = file.read().strip()
    with _locked(f"{path}{_LOCK}") as is_ours:
        if not is_ours or dump.is_true(path, key=program.key(), boot=boot):
            return False
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}{FAILED}")
        _remove_of_other_boots(directory, boot)
        try:
            _build(program, path, boot)
        except Exception as error:  # whatever it is, another start would find the same
            with open(f"{path}{FAILED}", "w") as file:
                file.write(f"{error}\n")
            raise CannotBuild(f"{program.name} cannot be started from a dump: {error}") from error
    return True


def _check_owner(directory: str) -> None:
    """Raise CannotBuild if anybody but root could put another directory of dumps in the place of ours."""
    found = os.stat(directory, follow_symlinks=False)
    if found.st_uid != 0 or found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX:
        raise CannotBuild(f"'{directory}' is not root's alone to write to")


def _remove_of_other_boots(directory: str, boot: bytes) -> None:
    """Remove the dumps that nobody can go on in any more, whosever they were, and what killed builders left.

    Locks stay: somebody may hold one, and another at the same path would be another lock.
    """
    for entry in os.scandir(directory):
        with contextlib.suppress(OSError):
            is_old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _LEFT_SECONDS
            if entry.is_dir(follow_symlinks=False):
                if is_old:  # a trial's, whose builder was killed
                    shutil.rmtree(entry.path)
            elif entry.name.endswith((_LOCK, FAILED)):
                continue
            elif (is_old or "." not in entry.name) and dump.boot_of(entry.path) != boot:
                os.unlink(entry.path)


def _build(program: Program, path: str, boot: bytes) -> None:
    if sys.version_info >= (3, 14):  # which judges by its address whether a stack is used up
        raise CannotBuild("this Python wants the stack that the kernel made")
    new = f"{path}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)
    with _stopped(program) as (pid, told):
        memories, registers = _memory(pid, told)
    files = [dump.File(*each) for each in told["files"]]
    try:
        segments = dump.write(new, memories)
        ranges: list[dump.Range] = []
        for is_last in (False, True):
            contents = dump.Contents(files, segments, ranges, registers)
            dump.write_header(new, contents, key=program.key(), boot=boot)
            pages = _try(program, new, segments)
            if not is_last:  # a range must not reach from one segment over what lies between two
                ranges += [each for segment in segments for each in dump.hot(pages & _pages(segment))]
        os.rename(new, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        raise


@contextlib.contextmanager
def _locked(path: str) -> Iterator[bool]:
    """Hold the right to build, if it is to be had at once."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)


@contextlib.contextmanager
def _stopped(program: Program) -> Iterator[tuple[int, dict[str, Any]]]:
    """Have a process of the program that has stopped: its pid, and what it told."""
    read_fd, write_fd = os.pipe()
    said_fd = os.memfd_create("said")
    pid = 0
    try:
        settings = {
            "libraries": [LIBRARY, program.library],
            "modules": program.modules(),
            "entry": program.entry,
            "heeds_environment": program.heeds_environment,
            "slow": [program.python, *program.options, program.script, ""],  # it has one: none is to be made
            "told_fd": write_fd,
        }
        # -B: what loads may not write beside it, which would be a change of what it is made of
        words = [
            program.dumped,
            "-B",
            *program.options,
            f"{LIBRARY}/pycontainer/startup/frozen.py",
            json.dumps(settings),
        ]
        os.set_inheritable(write_fd, True)
        pid = _start(words, write_fd, said_fd)
        os.close(write_fd)
        write_fd = -1
        line = _read_line(read_fd, time.monotonic() + _LOAD_SECONDS)
        if not line:
            lines = os.pread(said_fd, 65536, 0).decode(errors="replace").strip().splitlines()
            raise CannotBuild(f"it ended while it loaded, or took too long: {''.join(lines[-1:]) or 'no word of why'}")
        _await_stop(pid, time.monotonic() + _LOAD_SECONDS)
        yield pid, json.loads(line)
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(read_fd)
        os.close(said_fd)
        if write_fd >= 0:
            os.close(write_fd)


def _start(words: list[str], passed_fd: int, stderr_fd: int) -> int:
    """Start `words` without a vDSO, with one descriptor more than the three; return the pid. OSError, CannotBuild."""
    null_fd = os.open(os.devnull, os.O_RDWR)
    pid = os.fork()
    if pid == 0:
        try:
            for target, fd in ((0, null_fd), (1, null_fd), (2, stderr_fd)):
                os.dup2(fd, target)
            _begin_as_a_child()
            os.closerange(3, passed_fd)
            os.closerange(passed_fd + 1, _FDS)
            if _ptrace(_PTRACE_TRACEME, 0, None, None) == 0:
                os.execve(words[0], words, _ENVIRONMENT)
        finally:
            os._exit(127)
    os.close(null_fd)
    _, status = os.waitpid(pid, 0)  # traced, it stops as its execve is over
    if not os.WIFSTOPPED(status):
        raise CannotBuild(f"'{words[0]}' cannot be started to be traced")
    try:
        _strike_vdso(pid)
        checked(_ptrace(_PTRACE_DETACH, pid, None, None), "ptrace")
    except BaseException:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise
    return pid


def _begin_as_a_child() -> None:
    """In a child: die with us, and heed all signals, whatever our caller has ignored: Python remembers what it found."""
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _start_of_stack(pid: int) -> int:
    """Return where the kernel put argc, behind it arguments, environment and auxiliary vector, then what they point to."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return int(fields[_START_STACK_FIELD - 3])


def _strike_vdso(pid: int) -> None:
    """Make the entry of the vDSO in the auxiliary vector one that is to be ignored. getauxval(3), vdso(7)"""
    at = _start_of_stack(pid)
    with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
        memory.seek(at)
        words = memory.read(_STACK_READ_BYTES)
        offset = 8 * (1 + struct.unpack_from("<Q", words)[0] + 1)  # argc, argv, NULL
        while struct.unpack_from("<Q", words, offset)[0]:
            offset += 8  # the environment
        offset += 8
        while (kind := struct.unpack_from("<Q", words, offset)[0]) != _AT_NULL:
            if kind == _AT_SYSINFO_EHDR:
                memory.seek(at + offset)
                memory.write(struct.pack("<Q", _AT_IGNORE))
            offset += 16


def _read_line(fd: int, until: float) -> bytes:
    """Return a line, or nothing if the other end is closed, or silent, before that is complete."""
    line = b""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    while not line.endswith(b"\n"):
        if not poll.poll(max(0.0, until - time.monotonic()) * 1000):
            return b""
        piece = os.read(fd, 65536)
        if not piece:
            return b""
        line += piece
    return line


def _await_stop(pid: int, until: float) -> None:
    """Return when a child has stopped; its end stays to be waited for. CannotBuild: it has ended, or takes too long."""
    while time.monotonic() < until:
        found = os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is not None:
            if found.si_code == os.CLD_STOPPED:
                return
            break
        time.sleep(0.002)
    raise CannotBuild("it did not stop")


def _memory(pid: int, told: dict[str, Any]) -> tuple[list[dump.Memory], dump.Registers]:
    """Return the memory of a stopped process and its registers. CannotBuild: it has more than memory."""
    if len(os.listdir(f"/proc/{pid}/task")) != 1:
        raise CannotBuild("it has more than one thread")
    if more := {int(each) for each in os.listdir(f"/proc/{pid}/fd")} - {0, 1, 2}:
        raise CannotBuild(f"it has a descriptor open, {min(more)}")
    code_begin, code_end = told["code"]
    memories = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        for line in maps:
            places, flags, _, _, _, *rest = line.rstrip("\n").split(maxsplit=5)
            name = rest[0] if rest else ""
            begin, end = (int(each, 16) for each in places.split("-"))
            if name == "[heap]" and end > dump.LAUNCHER_ADDRESS:
                raise CannotBuild("its heap is where the next one's is to be")
            if name in _LEFT_OUT or (begin, end) == (code_begin, code_end) or "r" not in flags:
                continue
            if name == "[stack]":  # what is below has been used up; to what is above libc refers, for getauxval(3)
                begin = _start_of_stack(pid) // dump.PAGE_BYTES * dump.PAGE_BYTES
            protection = sum(bit for letter, bit in (("r", 1), ("w", 2), ("x", 4)) if letter in flags)
            if protection & dump.PROT_WRITE and (protection & dump.PROT_EXEC or "s" in flags):
                raise CannotBuild(f"it has memory that is writable and shared or executable: {line.strip()}")
            file.seek(begin)
            memories.append(dump.Memory(begin, protection, _exactly(file, end - begin)))
        file.seek(told["words_at"])
        stack_pointer, thread_pointer = struct.unpack("<QQ", _exactly(file, 16))
    return memories, dump.Registers(stack_pointer, thread_pointer, told["thread_id_at"], told["heap_end_at"])


def _exactly(file: Any, length: int) -> bytes:
    pieces: list[bytes] = []
    missing = length
    while missing:
        pieces.append(file.read(missing))
        if not pieces[-1]:
            raise CannotBuild("its memory cannot be read")
        missing -= len(pieces[-1])
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _try(program: Program, path: str, segments: list[dump.Segment]) -> set[int]:
    """See that a launcher of this dump does what the program does; return which pages it always wrote to. CannotBuild."""
    pages: list[set[int]] = []
    with tempfile.TemporaryDirectory(dir=os.path.dirname(path)) as directory:
        trial = f"{directory}/{program.name}"
        image = launcher.image(os.uname().machine, program, path, ("/nonexistent", program.script))
        with open(trial, "wb") as file:
            file.write(image)
        os.chmod(trial, 0o700)
        for words in program.trials:
            slow = _output([program.python, *program.options, program.script, path, program.name, *words])
            fast = _output([trial, *words], lambda pid: pages.append(_written_to(pid, segments)))
            if fast != slow:
                raise CannotBuild(f"'{' '.join(words)}' from the dump gives {fast}, and else {slow}")
    return set.intersection(*pages)


def _output(words: list[str], at_end: Callable[[int], object] | None = None) -> tuple[int, bytes]:
    """Run a program; return its exit code and its output. It stops at its end, where it is from a dump: for `at_end`."""
    environment = {"PATH": os.defpath, "LC_ALL": "C.UTF-8", SWITCH: "trial"}
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=environment,
            preexec_fn=_begin_as_a_child,
        )
        try:
            if at_end is not None:
                _await_stop(process.pid, time.monotonic() + _TRIAL_SECONDS)
                at_end(process.pid)
                os.kill(process.pid, signal.SIGCONT)
            code = process.wait(_TRIAL_SECONDS)
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        return code, output.read()


def _written_to(pid: int, segments: list[dump.Segment]) -> set[int]:
    """Return which pages of its dump a process has written to, and so has copies of, by address. proc_pid_pagemap(5)"""
    found = set()
    with open(f"/proc/{pid}/pagemap", "rb", buffering=0) as pagemap:
        for segment in segments:
            if segment.is_written_to():
                pagemap.seek(segment.address // dump.PAGE_BYTES * 8)
                entries = _exactly(pagemap, segment.length // dump.PAGE_BYTES * 8)
                for at, (entry,) in enumerate(struct.iter_unpack("<Q", entries)):
                    if entry & _PAGE_PRESENT and not entry & _PAGE_OF_FILE:
                        found.add(segment.address + at * dump.PAGE_BYTES)
    return found


def _pages(segment: dump.Segment) -> set[int]:
    return set(range(segment.address, segment.address + segment.length, dump.PAGE_BYTES))


def main() -> None:
    """Build the dump of the program that is named."""
    if len(sys.argv) != 2 or sys.argv[1] not in PROGRAMS:
        sys.exit(f"usage: python -m pycontainer.startup.build {'|'.join(PROGRAMS)}")
    os.umask(0o022)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored by a caller, it would take our children's exit codes away
    try:
        build(PROGRAMS[sys.argv[1]]())
    except (CannotBuild, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
