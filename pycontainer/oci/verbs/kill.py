"""`kill ID [SIGNAL]`: to the first process of a container, or with `--all` to every one, also when the first has ended.

No lock is taken: a descriptor stands for exactly one process, and a container whose creation hangs can be killed.
"""

from __future__ import annotations

import os

from pycontainer.errors import InvalidInput, InvalidState, PycontainerError
from pycontainer.oci import log
from pycontainer.oci.state import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal

    from pycontainer.oci.arguments import Options
    from pycontainer.oci.cgroups import Group
else:
    import _signal  # what `signal` makes enums of, in 6 ms

SIGKILL = 9
NOT_RUNNING = "container not running"  # containerd looks for this text


def run(options: Options) -> None:
    """Send the signal."""
    state = State.load(options.root, options.id)
    number = signal_number(options.words[0] if options.words else "TERM")
    if options.all:
        to_all(state, number)
    elif not to_first(state, number):
        raise InvalidState(f"{NOT_RUNNING}: process already finished")
    elif number == SIGKILL and state.is_frozen():
        group = state.group()
        if group is not None:
            group.thaw()  # on v1 what stands still cannot even die


def to_first(state: State, number: int) -> bool:
    """Send a signal to the first process; False if there is none any more."""
    pidfd = state.open_pidfd()
    if pidfd is None:
        return False
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True


def to_all(state: State, number: int) -> None:
    """Send a signal to all processes of the container's cgroup; that there are none is no error.

    They stand still meanwhile, so that none is born unseen and no number changes its owner.
    """
    group = state.group()
    if group is None or not group.paths():  # of a user who may make no cgroup
        to_first(state, number)
    elif number == SIGKILL:
        group.kill()
    elif group.pids():
        was_frozen = group.is_frozen()
        if not was_frozen:
            _freeze(group)
        try:
            for pid in group.pids():
                try:
                    os.kill(pid, number)
                except ProcessLookupError:
                    pass
        finally:
            if not was_frozen:
                _thaw(group)


def _freeze(group: Group) -> None:
    """Stop the processes as far as that goes: one that waits for a disk does not stop, and gets its signal all the same."""
    try:
        group.freeze()
    except PycontainerError as error:
        log.debug(f"the processes go on meanwhile: {error}")


def _thaw(group: Group) -> None:
    try:
        group.thaw()
    except PycontainerError:
        if group.is_frozen():  # not if there is no freezer, or all has ended
            raise


def signal_number(text: str) -> int:
    """Return the number of a signal given as `15`, `TERM`, `SIGTERM` or `SIGRTMIN+3`; 0 only asks who is there."""
    last = int(_signal.SIGRTMAX)
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) <= last:
        return int(text)
    name = text.upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    base, sign, offset = name, "", "0"
    for mark in "+-":
        if mark in name:
            base, sign, offset = name.partition(mark)
    number = getattr(_signal, base, None) if base.isascii() and base[3:4] != "_" else None
    if isinstance(number, int) and (not sign or base in ("SIGRTMIN", "SIGRTMAX")) and offset.isdigit():
        number += -int(offset) if sign == "-" else int(offset)
        if 0 < number <= last and (not sign or number >= int(_signal.SIGRTMIN)):
            return int(number)
    raise InvalidInput(f"unknown signal '{text}'", hint="write a name such as TERM, or a number")
