"""The filter of system calls that a bundle asks for, `linux.seccomp` of its config.json.

Engines send the same profile, some 400 names, with each container. Reading and compiling it takes 20 ms, so the program is
kept, and found by the text of the section: without reading it again, and without libseccomp. A filter is compiled anew when
libseccomp has changed, which may know more calls then.
"""

from __future__ import annotations

import os

from pycontainer.errors import InvalidInput
from pycontainer.linux.libc import MACHINE
from pycontainer.linux.named import NamedTuple
from pycontainer.security import seccomp_cache

_LISTENER = ("listenerPath", "listenerMetadata")  # whom the runtime tells of the filter; no part of it
_INSTRUCTION_BYTES = 8
_NO_NUMBER = -1  # of a call that nobody knows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pycontainer.security.seccomp import Rule


class Loadable(NamedTuple):
    """What the child loads: flags of seccomp(2), instructions; `notifies`: it asks a listener, so one must be made."""

    flags: int
    program: bytes
    notifies: bool


def loadable(
    section: dict[str, object], *, capabilities: frozenset[str], kernel: tuple[int, int], cache_dir: str
) -> Loadable:
    """Return what a section comes to for a container with `capabilities`, by name, on kernel (major, minor).

    InvalidInput says where in config.json it is wrong, Unsupported that libseccomp is not there.
    """
    content = repr((MACHINE, sorted(capabilities), kernel, section))
    found = _parsed(seccomp_cache.find(cache_dir, content)) if cache_dir else None
    if found is not None:
        return found
    made = _made(section, capabilities, kernel)
    if library := _library():
        head = os.fsencode(f"{made.flags} {int(made.notifies)} {library}\n")
        if cache_dir:
            seccomp_cache.keep(cache_dir, content, head + made.program)
    return made


def _parsed(kept: bytes) -> Loadable | None:
    """Return what a file holds; None if it is damaged, or of a libseccomp that is no longer there."""
    head, _, program = kept.partition(b"\n")
    try:
        flags, notifies, mtime_ns, path = os.fsdecode(head).split(" ", 3)
        if not program or len(program) % _INSTRUCTION_BYTES or os.stat(path).st_mtime_ns != int(mtime_ns):
            return None
        return Loadable(int(flags), program, notifies == "1")
    except (ValueError, OSError):
        return None


def _made(section: dict[str, object], capabilities: frozenset[str], kernel: tuple[int, int]) -> Loadable:
    from pycontainer.security import seccomp, seccomp_compile, seccomp_json  # 1 ms that the usual call saves

    profile = {key: value for key, value in section.items() if key not in _LISTENER}
    has_listener = bool(section.get("listenerPath"))
    try:
        policy = seccomp_json.policy_of(profile, capabilities=capabilities, kernel=kernel, has_listener=has_listener)
        known = [_of_known(rule, seccomp_compile.number_of) for rule in policy.rules]
        policy = policy._replace(rules=tuple(rule for rule in known if rule.names))
        program = seccomp_compile.program(policy)
    except InvalidInput as error:
        why = error.message.removeprefix("seccomp profile: ").removeprefix("seccomp: ")
        is_in = why.partition(":")[0].partition("[")[0] in seccomp_json.TOP_KEYS
        raise InvalidInput(f"config.json: linux.seccomp{'.' if is_in else ': '}{why}") from None
    return Loadable(policy.flags, program, any(rule.action == seccomp.NOTIFY for rule in policy.rules))


def _of_known(rule: Rule, number_of: Callable[[str], int]) -> Rule:
    """Return a rule without the calls that this machine does not have: engines send one list to all. runc ignores them."""
    return rule._replace(names=tuple(name for name in rule.names if number_of(name) != _NO_NUMBER))


def _library() -> str:
    """Return when libseccomp, which is loaded, was made, and where it lies; empty if it was replaced meanwhile."""
    with open("/proc/self/maps", encoding="utf-8", errors="surrogateescape") as maps:
        path = next((line.split(maxsplit=5)[5].rstrip("\n") for line in maps if "/libseccomp.so" in line), "")
    try:
        return f"{os.stat(path).st_mtime_ns} {path}"
    except OSError:
        return ""
