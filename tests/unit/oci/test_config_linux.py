"""oci/config_namespaces.py and oci/config_linux.py: `linux` without its resources."""

import os
from pathlib import Path

import pytest

from tests.unit.oci.conftest import Parse, Refused

DEVICE = {"type": "c", "path": "/dev/x", "major": 10, "minor": 229}
TIME = [{"type": "time"}]
HOST = "it would change the host"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"namespaces": {}}, "namespaces: an object is not a list"),
        ({"namespaces": [None]}, "namespaces[0]: null is not an object"),
        ({"namespaces": [{}]}, "namespaces[0].type: missing"),
        ({"namespaces": [{"type": None}]}, "namespaces[0].type: null is not a string"),
        (
            {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "foo"}]},
            "namespaces[2].type: unknown namespace 'foo'; one of pid, network, mount, ipc, uts, user, cgroup, time",
        ),
        (
            {"namespaces": [{"type": "net"}]},
            "namespaces[0].type: unknown namespace 'net'; one of pid, network, mount, ipc, uts, user, cgroup, time",
        ),
        ({"namespaces": [{"type": "pid"}, {"type": "pid"}]}, "namespaces[1].type: namespace 'pid' is given twice"),
        (
            {"namespaces": [{"type": "pid"}, {"type": "pid", "path": "/proc/1/ns/pid"}]},
            "namespaces[1].type: namespace 'pid' is given twice",
        ),
        ({"namespaces": [{"type": "pid", "path": "ns/pid"}]}, "namespaces[0].path: 'ns/pid' is not an absolute path"),
        ({"namespaces": [{"type": "pid", "path": "/a\0"}]}, "namespaces[0].path: '/a\\x00' contains a NUL byte"),
        (
            {"namespaces": TIME, "timeOffsets": {"realtime": {"secs": 1}}},
            "timeOffsets['realtime']: unknown clock 'realtime'; one of monotonic, boottime",
        ),
        (
            {"namespaces": TIME, "timeOffsets": {"boottime": {"nanosecs": 10**9}}},
            "timeOffsets['boottime'].nanosecs: 1000000000 is out of range: 0 to 999999999",
        ),
        (
            {"namespaces": TIME, "timeOffsets": {"monotonic": {"secs": "1"}}},
            "timeOffsets['monotonic'].secs: '1' is not a whole number",
        ),
        ({"namespaces": TIME, "timeOffsets": {"monotonic": 1}}, "timeOffsets['monotonic']: 1 is not an object"),
        (
            {"namespaces": [], "timeOffsets": {"monotonic": {}}},
            "timeOffsets: needs a new time namespace: those of one that is joined stand already",
        ),
        (
            {"namespaces": [{"type": "time", "path": "/proc/1/ns/time"}], "timeOffsets": {"monotonic": {}}},
            "timeOffsets: needs a new time namespace: those of one that is joined stand already",
        ),
        (
            {"netDevices": {"a/b": {}}},
            "netDevices['a/b']: 'a/b' is not the name of a network interface: 1 to 15 bytes without '/', ':' and blanks",
        ),
        (
            {"netDevices": {"eth0": {"name": "a" * 16}}},
            f"netDevices['eth0'].name: '{'a' * 16}' is not the name of a network interface: 1 to 15 bytes without '/', ':' "
            "and blanks",
        ),
        (
            {"netDevices": {"eth0": {"name": "a%db"}}},
            "netDevices['eth0'].name: 'a%db' holds '%' elsewhere than in a '%d' at its end",
        ),
        (
            {"netDevices": {"eth0": {}, "eth1": {"name": "eth0"}}},
            "netDevices['eth1'].name: two devices become 'eth0'",
        ),
        ({"netDevices": {"eth0": None}}, "netDevices['eth0']: null is not an object"),
        (
            {"namespaces": [], "netDevices": {"eth0": {}}},
            "netDevices: needs another network namespace than the runtime's",
        ),
        (
            {"namespaces": [{"type": "network", "path": "/proc/self/ns/net"}], "netDevices": {"eth0": {}}},
            "netDevices: needs another network namespace than the runtime's",
        ),
        ({"sysctl": {"net.ipv4.ip_forward": 1}}, "sysctl['net.ipv4.ip_forward']: 1 is not a string"),
        ({"sysctl": {"net.ipv4.ip_forward": "1\0"}}, "sysctl['net.ipv4.ip_forward']: '1\\x00' contains a NUL byte"),
        *(
            ({"sysctl": {name: "1"}}, f"sysctl['{name}']: is not a sysctl of a namespace: {HOST}")
            for name in (
                "kernel.panic",
                "vm.swappiness",
                "kernel/shmmaxx",
                "fs.file-max",
                "netx.a",
                "net",
                "kernel.pid_max",
            )
        ),
        *(
            ({"sysctl": {name: "1"}}, f"sysctl['{name}']: is not the name of a sysctl")
            for name in (
                "net..a",
                "net/../kernel/panic",
                "net./.x",
                "net.//.kernel.panic",
                "/net/a",
                "net/",
                ".",
                "fs/mqueue//a",
            )
        ),
        ({"sysctl": {"kernel.hostname": "x"}}, "sysctl['kernel.hostname']: is what `hostname` sets"),
        *(
            (
                {"namespaces": [], "sysctl": {name: "1"}},
                f"sysctl['{name}']: needs another {kind} namespace than the runtime's: {HOST}",
            )
            for name, kind in (
                ("net.core.somaxconn", "network"),
                ("kernel.shmmax", "ipc"),
                ("fs.mqueue.msg_max", "ipc"),
                ("kernel.domainname", "uts"),
            )
        ),
        (
            {"namespaces": [{"type": "ipc", "path": "/proc/self/ns/ipc"}], "sysctl": {"kernel.sem": "1"}},
            f"sysctl['kernel.sem']: needs another ipc namespace than the runtime's: {HOST}",
        ),
        (
            {"namespaces": [{"type": "network", "path": "/nowhere"}], "sysctl": {"net.core.somaxconn": "1"}},
            "namespaces: '/nowhere': No such file or directory",
        ),
        ({"devices": [DEVICE | {"type": "x"}]}, "devices[0].type: unknown type of a device 'x'; one of c, u, b, p"),
        ({"devices": [{"path": "/dev/x"}]}, "devices[0].type: missing"),
        ({"devices": [{"type": "p"}]}, "devices[0].path: missing"),
        ({"devices": [DEVICE | {"path": "dev/x"}]}, "devices[0].path: 'dev/x' is not an absolute path"),
        ({"devices": [DEVICE | {"path": "/x/.."}]}, "devices[0].path: is the root"),
        ({"devices": [{"type": "c", "path": "/dev/x", "minor": 1}]}, "devices[0].major: missing"),
        ({"devices": [{"type": "b", "path": "/dev/x", "major": 1}]}, "devices[0].minor: missing"),
        ({"devices": [{"type": "u", "path": "/dev/x", "major": 1}]}, "devices[0].minor: missing"),
        ({"devices": [DEVICE | {"major": -1}]}, "devices[0].major: -1 is out of range: 0 to 4095"),
        ({"devices": [DEVICE | {"minor": 1 << 20}]}, "devices[0].minor: 1048576 is out of range: 0 to 1048575"),
        ({"devices": [DEVICE | {"fileMode": "0666"}]}, "devices[0].fileMode: '0666' is not a whole number"),
        ({"devices": [DEVICE | {"uid": 2**32 - 1}]}, "devices[0].uid: 4294967295 is out of range: 0 to 4294967294"),
        ({"cgroupsPath": 1}, "cgroupsPath: 1 is not a string"),
        ({"cgroupsPath": "/a/../../b"}, "cgroupsPath: '/a/../../b' leaves its place with '..'"),
        ({"cgroupsPath": "a.slice:..:b"}, "cgroupsPath: 'a.slice:..:b' leaves its place with '..'"),
        ({"cgroupsPath": "a.slice:x:../b"}, "cgroupsPath: 'a.slice:x:../b' leaves its place with '..'"),
        ({"cgroupsPath": "/a\nb"}, "cgroupsPath: '/a\\nb' contains a line break"),
        (
            {"rootfsPropagation": "public"},
            "rootfsPropagation: 'public' is not one of shared, slave, private, unbindable, rshared, rslave, rprivate, "
            "runbindable",
        ),
        ({"seccomp": []}, "seccomp: a list is not an object"),
        ({"maskedPaths": ["/proc/kcore", "proc/keys"]}, "maskedPaths[1]: 'proc/keys' is not an absolute path"),
        ({"readonlyPaths": [""]}, "readonlyPaths[0]: '' is not an absolute path"),
        ({"readonlyPaths": [None]}, "readonlyPaths[0]: null is not a string"),
        ({"mountLabel": 1}, "mountLabel: 1 is not a string"),
        ({"personality": {}}, "personality.domain: missing"),
        ({"personality": {"domain": "BSD"}}, "personality.domain: 'BSD' is not one of LINUX, LINUX32"),
        (
            {"personality": {"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}},
            "personality.flags[0]: there are no flags yet",
        ),
        ({"intelRdt": {"closID": "../a"}}, "intelRdt.closID: '../a' is not the name of a directory"),
        ({"intelRdt": {"closID": ".."}}, "intelRdt.closID: '..' is not the name of a directory"),
        (
            {"intelRdt": {"memBwSchema": "L3:0=f"}},
            "intelRdt.memBwSchema: 'L3:0=f' is not one line that begins with 'MB:'",
        ),
        (
            {"intelRdt": {"memBwSchema": "MB:0=1\nL3:0=f"}},
            "intelRdt.memBwSchema: 'MB:0=1\\nL3:0=f' is not one line that begins with 'MB:'",
        ),
        ({"intelRdt": {"enableCMT": 1}}, "intelRdt.enableCMT: 1 is not true or false"),
        ({"intelRdt": {"schemata": [1]}}, "intelRdt.schemata[0]: 1 is not a string"),
    ],
)
def test_what_is_refused(refused: Refused, changes: dict[str, object], message: str) -> None:
    assert refused({f"linux.{key}": value for key, value in changes.items()}) == f"linux.{message}"


def test_namespaces(parse: Parse, tmp_path: Path) -> None:
    keys = {
        "pid": "pid", "network": "net", "mount": "mnt", "ipc": "ipc", "uts": "uts", "user": "user", "cgroup": "cgroup",
        "time": "time",
    }  # fmt: skip
    for kind in keys:
        (tmp_path / kind).touch()
    found = parse({"linux.namespaces": [{"type": kind, "path": f"{tmp_path}/{kind}"} for kind in keys]}).namespaces
    assert found == {key: f"{tmp_path}/{kind}" for kind, key in keys.items()}
    assert {*found} <= {name.removesuffix("_for_children") for name in os.listdir("/proc/self/ns")}
    assert parse({"linux.namespaces": [{"type": "pid", "path": ""}]}).namespaces == {"pid": ""}


def test_time_offsets(parse: Parse) -> None:
    offsets = {"monotonic": {"secs": -5, "nanosecs": 999_999_999}, "boottime": {}}
    found = parse({"linux.namespaces": TIME, "linux.timeOffsets": offsets}).time_offsets
    assert found == {"monotonic": (-5, 999_999_999), "boottime": (0, 0)}
    assert parse({"linux.timeOffsets": {}}).time_offsets == {}


def test_net_devices(parse: Parse) -> None:
    devices: dict[str, object] = {
        "eth1": {},
        "eth2": {"name": "lan%d"},
        "eth3": {"name": "lan%d"},
        "eth4": {"name": "net0"},
    }
    found = parse({"linux.netDevices": devices}).net_devices
    assert found == {"eth1": "eth1", "eth2": "lan%d", "eth3": "lan%d", "eth4": "net0"}


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
        ("net/ipv4/ip_forward", "net/ipv4/ip_forward"),
        ("net.ipv4.conf.eno2/100.rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
        ("net/ipv4/conf/eno2.100/rp_filter", "net/ipv4/conf/eno2.100/rp_filter"),
        ("kernel.shm_rmid_forced", "kernel/shm_rmid_forced"),
        ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
        ("kernel.domainname", "kernel/domainname"),
    ],
)
def test_sysctls(parse: Parse, name: str, path: str) -> None:
    assert parse({"linux.sysctl": {name: "1"}}).sysctl == {path: "1"}


def test_sysctls_in_a_namespace_that_is_joined(parse: Parse, bundle: str) -> None:
    joined = [{"type": "network", "path": bundle}]
    found = parse({"linux.namespaces": joined, "linux.sysctl": {"net.core.somaxconn": "1"}})
    assert found.sysctl == {"net/core/somaxconn": "1"}


def test_devices(parse: Parse) -> None:
    devices = [
        DEVICE | {"fileMode": 0o20640, "uid": 1, "gid": 2},
        DEVICE | {"type": "u", "path": "//dev//y/"},
        {"type": "b", "path": "/b", "major": 4095, "minor": 1048575, "fileMode": 0},
        {"type": "p", "path": "/run/fifo", "major": 0, "minor": 0},
        {"type": "p", "path": "/run/other"},
    ]
    found = [
        (one.type, one.path, one.major, one.minor, one.mode, one.uid, one.gid)
        for one in parse({"linux.devices": devices}).devices
    ]
    assert found == [
        ("c", "/dev/x", 10, 229, 0o640, 1, 2),
        ("c", "/dev/y", 10, 229, None, 0, 0),
        ("b", "/b", 4095, 1048575, 0, 0, 0),
        ("p", "/run/fifo", 0, 0, None, 0, 0),
        ("p", "/run/other", 0, 0, None, 0, 0),
    ]


@pytest.mark.parametrize("path", ["", "/a/b", "a/b..c/..d", "machine.slice:libpod:3f2c", ":a:b"])
def test_cgroup_paths(parse: Parse, path: str) -> None:
    assert parse({"linux.cgroupsPath": path}).cgroups_path == path


def test_the_rest(parse: Parse) -> None:
    seccomp = {"defaultAction": "SCMP_ACT_ALLOW", "unknown": [1]}
    found = parse(
        {
            "linux.rootfsPropagation": "rslave",
            "linux.seccomp": seccomp,
            "linux.maskedPaths": ["/proc/kcore"],
            "linux.readonlyPaths": ["/proc/sys", "/"],
            "linux.mountLabel": "system_u:object_r:container_file_t:s0:c1,c2",
            "linux.personality": {"domain": "LINUX32", "flags": []},
        }
    )
    assert found.rootfs_propagation == "rslave" and found.seccomp == seccomp and found.personality == 8
    assert found.masked_paths == ["/proc/kcore"] and found.readonly_paths == ["/proc/sys", "/"]
    assert found.mount_label.endswith("c1,c2")
    assert parse({"linux.personality": {"domain": "LINUX"}}).personality == 0


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {}),
        ({"closID": "", "enableMBM": False}, {}),
        ({"closID": "gold", "l3CacheSchema": "L3:0=f\nMB:0=1", "memBwSchema": "MB:0=20"}, ...),
        ({"schemata": "L3:0=7f\nMB:0=20"}, {"schemata": ["L3:0=7f", "MB:0=20"]}),
        ({"schemata": ["L3:0=7f", "MB:0=20"], "enableCMT": True}, ...),
    ],
)
def test_intel_rdt(parse: Parse, asked: dict[str, object], expected: object) -> None:
    assert parse({"linux.intelRdt": asked}).intel_rdt == (asked if expected is ... else expected)
