"""Plain data to ContainerSpec, all problems together, and the record on disk."""

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput
from pycontainer.spec.fields import FIELDS
from pycontainer.spec.model import ContainerSpec, Device, Mount, Port, RestartPolicy, SnapshotSchedule, Ulimit
from pycontainer.spec.parse import MAX_ITEMS, check_spec, from_plain, parse_changes, parse_spec, to_plain

FULL = {
    "name": "web",
    "image": "debian-nginx:12",
    "entrypoint": ["/usr/sbin/nginx"],
    "command": ["-g", "daemon off;"],
    "env": ["A=1", "B=x=y", "A=2"],
    "workdir": "/srv/",
    "user": 33,
    "hostname": "web-1",
    "domainname": "example.org",
    "tty": True,
    "stdin_open": "true",
    "auto_remove": False,
    "init": True,
    "labels": {"tier": "front"},
    "restart": "on-failure:3",
    "onboot": "last",
    "boot_order": "10",
    "boot_delay": "5s",
    "rootfs_driver": "copy",
    "snapshots": {"every": "1d", "keep": 7},
    "stop_signal": "quit",
    "stop_timeout": "1m30s",
    "notify": True,
    "notify_timeout": "2m",
    "health_cmd": ["pg_isready", "-q"],
    "health_interval": "10s",
    "health_timeout": 5,
    "health_retries": 4,
    "health_start_period": "1m",
    "health_start_interval": "2s",
    "health_action": "restart",
    "memory": "200M",
    "memory_swap": "300M",
    "memory_high": "180M",
    "memory_low": "100M",
    "memory_min": "unlimited",
    "oom_group": True,
    "cpus": 0.5,
    "cpu_burst": 0.25,
    "cpu_weight": 200,
    "cpuset_cpus": "1,0",
    "cpuset_mems": "0",
    "pids": 100,
    "hugetlb": {"2M": "64M"},
    "cgroup_conf": {"misc.max": "sev 10"},
    "io_read": "20M/s",
    "io_write": "10MB/s",
    "io_read_ops": "500iops",
    "io_write_ops": "unlimited",
    "shm_size": "1M",
    "ulimits": {"nofile": "1024:2048"},
    "io_weight": 50,
    "disk": "1G",
    "disk_soft": "512M",
    "disk_inodes": 1000,
    "disk_inodes_soft": "500",
    "net_in": "20mbit",
    "net_out": "1MB/s",
    "net_in_min": "unlimited",
    "net_out_min": "1.5mbit/s",
    "net_packets": "20000",
    "net_connections": "300",
    "tenant": "acme",
    "limit": {"idle": "yes"},
    "best_effort": True,
    "networks": ["default"],
    "ip": "10.88.0.5",
    "ip6": "FD00::5",
    "ports": {8080: 80, "127.0.0.1:5353": "53/udp"},
    "dns": ["9.9.9.9"],
    "dns_search": "example.org",
    "add_hosts": {"db": "fd00::7"},
    "volumes": ["/srv/www:/var/www:ro", "data:/data"],
    "mounts": [{"type": "bind", "source": "/a", "target": "/b"}],
    "tmpfs": {"/run": "size=64m"},
    "read_only": True,
    "devices": ["/dev/fuse"],
    "cap_add": ["net_admin", "CAP_NET_ADMIN"],
    "cap_drop": "all",
    "privileged": False,
    "profile": "system",
    "security_opt": ["no-new-privileges"],
    "sysctls": ["net.core.somaxconn=1024"],
}
FULL_SPEC = ContainerSpec(
    name="web",
    image="debian-nginx:12",
    entrypoint=("/usr/sbin/nginx",),
    command=("-g", "daemon off;"),
    env=(("A", "2"), ("B", "x=y")),
    workdir="/srv",
    user="33",
    hostname="web-1",
    domainname="example.org",
    tty=True,
    stdin_open=True,
    init=True,
    labels=(("tier", "front"),),
    restart=RestartPolicy("on-failure", 3),
    onboot="last",
    boot_order=10,
    boot_delay_seconds=5,
    rootfs_driver="copy",
    snapshots=SnapshotSchedule(86400, 7),
    stop_signal="SIGQUIT",
    stop_timeout_seconds=90,
    notify=True,
    notify_timeout_seconds=120,
    health_cmd=("CMD", "pg_isready", "-q"),
    health_interval_seconds=10,
    health_timeout_seconds=5,
    health_retries=4,
    health_start_period_seconds=60,
    health_start_interval_seconds=2,
    health_action="restart",
    memory_bytes=209_715_200,
    memory_swap_bytes=314_572_800,
    memory_high_bytes=188_743_680,
    memory_low_bytes=104_857_600,
    memory_min_bytes=None,
    oom_group=True,
    cpu_quota_usec=50_000,
    cpu_burst_usec=25_000,
    cpu_weight=200,
    cpuset_cpus="0-1",
    cpuset_mems="0",
    pids_max=100,
    hugetlb=((2 << 20, 64 << 20),),
    cgroup_conf=(("misc.max", "sev 10"),),
    io_read_bps=20_971_520,
    io_write_bps=10_000_000,
    io_read_ops_per_second=500,
    io_write_ops_per_second=None,
    shm_bytes=2**20,
    ulimits=(Ulimit("nofile", 1024, 2048),),
    io_weight=50,
    disk_bytes=2**30,
    disk_soft_bytes=2**29,
    disk_inodes=1000,
    disk_soft_inodes=500,
    net_in_bits=20_000_000,
    net_out_bits=8_000_000,
    net_out_min_bits=1_500_000,
    net_packets_per_second=20_000,
    net_connections=300,
    tenant="acme",
    limits=(("idle", "yes"),),
    best_effort=True,
    networks=("default",),
    ip="10.88.0.5",
    ip6="fd00::5",
    ports=(Port(8080, 80), Port(5353, 53, "udp", "127.0.0.1")),
    dns=("9.9.9.9",),
    dns_search=("example.org",),
    add_hosts=(("db", "fd00::7"),),
    mounts=(
        Mount("bind", "/var/www", "/srv/www", read_only=True),
        Mount("volume", "/data", "data"),
        Mount("bind", "/b", "/a"),
        Mount("tmpfs", "/run", size_bytes=64 * 2**20),
    ),
    read_only=True,
    devices=(Device("/dev/fuse", "/dev/fuse"),),
    cap_add=("CAP_NET_ADMIN",),
    cap_drop=("ALL",),
    profile="system",
    security_opt=(("no-new-privileges", "true"),),
    sysctls=(("net.core.somaxconn", "1024"),),
)


def test_every_setting() -> None:
    assert parse_spec(FULL) == FULL_SPEC


def test_the_full_spec_names_every_setting_but_what_excludes_others() -> None:
    assert set(FULL) == {field.key for field in FIELDS} - {"rootfs", "rootfs_writable", "health_http", "health_tcp"}


def test_a_rootfs_and_defaults() -> None:
    assert parse_spec({"rootfs": "/srv/r", "rootfs_writable": True}) == ContainerSpec(
        rootfs="/srv/r", rootfs_writable=True
    )


def test_none_counts_as_left_out() -> None:
    assert parse_spec({"image": "a", "memory": None, "ports": None, "command": None}) == ContainerSpec(image="a")


def test_an_empty_entrypoint_is_not_no_entrypoint() -> None:
    assert parse_spec({"image": "a", "entrypoint": []}).entrypoint == ()
    assert parse_spec({"image": "a"}).entrypoint is None


def test_security_option_can_be_taken_back() -> None:
    options = ["no-new-privileges", "no-new-privileges=false"]
    assert parse_spec({"image": "a", "security_opt": options}).security_opt == (("no-new-privileges", "false"),)
    assert parse_spec({"image": "a", "security_opt": []}).security_opt == ()


def test_a_system_may_have_more_processes() -> None:
    assert parse_spec({"image": "a", "profile": "system"}).pids_max == 4096
    assert parse_spec({"image": "a", "profile": "system", "pids": 100}).pids_max == 100


def test_all_problems_are_told_together() -> None:
    wrong = {
        "memroy": 1,
        "image": "a",
        "rootfs": "r",
        "memory": "200Q",
        "ports": ["80", "8080:99999", "x"],
        "env": {"A": True, "B": None, "C=D": 1, "E": "ok"},
        "networks": ["host", "a"],
        "auto_remove": True,
        "restart": "always",
    }
    with pytest.raises(InvalidInput) as caught:
        parse_spec(wrong)
    assert caught.value.message.split("\n") == [
        "unknown key 'memroy', did you mean 'memory'?",
        "rootfs: 'r' is not an absolute path",
        "memory: '200Q' is not a size",
        "ports[1]: '8080:99999': port 99999 is out of range",
        "ports[2]: 'x' is not a port",
        "env.A: true is true or false where text is wanted",
        "env.B: there is no value",
        "env.C=D: 'C=D' is not a key",
        "auto_remove: auto_remove and restart policy 'always' exclude each other",
    ]
    assert (caught.value.field, caught.value.source, caught.value.exit_code) == ("memroy", "", 2)


def test_an_unreadable_setting_is_not_blamed_twice() -> None:
    assert [problem.text() for problem in check_spec({"image": "/"})[1]] == ["image: '/' is not an image name"]


def test_places_come_from_the_file() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(
            {"image": "a", "ports": ["80", "x"]}, source="web.yaml", lines={"image": 1, "ports": 2, "ports[1]": 4}
        )
    assert caught.value.message == "web.yaml:4: ports[1]: 'x' is not a port"
    assert (caught.value.source, caught.value.field) == ("web.yaml:4", "ports[1]")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "None is not a mapping of settings"),
        ([], "[] is not a mapping of settings"),
        ("image", "'image' is not a mapping of settings"),
        ({"image": "a", 5: 1}, "unknown key 5"),
        ({"image": "a", 10**5000: 1}, "unknown key <int>"),
        ({"image": "a", "env": {10**5000: 1}}, "env.<int>: <int> is not text"),
        ({"image": "a", "env": {"A": 10**5000}}, "env.A: <int> is not text"),
        ({"image": "a", "command": [10**5000]}, "command[0]: <int> is not text"),
        ({"image": "a", "command": 10**5000}, "command: <int> is not a list"),
        ({"image": "a", "memory": 10**5000}, "memory: the number is too large for a size"),
        ({"image": "a", "xyzzy": 1}, "unknown key 'xyzzy'"),
        ({"image": "a", "Memory": 1}, "unknown key 'Memory', did you mean 'memory'?"),
        ({"image": "a", "cap-add": 1}, "unknown key 'cap-add', did you mean 'cap_add'?"),
        ({"image": True}, "image: True is not an image name"),
        ({"image": ""}, "image: '' is not an image name"),
        ({"image": "a", "name": ""}, "name: '' is not a container name"),
        ({"image": "a", "name": "web\n"}, "name: 'web\\n' is not a container name"),
        ({"image": "a", "memory": 0}, "memory: the size is 0, which is not 'no limit'"),
        ({"image": "a", "memory": "4k"}, "memory: '4k' is less than the least size, 1MiB"),
        ({"image": "a", "pids": 0}, "pids: 0 is out of range"),
        ({"image": "a", "pids": -1}, "pids: -1 is not a whole number"),
        ({"image": "a", "hugetlb": "2M"}, "hugetlb: '2M' has no limit"),
        ({"image": "a", "cgroup_conf": ["misc.max"]}, "cgroup_conf[0]: 'misc.max' has no value"),
        ({"image": "a", "cgroup_conf": ["../x=1"]}, "cgroup_conf[0]: '../x' is not a cgroup file"),
        (
            {"image": "a", "cgroup_conf": ["misc.max=a\nb"]},
            "cgroup_conf[0]: 'misc.max': 'a\\nb' is not one line of ASCII text",
        ),
        ({"image": "a", "hugetlb": ["3M=6M"]}, "hugetlb[0]: '3M' is not the size of a page"),
        ({"image": "a", "cpuset_cpus": "3-1"}, "cpuset_cpus: CPU range '3-1' runs backwards"),
        ({"image": "a", "cpus": "0.001"}, "cpus: '0.001' is less than the least share, 0.01 CPUs"),
        ({"image": "a", "tty": "yes"}, "tty: 'yes' is not true or false"),
        ({"image": "a", "command": "nginx -g x"}, "command: 'nginx -g x' is not a list"),
        ({"image": "a", "command": ""}, "command: '' is not a list"),
        ({"image": "a", "command": {"a": "b"}}, "command: {'a': 'b'} is not a list"),
        ({"image": "a", "command": ["a\0"]}, "command[0]: 'a\\x00' holds a NUL byte"),
        ({"image": "a", "env": True}, "env: True is not a list or a mapping"),
        ({"image": "a", "env": {"A": ["x"]}}, "env.A: ['x'] is not text"),
        ({"image": "a", "env": {True: "x"}}, "env.True: true is true or false where text is wanted"),
        ({"image": "a", "ports": [None]}, "ports[0]: None is not text"),
        ({"image": "a", "cap_add": {"NET_ADMIN": 1}}, "cap_add: {'NET_ADMIN': 1} is not a list"),
        ({"image": "a", "env": ["A=1"] * (MAX_ITEMS + 1)}, "env: 4097 entries are more than 4096"),
        (dict.fromkeys(map(str, range(1000)), 1), "1000 settings are more than there can be"),
    ],
)
def test_refusals(data: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec(data)
    assert caught.value.message == message


@pytest.mark.parametrize("key", ["cpu_weight", "io_weight", "pids", "disk_inodes", "net_packets", "cpus", "cpu_burst"])
@pytest.mark.parametrize(
    "value", [0, "0", -1, "-1", "+1", 10**20, "1e3", "0x10", " 5", "5\n", "\uff15", "1_0", True, [], {}, "nan"]
)
def test_no_number_means_something_else(key: str, value: object) -> None:
    """VAL-02, VAL-03: a limit is a number in its bounds or refused, before any object of the kernel exists."""
    _, problems = check_spec({"image": "a", key: value})
    assert [problem.field for problem in problems] == [key]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cpu_weight", 10_001, "10001 is out of range"),
        ("io_weight", 10_001, "10001 is out of range"),
        ("cpus", "0.009", "'0.009' is less than the least share, 0.01 CPUs"),
        ("cpus", 8193, "'8193' is more than 8192 CPUs"),
        ("cpuset_cpus", "0-8192", "CPU 8192 in '0-8192' cannot exist: the highest number is 8191"),
        ("stop_timeout", 2**31, "'2147483648' is too large"),
        ("memory", "8192P", "'8192P' is too large"),
    ],
)
def test_a_little_beyond_the_bounds(key: str, value: object, message: str) -> None:
    """VAL-02, VAL-03"""
    assert [problem.message for problem in check_spec({"image": "a", key: value})[1]] == [message]


def test_one_word_may_stand_for_a_list() -> None:
    spec = parse_spec({"image": "a", "command": "nginx", "entrypoint": "sh", "networks": "none", "cap_drop": "ALL"})
    assert (spec.command, spec.entrypoint, spec.networks, spec.cap_drop) == (("nginx",), ("sh",), ("none",), ("ALL",))


@given(
    st.dictionaries(
        st.sampled_from([field.key for field in FIELDS]),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=3)
            ),
            max_leaves=8,
        ),
    )
)
def test_any_data_is_a_spec_or_invalid_input(data: dict[str, object]) -> None:
    try:
        spec = parse_spec(data)
    except InvalidInput as error:
        assert error.message
        return
    assert from_plain(json.loads(json.dumps(to_plain(spec)))) == spec


def test_the_record_is_exact() -> None:
    record = to_plain(FULL_SPEC)
    assert from_plain(json.loads(json.dumps(record))) == FULL_SPEC
    assert record["memory_bytes"] == 209_715_200
    assert record["ports"] == [
        {"host_port": 8080, "container_port": 80, "protocol": "tcp", "host_ip": ""},
        {"host_port": 5353, "container_port": 53, "protocol": "udp", "host_ip": "127.0.0.1"},
    ]
    assert record["env"] == [["A", "2"], ["B", "x=y"]]


def test_the_record_holds_every_attribute_and_an_older_one_need_not() -> None:
    assert set(to_plain(ContainerSpec())) == {field.name for field in dataclasses.fields(ContainerSpec)}
    assert to_plain(ContainerSpec())["pids_max"] == 2048
    assert from_plain({}) == ContainerSpec()
    assert from_plain({"entrypoint": [], "pids_max": None}) == ContainerSpec(pids_max=None, entrypoint=())


text = st.text(max_size=5)
number = st.integers(-(2**63), 2**64)
SPECS = st.builds(
    ContainerSpec,
    name=text,
    entrypoint=st.none() | st.lists(text, max_size=2).map(tuple),
    env=st.lists(st.tuples(text, text), max_size=2).map(tuple),
    restart=st.builds(RestartPolicy, text, number),
    snapshots=st.none() | st.builds(SnapshotSchedule, number, number),
    memory_bytes=st.none() | number,
    memory_swap_bytes=st.none() | number,
    memory_high_bytes=st.none() | number,
    memory_low_bytes=st.none() | number,
    memory_min_bytes=st.none() | number,
    cpu_burst_usec=st.none() | number,
    cpu_weight=st.none() | number,
    io_read_bps=st.none() | number,
    io_write_bps=st.none() | number,
    io_read_ops_per_second=st.none() | number,
    io_write_ops_per_second=st.none() | number,
    ulimits=st.lists(st.builds(Ulimit, text, st.none() | number, st.none() | number), max_size=2).map(tuple),
    ports=st.lists(st.builds(Port, number, number, text, text), max_size=2).map(tuple),
    mounts=st.lists(
        st.builds(
            Mount, text, text, text, st.booleans(), st.none() | number, st.none() | number, st.booleans(), st.booleans()
        ),
        max_size=2,
    ).map(tuple),
    devices=st.lists(st.builds(Device, text, text, text), max_size=2).map(tuple),
    tty=st.booleans(),
)


@given(SPECS)
def test_any_record_is_exact(spec: ContainerSpec) -> None:
    assert from_plain(json.loads(json.dumps(to_plain(spec)))) == spec


@pytest.mark.parametrize(
    ("record", "message", "hint"),
    [
        (None, "spec: None is of a wrong type", "the record is damaged"),
        ([], "spec: [] is of a wrong type", "the record is damaged"),
        ({"name": 5}, "spec.name: 5 is of a wrong type", "the record is damaged"),
        ({"tty": 1}, "spec.tty: 1 is of a wrong type", "the record is damaged"),
        ({"pids_max": True}, "spec.pids_max: True is of a wrong type", "the record is damaged"),
        ({"name": None}, "spec.name: None is of a wrong type", "the record is damaged"),
        ({"memory_bytes": 1.5}, "spec.memory_bytes: 1.5 is of a wrong type", "the record is damaged"),
        ({"command": "a"}, "spec.command: 'a' is of a wrong type", "the record is damaged"),
        ({"command": ["a", 5]}, "spec.command[1]: 5 is of a wrong type", "the record is damaged"),
        ({"env": [["a"]]}, "spec.env[0]: ['a'] is of a wrong type", "the record is damaged"),
        ({"ports": [{"host_port": 1}]}, "spec.ports[0]: field 'container_port' is missing", "the record is damaged"),
        (
            {"restart": {"name": "no", "jitter": 1}},
            "spec.restart: unknown field 'jitter'",
            "the record is damaged, or from a newer version",
        ),
        ({"": 1}, "spec: unknown field ''", "the record is damaged, or from a newer version"),
        ({"zfs": 1}, "spec: unknown field 'zfs'", "the record is damaged, or from a newer version"),
    ],
)
def test_a_damaged_record(record: object, message: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_plain(record)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_the_table_fills_every_attribute_of_the_model() -> None:
    attributes = {field.name for field in dataclasses.fields(ContainerSpec)}
    assert attributes - {field.target for field in FIELDS} == {"cpu_period_usec"}
    assert {field.target for field in FIELDS} <= attributes


def test_importing_is_cheap() -> None:
    code = (
        "import sys, pycontainer.spec.parse as parse\n"
        "parse.parse_spec({'image': 'a', 'memory': '1G', 'ports': ['8080:80'], 'command': ['true']})\n"
        "print(*sorted({'yaml', 'ipaddress', 'difflib', 'click', 'json', 'ctypes', 'asyncio', 'signal', 'socket'}\n"
        "    & set(sys.modules)))"
    )
    code = f"import sys; sys.path[:0] = {sys.path!r}\n{code}"
    modules = subprocess.run([sys.executable, "-SI", "-c", code], capture_output=True, text=True)
    assert (modules.stdout, modules.stderr) == ("\n", "")


# -- changes


def test_changes_become_attributes() -> None:
    changes = parse_changes({"memory": "300M", "cpus": "50%", "pids": "unlimited", "cpuset_cpus": "unlimited"})
    assert changes == {"memory_bytes": 300 << 20, "cpu_quota_usec": 50_000, "pids_max": None, "cpuset_cpus": ""}


def test_all_that_is_wrong_with_changes_is_told() -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_changes({"memory": "200Q", "image": "other", "cpuss": 1})
    for words in ("'200Q' is not a size", "image: cannot be changed", "did you mean 'cpus'"):
        assert words in caught.value.message


def test_no_changes_are_refused() -> None:
    with pytest.raises(InvalidInput, match="nothing to change"):
        parse_changes({})


def test_default_takes_away_what_has_no_other_value() -> None:
    assert parse_changes({"memory_swap": "default", "cpu_weight": "default", "memory": "default"}) == {
        "memory_swap_bytes": None,
        "cpu_weight": None,
        "memory_bytes": None,
    }
    for key in ("pids", "restart"):
        with pytest.raises(InvalidInput, match=f"{key}: 'default'|'default' is not"):
            parse_changes({key: "default"})


@pytest.mark.parametrize(
    ("key", "value", "message", "hint"),
    [
        ("memory", "-1", "memory: '-1' is not a size", "write 'unlimited' for none"),
        ("net_in", "-5mbit", "net_in: '-5mbit' is not a rate of a network", "write 'unlimited' for none"),
        (
            "memory_swap",
            "-1",
            "memory_swap: '-1' is not a size",
            "swap has a cap: write memory and swap together, such as 2G",
        ),
    ],
)
def test_less_than_nothing_is_no_limit(key: str, value: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_spec({"image": "i", key: value})
    assert (caught.value.message, caught.value.hint) == (message, hint)
