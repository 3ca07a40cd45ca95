"""The parsers of single values: what they return, and what they say when they refuse."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput
from pycontainer.linux import capabilities
from pycontainer.spec import values
from pycontainer.spec.model import Device, RestartPolicy, SnapshotSchedule, Ulimit

Parser = Callable[[object], object]


def test_the_capabilities_are_the_ones_of_the_linux_layer() -> None:
    assert values.CAPABILITIES == capabilities.NAMES
    assert len(values.CAPABILITIES) == 41


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (values.parse_text, "", ""),
        (values.parse_text, 10, "10"),
        (values.parse_text, "\udcff", "\udcff"),  # a byte that is not UTF-8, as os.fsdecode gives it
        (values.parse_text, "x" * 131071, "x" * 131071),
        (values.parse_word, "a b", "a b"),
        (values.parse_bool, True, True),
        (values.parse_bool, "false", False),
        (values.parse_path, "/", "/"),
        (values.parse_path, "//a/./b//", "/a/b"),
        (values.parse_path, "/a/..b/c..", "/a/..b/c.."),
        (values.parse_target, "/dev/shm", "/dev/shm"),
        (values.parse_target, "/process", "/process"),
        (values.parse_host_name, "web", "web"),
        (values.parse_host_name, "web-1.example.org", "web-1.example.org"),
        (values.parse_host_name, "a" * 63, "a" * 63),
        (values.parse_host_name, 5, "5"),
        (values.parse_domain, "_dmarc.example.org.", "_dmarc.example.org."),
        (values.parse_ip, "9.9.9.9", "9.9.9.9"),
        (values.parse_ip, "FD00:0:0::5", "fd00::5"),
        (values.parse_ip4, "10.0.0.5", "10.0.0.5"),
        (values.parse_ip6, "fd00::5", "fd00::5"),
        (values.parse_user, "www-data", "www-data"),
        (values.parse_user, 1000, "1000"),
        (values.parse_user, "0:65535", "0:65535"),
        (values.parse_user, "web:users", "web:users"),
        (values.parse_user, "machine$", "machine$"),
        (values.parse_variable, "A=1", ("A", "1")),
        (values.parse_variable, "A=", ("A", "")),
        (values.parse_variable, "A=b=c\nd", ("A", "b=c\nd")),
        (values.parse_label, "tier=front", ("tier", "front")),
        (values.parse_label, "flag", ("flag", "")),
        (values.parse_sysctl, "net.core.somaxconn=1024", ("net.core.somaxconn", "1024")),
        (values.parse_sysctl, "kernel.sem=250 32000\t32 128", ("kernel.sem", "250 32000\t32 128")),
        (values.parse_sysctl, "fs.mqueue.msg_max=20", ("fs.mqueue.msg_max", "20")),
        (values.parse_host_entry, "db:10.0.0.7", ("db", "10.0.0.7")),
        (values.parse_host_entry, "db:fd00::7", ("db", "fd00::7")),
        (values.parse_host_entry, "db:[fd00::7]", ("db", "fd00::7")),
        (values.parse_capability, "net_admin", "CAP_NET_ADMIN"),
        (values.parse_capability, "CAP_NET_ADMIN", "CAP_NET_ADMIN"),
        (values.parse_capability, "all", "ALL"),
        (values.parse_profile, "system", "system"),
        (values.parse_security_option, "no-new-privileges", ("no-new-privileges", "true")),
        (values.parse_security_option, "no-new-privileges=false", ("no-new-privileges", "false")),
        (values.parse_security_option, "no-new-privileges:true", ("no-new-privileges", "true")),
        (values.parse_security_option, "seccomp=unconfined", ("seccomp", "unconfined")),
        (values.parse_security_option, "seccomp:builtin", ("seccomp", "default")),
        (values.parse_security_option, 'seccomp= {"a": 1}\n', ("seccomp", '{"a": 1}')),
        (values.parse_security_option, "apparmor=unconfined", ("apparmor", "unconfined")),
        (values.parse_security_option, "apparmor:/usr/bin/x//child", ("apparmor", "/usr/bin/x//child")),
        (values.parse_security_option, "label=disable", ("label", "disable")),
        (values.parse_security_option, "label=type:container_t", ("label:type", "container_t")),
        (values.parse_security_option, "label:level:s0:c1,c2", ("label:level", "s0:c1,c2")),
        (values.parse_security_option, "landlock=unconfined", ("landlock", "unconfined")),
        (values.parse_restart, "no", RestartPolicy("no")),
        (values.parse_restart, "always", RestartPolicy("always")),
        (values.parse_restart, "on-failure", RestartPolicy("on-failure", 0)),
        (values.parse_restart, "on-failure:3", RestartPolicy("on-failure", 3)),
        (values.parse_restart, "always:3", RestartPolicy("always", 3)),
        (values.parse_restart, "unless-stopped:1", RestartPolicy("unless-stopped", 1)),
        (values.parse_health_command, "curl -f localhost || exit 1", ("CMD-SHELL", "curl -f localhost || exit 1")),
        (values.parse_health_command, ["pg_isready", "-q"], ("CMD", "pg_isready", "-q")),
        (values.parse_health_command, ["none"], ("CMD", "none")),
        (values.parse_health_command, "none", ("NONE",)),
        (values.parse_health_http, 8080, "8080/"),
        (values.parse_health_http, "8080/healthz?full=1", "8080/healthz?full=1"),
        (values.parse_health_http, "http://localhost/up", "80/up"),
        (values.parse_health_http, "http://[::1]:81", "81/"),
        (values.parse_port, "5432", 5432),
        (values.parse_health_seconds, "1m", 60),
        (values.parse_health_period, 0, 0),
        (values.parse_health_action, "stop", "stop"),
        (values.parse_onboot, "last", "last"),
        (values.parse_onboot, True, "yes"),
        (values.parse_onboot, False, "no"),
        (values.parse_boot_order, 0, 0),
        (values.parse_boot_order, "none", None),
        (values.parse_ulimit, "nofile=1024:2048", Ulimit("nofile", 1024, 2048)),
        (values.parse_ulimit, "core=0", Ulimit("core", 0, 0)),
        (values.parse_ulimit, "memlock=64:unlimited", Ulimit("memlock", 64, None)),
        (values.parse_ulimit, "nproc=unlimited", Ulimit("nproc", None, None)),
        (values.parse_device, "/dev/fuse", Device("/dev/fuse", "/dev/fuse", "rwm")),
        (values.parse_device, "/dev/fuse:rw", Device("/dev/fuse", "/dev/fuse", "rw")),
        (values.parse_device, "/dev/sda:/dev/xvda", Device("/dev/sda", "/dev/xvda", "rwm")),
        (values.parse_device, "/dev/sda:/dev/xvda:r", Device("/dev/sda", "/dev/xvda", "r")),
        (values.parse_network, "host", "host"),
        (values.parse_network, 7, "7"),
        (values.parse_name, 7, "7"),
        (values.parse_image, "debian:12", "debian:12"),
        (values.between(1, 9), "9", 9),
    ],
)
def test_values(parse: Parser, value: object, expected: object) -> None:
    assert parse(value) == expected


@pytest.mark.parametrize(
    ("parse", "value", "message"),
    [
        (values.parse_text, "a\0b", "'a\\x00b' holds a NUL byte"),
        (values.parse_text, "\ud800", "'\\ud800' cannot be encoded"),
        (values.parse_text, "x" * 131072, "the text has 131072 bytes, more than 131071"),
        (values.parse_text, None, "None is not text"),
        (values.parse_text, 1.5, "1.5 is not text"),
        (values.parse_text, False, "false is true or false where text is wanted"),
        (values.parse_word, "", "the value is empty"),
        (values.parse_word, "a\x7f", "'a\\x7f' holds a control character"),
        (values.parse_bool, "yes", "'yes' is not true or false"),
        (values.parse_bool, 1, "1 is not true or false"),
        (values.parse_bool, "True", "'True' is not true or false"),
        (values.parse_path, "a/b", "'a/b' is not an absolute path"),
        (values.parse_path, "/a/../b", "'/a/../b' holds '..'"),
        (values.parse_path, "/a\nb", "'/a\\nb' holds a control character"),
        (values.parse_path, "/a\0b", "'/a\\x00b' holds a NUL byte"),
        (values.parse_host_name, "a" * 64, f"'{'a' * 64}' is not a host name"),
        (values.parse_host_name, "-a", "'-a' is not a host name"),
        (values.parse_host_name, "a-", "'a-' is not a host name"),
        (values.parse_host_name, "a..b", "'a..b' is not a host name"),
        (values.parse_host_name, "a_b", "'a_b' is not a host name"),
        (values.parse_host_name, "web\n", "'web\\n' holds a control character"),
        (values.parse_host_name, "w\u00e9b", "'w\u00e9b' is not a host name"),
        (values.parse_domain, "a b", "'a b' is not a domain name"),
        (values.parse_domain, "a." * 127, f"'{'a.' * 37}a...' is not a domain name"),
        (values.parse_ip, "localhost", "'localhost' is not an IP address"),
        (values.parse_ip, "010.0.0.1", "'010.0.0.1' is not an IP address"),
        (values.parse_ip, "fe80::1%eth0", "'fe80::1%eth0' is not an IP address"),
        (values.parse_ip, 2130706433, "'2130706433' is not an IP address"),
        (values.parse_ip, "\u0661.1.1.1", "'\u0661.1.1.1' is not an IP address"),
        (values.parse_ip4, "fd00::5", "'fd00::5' is not an IPv4 address"),
        (values.parse_ip6, "10.0.0.5", "'10.0.0.5' is not an IPv6 address"),
        (values.parse_user, "", "the value is empty"),
        (values.parse_user, ":", "':' is not a user"),
        (values.parse_user, "a:", "'a:' is not a user"),
        (values.parse_user, "a:b:c", "'a:b:c' is not a user"),
        (values.parse_user, "65536", "'65536' is not a user: id 65536 is out of range"),
        (values.parse_user, "4294967295", "'4294967295' is not a user: id 4294967295 is out of range"),
        (values.parse_user, -1, "'-1' is not a user"),
        (values.parse_user, "01", "'01' is not a user: id 01 begins with a zero"),
        (values.parse_user, "1_0", "'1_0' is not a user"),
        (values.parse_user, "\u0661", "'\u0661' is not a user"),
        (values.parse_user, "0\n", "'0\\n' holds a control character"),
        (values.parse_variable, "A", "'A' has no value"),
        (values.parse_variable, "=1", "'=1' has no name before '='"),
        (values.parse_variable, "A B=1", "'A B' holds a blank"),
        (values.parse_variable, "A\0=1", "'A\\x00=1' holds a NUL byte"),
        (values.parse_label, "=x", "'=x' has no proper key"),
        (values.parse_sysctl, "net.core.somaxconn", "'net.core.somaxconn' has no value"),
        (values.parse_sysctl, "net.core.somaxconn=", "'net.core.somaxconn=' has no value"),
        (values.parse_sysctl, "kernel.hostname=x", "sysctl 'kernel.hostname' has a setting of its own"),
        (
            values.parse_sysctl,
            "kernel.core_pattern=|/x",
            "sysctl 'kernel.core_pattern' is the whole host's, not a container's",
        ),
        (
            values.parse_sysctl,
            "kernel.shmmaxx=1",
            "sysctl 'kernel.shmmaxx' is the whole host's, not a container's, did you mean 'kernel.shmmax'?",
        ),
        (
            values.parse_sysctl,
            "vm.overcommit_memory=1",
            "sysctl 'vm.overcommit_memory' is the whole host's, not a container's",
        ),
        (values.parse_sysctl, "net/ipv4/ip_forward=1", "'net/ipv4/ip_forward' is not a sysctl key"),
        (values.parse_sysctl, "net..x=1", "'net..x' is not a sysctl key"),
        (values.parse_sysctl, "net.../kernel.x=1", "'net.../kernel.x' is not a sysctl key"),
        (values.parse_sysctl, "net.x=1\n2", "sysctl 'net.x': '1\\n2' is not one line of ASCII text"),
        (values.parse_host_entry, "db", "'db' has no address"),
        (values.parse_host_entry, "db:host-gateway", "'host-gateway' is not an IP address"),
        (values.parse_host_entry, "d b:10.0.0.1", "'d b' is not a domain name"),
        (
            values.parse_host_entry,
            "db:10.0.0.1\n1.1.1.1 bank",
            "'db:10.0.0.1\\n1.1.1.1 bank' holds a control character",
        ),
        (values.parse_capability, "net_amdin", "'net_amdin' is not a capability, did you mean 'CAP_NET_ADMIN'?"),
        (values.parse_capability, "CAP_ALL", "'CAP_ALL' is not a capability"),
        (values.parse_capability, "", "the value is empty"),
        (values.parse_profile, "sistem", "'sistem' is not a profile, did you mean 'system'?"),
        (values.parse_security_option, "seccomp", "'' is not a seccomp profile"),
        (values.parse_security_option, "seccomp=/etc/x", "'/etc/x' is not a seccomp profile"),
        (values.parse_security_option, "selinux:x", "security option 'selinux:x' is not supported"),
        (values.parse_security_option, "seccompx=default", "security option 'seccompx=default' is not supported"),
        (values.parse_security_option, "apparmor", "'' is not the name of an AppArmor profile"),
        (values.parse_security_option, "apparmor=a b", "'a b' is not the name of an AppArmor profile"),
        (values.parse_security_option, "label", "'' is not a part of an SELinux label"),
        (values.parse_security_option, "label=type:", "'type:' is not a part of an SELinux label"),
        (values.parse_security_option, "label=typ:x", "'typ:x' is not a part of an SELinux label"),
        (values.parse_security_option, "label=type:a b", "'type:a b' is not a part of an SELinux label"),
        (values.parse_security_option, "landlock=off", "'off' is not a value of landlock"),
        (values.parse_security_option, "no-new-privileges=1", "'1' is not true or false"),
        (values.parse_security_option, "no-new-privileges=", "'' is not true or false"),
        (values.parse_restart, "sometimes", "'sometimes' is not a restart policy"),
        (values.parse_restart, "alwys", "'alwys' is not a restart policy, did you mean 'always'?"),
        (values.parse_restart, "no:3", "restart policy 'no' takes no count"),
        (values.parse_restart, "always:", "'' is not a whole number"),
        (values.parse_health_command, " ", "the command is empty"),
        (values.parse_health_command, [], "[] is not a command"),
        (values.parse_health_command, ["", "a"], "['', 'a'] is not a command"),
        (values.parse_health_command, ["a\0"], "'a\\x00' holds a NUL byte"),
        (values.parse_health_command, True, "true is true or false where text is wanted"),
        (values.parse_health_http, "https://localhost/", "'https://localhost/' is not what can be asked for by HTTP"),
        (values.parse_health_http, "http://10.0.0.1/", "'http://10.0.0.1/' is not what can be asked for by HTTP"),
        (values.parse_health_http, "80/a b", "'80/a b' is not what can be asked for by HTTP"),
        (values.parse_health_http, "80/\u00e9", "'80/\u00e9' is not what can be asked for by HTTP"),
        (values.parse_health_http, "80/a\r\nHost: x", "'80/a\\r\\nHost: x' holds a control character"),
        (values.parse_health_http, "0/", "0 is out of range"),
        (values.parse_health_http, "65536/", "65536 is out of range"),
        (values.parse_port, "\u0665", "'\u0665' is not a whole number"),
        (values.parse_health_seconds, 0, "0 is out of range"),
        (values.parse_health_seconds, "2d", "'2d' is out of range"),
        (values.parse_health_period, "2d", "'2d' is out of range"),
        (values.parse_health_action, "kill", "'kill' is not a health action"),
        (values.parse_onboot, "auto", "'auto' is not a wish for the boot"),
        (values.parse_boot_order, -1, "-1 is not a whole number"),
        (values.parse_boot_order, 1_000_001, "1000001 is out of range"),
        (values.parse_restart, "on-failure:", "'' is not a whole number"),
        (values.parse_restart, "on-failure:0", "0 is out of range"),
        (values.parse_restart, False, "false is not a restart policy"),
        (values.parse_ulimit, "nofiles=1", "'nofiles' is not a ulimit, did you mean 'nofile'?"),
        (values.parse_ulimit, "nofile", "'nofile' has no limit"),
        (values.parse_ulimit, "nofile=", "'nofile=' has no limit"),
        (values.parse_ulimit, "nofile=1:", "'nofile=1:' has no limit"),
        (values.parse_ulimit, "nofile=-1", "'-1' is not a limit"),
        (values.parse_ulimit, "nofile=1k", "'1k' is not a whole number"),
        (values.parse_ulimit, "nofile=1:2:3", "'2:3' is not a whole number"),
        (values.parse_ulimit, "nofile=9223372036854775807", "9223372036854775807 is out of range"),
        (values.parse_device, "fuse", "'fuse' is not an absolute path"),
        (
            values.parse_device,
            "/dev/fuse:x",
            "'/dev/fuse:x' is not a device: 'x' is not made of r, w and m, in this order",
        ),
        (
            values.parse_device,
            "/dev/fuse:",
            "'/dev/fuse:' is not a device: '' is not made of r, w and m, in this order",
        ),
        (values.parse_device, "/dev/a:/dev/b:/dev/c", "'/dev/a:/dev/b:/dev/c' is not a device"),
        (values.parse_device, "/dev/a:/proc/b", "nothing may be mounted at '/proc/b'"),
        (values.parse_network, "a/b", "'a/b' is not a network name"),
        (values.parse_name, True, "True is not a container name"),
        (values.between(1, 9), "10", "10 is out of range"),
    ],
)
def test_refusals(parse: Parser, value: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse(value)
    assert caught.value.message == message


@given(st.text(max_size=30))
def test_any_path_is_normal_or_invalid_input(text: str) -> None:
    try:
        path = values.parse_path(f"/{text}")
    except InvalidInput:
        return
    assert path == "/" or not {"", ".", ".."} & set(path[1:].split("/"))
    assert values.parse_path(path) == path


@given(st.text("abnet./=0 \n", max_size=20))
def test_no_sysctl_key_leads_elsewhere(text: str) -> None:
    try:
        key, value = values.parse_sysctl(f"net.{text}")
    except InvalidInput:
        return
    assert "/" not in key and ".." not in key and "\n" not in value


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"every": "1d", "keep": 7}, SnapshotSchedule(86400, 7)),
        ("every=90s,keep=1", SnapshotSchedule(90, 1)),
        ("keep=1000,every=1d12h", SnapshotSchedule(129600, 1000)),
        ("none", None),
    ],
)
def test_when_to_make_snapshots(value: object, expected: SnapshotSchedule | None) -> None:
    assert values.parse_snapshots(value) == expected


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("1d", "'1d' does not say when to make snapshots"),
        ("every=1d", "'every=1d' does not give every and keep, once each"),
        ("every=1d,keep=7,keep=8", "'every=1d,keep=7,keep=8' does not give every and keep, once each"),
        (
            {"every": "1d", "keep": 7, "at": 3},
            "{'every': '1d', 'keep': 7, 'at': 3} does not give every and keep, once each",
        ),
        ("every=9s,keep=7", "'9s' is too often"),
        ("every=1d,keep=0", "0 is out of range"),
        ("every=1d,keep=1001", "1001 is out of range"),
        (True, "true is true or false where text is wanted"),
    ],
)
def test_what_does_not_say_when(value: object, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        values.parse_snapshots(value)
    assert caught.value.message == message
