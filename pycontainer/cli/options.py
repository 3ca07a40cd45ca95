"""The options that say what a container is like, declared once for `run` and `create`.

A row is (key of the plain spec, spelling, metavar, help); `spec/fields.py` owns the keys and what their values mean,
and a test holds this table against it. It is not built from there because that would cost each `run` 10 ms of imports.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from pycontainer.cli import aliases
from pycontainer.cli.context import complete_plans
from pycontainer.errors import InvalidInput

F = TypeVar("F", bound=Callable[..., Any])

# One value.
VALUES = (
    ("name", ("--name",), "NAME", "Name of the container; made up if left out."),
    ("rootfs", ("--rootfs",), "DIR[:rw]", "Start from a directory instead of an image; with :rw write into it."),
    ("entrypoint", ("--entrypoint",), "PROGRAM", "Program that gets the command as its arguments."),
    ("workdir", ("-w", "--workdir"), "DIR", "Directory the command starts in."),
    ("user", ("-u", "--user"), "USER[:GROUP]", "User (name or id) to run as."),
    ("hostname", ("-h", "--hostname"), "NAME", "Host name inside; the container's name if left out."),
    ("domainname", ("--domainname",), "NAME", "NIS domain name inside."),
    ("restart", ("--restart",), "POLICY", "When to start again: no, on-failure, always, unless-stopped; any with :N."),
    ("stop_signal", ("--stop-signal",), "SIGNAL", "Signal that asks the command to end (SIGTERM)."),
    ("stop_timeout", ("--stop-timeout",), "SECONDS", "How long 'stop' waits before it kills (10)."),
    ("notify_timeout", ("--notify-timeout",), "TIME", "How long a start waits for READY=1 (90)."),
    (
        "health_cmd",
        ("--health-cmd",),
        "COMMAND",
        "Command for the shell inside that ends with 0 while all is well; or none.",
    ),
    ("health_http", ("--health-http",), "PORT/PATH", "Ask for this inside by HTTP; 200 to 399 is good."),
    ("health_tcp", ("--health-tcp",), "PORT", "Port that accepts connections inside while all is well."),
    ("health_interval", ("--health-interval",), "TIME", "Time between two checks (the image's, else 30s)."),
    ("health_timeout", ("--health-timeout",), "TIME", "Time after which a check has failed (the image's, else 30s)."),
    (
        "health_retries",
        ("--health-retries",),
        "NUMBER",
        "Failures in a row that make it unhealthy (the image's, else 3).",
    ),
    ("health_start_period", ("--health-start-period",), "TIME", "Time after a start in which failures do not count."),
    (
        "health_start_interval",
        ("--health-start-interval",),
        "TIME",
        "Time between two checks in the start period (5s).",
    ),
    (
        "health_action",
        ("--health-action", "--health-on-failure"),
        "ACTION",
        "What follows when it is unhealthy: none, restart or stop.",
    ),
    ("onboot", ("--onboot",), "yes|no|last", "Start it with the host; last: if it ran when the host went down."),
    ("boot_order", ("--boot-order",), "NUMBER", "Its turn at boot, lowest first; at shutdown the other way round."),
    ("boot_delay", ("--boot-delay",), "SECONDS", "How long its start is given at boot before the next one."),
    ("memory", ("-m", "--memory"), "SIZE", "Cap on memory, like 200M."),
    ("memory_swap", ("--memory-swap",), "SIZE", "Cap on memory and swap together (that on memory: no swap)."),
    ("memory_high", ("--memory-high",), "SIZE", "Slow down and reclaim from here on, without killing (cgroup v2)."),
    ("memory_low", ("--memory-reservation",), "SIZE", "Memory that is reclaimed from last when the host runs short."),
    ("memory_min", ("--memory-min",), "SIZE", "Memory that is never reclaimed (cgroup v2)."),
    ("cpus", ("--cpus",), "NUMBER", "Cap on CPU time, like 0.5 for half a CPU."),
    ("cpu_burst", ("--cpu-burst",), "NUMBER", "Unused CPU time that may be saved up, in CPUs."),
    ("cpu_weight", ("--cpu-weight",), "NUMBER", "Share of CPU time when it is short, 1 to 10000 (100)."),
    ("cpuset_cpus", ("--cpuset-cpus",), "LIST", "CPUs it may run on, like 0-1,3."),
    ("cpuset_mems", ("--cpuset-mems",), "LIST", "Memory nodes (NUMA) it may take memory from, like 0."),
    ("pids", ("--pids-limit", "--pids"), "NUMBER", "Cap on processes and threads (2048; system: 4096)."),
    ("io_read", ("--io-read",), "RATE", "Cap on reading from disks, like 20M/s."),
    ("io_write", ("--io-write",), "RATE", "Cap on writing to disks, like 10M/s."),
    ("io_read_ops", ("--io-read-ops",), "NUMBER", "Cap on reads per second."),
    ("io_write_ops", ("--io-write-ops",), "NUMBER", "Cap on writes per second."),
    ("io_weight", ("--io-weight",), "NUMBER", "Share of disk time when it is short, 1 to 10000 (100)."),
    ("disk", ("--disk",), "SIZE", "Cap on what it may write to its own layer, like 10G."),
    ("disk_soft", ("--disk-soft",), "SIZE", "From here on it may write for a week (project quota), or is watched."),
    ("disk_inodes", ("--disk-inodes",), "NUMBER", "Cap on files in its own layer."),
    ("disk_inodes_soft", ("--disk-inodes-soft",), "NUMBER", "The same as --disk-soft, of files."),
    ("net_in", ("--net-in",), "RATE", "Cap on what it receives from the network, like 20mbit."),
    ("net_out", ("--net-out",), "RATE", "Cap on what it sends to the network, like 10mbit."),
    ("net_in_min", ("--net-in-min",), "RATE", "Receiving rate that is guaranteed within the tenant."),
    ("net_out_min", ("--net-out-min",), "RATE", "Sending rate that is guaranteed within the tenant."),
    ("net_packets", ("--net-packets",), "NUMBER", "Packets per second that it may send; more is dropped."),
    ("net_connections", ("--net-connections",), "NUMBER", "Connections that the host tracks for it at once (8192)."),
    ("shm_size", ("--shm-size",), "SIZE", "Size of /dev/shm (64M)."),
    ("rootfs_driver", ("--rootfs-driver",), "NAME", "How the root file system is made: overlay or copy."),
    (
        "snapshots",
        ("--snapshots",),
        "every=TIME,keep=N",
        "Make snapshots by themselves, like every=1d,keep=7; or none.",
    ),
    ("tenant", ("--tenant",), "NAME", "Tenant whose pool of resources it shares."),
    ("profile", ("--profile",), "NAME", "What it may do: app (one service) or system (with its own init)."),
    ("ip", ("--ip",), "ADDRESS", "IPv4 address on its network."),
    ("ip6", ("--ip6",), "ADDRESS", "IPv6 address on its network."),
)
# Any number of values.
LISTS = (
    ("env", ("-e", "--env"), "NAME=VALUE", "Environment variable; NAME alone takes yours."),
    ("labels", ("-l", "--label"), "KEY=VALUE", "Label, for filters and for people."),
    ("ulimits", ("--ulimit",), "NAME=SOFT:HARD", "Limit of each process, like nofile=1024:2048."),
    ("hugetlb", ("--hugetlb",), "PAGE=SIZE", "Cap on memory in huge pages of one size, like 2M=64M."),
    ("cgroup_conf", ("--cgroup-conf",), "FILE=VALUE", "Any other limit of cgroup v2, like misc.max='sev 10'."),
    ("limit", ("--limit",), "NAME=VALUE", "Limit of a controller that another package adds."),
    ("networks", ("--network",), "NAME", "Network to join, or host, or none."),
    ("ports", ("-p", "--publish"), "[IP:]HOST:PORT[/udp]", "Publish a port on the host, like 8080:80."),
    ("dns", ("--dns",), "ADDRESS", "Name server."),
    ("dns_search", ("--dns-search",), "DOMAIN", "Search domain."),
    ("add_hosts", ("--add-host",), "NAME:ADDRESS", "Line for /etc/hosts."),
    (
        "volumes",
        ("-v", "--volume"),
        "[SOURCE:]TARGET[:ro,...]",
        "Host path (ro, idmap), named volume (ro, nocopy), or anonymous one, to see inside.",
    ),
    ("mounts", ("--mount",), "type=...,source=...,target=...", "The same spelled out; type is bind, volume or tmpfs."),
    ("tmpfs", ("--tmpfs",), "TARGET[:size=64m]", "File system in memory."),
    ("devices", ("--device",), "HOST[:INSIDE][:rwm]", "Device node of the host."),
    ("cap_add", ("--cap-add",), "NAME", "Capability to add, like NET_ADMIN."),
    ("cap_drop", ("--cap-drop",), "NAME", "Capability to take away, or ALL."),
    ("security_opt", ("--security-opt",), "OPTION", "seccomp=FILE|unconfined, apparmor=PROFILE|unconfined, label=..."),
    ("sysctls", ("--sysctl",), "KEY=VALUE", "Kernel setting of the container's own namespaces."),
)
# Yes or no.
FLAGS = (
    ("tty", ("-t", "--tty"), "Give the command a terminal."),
    ("stdin_open", ("-i", "--interactive"), "Keep standard input open."),
    ("init", ("--init",), "Run a tiny init as process 1, which reaps orphans."),
    ("notify", ("--notify",), "A start is done when the command says READY=1 (sd_notify)."),
    ("read_only", ("--read-only",), "Make the root file system read-only."),
    ("oom_group", ("--oom-group",), "When one process is killed for want of memory, kill all (cgroup v2)."),
    ("best_effort", ("--best-effort",), "Start also with limits that this host cannot hold, and warn."),
    ("privileged", ("--privileged",), "Loosen the isolation; for trusted software only."),
    ("auto_remove", ("--rm",), "Delete the container when it has ended."),
)


# Of VALUES and LISTS, what `set` can change; spec/fields.py marks the same keys as live.
LIVE = (
    "memory", "memory_swap", "memory_high", "memory_low", "memory_min", "cpus", "cpu_burst", "cpu_weight", "cpuset_cpus",
    "cpuset_mems", "pids", "hugetlb", "cgroup_conf", "io_read", "io_write", "io_read_ops", "io_write_ops", "io_weight",
    "disk", "disk_soft", "disk_inodes", "disk_inodes_soft", "net_in", "net_out", "net_in_min", "net_out_min", "net_packets",
    "net_connections",
    "restart", "onboot", "boot_order", "boot_delay", "ulimits", "limit", "snapshots", "health_cmd", "health_http",
    "health_tcp", "health_interval", "health_timeout", "health_retries", "health_start_period", "health_start_interval",
    "health_action",
)  # fmt: skip


# Of these, what a tenant can be given for all of its containers together; spec/fields.py has the same.
_OWN = (
    "restart", "onboot", "boot_order", "boot_delay", "snapshots", "ulimits", "net_in_min", "net_out_min", "net_packets",
    "net_connections",
)  # fmt: skip
POOLED = tuple(key for key in LIVE if key not in _OWN and not key.startswith("health_"))


# What a tenant has that no container has.
TENANT_VALUES = (
    ("max_containers", ("--max-containers",), "NUMBER", "How many containers it may have."),
    ("transfer", ("--transfer",), "SIZE", "Network bytes a month, both ways together, like 1T."),
    ("transfer_action", ("--transfer-action",), "ACTION",
     "What follows when that is used up: warn (an event), slow:RATE, stop, or hook:PATH; undone with the month."),
)  # fmt: skip


def live_options(command: F) -> F:
    """Add the options of what can be changed once a container exists."""
    return _with_options(command, LIVE)


def pool_options(command: F) -> F:
    """Add the options of what the containers of a tenant can share."""
    return _with_options(command, (*POOLED, *(key for key, *_ in TENANT_VALUES)))


def _with_options(command: F, keys: Sequence[str]) -> F:
    options = [
        click.option(*flags, key, metavar=metavar, help=help)
        for key, flags, metavar, help in (*VALUES, *TENANT_VALUES)
        if key in keys
    ]
    options += [
        click.option(*flags, key, metavar=metavar, multiple=True, help=f"{help} Repeatable.")
        for key, flags, metavar, help in LISTS
        if key in keys
    ]
    for option in reversed(options):
        command = option(command)
    return aliases.alias_options(command)


def container_options(command: F) -> F:
    """Add every option of the tables above, `--env-file` and `--plan`."""
    options = [click.option(*flags, key, metavar=metavar, help=help) for key, flags, metavar, help in VALUES]
    options += [
        click.option(*flags, key, metavar=metavar, multiple=True, help=f"{help} Repeatable.")
        for key, flags, metavar, help in LISTS
    ]
    options += [click.option(*flags, key, is_flag=True, help=help) for key, flags, help in FLAGS]
    options.append(
        click.option(
            "--env-file", "env_files", metavar="FILE", multiple=True, help="File of NAME=VALUE lines. Repeatable."
        )
    )
    options.append(
        click.option(
            "--plan",
            metavar="NAME",
            help="Limits of this plan where none are given here.",
            shell_complete=complete_plans,
        )
    )
    options.append(
        click.option("--net", "networks_too", metavar="NAME", multiple=True, hidden=True, help="Same as --network.")
    )
    options.append(click.option("--no-healthcheck", is_flag=True, hidden=True, help="Docker's --health-cmd none."))
    for option in reversed(options):
        command = option(command)
    return aliases.alias_options(command)


def changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that options and aliases ask for; nothing for those left out."""
    return {
        **aliases.given(),
        **{key: _meant(key, value) for key, value in given.items() if value not in (None, (), False)},
    }


def some_changes(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return `changes(given)`, which has to be something."""
    found = changes(given)
    if not found:
        path = click.get_current_context().command_path
        hint = f"give a limit, like --memory 300M; '{path} --help' has them all"
        raise InvalidInput("there is nothing to change", hint=hint)
    return found


def _meant(key: str, value: Any) -> Any:
    """Return the value of an option; Docker's word for no limit on processes is -1."""
    return "unlimited" if (key, value) == ("pids", "-1") else value


def plain_spec(words: Sequence[str], given: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the options, and the words IMAGE [COMMAND...], or [COMMAND...] with `--rootfs`, into the plain spec."""
    spec: dict[str, Any] = dict(aliases.given())
    spec.update((key, _meant(key, given[key])) for key, *_ in VALUES if given[key] is not None)
    spec.update((key, list(given[key])) for key, *_ in LISTS if given[key])
    spec.update((key, True) for key, *_ in FLAGS if given[key])
    if given["networks_too"]:
        spec["networks"] = [*given["networks"], *given["networks_too"]]
    if "rootfs" in spec:
        directory, separator, mode = spec["rootfs"].rpartition(":")
        if separator and mode in ("rw", "ro"):
            spec["rootfs"] = directory
            if mode == "rw":
                spec["rootfs_writable"] = True
    elif words:
        spec["image"], *words = words
    if words:
        spec["command"] = list(words)
    if given["plan"] is not None:
        spec["plan"] = given["plan"]
    if given["no_healthcheck"]:
        spec["health_cmd"] = "none"
    if "entrypoint" in spec:
        spec["entrypoint"] = [spec["entrypoint"]] if spec["entrypoint"] else []
    if "security_opt" in spec:
        spec["security_opt"] = [_with_profile(option) for option in spec["security_opt"]]
    spec.pop("env", None)
    if env := environment(given["env_files"], given["env"]):
        spec["env"] = env
    return spec


def _with_profile(option: str) -> str:
    """Return a security option with the seccomp profile itself in place of the name of its file."""
    name, separator, value = option.partition("=")
    if name != "seccomp" or not separator or value in ("builtin", "default", "unconfined", "") or value.startswith("{"):
        return option
    from pycontainer.spec.textfile import read_text_file

    return f"{name}={read_text_file(value)}"


def environment(files: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return `NAME=VALUE` pairs: those of the files, then the options; NAME alone takes the caller's, if any."""
    if not files and not options:
        return []
    from pycontainer.spec.envfile import expand_variable, read_env_file  # 1 ms that a run without -e does not need

    pairs = [pair for path in files for pair in read_env_file(path, os.environ)]
    return pairs + [pair for option in options for pair in expand_variable(option, os.environ)]
