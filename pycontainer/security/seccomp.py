"""What a filter of system calls says, before it is compiled: the default of each profile, and its parts.

    policy_of(spec)  ──▶  Policy  ──▶  seccomp_compile.program()  ──▶  bytes that the kernel takes
    seccomp_json.parse()  ──▶ ─┘

A list of what is allowed, not of what is forbidden: the kernel gains calls every year (seccomp(2), Linux 3.5).
"""

import errno

from pycontainer.linux.named import NamedTuple
from pycontainer.security.syscalls import ABSENT, COMMON, NEWEST_NUMBER, SYSTEM

ALLOW, LOG = 0x7FFF0000, 0x7FFC0000
KILL_PROCESS, KILL_THREAD, TRAP, TRACE, ERRNO = 0x80000000, 0x00000000, 0x00030000, 0x7FF00000, 0x00050000
NOTIFY = 0x7FC00000  # somebody outside answers, who holds the listener
NE, LT, LE, EQ, GE, GT, MASKED_EQ = range(1, 8)  # enum scmp_compare of libseccomp

_CLONE_NEWUSER = 0x10000000
_CLONE_NEW_ANY = 0x7E020000 | 0x80  # all kinds of namespaces; 0x80 is that of time
_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK, _AF_PACKET = 1, 2, 10, 16, 17
_NETLINK_APP = (0, 4, 15, 16)  # ROUTE, SOCK_DIAG, KOBJECT_UEVENT, GENERIC
_NETLINK_SYSTEM = (*_NETLINK_APP, 12)  # NETFILTER, for a firewall of its own
_NETLINK_AUDIT = 9
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)  # Linux, 32 bits, their old uname; and what is it now


class Comparison(NamedTuple):
    """`argument` (0 to 5) `op` `value`; of MASKED_EQ, `value` is the mask and `second` what remains under it."""

    argument: int
    op: int
    value: int
    second: int = 0


class Rule(NamedTuple):
    """What is done with each call of `names` when all of `comparisons` hold."""

    names: tuple[str, ...]
    action: int
    comparisons: tuple[Comparison, ...] = ()


class Policy(NamedTuple):
    """A whole filter; it can be compared and hashed, so that equal ones are compiled once.

    Calls with a number above `newest_number` get ENOSYS, None: the default. `foreign` are further architectures whose calls
    the rules are for, as libseccomp names them; those of all others end the process. `denied_ioctls` are requests of
    ioctl(2) that get EPERM.
    """

    default_action: int
    rules: tuple[Rule, ...]
    foreign: tuple[str, ...] = ()
    newest_number: int | None = None
    denied_ioctls: tuple[int, ...] = ()
    flags: int = 0  # of seccomp(2)


# TIOCSTI and TIOCLINUX type into a terminal as its user would (CVE-2017-5226).
TERMINAL_INPUT = (0x5412, 0x541C)
# SUBVOL_CREATE, SNAP_CREATE and their second versions. A subvolume that root inside makes in a volume on btrfs is in no
# quota group of ours: it would hold what the disk has, and its volume could not be removed. <linux/btrfs.h>
_SUBVOLUMES = (0x5000940E, 0x50009418, 0x50009401, 0x50009417)

_made: dict[tuple[bool, bool], Policy] = {}


def refuse(number: int) -> int:
    """Return the action that makes a call fail with an error number."""
    return ERRNO | number


def default_policy(*, is_system: bool, has_packet_sockets: bool) -> Policy:
    """Return the filter of a profile. `has_packet_sockets`: whoever may have raw sockets was granted them by name."""
    asked = is_system, has_packet_sockets
    if asked not in _made:
        _made[asked] = _default_policy(*asked)
    return _made[asked]


def _default_policy(is_system: bool, has_packet_sockets: bool) -> Policy:
    namespaces = _CLONE_NEWUSER if is_system else _CLONE_NEW_ANY
    none_of_them = (Comparison(0, MASKED_EQ, namespaces, 0),)
    rules = [
        Rule(tuple(sorted(COMMON | SYSTEM if is_system else COMMON)), ALLOW),
        Rule(tuple(sorted(ABSENT)), refuse(errno.ENOSYS)),
        Rule(("ioctl",), ALLOW),
        Rule(("clone", "unshare"), ALLOW, none_of_them),
        *(Rule(("personality",), ALLOW, (Comparison(0, EQ, value),)) for value in _PERSONALITIES),
        *_sockets(_NETLINK_SYSTEM if is_system else _NETLINK_APP, has_packet_sockets),
    ]
    return Policy(
        refuse(errno.EPERM), tuple(rules), newest_number=NEWEST_NUMBER, denied_ioctls=(*TERMINAL_INPUT, *_SUBVOLUMES)
    )


def _sockets(netlink: tuple[int, ...], has_packet_sockets: bool) -> list[Rule]:
    """Return the rules of socket(2): families that programs use; the rest is answered as a kernel without them would.

    The kernel looks at the lower half of the argument, the filter at the whole: an odd upper half is refused.
    """
    families = [_AF_UNIX, _AF_INET, _AF_INET6] + ([_AF_PACKET] if has_packet_sockets else [])
    allowed = [Rule(("socket",), ALLOW, (Comparison(0, EQ, family),)) for family in families]
    allowed += [
        Rule(("socket",), ALLOW, (Comparison(0, EQ, _AF_NETLINK), Comparison(2, EQ, protocol))) for protocol in netlink
    ]
    unknown = refuse(errno.EAFNOSUPPORT)
    # PAM takes this answer for a kernel without auditing, and EPERM for a failure.
    audit = Rule(("socket",), unknown, (Comparison(0, EQ, _AF_NETLINK), Comparison(2, EQ, _NETLINK_AUDIT)))
    absent = [family for family in range(_AF_PACKET + 1) if family not in (*families, _AF_NETLINK)]
    refused = [Rule(("socket",), unknown, (Comparison(0, EQ, family),)) for family in absent]
    return [*allowed, audit, *refused, Rule(("socket",), unknown, (Comparison(0, GT, _AF_PACKET),))]
