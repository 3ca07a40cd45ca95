"""`ps ID`: the processes of a container, by the host's pids, as JSON or as a table like that of ps(1) `-ef`."""

from __future__ import annotations

import os
import time

from pycontainer.errors import InvalidInput, PycontainerError
from pycontainer.oci import output, text
from pycontainer.oci.state import State, user_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pycontainer.oci.arguments import Options

_MAX_COMMAND = 4096


def run(options: Options) -> None:
    """Print the list; options behind the id are for ps(1), whose lines of other processes are left out."""
    if options.format not in ("table", "json"):
        raise InvalidInput(f"invalid format option '{options.format}'", hint="write table or json")
    state = State.load(options.root, options.id)
    group = state.group()
    if group is not None and not group.paths():  # of a user who may make no cgroup
        group = None
    pids = sorted(group.pids()) if group is not None else [state.pid] if state.is_alive() else []
    if options.format == "json":
        output.write(text.dumps(pids) + "\n")
    elif options.words:
        output.write(_of_ps(options.words, set(pids)))
    else:
        output.write(table(pids))


def table(pids: list[int]) -> str:
    """Return the lines of `ps -ef` for these processes; one that has just ended is left out."""
    lines = [f"{'UID':8} {'PID':>7} {'PPID':>7}  C STIME TTY          TIME CMD"]
    boot_seconds = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    ticks_per_second = os.sysconf("SC_CLK_TCK")
    for pid in pids:
        try:
            lines.append(_line(pid, boot_seconds, ticks_per_second))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return "\n".join(lines) + "\n"


def _line(pid: int, boot_seconds: float, ticks_per_second: int) -> str:
    directory = f"/proc/{pid}"
    name, _, rest = _read(f"{directory}/stat").rpartition(b")")
    fields = rest.split()
    parent_pid, terminal = int(fields[1]), int(fields[4])
    used_seconds = (int(fields[11]) + int(fields[12])) // ticks_per_second
    began = boot_seconds + int(fields[19]) / ticks_per_second
    age_seconds = max(1, time.time() - began)
    percent = min(99, int(100 * used_seconds / age_seconds))
    shape = "%H:%M" if age_seconds < 86400 else "%b%d"
    command = _read(f"{directory}/cmdline", _MAX_COMMAND).rstrip(b"\0").replace(b"\0", b" ")
    shown = (command or b"[" + name.partition(b"(")[2] + b"]").decode("utf-8", "backslashreplace")
    shown = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in shown)
    uid = os.stat(directory).st_uid
    clock = f"{used_seconds // 3600:02}:{used_seconds // 60 % 60:02}:{used_seconds % 60:02}"
    return (
        f"{user_name(uid):8.8} {pid:>7} {parent_pid:>7} {percent:>2} {time.strftime(shape, time.localtime(began))} "
        f"{terminal_name(terminal):8} {clock} {shown}"
    )


def terminal_name(device: int) -> str:
    """Return a terminal as ps(1) names it, `?` for none. proc_pid_stat(5), tty_nr"""
    major, minor = os.major(device), os.minor(device)
    if 136 <= major <= 143:
        return f"pts/{(major - 136) * 256 + minor}"
    if major == 4:
        return f"tty{minor}" if minor < 64 else f"ttyS{minor - 64}"
    return "?" if device == 0 else f"{major},{minor}"


def _of_ps(words: list[str], pids: set[int]) -> str:
    """Run ps(1) of the host with these options and keep the header and our processes."""
    import subprocess  # 20 ms that only a table of the caller's own form pays

    try:
        done = subprocess.run(["ps", *words], capture_output=True, check=False)
    except FileNotFoundError as error:
        raise PycontainerError("cannot run ps(1)", hint="install procps, or leave the options out") from error
    lines = done.stdout.decode("utf-8", "surrogateescape").splitlines()
    if done.returncode or not lines:
        why = done.stderr.decode(errors="replace").strip() or f"exit status {done.returncode}"
        raise PycontainerError(f"ps {' '.join(words)}: {why}")
    header = lines[0].split()
    if "PID" not in header:
        raise InvalidInput("the output of ps has no column PID", hint="add it: -o pid,...")
    column = header.index("PID")
    kept = [line for line in lines[1:] if (cells := line.split())[column:] and cells[column].isdigit()
            and int(cells[column]) in pids]  # fmt: skip
    return "\n".join([lines[0], *kept]) + "\n"


def _read(path: str, most: int = 65536) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, most)
    finally:
        os.close(fd)
