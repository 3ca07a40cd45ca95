"""Seccomp profiles as Docker and the OCI specification write them."""

import errno
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput
from pycontainer.linux.libc import MACHINE
from pycontainer.security import seccomp
from pycontainer.security.seccomp import ALLOW, Comparison, Policy, Rule, refuse
from pycontainer.security.seccomp_compile import number_of, program
from pycontainer.security.seccomp_json import parse
from tests.unit.security.test_seccomp import answer

pytestmark = pytest.mark.requires("seccomp")


def rule_with(more: dict[str, Any]) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_KILL", **more}]}


def test_null_is_nothing() -> None:
    """As Go's encoder writes what is empty."""
    rule = {"args": None, "includes": {"caps": None, "arches": None, "minKernel": ""}, "excludes": None}
    assert len(parsed({**rule_with(rule), "flags": None, "archMap": None}).rules) == 1


def parsed(data: Any, caps: frozenset[str] = frozenset(), kernel: tuple[int, int] = (6, 12)) -> Policy:
    return parse(json.dumps(data), capabilities=caps, kernel=kernel)


def test_a_deny_list() -> None:
    policy = parsed(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 11}],
        }
    )
    assert policy == Policy(ALLOW, (Rule(("mkdir", "mkdirat"), refuse(11)),))
    assert answer(policy, number_of("mkdirat"), -1, -1, 0) == 11
    assert answer(policy, number_of("chdir"), -1) == errno.EFAULT


def test_an_allow_list_answers_enosys_for_what_it_cannot_have_known() -> None:
    names = ["exit_group", "prctl", "rt_sigreturn", "getpid", "statx"]
    policy = parsed({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}]})
    assert policy.newest_number == number_of("statx")
    assert answer(policy, number_of("getppid")) == errno.EPERM
    assert answer(policy, number_of("statx") + 1) == errno.ENOSYS


def test_arguments() -> None:
    rule = {
        "name": "personality",
        "action": "SCMP_ACT_ALLOW",
        "args": [{"index": 0, "value": 8, "valueTwo": 0, "op": "SCMP_CMP_EQ"}],
    }
    policy = parsed({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38, "syscalls": [rule]})
    assert policy.default_action == refuse(38)
    assert policy.rules == (Rule(("personality",), ALLOW, (Comparison(0, seccomp.EQ, 8),)),)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"includes": {"caps": ["CAP_SYS_ADMIN"]}}, False),
        ({"includes": {"caps": ["CAP_CHOWN"]}}, True),
        ({"includes": {"caps": ["CAP_CHOWN", "CAP_SYS_ADMIN"]}}, False),
        ({"excludes": {"caps": ["CAP_SYS_ADMIN"]}}, True),
        ({"excludes": {"caps": ["CAP_CHOWN"]}}, False),
        ({"includes": {"minKernel": "4.8"}}, True),
        ({"includes": {"minKernel": "7.0"}}, False),
        ({"includes": {"arches": ["s390x"]}}, False),
        ({"excludes": {"arches": ["s390x"]}}, True),
        ({"includes": {"arches": ["amd64", "arm64"]}}, True),
        ({"includes": {}, "excludes": {}}, True),
    ],
)
def test_conditions(condition: dict[str, Any], holds: bool) -> None:
    data = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW", **condition}],
    }
    assert bool(parsed(data, frozenset({"CAP_CHOWN"})).rules) is holds


@pytest.mark.skipif(MACHINE != "x86_64", reason="of x86-64")
def test_architectures() -> None:
    architectures = {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]}
    other = {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]}
    names = ["getpid", "file_getattr", "no_such_call_yet"]
    data = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "archMap": [architectures, other],
        "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
    }
    policy = parsed(data)
    assert policy.foreign == ("x86", "x32")
    assert len(program(policy)) % 8 == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "not an object"),
        ({}, "defaultAction: None is not one of"),
        ({"defaultAction": "allow"}, "defaultAction: 'allow' is not one of SCMP_ACT_ALLOW"),
        ({"defaultAction": "SCMP_ACT_NOTIFY"}, "SCMP_ACT_NOTIFY needs a listener"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "syscals": []}, "seccomp profile: unknown key 'syscals'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/x"}, "seccomp profile: unknown key 'listenerPath'"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096}, "4096 is not a number from 0 to 4095"),
        ({"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": True}, "True is not a number"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["X"]}, "flags: 'X' is not one of"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["x86"]}, "'x86' is not an architecture"),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [], "action": "SCMP_ACT_KILL"}]},
            "syscalls[0].names: there is none",
        ),
        (
            {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a b"], "action": "SCMP_ACT_KILL"}]},
            "'a b' is not the name of a system call",
        ),
        ({"defaultAction": "SCMP_ACT_ALLOW", "a\x1b[2J\ud800": 1}, "unknown key 'a\\x1b[2J\\ud800'"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": 0}, "flags: not a list"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "flags": {}}, "flags: not a list"),
        (rule_with({"args": False}), "syscalls[0].args: not a list"),
        (rule_with({"includes": []}), "syscalls[0].includes: not an object"),
        (rule_with({"includes": {"caps": [["CAP_CHOWN"]]}}), "syscalls[0].includes.caps: ['CAP_CHOWN'] is not text"),
        (rule_with({"includes": {"minKernel": "9" * 5000 + ".1"}}), "is not a version, such as 4.8"),
        (rule_with({"includes": {"minKernel": "\u0664.8"}}), "is not a version, such as 4.8"),
        (rule_with({"includes": {"minKernel": 4.8}}), "4.8 is not a version, such as 4.8"),
        (rule_with({"includes": {"minKernel": "4.8\n"}}), "is not a version, such as 4.8"),
        (rule_with({"args": [{"index": 0, "value": 1.0, "op": "SCMP_CMP_EQ"}]}), "1.0 is not a number from 0 to"),
        (rule_with({"args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}), "6 is not a number from 0 to 5"),
        (rule_with({"names": ["x" * 65]}), "is not the name of a system call"),
    ],
)
def test_refusals(data: Any, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parsed(data)
    assert message in caught.value.message


def test_a_call_that_is_not_known_cannot_be_refused() -> None:
    rule = {"names": ["frobnicate"], "action": "SCMP_ACT_KILL_PROCESS"}
    with pytest.raises(InvalidInput, match="'frobnicate' is not known"):
        program(parsed({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))


@pytest.mark.parametrize("text", ['{"defaultAction": NaN}', '{"a": 1, "a": 1}', "{" * 50, '{"a":' * 5000, "{}" * 2**20])
def test_what_is_no_json(text: str) -> None:
    with pytest.raises(InvalidInput, match="seccomp profile: "):
        parse(text, capabilities=frozenset(), kernel=(6, 1))


_ACTIONS = st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_ERRNO", "SCMP_ACT_LOG", "SCMP_ACT_X", 1, None])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=6,
)
_RULE = st.fixed_dictionaries(
    {"names": st.lists(st.sampled_from(["read", "bpf", "x", ""]), max_size=3) | _JSON, "action": _ACTIONS},
    optional={"args": _JSON, "includes": _JSON, "excludes": _JSON, "errnoRet": _JSON},
)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.fixed_dictionaries({"defaultAction": _ACTIONS}, optional={"syscalls": st.lists(_RULE, max_size=3) | _JSON,
                             "archMap": _JSON, "flags": _JSON}))  # fmt: skip
def test_any_json_is_a_policy_or_one_clear_refusal(data: dict[str, Any]) -> None:
    try:
        assert isinstance(parsed(data), Policy)
    except InvalidInput as error:
        assert error.message.startswith("seccomp profile: ")
