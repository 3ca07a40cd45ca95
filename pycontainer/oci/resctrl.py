"""`linux.intelRdt`: a class of cache and memory bandwidth, where the machine has it. Documentation/arch/x86/resctrl.rst

    /sys/fs/resctrl/
    ├── info/L3_MON/mon_features    what can be monitored
    └── CLASS/                      closID, or the container's id; one that we made goes with the container
        ├── schemata, tasks
        └── mon_groups/ID/          of the container alone, with enableCMT or enableMBM; goes with it

Source: OCI runtime-spec config-linux.md, IntelRdt.
"""

import errno
import os

from pycontainer.errors import InvalidInput, StartFailed, Unsupported

_TOP = "/sys/fs/resctrl"
_FIELD = "config.json: linux.intelRdt"
# field: what the kernel calls it, one of which has to be there
_MONITORED = {
    "enableCMT": ("the occupancy of caches", {"llc_occupancy"}),
    "enableMBM": ("memory bandwidth", {"mbm_total_bytes", "mbm_local_bytes"}),
}


def join(wanted: "dict[str, object]", container_id: str, pid: int, *, top: str = _TOP) -> str:
    """Put `pid` into the group that is asked for; return the directory that has to go with the container, else nothing.

    Raises Unsupported without resctrl or what is to be monitored: what was asked for would not be held. InvalidInput for a
    class that is not there or is another one than the configuration says, StartFailed for what the kernel refused.
    """
    if not os.path.exists(f"{top}/schemata"):
        raise Unsupported(
            f"{_FIELD}: this host has no resctrl mounted", hint="mount -t resctrl resctrl /sys/fs/resctrl"
        )
    monitored = [field for field in _MONITORED if wanted.get(field)]
    _check_monitored(monitored, top)
    closid, lines = wanted.get("closID"), _lines(wanted)
    directory = f"{top}/{closid or container_id}"
    made = []
    try:
        if closid and not lines and not os.path.isdir(directory):
            raise InvalidInput(f"{_FIELD}.closID: there is no group '{closid}', and nothing to make one of")
        try:
            os.mkdir(directory, 0o755)
            made.append(directory)
        except FileExistsError:
            if not closid:
                raise StartFailed(f"{_FIELD}: a group '{container_id}' is there already", step="resctrl") from None
            _compare(lines, f"{directory}/schemata")
        else:
            if lines:
                _write(f"{directory}/schemata", "".join(f"{line}\n" for line in lines))
        _write(f"{directory}/tasks", str(pid))
        if monitored:
            group = f"{directory}/mon_groups/{container_id}"
            os.mkdir(group, 0o755)
            made.append(group)
            _write(f"{group}/tasks", str(pid))
    except BaseException as error:
        for path in reversed(made):
            os.rmdir(path)
        if not isinstance(error, OSError):
            raise
        why = os.strerror(error.errno or errno.EIO).lower()
        raise StartFailed(f"{_FIELD}: {error.filename}: {why}", step="resctrl", errno=error.errno or 0) from error
    return made[0] if made else ""  # with a class the kernel removes the groups in it


def _check_monitored(fields: "list[str]", top: str) -> None:
    if not fields:
        return
    try:
        with open(f"{top}/info/L3_MON/mon_features") as file:
            there = {*file.read().split()}
    except FileNotFoundError:
        there = set()
    for field in fields:
        what, names = _MONITORED[field]
        if not names & there:
            raise Unsupported(f"{_FIELD}.{field}: this machine does not monitor {what}")


def _lines(wanted: "dict[str, object]") -> "list[str]":
    """Return the lines for `schemata`; memBwSchema replaces what l3CacheSchema says about bandwidth."""
    cache, bandwidth, more = (wanted.get(key) for key in ("l3CacheSchema", "memBwSchema", "schemata"))
    lines = [line for line in str(cache or "").splitlines() if not (bandwidth and line.startswith("MB:"))]
    return lines + ([str(bandwidth)] if bandwidth else []) + (more if isinstance(more, list) else [])


def _compare(lines: "list[str]", path: str) -> None:
    """Check that a class that is there already is as `lines` say; it is others' as well, and stays as it is."""
    if not lines:
        return
    with open(path) as file:
        there = _values(file.read().splitlines())
    for place, value in _values(lines).items():
        if there.get(place) != value:
            raise InvalidInput(
                f"{_FIELD}: {place[0]}:{place[1]}={value} is not what '{path}' has, {there.get(place, 'nothing')}"
            )


def _values(lines: "list[str]") -> "dict[tuple[str, str], str]":
    """Return (resource, domain) → value, as in `L3:0=7f;1=1f`: hexadecimal but for bandwidth, zeros in front mean nothing."""
    found = {}
    for line in lines:
        resource, _, domains = line.strip().partition(":")
        for domain in domains.split(";"):
            number, _, value = domain.partition("=")
            found[resource.strip(), number.strip().lstrip("0") or "0"] = value.strip().lower().lstrip("0") or "0"
    return found


def leave(directory: str) -> None:
    """Remove what `join` made; already gone is success."""
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        pass


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)
