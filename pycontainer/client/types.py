"""The shapes of what goes to and comes from the supervisor, for type checkers and readers; nothing here runs.

`ContainerFields` is the plain spec: what `Client.run` and `Client.create` take as keyword arguments, what a YAML file
holds and what the control socket carries. Values may be strings everywhere ("200M", "0.5"); the supervisor parses.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypedDict

Status = Literal["created", "running", "paused", "stopped", "restarting", "damaged"]  # the last: its record is


class ContainerFields(TypedDict, total=False):
    """Everything that can be asked of a container; what is left out has the default said here."""

    name: str  # made up
    rootfs: str  # a directory of the host instead of an image
    rootfs_writable: bool  # False: what the container writes goes to a layer of its own
    entrypoint: str | Sequence[str]  # the image's
    env: Mapping[str, str] | Sequence[str]  # {"A": "1"} or ["A=1"]
    workdir: str  # the image's, else "/"
    user: str  # the image's, else root; name, uid, name:group, uid:gid
    hostname: str  # the container's name
    domainname: str
    tty: bool  # False
    stdin_open: bool  # False: standard input is empty
    auto_remove: bool  # False; True deletes the container when it ends
    init: bool  # False; True puts a small reaping init before the command
    labels: Mapping[str, str] | Sequence[str]
    restart: str  # "no", "on-failure", "always", "unless-stopped"; with ":N" at most so often in a row
    stop_signal: str  # the image's, else SIGTERM
    stop_timeout: int | str  # 10 seconds
    notify: bool  # False; True has a start wait for READY=1, sd_notify(3)
    notify_timeout: int | str  # 90 seconds
    health_cmd: str | Sequence[str]  # the image's; a text for the shell or a list of words, "none": no check
    health_http: str  # "8080/healthz", inside
    health_tcp: int | str  # a port inside
    health_interval: int | str  # the image's, else "30s"
    health_timeout: int | str  # the image's, else "30s"
    health_retries: int | str  # the image's, else 3
    health_start_period: int | str  # the image's, else 0
    health_start_interval: int | str  # the image's, else "5s"
    health_action: str  # "none", or "restart", or "stop"
    onboot: str  # "yes", "no", "last"; as `restart` says
    boot_order: int | str  # after all that have one
    boot_delay: int | str  # 0 seconds
    memory: int | str  # no limit; bytes, or "200M"
    memory_swap: int | str  # as memory: no swap
    memory_high: int | str
    memory_low: int | str
    memory_min: int | str
    oom_group: bool  # False: one process is killed for want of memory, not all
    cpus: float | str  # no limit; 0.5 is half of one CPU
    cpu_burst: float | str
    cpu_weight: int | str  # 100
    cpuset_cpus: str  # all; "0-1,3"
    cpuset_mems: str  # all memory nodes; "0"
    pids: int | str  # 2048 processes, in profile system 4096
    hugetlb: Mapping[str, str] | Sequence[str]  # no limit; {"2M": "64M"} for each size of huge pages
    cgroup_conf: Mapping[str, str] | Sequence[str]  # {"memory.swap.high": "67108864"}, files of cgroup v2
    io_read: int | str  # no limit; bytes per second, or "20M/s"
    io_write: int | str
    io_read_ops: int | str  # per second
    io_write_ops: int | str
    io_weight: int | str  # 100
    disk: int | str  # no limit; "10G" in its own layer
    disk_soft: int | str
    disk_inodes: int | str
    disk_inodes_soft: int | str
    net_in: str  # no limit; bits per second, "20mbit"
    net_out: str
    net_in_min: str  # guaranteed within the tenant
    net_out_min: str
    net_packets: int | str  # no limit; per second, that it may send
    net_connections: int  # 8192; that the host tracks for it at once
    limit: Mapping[str, str] | Sequence[str]  # {"idle": "yes"}, of controllers that other packages add
    best_effort: bool  # False: a limit that cannot be held is an error
    tenant: str  # whose pool of resources it shares
    shm_size: int | str  # "64M", size of /dev/shm
    ulimits: Sequence[str]  # ["nofile=1024:2048"]
    networks: Sequence[str]  # ["default"]; "host" and "none" stand alone
    ip: str  # a free one
    ip6: str
    ports: Mapping[int, int] | Sequence[str]  # {8080: 80} or ["127.0.0.1:8080:80/tcp"]
    dns: Sequence[str]
    dns_search: Sequence[str]
    add_hosts: Sequence[str]  # ["name:address"]
    rootfs_driver: str  # "overlay" or "copy"; what the file system allows
    snapshots: Mapping[str, str | int] | str  # none; {"every": "1d", "keep": 7}
    volumes: Sequence[str]  # ["/source:/target:ro", "volume:/target"]
    mounts: Sequence[str | Mapping[str, str]]  # ["type=bind,source=/a,target=/b,readonly"]
    tmpfs: Sequence[str]  # ["/run:size=64m"]
    read_only: bool  # False
    devices: Sequence[str]  # ["/dev/fuse:/dev/fuse:rw"]
    cap_add: Sequence[str]
    cap_drop: Sequence[str]
    privileged: bool  # False
    profile: str  # "app", or "system" for an instance with its own init
    security_opt: Sequence[str]  # ["no-new-privileges=false", "seccomp=unconfined"]
    sysctls: Mapping[str, str] | Sequence[str]


class Port(TypedDict):
    """A published port; an empty `host_ip` means every address of the host."""

    host_ip: str
    host_port: int
    container_port: int
    protocol: str


class Address(TypedDict):
    """The addresses of a container on one network; empty: none."""

    ip: str
    ip6: str


class ContainerInfo(TypedDict):
    """A container as `ps` shows it; times are seconds since the epoch."""

    id: str
    name: str
    image: str
    rootfs: str
    tenant: str
    command: list[str]
    status: Status
    created: float
    started: float | None
    finished: float | None
    exit_code: int | None
    cause: (
        str  # of its end: exit, failure, signal, oom, asked, health, not-ready, reboot, start-failed, unknown; or empty
    )
    oom_killed: bool
    health: Literal["", "starting", "ready", "healthy", "unhealthy"]  # empty: nobody asks how it is
    pid: int
    ports: list[Port]
    networks: dict[str, Address]
    labels: dict[str, str]
    restart: str
    onboot: str  # "yes", "no" or "last", also where it follows from `restart`
    restart_count: int
    auto_remove: bool
    tty: bool
    stdin_open: bool
    memory_bytes: int | None
    profile: str  # "app" or "system"
    loosened: list[str]  # what takes more walls down than its profile: ["--cap-add NET_ADMIN"]
    warnings: list[str]


class Stats(TypedDict):
    """One sample of what a container uses; CPU and traffic count up from its start."""

    id: str
    name: str
    monotonic_seconds: float
    cpu_usec: int
    memory_bytes: int
    memory_limit_bytes: int | None
    pids: int
    pids_limit: int | None
    net_rx_bytes: int
    net_tx_bytes: int
    io_read_bytes: int
    io_write_bytes: int


class Changes(TypedDict, total=False):
    """What `Container.set` can change; "unlimited" takes a cap away."""

    memory: int | str
    memory_swap: int | str
    memory_high: int | str
    memory_low: int | str
    memory_min: int | str
    cpus: float | str
    cpu_burst: float | str
    cpu_weight: int | str
    cpuset_cpus: str
    cpuset_mems: str
    pids: int | str
    hugetlb: Mapping[str, str] | Sequence[str]
    cgroup_conf: Mapping[str, str] | Sequence[str]
    io_read: int | str
    io_write: int | str
    io_read_ops: int | str
    io_write_ops: int | str
    io_weight: int | str
    disk: int | str
    disk_soft: int | str
    disk_inodes: int | str
    disk_inodes_soft: int | str
    net_in: str
    net_out: str
    net_in_min: str
    net_out_min: str
    net_packets: int | str
    net_connections: int
    ulimits: Sequence[str]
    limit: Mapping[str, str] | Sequence[str]
    restart: str
    onboot: str
    boot_order: int | str  # "none" takes it away
    boot_delay: int | str
    snapshots: Mapping[str, str | int] | str
    health_cmd: str | Sequence[str]
    health_http: str
    health_tcp: int | str
    health_interval: int | str
    health_timeout: int | str
    health_retries: int | str
    health_start_period: int | str
    health_start_interval: int | str
    health_action: str


class SnapshotInfo(TypedDict):
    """A snapshot of a container."""

    name: str
    created: float
    layers: int  # frozen ones above the image
    automatic: bool  # made by the schedule


class Change(TypedDict):
    """A path that differs from the image."""

    kind: Literal["A", "C", "D"]  # added, changed, deleted
    path: str


class Limit(TypedDict):
    """How near a container is to one of its caps; None where there is no such number, or no cap."""

    id: str
    name: str
    resource: str  # memory, cpu, cpuset, pids, io_read ..., or that of a controller of somebody else
    unit: str  # bytes, usec (of CPU time per 100 ms), cpus, tasks, bytes/s, operations/s
    held: int | None
    peak: int | None
    limit: int | None
    fail_count: int
    pressure: float | None  # percent of the last 10 seconds in which a task waited for it; cgroup v2 alone
    soft_limit: int | None  # of disk, disk_inodes, and memory (memory_high)


class Process(TypedDict):
    """A process of a container; `pid` on the host, `ns_pid` inside."""

    pid: int
    ns_pid: int
    user: str
    cpu_seconds: float
    rss_bytes: int
    command: str


class ImageInfo(TypedDict):
    """An image of the store."""

    name: str
    id: str
    created: float
    size_bytes: int
    platform: str
    config: dict[str, object]
    damaged: str  # why its record cannot be read, and where that is; empty: it can


class LayerInfo(TypedDict):
    """A layer of an image; `blob` is the digest of the archive that it came as, None where only its files were kept."""

    diff_id: str
    size_bytes: int
    format: str
    blob: str | None
    media_type: str
    path: str


class ImageDetails(ImageInfo):
    """All that is known of an image; `layers` are lowest first."""

    names: list[str]
    manifest: str | None
    layers: list[LayerInfo]


class RegistryAccess(TypedDict, total=False):
    """How to get at a registry, where the user's own files do not say it (man 5 containers-auth.json and its kin)."""

    authfile: str
    username: str
    password: str
    cert_dir: str
    tls_verify: bool
    policy: str


class NetworkMember(TypedDict):
    """A container on a network."""

    name: str
    ip: str
    ip6: str


class NetworkInfo(TypedDict):
    """A network and who is on it, by container id."""

    name: str
    driver: str
    subnet: str
    subnet6: str
    gateway: str
    containers: dict[str, NetworkMember]
    fast_path: bool  # long connections to published ports are handed over
    fast_connections: int  # so many are, now
    fast_obstacle: str  # why none can be on this host; empty: they can
    damaged: str


class VolumeInfo(TypedDict):
    """A volume: what caps it, what it holds, which containers have it."""

    name: str
    created: float | None  # None: made by an earlier version
    labels: dict[str, str]
    anonymous: bool  # nobody named it
    mountpoint: str
    backend: str  # "project quota", "btrfs qgroup", "loop image (ext4)", or "directory", which nothing caps
    size_bytes: int | None
    inodes: int | None
    used_bytes: int
    used_inodes: int
    used_is_exact: bool  # False: there was no time to count all of it, and it holds more
    containers: list[str]


class TransferInfo(TypedDict):
    """The transfer of a month, both ways together: allowed and used, what follows, and what has followed (in `month`)."""

    allowance_bytes: int | None
    used_bytes: int
    action: str
    measure: str
    month: str


class TenantInfo(TypedDict):
    """A tenant: its limits by the attributes of the spec, in their own units, and its containers' names by id."""

    name: str
    created: float
    limits: dict[str, Any]
    transfer: TransferInfo | None
    warnings: list[str]
    containers: dict[str, str]
    running: int
    damaged: str


class Promise(TypedDict):
    """One resource of the host: what there is for containers, what is promised of it, and what is used."""

    resource: str  # memory, cpus, pids, disk, net_in, net_out
    unit: str  # bytes, usec (of CPU time per 100 ms), tasks, bits/s
    physical: int | None  # None: nobody knows
    promised: int
    uncapped: int  # containers and volumes that could take all, because nothing caps them
    used: int | None
    ratio: float | None  # how much of `physical` may be promised; None: it is not judged


class Capacity(TypedDict):
    """What the host has and what is promised of it; `uncounted` records are damaged, and what they promise is unknown."""

    admission: str  # off, warn, refuse
    problem: str  # why nobody knows how much may be promised, or empty
    containers: int
    tenants: int
    uncounted: int
    resources: list[Promise]


class Used(TypedDict):
    """What was used in a month. Byte-hours are bytes held times hours; network bytes are as the container sees them."""

    run_hours: float
    cpu_seconds: float
    memory_byte_hours: float
    disk_byte_hours: float
    io_read_bytes: int
    io_write_bytes: int
    net_in_bytes: int
    net_out_bytes: int


class InstanceUsage(Used):
    """The usage under one name, of all containers that bore it: `ids`. An empty name is the tenant's pool of disk."""

    tenant: str
    name: str
    ids: list[str]


class TenantUsage(Used):
    """The usage of a tenant; an empty name stands for all containers without one."""

    tenant: str
    instances: int


class Usage(TypedDict):
    """What was used in a month; `is_current` means that it is not over."""

    month: str
    is_current: bool
    instances: list[InstanceUsage]
    tenants: list[TenantUsage]


class Hindrance(TypedDict):
    """What holds up a container."""

    of: Literal["container", "tenant", "host"]
    resource: str
    is_now: bool  # between the two looks; else it was so before
    text: str


class Ending(TypedDict):
    """How a container ended the last time; empty and None: not known."""

    time: float | None
    exit_code: int | None
    signal: int | None  # that ended its first process
    cause: str  # the word of the event `die`
    actor: str
    oom: "Event | None"  # with victim, limit_of and limit_bytes, where the kernel's log told them
    text: str


class StartFailure(TypedDict):
    """What kept a container from starting."""

    time: float
    actor: str
    step: str
    text: str


class Why(TypedDict):
    """Why a container stopped, or is slow; `summary` is the answer in one sentence."""

    id: str
    name: str
    status: str  # Status, or "removed"
    summary: str
    ended: Ending | None
    start_failed: StartFailure | None
    slow: list[Hindrance]
    health: "list[Event]"
    events: "list[Event]"  # the last twenty, without those of `exec`


class Event(TypedDict, total=False):
    """Something that happened, docs/events.md: create, start, die, oom, stop, ...; the other keys depend on `type`."""

    seq: int  # a cursor: only grows, over restarts and reboots
    time: float
    type: str
    boot: str  # which boot of the host
    actor: str  # "uid 0 (pid 123, pycontainer)", "kernel", "policy restart", "supervisor"
    cause: str
    id: str
    name: str
    tenant: str  # if it has one
    status: str  # health: what it is now
    exit_code: int | None
    signal: int  # kill: which was sent; die: which ended it
    victim: dict[str, Any]  # oom: {pid, command, rss_bytes}
    limit_of: str  # oom: "container", "tenant", "all containers" or "host"
    limit_bytes: int | None
    detail: str  # leftover, firewall-repaired, start-failed: what was found
    by: str  # firewall-repaired: the program that did the damage
