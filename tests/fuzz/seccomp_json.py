"""Seccomp profiles as JSON (security/seccomp_json.py)."""

from pycontainer.security.seccomp import Policy
from pycontainer.security.seccomp_json import parse
from tests.fuzz.inputs import encoded, parsed, text_of

SEEDS = encoded(
    (
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 38,
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                {
                    "names": ["mkdir", "read"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "value": 8, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"}],
                    "includes": {"caps": ["CAP_CHOWN"], "arches": ["amd64"], "minKernel": "4.8"},
                    "excludes": {},
                }
            ],
        },
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X32"],
            "syscalls": [{"name": "bpf", "action": "SCMP_ACT_TRACE", "errnoRet": 5, "comment": ""}],
        },
    )
) + (b'{"defaultAction": NaN}', b'{"a": 1, "a": 1}', b'{"a":' * 50)
MAX_BYTES = 3000


def try_one(data: bytes) -> None:
    text = text_of(data)
    policy = parsed(lambda _: parse(text, capabilities=frozenset({"CAP_CHOWN"}), kernel=(6, 12)), text)
    if isinstance(policy, Policy):
        assert all(rule.names and all(name.isascii() for name in rule.names) for rule in policy.rules)
