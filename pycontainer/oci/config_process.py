"""`process` of a bundle's config.json, and the process that `exec -p` is given.

Source: OCI runtime-spec config.md, Process; numbers from <sched.h>, <linux/ioprio.h> and <asm-generic/resource.h>.
"""

from pycontainer.linux.capabilities import NUMBERS
from pycontainer.oci.fields import (
    INT32_MAX,
    INT64_MAX,
    UINT32_MAX,
    UINT64_MAX,
    Fields,
    check_cpu_list,
    checked_integer,
    environment,
    shown,
    wrong,
)

RLIMITS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}
SCHED_FIFO, SCHED_RR, SCHED_DEADLINE = 1, 2, 6
POLICIES = {  # SCHED_ISO of the specification is 4, which no kernel ever had
    "SCHED_OTHER": 0,
    "SCHED_FIFO": SCHED_FIFO,
    "SCHED_RR": SCHED_RR,
    "SCHED_BATCH": 3,
    "SCHED_IDLE": 5,
    "SCHED_DEADLINE": SCHED_DEADLINE,
}
SCHED_FLAGS = {
    "SCHED_FLAG_RESET_ON_FORK": 0x01,
    "SCHED_FLAG_RECLAIM": 0x02,
    "SCHED_FLAG_DL_OVERRUN": 0x04,
    "SCHED_FLAG_KEEP_POLICY": 0x08,
    "SCHED_FLAG_KEEP_PARAMS": 0x10,
    "SCHED_FLAG_UTIL_CLAMP_MIN": 0x20,
    "SCHED_FLAG_UTIL_CLAMP_MAX": 0x40,
}
IO_CLASSES = {"IOPRIO_CLASS_RT": 1, "IOPRIO_CLASS_BE": 2, "IOPRIO_CLASS_IDLE": 3}
CAPABILITY_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
_WINDOW_MOST = 65535  # struct winsize holds 16 bits
ID_MOST = UINT32_MAX - 1  # the last one, (uid_t)-1, means "leave as it is" to setresuid(2)


class Capabilities:
    """A mask for each set."""

    __slots__ = CAPABILITY_SETS

    def __init__(self, bounding: int, effective: int, inheritable: int, permitted: int, ambient: int) -> None:
        self.bounding = bounding
        self.effective = effective
        self.inheritable = inheritable
        self.permitted = permitted
        self.ambient = ambient


class Process:
    """What is executed, and as whom.

    args                 at least one
    env                  NAME=VALUE, each name once
    cwd                  absolute
    console_size         (height, width); None without a terminal
    umask                None: 0o022
    capabilities         None: it has none
    rlimits              (number, soft, hard), each number once; 2**64-1 is no limit
    scheduler            keys policy, nice, priority, flags, runtime, deadline, period, all numbers of sched_setattr(2)
    io_priority          (class, priority) of ioprio_set(2)
    exec_cpu_affinity    (initial, final), lists of CPUs; empty: leave as it is
    """

    __slots__ = (
        "additional_gids",
        "apparmor_profile",
        "args",
        "capabilities",
        "console_size",
        "cwd",
        "env",
        "exec_cpu_affinity",
        "gid",
        "io_priority",
        "no_new_privs",
        "oom_score_adj",
        "rlimits",
        "scheduler",
        "selinux_label",
        "terminal",
        "uid",
        "umask",
    )

    def __init__(self) -> None:
        self.args: list[str] = []
        self.env: list[str] = []
        self.cwd = "/"
        self.terminal = False
        self.console_size: tuple[int, int] | None = None
        self.uid = 0
        self.gid = 0
        self.umask: int | None = None
        self.additional_gids: list[int] = []
        self.capabilities: Capabilities | None = None
        self.rlimits: list[tuple[int, int, int]] = []
        self.no_new_privs = False
        self.apparmor_profile = ""
        self.selinux_label = ""
        self.oom_score_adj: int | None = None
        self.scheduler: dict[str, int] | None = None
        self.io_priority: tuple[int, int] | None = None
        self.exec_cpu_affinity = ("", "")


def parse_process(data: object, where: str) -> Process:
    """Return the process that `data` describes; `where` is the file it came from, or the file and the path in it."""
    fields = Fields(data, where)
    process = Process()
    process.args = fields.texts("args")
    if not process.args:
        wrong(fields.at("args"), "empty: there is nothing to execute" if fields.has("args") else "missing")
    if not process.args[0]:
        wrong(f"{fields.at('args')}[0]", "empty: there is nothing to execute")
    process.env = environment(fields, "env")
    process.cwd = fields.absolute_path("cwd")
    process.terminal = fields.boolean("terminal")
    process.console_size = _console_size(fields) if process.terminal else None
    _read_user(fields, process)
    process.capabilities = _capabilities(fields)
    process.rlimits = _rlimits(fields)
    process.no_new_privs = fields.boolean("noNewPrivileges")
    process.apparmor_profile = fields.text_or("apparmorProfile")
    process.selinux_label = fields.text_or("selinuxLabel")
    process.oom_score_adj = fields.integer_or_none("oomScoreAdj", -1000, 1000)
    process.scheduler = _scheduler(fields)
    process.io_priority = _io_priority(fields)
    affinity = fields.inner("execCPUAffinity")
    if affinity is not None:
        initial, final = (check_cpu_list(affinity.text_or(key), affinity.at(key)) for key in ("initial", "final"))
        process.exec_cpu_affinity = (initial, final)
    return process


def _console_size(fields: Fields) -> tuple[int, int] | None:
    size = fields.inner("consoleSize")
    if size is None:
        return None
    return size.integer("height", 0, _WINDOW_MOST), size.integer("width", 0, _WINDOW_MOST)


def _read_user(fields: Fields, process: Process) -> None:
    """Without `user` it is root, which is what the schema allows and both runc and crun do."""
    user = fields.inner("user")
    if user is None:
        return
    process.uid = user.integer("uid", 0, ID_MOST)
    process.gid = user.integer("gid", 0, ID_MOST)
    process.umask = user.integer_or_none("umask", 0, 0o777)
    at = user.at("additionalGids")
    process.additional_gids = [
        checked_integer(value, f"{at}[{index}]", 0, ID_MOST) for index, value in enumerate(user.items("additionalGids"))
    ]


def _capabilities(fields: Fields) -> Capabilities | None:
    sets = fields.inner("capabilities")
    return None if sets is None else Capabilities(*(_mask(sets, key) for key in CAPABILITY_SETS))


def _mask(sets: Fields, key: str) -> int:
    """Return a set as a mask. An unknown name is refused: the peers that skip it grant less than was asked, silently."""
    mask = 0
    for index, name in enumerate(sets.texts(key)):
        number = NUMBERS.get(name)
        if number is None and name.isascii():  # others become letters of ASCII in upper case
            number = NUMBERS.get(name.upper())
        if number is None:
            wrong(f"{sets.at(key)}[{index}]", f"unknown capability {shown(name)}")
        mask |= 1 << number
    return mask


def _rlimits(fields: Fields) -> list[tuple[int, int, int]]:
    found: dict[int, tuple[int, int, int]] = {}
    for entry in fields.objects("rlimits"):
        number = entry.choice("type", RLIMITS)
        if number in found:
            wrong(entry.at("type"), f"{entry.text('type')} is given twice")
        soft, hard = entry.integer("soft", 0, UINT64_MAX), entry.integer("hard", 0, UINT64_MAX)
        if soft > hard:
            wrong(entry.at("soft"), f"{soft} is more than the hard limit, {hard}")
        found[number] = (number, soft, hard)
    return list(found.values())


def _scheduler(fields: Fields) -> dict[str, int] | None:
    asked = fields.inner("scheduler")
    if asked is None:
        return None
    policy = asked.choice("policy", POLICIES)
    flags = 0
    for index, name in enumerate(asked.texts("flags")):
        flags |= asked.choose(name, f"flags[{index}]", SCHED_FLAGS)
    made = {"policy": policy, "flags": flags, "nice": asked.integer_or("nice", 0, -20, 19)}
    made["priority"] = asked.integer_or("priority", 0, -INT32_MAX - 1, INT32_MAX)
    least, most = (1, 99) if policy in (SCHED_FIFO, SCHED_RR) else (0, 0)
    if not least <= made["priority"] <= most:
        wanted = f"{least} to {most}" if most else "0, or left out"
        wrong(asked.at("priority"), f"{made['priority']} is wrong: with {asked.text('policy')} it is {wanted}")
    for key in ("runtime", "deadline", "period"):
        made[key] = asked.integer_or(key, 0, 0, INT64_MAX)
        if made[key] and policy != SCHED_DEADLINE:
            wrong(asked.at(key), "is for SCHED_DEADLINE alone")
    if policy == SCHED_DEADLINE and not 0 < made["runtime"] <= made["deadline"] <= (made["period"] or made["deadline"]):
        wrong(asked.where, "SCHED_DEADLINE needs 0 < runtime <= deadline <= period")
    return made


def _io_priority(fields: Fields) -> tuple[int, int] | None:
    asked = fields.inner("ioPriority")
    return None if asked is None else (asked.choice("class", IO_CLASSES), asked.integer("priority", 0, 7))
