"""The settings of a container, declared once: the parser, the help, the options and the docs derive from this table.

A row's default is the model's. `docs/spec.md` is made from it by `spec/reference.py`; a test compares the two.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pycontainer.errors import InvalidInput, shown
from pycontainer.spec import values
from pycontainer.spec.model import ContainerSpec, Port
from pycontainer.spec.mounts import LEAST_TMPFS_BYTES, parse_mount, parse_tmpfs, parse_volume
from pycontainer.spec.ports import parse_ports
from pycontainer.spec.signals import parse_signal
from pycontainer.spec.transfer import parse_action
from pycontainer.units import (
    parse_bit_rate,
    parse_bytes,
    parse_count,
    parse_cpus,
    parse_cpuset,
    parse_duration_seconds,
    parse_ops,
    parse_rate,
)

LEAST_MEMORY_BYTES = 1024 * 1024
CPU_WEIGHT_MAX = 10_000
PIDS_MAX = 4_194_304  # PID_MAX_LIMIT of the kernel


class Shape(StrEnum):
    """How a setting is written: one value; a list of items; pairs, as a mapping or as a list of `key=value`."""

    ONE = "one"
    LIST = "list"
    PAIRS = "pairs"


@dataclass(frozen=True, slots=True)
class Field:
    """One setting. `parse` takes the value, or one item of a list; `attribute` is where it lands in ContainerSpec.

    `live` settings can be changed while the container runs. `separator` joins key and value when the setting is given as
    a mapping; `program` marks a list that is one program with its arguments; `collect` turns the parsed items into the
    attribute.
    """

    key: str
    parse: Callable[[object], object]
    help: str
    example: str
    option: str
    oci: str
    shape: Shape = Shape.ONE
    attribute: str = ""
    unit: str = ""
    separator: str = ""
    program: bool = False
    live: bool = False
    collect: Callable[[list[Any]], object] = tuple

    @property
    def target(self) -> str:
        """The attribute of ContainerSpec that this setting fills."""
        return self.attribute or self.key

    @property
    def default(self) -> object:
        """What holds when the setting is left out."""
        return getattr(_DEFAULTS, self.target)


def _last_of_each(pairs: list[tuple[Any, Any]]) -> tuple[tuple[Any, Any], ...]:
    """Keep the last value of each key, where the key stood first: a later -e overrides an --env-file."""
    return tuple(dict(pairs).items())


def _unique(items: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _flat(items: list[tuple[Port, ...]]) -> tuple[Port, ...]:
    return tuple(port for ports in items for port in ports)


def _parse_memory(value: object) -> int:
    return parse_bytes(value, minimum=LEAST_MEMORY_BYTES)


def _parse_memory_swap(value: object) -> int:
    if value in ("unlimited", "-1"):
        raise InvalidInput(
            f"{shown(value)} is not a size", hint="swap has a cap: write memory and swap together, such as 2G"
        )
    return _parse_memory(value)


def _parse_shm_size(value: object) -> int:
    return parse_bytes(value, minimum=LEAST_TMPFS_BYTES)


_DEFAULTS = ContainerSpec()
_ONE, _LIST, _PAIRS = Shape.ONE, Shape.LIST, Shape.PAIRS

FIELDS: tuple[Field, ...] = (
    # what runs
    Field("name", values.parse_name, "name of the container; made up when left out", "web", "--name", ""),
    Field(
        "image", values.parse_image, "image to start from; give this or rootfs", "debian-nginx", "IMAGE", "root.path"
    ),
    Field(
        "rootfs",
        values.parse_path,
        "directory of the host to start from; changes go to a layer above it",
        "/srv/roots/web",
        "--rootfs",
        "root.path",
    ),
    Field(
        "rootfs_writable",
        values.parse_bool,
        "write into the rootfs directory itself",
        "true",
        "--rootfs DIR:rw",
        "root.readonly",
    ),
    Field(
        "entrypoint",
        values.parse_text,
        "program that gets the command as its arguments; the image's when left out",
        '["/usr/sbin/nginx"]',
        "--entrypoint",
        "process.args",
        _LIST,
        program=True,
    ),
    Field(
        "command",
        values.parse_text,
        "command and arguments; the image's when left out",
        '["nginx", "-g", "daemon off;"]',
        "CMD...",
        "process.args",
        _LIST,
        program=True,
    ),
    Field(
        "env",
        values.parse_variable,
        "environment variables",
        "{TZ: UTC}",
        "-e/--env, --env-file",
        "process.env",
        _PAIRS,
        separator="=",
        collect=_last_of_each,
    ),
    Field("workdir", values.parse_path, "directory the command starts in", "/srv", "-w/--workdir", "process.cwd"),
    Field(
        "user",
        values.parse_user,
        "user, and group, the command runs as: name, uid, name:group or uid:gid",
        "www-data",
        "-u/--user",
        "process.user",
    ),
    Field(
        "hostname",
        values.parse_host_name,
        "host name inside; the container's name when left out",
        "web",
        "-h/--hostname",
        "hostname",
    ),
    Field("domainname", values.parse_host_name, "NIS domain name inside", "example.org", "--domainname", "domainname"),
    Field("tty", values.parse_bool, "give the command a terminal", "true", "-t/--tty", "process.terminal"),
    Field("stdin_open", values.parse_bool, "keep standard input open", "true", "-i/--interactive", ""),
    Field("auto_remove", values.parse_bool, "delete the container when it has stopped", "true", "--rm", ""),
    Field("init", values.parse_bool, "run a tiny init as process 1, which reaps orphans", "true", "--init", ""),
    Field(
        "labels",
        values.parse_label,
        "labels, for filters and for people",
        "{tier: front}",
        "-l/--label",
        "annotations",
        _PAIRS,
        separator="=",
        collect=_last_of_each,
    ),
    Field(
        "restart",
        values.parse_restart,
        "when to start again: no, on-failure, always, unless-stopped; with :N at most N times in a row",
        "on-failure:3",
        "--restart",
        "",
        live=True,
    ),
    Field(
        "stop_signal",
        parse_signal,
        "signal that asks the command to end; the image's when left out, else SIGTERM",
        "SIGQUIT",
        "--stop-signal",
        "",
    ),
    Field(
        "stop_timeout",
        parse_duration_seconds,
        "how long stop waits before it kills",
        "30s",
        "--stop-timeout",
        "",
        attribute="stop_timeout_seconds",
        unit="duration",
    ),
    # whether it is well
    Field(
        "notify",
        values.parse_bool,
        "a start is done when the workload says READY=1 (sd_notify)",
        "true",
        "--notify",
        "",
    ),
    Field(
        "notify_timeout",
        values.parse_health_seconds,
        "how long a start waits for READY=1 before it counts as failed",
        "2m",
        "--notify-timeout",
        "",
        attribute="notify_timeout_seconds",
        unit="duration",
    ),
    Field(
        "health_cmd",
        values.parse_health_command,
        "command, run inside, that ends with 0 while all is well: a text for the shell, or a list; the image's when left "
        "out, none for no check",
        "pg_isready -q",
        "--health-cmd",
        "",
        live=True,
    ),
    Field(
        "health_http",
        values.parse_health_http,
        "what is asked for by HTTP inside; an answer from 200 to 399 is good",
        "8080/healthz",
        "--health-http",
        "",
        unit="PORT/PATH",
        live=True,
    ),
    Field(
        "health_tcp",
        values.parse_port,
        "port that accepts connections inside while all is well",
        "5432",
        "--health-tcp",
        "",
        live=True,
    ),
    Field(
        "health_interval",
        values.parse_health_seconds,
        "time between two checks; the image's when left out, else 30s",
        "10s",
        "--health-interval",
        "",
        attribute="health_interval_seconds",
        unit="duration",
        live=True,
    ),
    Field(
        "health_timeout",
        values.parse_health_seconds,
        "time after which a check has failed; the image's when left out, else 30s",
        "5s",
        "--health-timeout",
        "",
        attribute="health_timeout_seconds",
        unit="duration",
        live=True,
    ),
    Field(
        "health_retries",
        values.between(1, 1000),
        "failures in a row that make it unhealthy; the image's when left out, else 3",
        "5",
        "--health-retries",
        "",
        live=True,
    ),
    Field(
        "health_start_period",
        values.parse_health_period,
        "time after a start in which failures do not count; the image's when left out, else none",
        "1m",
        "--health-start-period",
        "",
        attribute="health_start_period_seconds",
        unit="duration",
        live=True,
    ),
    Field(
        "health_start_interval",
        values.parse_health_seconds,
        "time between two checks in the start period; the image's when left out, else 5s",
        "2s",
        "--health-start-interval",
        "",
        attribute="health_start_interval_seconds",
        unit="duration",
        live=True,
    ),
    Field(
        "health_action",
        values.parse_health_action,
        "what follows when it is unhealthy: none, restart, stop",
        "restart",
        "--health-action/--health-on-failure",
        "",
        live=True,
    ),
    Field(
        "onboot",
        values.parse_onboot,
        "start it with the host: yes, no, or last (if it ran when the host went down); left out, yes with restart always, "
        "last with unless-stopped, else no",
        "last",
        "--onboot",
        "",
        live=True,
    ),
    Field(
        "boot_order",
        values.parse_boot_order,
        "its turn at boot, lowest first, and the other way round at shutdown; none: after all that have one",
        "10",
        "--boot-order",
        "",
        live=True,
    ),
    Field(
        "boot_delay",
        parse_duration_seconds,
        "how long its start is given at boot before another one takes its turn",
        "5s",
        "--boot-delay",
        "",
        attribute="boot_delay_seconds",
        unit="duration",
        live=True,
    ),
    # what it may use
    Field(
        "memory",
        values.or_unlimited(_parse_memory),
        "cap on memory",
        "200M",
        "-m/--memory",
        "linux.resources.memory.limit",
        attribute="memory_bytes",
        unit="size",
        live=True,
    ),
    Field(
        "memory_swap",
        _parse_memory_swap,
        "cap on memory and swap together; that on memory when left out: no swap",
        "300M",
        "--memory-swap",
        "linux.resources.memory.swap",
        attribute="memory_swap_bytes",
        unit="size",
        live=True,
    ),
    Field(
        "memory_high",
        values.or_unlimited(_parse_memory),
        "slow down and reclaim from here on, without killing; cgroup v2",
        "180M",
        "--memory-high",
        "linux.resources.unified",
        attribute="memory_high_bytes",
        unit="size",
        live=True,
    ),
    Field(
        "memory_low",
        values.or_unlimited(_parse_memory),
        "memory that is reclaimed from last when the host runs short",
        "100M",
        "--memory-reservation",
        "linux.resources.memory.reservation",
        attribute="memory_low_bytes",
        unit="size",
        live=True,
    ),
    Field(
        "memory_min",
        values.or_unlimited(_parse_memory),
        "memory that is never reclaimed; cgroup v2",
        "50M",
        "--memory-min",
        "linux.resources.unified",
        attribute="memory_min_bytes",
        unit="size",
        live=True,
    ),
    Field(
        "oom_group",
        values.parse_bool,
        "when one process is killed for want of memory, kill all; cgroup v2",
        "true",
        "--oom-group",
        "linux.resources.unified",
    ),
    Field(
        "cpus",
        values.or_unlimited(parse_cpus),
        "cap on CPU time, in CPUs",
        "0.5",
        "--cpus",
        "linux.resources.cpu.quota",
        attribute="cpu_quota_usec",
        unit="CPUs",
        live=True,
    ),
    Field(
        "cpu_burst",
        parse_cpus,
        "unused CPU time that may be saved up for later, in CPUs",
        "0.25",
        "--cpu-burst",
        "linux.resources.cpu.burst",
        attribute="cpu_burst_usec",
        unit="CPUs",
        live=True,
    ),
    Field(
        "cpu_weight",
        values.between(1, CPU_WEIGHT_MAX),
        "share of CPU time when it is short, against 100 of others",
        "200",
        "--cpu-weight",
        "linux.resources.cpu.shares",
        live=True,
    ),
    Field(
        "cpuset_cpus",
        values.or_unlimited(parse_cpuset, unlimited=""),
        "CPUs the container may run on",
        "0-1,3",
        "--cpuset-cpus",
        "linux.resources.cpu.cpus",
        unit="CPU list",
        live=True,
    ),
    Field(
        "cpuset_mems",
        values.or_unlimited(parse_cpuset, unlimited=""),
        "memory nodes (NUMA) it may take memory from",
        "0",
        "--cpuset-mems",
        "linux.resources.cpu.mems",
        unit="node list",
        live=True,
    ),
    Field(
        "pids",
        values.or_unlimited(values.between(1, PIDS_MAX)),
        "cap on processes and threads; in profile system 4096 when left out",
        "100",
        "--pids-limit, --pids",
        "linux.resources.pids.limit",
        attribute="pids_max",
        live=True,
    ),
    Field(
        "hugetlb",
        values.parse_hugetlb,
        "cap on memory in huge pages, for each size of page",
        '{2M: "64M"}',
        "--hugetlb",
        "linux.resources.hugepageLimits",
        _PAIRS,
        separator="=",
        collect=_last_of_each,
        live=True,
    ),
    Field(
        "cgroup_conf",
        values.parse_cgroup_conf,
        "any other limit of cgroup v2: the kernel's file, and the value as it prints it",
        '{misc.max: "sev 10"}',
        "--cgroup-conf",
        "linux.resources.unified",
        _PAIRS,
        separator="=",
        collect=_last_of_each,
        live=True,
    ),
    Field(
        "io_read",
        values.or_unlimited(parse_rate),
        "cap on reading from disks",
        "20M/s",
        "--io-read",
        "linux.resources.blockIO",
        attribute="io_read_bps",
        unit="rate",
        live=True,
    ),
    Field(
        "io_write",
        values.or_unlimited(parse_rate),
        "cap on writing to disks; on cgroup v1 not of what goes through the page cache",
        "10M/s",
        "--io-write",
        "linux.resources.blockIO",
        attribute="io_write_bps",
        unit="rate",
        live=True,
    ),
    Field(
        "io_read_ops",
        values.or_unlimited(parse_ops),
        "cap on reads per second",
        "500",
        "--io-read-ops",
        "linux.resources.blockIO",
        attribute="io_read_ops_per_second",
        live=True,
    ),
    Field(
        "io_write_ops",
        values.or_unlimited(parse_ops),
        "cap on writes per second",
        "200",
        "--io-write-ops",
        "linux.resources.blockIO",
        attribute="io_write_ops_per_second",
        live=True,
    ),
    Field(
        "io_weight",
        values.between(1, CPU_WEIGHT_MAX),
        "share of disk time when it is short, against 100 of others",
        "200",
        "--io-weight",
        "linux.resources.blockIO.weight",
        live=True,
    ),
    Field(
        "disk",
        values.or_unlimited(parse_bytes),
        "cap on what it may write to its own layer",
        "10G",
        "--disk",
        "annotations",
        attribute="disk_bytes",
        unit="size",
        live=True,
    ),
    Field(
        "disk_soft",
        values.or_unlimited(parse_bytes),
        "what it may exceed for a week (project quota), or is watched",
        "8G",
        "--disk-soft",
        "annotations",
        attribute="disk_soft_bytes",
        unit="size",
        live=True,
    ),
    Field(
        "disk_inodes",
        values.or_unlimited(parse_count),
        "cap on files in its own layer",
        "200000",
        "--disk-inodes",
        "annotations",
        attribute="disk_inodes",
        live=True,
    ),
    Field(
        "disk_inodes_soft",
        values.or_unlimited(parse_count),
        "the same as disk_soft, of files",
        "150000",
        "--disk-inodes-soft",
        "annotations",
        attribute="disk_soft_inodes",
        live=True,
    ),
    Field(
        "net_in",
        values.or_unlimited(parse_bit_rate),
        "cap on what it receives from the network, bits per second",
        "20mbit",
        "--net-in",
        "annotations",
        attribute="net_in_bits",
        unit="bit rate",
        live=True,
    ),
    Field(
        "net_out",
        values.or_unlimited(parse_bit_rate),
        "cap on what it sends to the network, bits per second",
        "10mbit",
        "--net-out",
        "annotations",
        attribute="net_out_bits",
        unit="bit rate",
        live=True,
    ),
    Field(
        "net_in_min",
        values.or_unlimited(parse_bit_rate),
        "receiving rate that other containers of the tenant leave to it",
        "5mbit",
        "--net-in-min",
        "annotations",
        attribute="net_in_min_bits",
        unit="bit rate",
        live=True,
    ),
    Field(
        "net_out_min",
        values.or_unlimited(parse_bit_rate),
        "sending rate that other containers of the tenant leave to it",
        "5mbit",
        "--net-out-min",
        "annotations",
        attribute="net_out_min_bits",
        unit="bit rate",
        live=True,
    ),
    Field(
        "net_packets",
        values.or_unlimited(parse_ops),
        "packets per second that it may send; more is dropped",
        "20000",
        "--net-packets",
        "annotations",
        attribute="net_packets_per_second",
        live=True,
    ),
    Field(
        "net_connections",
        values.between(1, 10_000_000),
        "connections that the host tracks for it at once; packets that begin one more are dropped",
        "20000",
        "--net-connections",
        "annotations",
        live=True,
    ),
    Field(
        "shm_size",
        _parse_shm_size,
        "size of /dev/shm",
        "64M",
        "--shm-size",
        "mounts",
        attribute="shm_bytes",
        unit="size",
    ),
    Field(
        "ulimits",
        values.parse_ulimit,
        "limits of each process: soft:hard, or one number for both, or unlimited",
        "{nofile: 1024:2048}",
        "--ulimit",
        "process.rlimits",
        _PAIRS,
        separator="=",
        live=True,
    ),
    Field(
        "limit",
        values.parse_label,
        "limits of controllers that other packages add",
        '{idle: "yes"}',
        "--limit",
        "annotations",
        _PAIRS,
        attribute="limits",
        separator="=",
        collect=_last_of_each,
        live=True,
    ),
    Field("tenant", values.parse_name, "tenant whose pool of resources it shares", "acme", "--tenant", ""),
    Field(
        "best_effort",
        values.parse_bool,
        "start also with limits that this host cannot hold, and say so in a warning",
        "true",
        "--best-effort",
        "",
    ),
    # network
    Field(
        "networks",
        values.parse_network,
        "networks to join, or the word host or none alone",
        "[default]",
        "--network",
        "linux.namespaces",
        _LIST,
    ),
    Field("ip", values.parse_ip4, "IPv4 address on the one network", "10.88.0.5", "--ip", ""),
    Field("ip6", values.parse_ip6, "IPv6 address on the one network", "fd00::5", "--ip6", ""),
    Field(
        "ports",
        parse_ports,
        "ports published on the host: [[HOSTIP:][HOSTPORT]:]PORT[/tcp|udp], or a mapping of host port to port",
        '["8080:80", "127.0.0.1:5353:53/udp"]',
        "-p/--publish",
        "",
        _PAIRS,
        separator=":",
        collect=_flat,
    ),
    Field("dns", values.parse_ip, "name servers", "[9.9.9.9]", "--dns", "", _LIST),
    Field("dns_search", values.parse_domain, "search domains", "[example.org]", "--dns-search", "", _LIST),
    Field(
        "add_hosts",
        values.parse_host_entry,
        "lines for /etc/hosts, name:address",
        "{db: 10.0.0.7}",
        "--add-host",
        "",
        _PAIRS,
        separator=":",
    ),
    # files and devices
    Field(
        "rootfs_driver",
        values.parse_rootfs_driver,
        "how the root file system is made: overlay, what it writes lies above the image; copy, the image's files are copied. "
        "Where the file system allows it overlay when left out",
        "copy",
        "--rootfs-driver",
        "",
    ),
    Field(
        "snapshots",
        values.parse_snapshots,
        "snapshots to make by themselves, how often and how many to keep; or none",
        "{every: 1d, keep: 7}",
        "--snapshots",
        "",
        live=True,
    ),
    Field(
        "volumes",
        parse_volume,
        "host paths or named volumes: SOURCE:TARGET[:ro,idmap,nocopy]; TARGET alone is an anonymous volume",
        '["/srv/www:/var/www:ro"]',
        "-v/--volume",
        "mounts",
        _LIST,
        attribute="mounts",
    ),
    Field(
        "mounts",
        parse_mount,
        "mounts, spelled out: type, source, target, readonly, bind-nonrecursive, bind-idmap, volume-nocopy, tmpfs-size, "
        "tmpfs-mode, tmpfs-exec",
        "[{type: bind, source: /srv/www, target: /var/www}]",
        "--mount",
        "mounts",
        _LIST,
    ),
    Field(
        "tmpfs",
        parse_tmpfs,
        "file systems in memory: TARGET[:size=64m,mode=1777,exec,ro]",
        '["/run:size=64m"]',
        "--tmpfs",
        "mounts",
        _PAIRS,
        attribute="mounts",
        separator=":",
    ),
    Field(
        "read_only", values.parse_bool, "make the root file system read-only", "true", "--read-only", "root.readonly"
    ),
    Field(
        "devices",
        values.parse_device,
        "device nodes of the host: HOST[:INSIDE][:rwm]",
        '["/dev/fuse"]',
        "--device",
        "linux.devices",
        _LIST,
    ),
    # rights
    Field(
        "cap_add",
        values.parse_capability,
        "capabilities to add, or ALL",
        "[NET_ADMIN]",
        "--cap-add",
        "process.capabilities",
        _LIST,
        collect=_unique,
    ),
    Field(
        "cap_drop",
        values.parse_capability,
        "capabilities to take away, or ALL",
        "[ALL]",
        "--cap-drop",
        "process.capabilities",
        _LIST,
        collect=_unique,
    ),
    Field(
        "privileged",
        values.parse_bool,
        "loosen the container's isolation; for trusted software only",
        "true",
        "--privileged",
        "",
    ),
    Field(
        "profile",
        values.parse_profile,
        "what the container may do: app, one service; system, an instance with its own init",
        "system",
        "--profile",
        "",
    ),
    Field(
        "security_opt",
        values.parse_security_option,
        "no-new-privileges[=true|false]; seccomp=default, =unconfined, or a profile in JSON; apparmor=default, =unconfined, "
        "or the name of a loaded profile; label=disable, =user:, =role:, =type:, =level: or =filetype: of SELinux; "
        "landlock=default or =unconfined",
        "[seccomp=unconfined]",
        "--security-opt",
        "process.noNewPrivileges",
        _LIST,
        collect=_last_of_each,
    ),
    Field(
        "sysctls",
        values.parse_sysctl,
        "kernel settings of the container's own namespaces",
        "{net.core.somaxconn: 1024}",
        "--sysctl",
        "linux.sysctl",
        _PAIRS,
        separator="=",
    ),
)

# What a tenant can be given for all of its containers together: all that is live, but what is each one's own.
_OWN = (
    "restart", "onboot", "boot_order", "boot_delay", "snapshots", "ulimits", "net_in_min", "net_out_min", "net_packets",
    "net_connections",
)  # fmt: skip
POOLED: tuple[str, ...] = tuple(
    field.key for field in FIELDS if field.live and field.key not in _OWN and not field.key.startswith("health_")
)

# What a tenant has that no container has.
TENANT_FIELDS: tuple[Field, ...] = (
    Field(
        "max_containers",
        values.or_unlimited(values.between(1, 1_000_000)),
        "how many containers it may have; its own users may make 100 when left out",
        "20",
        "--max-containers",
        "",
        live=True,
    ),
    Field(
        "transfer",
        values.or_unlimited(parse_bytes),
        "network bytes a month, both ways together",
        "1T",
        "--transfer",
        "",
        unit="bytes",
        live=True,
    ),
    Field(
        "transfer_action",
        parse_action,
        "what follows when that is used up, until the month is over: warn, slow:RATE, stop, hook:PATH",
        "slow:1mbit",
        "--transfer-action",
        "",
        live=True,
    ),
)

BY_KEY: dict[str, Field] = {field.key: field for field in FIELDS}
