"""The user's wish as frozen dataclasses, after defaults and checks: what `run` and `create` take.

Sizes are bytes, times seconds, no limit is None. `spec/parse.py` makes these from plain data (the form that
YAML files, the Python API and the socket speak) and back; nothing else builds them.
"""

from dataclasses import dataclass

SYSTEM_PIDS_MAX = 4096  # default of pids_max in profile system, where an init and its services need more


@dataclass(frozen=True, slots=True)
class Port:
    """One published port: an empty `host_ip` means all of the host's, v4 and v6; `host_port` 0 asks for a free one."""

    host_port: int
    container_port: int
    protocol: str = "tcp"  # tcp | udp
    host_ip: str = ""


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount inside; `source` is an absolute host path (bind), a volume's name (volume) or empty (tmpfs).

    A volume without a name gets one when the container is made, which has it for itself.
    """

    type: str  # bind | volume | tmpfs
    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int | None = None  # tmpfs
    mode: int | None = None  # tmpfs
    exec_allowed: bool = False  # tmpfs; noexec unless asked, as Docker does
    recursive: bool = True  # bind
    idmap: bool = False  # bind: owners inside are those on the host, number by number
    copy: bool = True  # volume: an empty one gets what the image has at its target


@dataclass(frozen=True, slots=True)
class Ulimit:
    """One resource limit, RLIM_INFINITY is None."""

    name: str  # nofile, nproc, core ... without RLIMIT_
    soft: int | None
    hard: int | None


@dataclass(frozen=True, slots=True)
class Device:
    """A host device node granted to the container."""

    host_path: str
    container_path: str
    access: str = "rwm"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """When to start again: no | on-failure | always | unless-stopped; `max_retries` in a row, 0 means without end."""

    name: str = "no"
    max_retries: int = 0


@dataclass(frozen=True, slots=True)
class SnapshotSchedule:
    """Snapshots that are made by themselves, and how many of them are kept."""

    every_seconds: int
    keep: int


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    """Everything that was asked of one container."""

    name: str = ""  # empty: the supervisor makes one up
    image: str = ""  # exactly one of image and rootfs
    rootfs: str = ""  # absolute host directory
    rootfs_writable: bool = False
    entrypoint: tuple[str, ...] | None = None  # None: the image's
    command: tuple[str, ...] = ()  # empty: the image's
    env: tuple[tuple[str, str], ...] = ()
    workdir: str = ""
    user: str = ""  # name, uid, name:group, uid:gid
    hostname: str = ""
    domainname: str = ""
    tty: bool = False
    stdin_open: bool = False
    auto_remove: bool = False
    init: bool = False
    labels: tuple[tuple[str, str], ...] = ()
    restart: RestartPolicy = RestartPolicy()
    onboot: str = ""  # yes | no | last; empty: as its restart policy says, see `starts_at_boot`
    boot_order: int | None = None  # lowest first; None: after all that have one
    boot_delay_seconds: int = 0  # that its start is given before another one takes its turn
    stop_signal: str = ""  # empty: the image's, else SIGTERM
    stop_timeout_seconds: int = 10
    notify: bool = False  # a start is done when the workload says READY=1, sd_notify(3)
    notify_timeout_seconds: int = 90
    health_cmd: tuple[str, ...] = ()  # NONE, CMD and words, or CMD-SHELL and a text, as Docker has it; (): the image's
    health_http: str = ""  # "PORT/PATH"
    health_tcp: int | None = None
    health_interval_seconds: int | None = None  # of these None: the image's, else the default of runtime/healthcheck.py
    health_timeout_seconds: int | None = None
    health_retries: int | None = None
    health_start_period_seconds: int | None = None
    health_start_interval_seconds: int | None = None
    health_action: str = "none"  # none | restart | stop: what follows when it is unhealthy

    memory_bytes: int | None = None
    memory_swap_bytes: int | None = None  # memory and swap together; None: memory_bytes, that is no swap
    memory_high_bytes: int | None = None  # from here on slowed down and reclaimed from, never killed
    memory_low_bytes: int | None = None  # reclaimed from last
    memory_min_bytes: int | None = None  # never reclaimed from
    oom_group: bool = False  # one process killed for want of memory means all of them
    cpu_quota_usec: int | None = None  # per cpu_period_usec; --cpus 0.5 is 50000 of 100000
    cpu_period_usec: int = 100_000
    cpu_burst_usec: int | None = None  # unused quota that may be saved up
    cpu_weight: int | None = None  # 1 to 10000, against the weights of others when CPUs are short; None: 100
    cpuset_cpus: str = ""  # canonical list format, "0-1,3"
    cpuset_mems: str = ""  # memory nodes, in the same format
    pids_max: int | None = 2048
    cgroup_conf: tuple[tuple[str, str], ...] = ()  # (file of cgroup v2, what to write)
    hugetlb: tuple[tuple[int, int], ...] = ()  # (bytes of a page, bytes in pages of this size)
    io_read_bps: int | None = None  # bytes per second, for each disk
    io_write_bps: int | None = None
    io_read_ops_per_second: int | None = None
    io_write_ops_per_second: int | None = None
    io_weight: int | None = None  # 1 to 10000, against the weights of others when disks are busy; None: 100
    disk_bytes: int | None = None  # of its own layer
    disk_soft_bytes: int | None = None
    disk_inodes: int | None = None
    disk_soft_inodes: int | None = None
    net_in_bits: int | None = None  # per second
    net_out_bits: int | None = None
    net_in_min_bits: int | None = None  # guaranteed within the tenant
    net_out_min_bits: int | None = None
    net_packets_per_second: int | None = None  # that it may send
    net_connections: int | None = None  # that the host tracks for it at once; None: the default share
    shm_bytes: int = 64 * 1024 * 1024
    ulimits: tuple[Ulimit, ...] = ()
    limits: tuple[tuple[str, str], ...] = ()  # (controller that another package adds, what is asked of it)
    tenant: str = ""  # whose pool of resources it shares
    best_effort: bool = False  # a limit that cannot be held becomes a warning, not a refusal

    networks: tuple[str, ...] = ("default",)  # names; "host" or "none" stand alone
    ip: str = ""
    ip6: str = ""
    ports: tuple[Port, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    add_hosts: tuple[tuple[str, str], ...] = ()  # (name, address)

    rootfs_driver: str = ""  # overlay | copy; empty: what the file system allows
    snapshots: SnapshotSchedule | None = None
    mounts: tuple[Mount, ...] = ()
    read_only: bool = False
    devices: tuple[Device, ...] = ()
    cap_add: tuple[str, ...] = ()  # canonical, "CAP_NET_ADMIN"; "ALL"
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    profile: str = "app"  # app | system
    security_opt: tuple[tuple[str, str], ...] = ()  # (no-new-privileges | seccomp | apparmor | label:type ..., value)
    sysctls: tuple[tuple[str, str], ...] = ()

    @property
    def disk_caps(self) -> tuple[int | None, int | None, int | None, int | None]:
        """What its own layer may hold, as disk/storage.py has it: bytes hard and soft, inodes hard and soft."""
        return self.disk_bytes, self.disk_soft_bytes, self.disk_inodes, self.disk_soft_inodes

    @property
    def has_disk_cap(self) -> bool:
        """Tell whether its own layer is capped."""
        return any(cap is not None for cap in self.disk_caps)

    @property
    def has_volumes(self) -> bool:
        """Tell whether something of it outlives it, or is to go as well."""
        return any(mount.type == "volume" for mount in self.mounts)

    @property
    def starts_at_boot(self) -> str:
        """When it starts with the host: yes, no, or last (if it ran when the host went down).

        Left out, it follows the restart policy, with what that means to Docker's users: `always` comes back in any case,
        `unless-stopped` unless somebody stopped it.
        """
        return self.onboot or {"always": "yes", "unless-stopped": "last"}.get(self.restart.name, "no")
