"""oci/config_process.py: `process`, and what `exec -p` is given."""

from typing import Any

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.linux.capabilities import NAMES, NUMBERS
from pycontainer.oci.config import parse_process
from pycontainer.oci.config_process import RLIMITS

LEAST: dict[str, Any] = {"args": ["sh"], "cwd": "/"}


def changed(**changes: object) -> dict[str, Any]:
    return {key: value for key, value in {**LEAST, **changes}.items() if value is not ...}


def refusal(where: str, **changes: object) -> str:
    with pytest.raises(InvalidInput) as caught:
        parse_process(changed(**changes), where)
    return caught.value.message


LIMIT = {"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}
TERMINAL = {"terminal": True}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"args": ...}, "args: missing"),
        ({"args": []}, "args: empty: there is nothing to execute"),
        ({"args": [""]}, "args[0]: empty: there is nothing to execute"),
        ({"args": None}, "args: null is not a list"),
        ({"args": "sh"}, "args: 'sh' is not a list"),
        ({"args": ["sh", None]}, "args[1]: null is not a string"),
        ({"args": ["sh", "a\0b"]}, "args[1]: 'a\\x00b' contains a NUL byte"),
        ({"args": ["sh", "\ud800"]}, "args[1]: '\\ud800' is not Unicode text"),
        ({"cwd": ...}, "cwd: missing"),
        ({"cwd": ""}, "cwd: '' is not an absolute path"),
        ({"cwd": "tmp"}, "cwd: 'tmp' is not an absolute path"),
        ({"env": ["A=1", "B"]}, "env[1]: 'B' has no '='"),
        ({"env": ["=1"]}, "env[0]: '=1' has no name before the '='"),
        ({"env": ["A=\0"]}, "env[0]: 'A=\\x00' contains a NUL byte"),
        ({"env": {"A": "1"}}, "env: an object is not a list"),
        ({"terminal": "true"}, "terminal: 'true' is not true or false"),
        (TERMINAL | {"consoleSize": {"height": 25}}, "consoleSize.width: missing"),
        (
            TERMINAL | {"consoleSize": {"height": 65536, "width": 80}},
            "consoleSize.height: 65536 is out of range: 0 to 65535",
        ),
        ({"user": []}, "user: a list is not an object"),
        ({"user": {"gid": 0}}, "user.uid: missing"),
        ({"user": {"uid": 0}}, "user.gid: missing"),
        ({"user": {"uid": "root", "gid": 0}}, "user.uid: 'root' is not a whole number"),
        ({"user": {"uid": -1, "gid": 0}}, "user.uid: -1 is out of range: 0 to 4294967294"),
        ({"user": {"uid": 0, "gid": 2**32 - 1}}, "user.gid: 4294967295 is out of range: 0 to 4294967294"),
        ({"user": {"uid": 0, "gid": 0, "umask": 0o1000}}, "user.umask: 512 is out of range: 0 to 511"),
        (
            {"user": {"uid": 0, "gid": 0, "additionalGids": [1, 2**32 - 1]}},
            "user.additionalGids[1]: 4294967295 is out of range: 0 to 4294967294",
        ),
        ({"capabilities": ["CAP_KILL"]}, "capabilities: a list is not an object"),
        (
            {"capabilities": {"bounding": ["CAP_KILL", "CAP_FLY"]}},
            "capabilities.bounding[1]: unknown capability 'CAP_FLY'",
        ),
        ({"capabilities": {"ambient": ["KILL"]}}, "capabilities.ambient[0]: unknown capability 'KILL'"),
        ({"capabilities": {"ambient": ["CAP_ſYSLOG"]}}, "capabilities.ambient[0]: unknown capability 'CAP_ſYSLOG'"),
        ({"capabilities": {"effective": None}}, "capabilities.effective: null is not a list"),
        ({"rlimits": [LIMIT | {"type": "NOFILE"}]}, f"rlimits[0].type: 'NOFILE' is not one of {', '.join(RLIMITS)}"),
        ({"rlimits": [LIMIT, LIMIT]}, "rlimits[1].type: RLIMIT_NOFILE is given twice"),
        ({"rlimits": [LIMIT | {"soft": 3}]}, "rlimits[0].soft: 3 is more than the hard limit, 2"),
        ({"rlimits": [LIMIT | {"hard": -1}]}, f"rlimits[0].hard: -1 is out of range: 0 to {2**64 - 1}"),
        ({"rlimits": [{"type": "RLIMIT_CPU", "soft": 1}]}, "rlimits[0].hard: missing"),
        ({"noNewPrivileges": 1}, "noNewPrivileges: 1 is not true or false"),
        ({"apparmorProfile": False}, "apparmorProfile: false is not a string"),
        ({"selinuxLabel": 1}, "selinuxLabel: 1 is not a string"),
        ({"oomScoreAdj": 1001}, "oomScoreAdj: 1001 is out of range: -1000 to 1000"),
        ({"oomScoreAdj": None}, "oomScoreAdj: null is not a whole number"),
        ({"scheduler": {}}, "scheduler.policy: missing"),
        (
            {"scheduler": {"policy": "SCHED_ISO"}},
            "scheduler.policy: 'SCHED_ISO' is not one of SCHED_OTHER, SCHED_FIFO, SCHED_RR, SCHED_BATCH, SCHED_IDLE, "
            "SCHED_DEADLINE",
        ),
        (
            {"scheduler": {"policy": "SCHED_OTHER", "priority": 1}},
            "scheduler.priority: 1 is wrong: with SCHED_OTHER it is 0, or left out",
        ),
        ({"scheduler": {"policy": "SCHED_RR"}}, "scheduler.priority: 0 is wrong: with SCHED_RR it is 1 to 99"),
        ({"scheduler": {"policy": "SCHED_BATCH", "nice": 20}}, "scheduler.nice: 20 is out of range: -20 to 19"),
        ({"scheduler": {"policy": "SCHED_IDLE", "runtime": 1}}, "scheduler.runtime: is for SCHED_DEADLINE alone"),
        (
            {"scheduler": {"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2}},
            "scheduler: SCHED_DEADLINE needs 0 < runtime <= deadline <= period",
        ),
        (
            {"scheduler": {"policy": "SCHED_OTHER", "flags": ["SCHED_FLAG_RECLAIM", "RECLAIM"]}},
            "scheduler.flags[1]: 'RECLAIM' is not one of SCHED_FLAG_RESET_ON_FORK, SCHED_FLAG_RECLAIM, "
            "SCHED_FLAG_DL_OVERRUN, SCHED_FLAG_KEEP_POLICY, SCHED_FLAG_KEEP_PARAMS, SCHED_FLAG_UTIL_CLAMP_MIN, "
            "SCHED_FLAG_UTIL_CLAMP_MAX",
        ),
        ({"ioPriority": {"priority": 1}}, "ioPriority.class: missing"),
        (
            {"ioPriority": {"class": "IOPRIO_CLASS_NONE", "priority": 1}},
            "ioPriority.class: 'IOPRIO_CLASS_NONE' is not one of IOPRIO_CLASS_RT, IOPRIO_CLASS_BE, IOPRIO_CLASS_IDLE",
        ),
        ({"ioPriority": {"class": "IOPRIO_CLASS_BE"}}, "ioPriority.priority: missing"),
        (
            {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}},
            "ioPriority.priority: 8 is out of range: 0 to 7",
        ),
        (
            {"execCPUAffinity": {"initial": "0-x"}},
            "execCPUAffinity.initial: '0-x' is not a list of numbers and ranges, such as 0-3,7",
        ),
        ({"execCPUAffinity": {"final": "3-1"}}, "execCPUAffinity.final: '3-1': range '3-1' runs backwards"),
    ],
)
def test_what_is_refused(changes: dict[str, object], message: str) -> None:
    assert refusal("config.json: process", **changes) == f"config.json: process.{message}"


def test_where_it_came_from() -> None:
    assert refusal("process.json", args=[]) == "process.json: args: empty: there is nothing to execute"
    with pytest.raises(InvalidInput, match=r"^process\.json: a list is not an object$"):
        parse_process([], "process.json")


def test_the_least() -> None:
    found = parse_process(LEAST, "-")
    assert (found.args, found.env, found.cwd, found.uid, found.gid) == (["sh"], [], "/", 0, 0)
    assert found.additional_gids == [] and found.rlimits == [] and found.exec_cpu_affinity == ("", "")
    assert found.capabilities is None and found.umask is None and found.oom_score_adj is None
    assert found.scheduler is None and found.io_priority is None
    assert not found.terminal and not found.no_new_privs and found.console_size is None
    assert found.apparmor_profile == found.selinux_label == ""


def test_the_most() -> None:
    found = parse_process(
        changed(
            args=["/bin/sh", "", "ä\n"],
            env=["A=1", "PATH=/x", "A=2", "B="],
            terminal=True,
            consoleSize={"height": 25, "width": 80},
            user={"uid": 2**32 - 2, "gid": 7, "umask": 0o77, "additionalGids": [0, 2**32 - 2], "username": 1},
            rlimits=[
                {"type": "RLIMIT_CORE", "soft": 0, "hard": 2**64 - 1},
                {"type": "RLIMIT_RTTIME", "soft": 1, "hard": 1},
            ],
            noNewPrivileges=True,
            apparmorProfile="unconfined",
            selinuxLabel="system_u:system_r:container_t:s0:c1,c2",
            oomScoreAdj=-1000,
            scheduler={
                "policy": "SCHED_FIFO",
                "priority": 99,
                "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_KEEP_PARAMS"],
            },
            ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 4},
            execCPUAffinity={"initial": "0-3, 7", "final": "1"},
        ),
        "-",
    )
    assert found.args == ["/bin/sh", "", "ä\n"] and found.env == ["A=2", "PATH=/x", "B="]
    assert found.console_size == (25, 80) and (found.uid, found.gid, found.umask) == (2**32 - 2, 7, 0o77)
    assert found.additional_gids == [0, 2**32 - 2] and found.rlimits == [(4, 0, 2**64 - 1), (15, 1, 1)]
    assert found.no_new_privs and found.apparmor_profile == "unconfined" and found.selinux_label.endswith("c1,c2")
    assert found.oom_score_adj == -1000 and found.io_priority == (3, 4) and found.exec_cpu_affinity == ("0-3,7", "1")
    assert found.scheduler == {
        "policy": 1,
        "flags": 0x11,
        "nice": 0,
        "priority": 99,
        "runtime": 0,
        "deadline": 0,
        "period": 0,
    }


def test_a_deadline() -> None:
    asked = {
        "policy": "SCHED_DEADLINE",
        "runtime": 10,
        "deadline": 20,
        "period": 30,
        "flags": ["SCHED_FLAG_DL_OVERRUN"],
    }
    found = parse_process(changed(scheduler=asked), "-").scheduler
    assert found == {"policy": 6, "flags": 4, "nice": 0, "priority": 0, "runtime": 10, "deadline": 20, "period": 30}


def test_the_console_is_ignored_without_a_terminal() -> None:
    """config.md, consoleSize: MUST ignore."""
    assert parse_process(changed(consoleSize={"height": "x"}), "-").console_size is None


def test_capabilities() -> None:
    sets = {
        "bounding": list(NAMES),
        "effective": ["cap_kill", "Cap_Chown"],
        "permitted": ["CAP_KILL"],
        "inheritable": [],
    }
    found = parse_process(changed(capabilities=sets), "-").capabilities
    assert found is not None and found.bounding == (1 << len(NAMES)) - 1
    assert found.effective == 1 << NUMBERS["CAP_KILL"] | 1 << NUMBERS["CAP_CHOWN"]
    assert found.permitted == 1 << NUMBERS["CAP_KILL"] and found.inheritable == found.ambient == 0


def test_rlimit_numbers_are_the_kernels() -> None:
    import resource

    for name, number in RLIMITS.items():
        if name != "RLIMIT_LOCKS" and hasattr(resource, name):
            assert getattr(resource, name) == number
    assert sorted(RLIMITS.values()) == list(range(16))
