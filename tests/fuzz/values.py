"""The parsers of single values (spec/values.py): paths, users, addresses, variables, sysctls, devices and more."""

import os

from pycontainer.spec import values
from tests.fuzz.inputs import parsed, value_of

SEEDS = (
    b"/srv//www/./x",
    b"/a/../b",
    b"web-1.example.org",
    b"_dmarc.example.org.",
    b"10.0.0.5",
    b"fd00::5%eth0",
    b"www-data:users",
    b"0:65535",
    b"A=b=c\nd",
    b"2M=64M",
    b"misc.max=sev 10",
    b"net.ipv4.ip_forward=1",
    b"kernel.shm_rmid_forced=1",
    b"db:[fd00::7]",
    b"cap_net_admin",
    b"no-new-privileges:true",
    b'seccomp={"defaultAction":"SCMP_ACT_ALLOW"}',
    b"on-failure:3",
    b"nofile=1024:unlimited",
    b"/dev/fuse:/dev/x:rw",
    b"true",
    b"[1]",
)
MAX_BYTES = 5000

_PARSERS = (
    values.parse_text,
    values.parse_word,
    values.parse_bool,
    values.parse_path,
    values.parse_target,
    values.parse_host_name,
    values.parse_domain,
    values.parse_ip,
    values.parse_ip4,
    values.parse_ip6,
    values.parse_user,
    values.parse_variable,
    values.parse_label,
    values.parse_hugetlb,
    values.parse_cgroup_conf,
    values.parse_sysctl,
    values.parse_host_entry,
    values.parse_capability,
    values.parse_profile,
    values.parse_security_option,
    values.parse_restart,
    values.parse_ulimit,
    values.parse_device,
)
_CANONICAL = (  # what they return is read as itself
    values.parse_text,
    values.parse_word,
    values.parse_bool,
    values.parse_path,
    values.parse_target,
    values.parse_host_name,
    values.parse_domain,
    values.parse_ip,
    values.parse_user,
    values.parse_capability,
    values.parse_profile,
)


def try_one(data: bytes) -> None:
    value = value_of(data)
    for parse in _PARSERS:
        result = parsed(parse, value)
        if result is None:
            continue
        for text in result if isinstance(result, tuple) else (result,):
            if isinstance(text, str):
                assert "\0" not in text
                os.fsencode(text)
        if parse in _CANONICAL:
            assert parse(result) == result
    for parse in (values.parse_path, values.parse_target):
        path = parsed(parse, value)
        if isinstance(path, str):
            assert path == "/" or not {"", ".", ".."} & set(path[1:].split("/"))
    sysctl = parsed(values.parse_sysctl, value)
    if isinstance(sysctl, tuple):
        assert "/" not in sysctl[0] and ".." not in sysctl[0] and "\n" not in sysctl[1]
