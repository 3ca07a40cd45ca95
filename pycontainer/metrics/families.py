"""The metrics there are: name, type, unit, what each means; and where the number of those of containers comes from.

Names of what cAdvisor has as well are cAdvisor's, so that dashboards and alerts made for it go on working; what it does not
have begins with `pycontainer_`. A counter's family stands here without its `_total`, as OpenMetrics wants it.
"""

from typing import NamedTuple

COUNTER, GAUGE, INFO, STATESET, UNKNOWN = "counter", "gauge", "info", "stateset", "unknown"


class Family(NamedTuple):
    """A metric family; `unit` is empty, or what its name ends with."""

    name: str
    kind: str
    unit: str
    help: str


class Source(NamedTuple):
    """How a number of a cgroup's sample (controllers/samples.py) becomes a metric of a container or tenant.

    `default` is told where the sample has no such number: 0 is "no limit" in cAdvisor's limits. None: nothing is told.
    """

    family: str
    number: str
    labels: str = ""
    is_usec: bool = False
    default: int | None = None


_FAMILIES = (
    # cAdvisor's
    Family("container_cpu_usage_seconds", COUNTER, "seconds", "CPU time used"),
    Family("container_cpu_user_seconds", COUNTER, "seconds", "CPU time used by programs themselves"),
    Family("container_cpu_system_seconds", COUNTER, "seconds", "CPU time used by the kernel on their behalf"),
    Family("container_cpu_cfs_periods", COUNTER, "", "Periods of the CPU cap in which something wanted to run"),
    Family("container_cpu_cfs_throttled_periods", COUNTER, "", "Periods in which the CPU cap was reached"),
    Family("container_cpu_cfs_throttled_seconds", COUNTER, "seconds", "Time for which the CPU cap stopped it"),
    Family("container_spec_cpu_quota", GAUGE, "", "CPU time that it may have in each period, microseconds"),
    Family("container_spec_cpu_period", GAUGE, "", "Period of the CPU cap, microseconds"),
    Family("container_memory_usage_bytes", GAUGE, "bytes", "Memory in use, with all file pages"),
    Family("container_memory_working_set_bytes", GAUGE, "bytes",
           "Memory in use without the file pages that the kernel would drop first"),
    Family("container_memory_rss", GAUGE, "", "Memory of processes themselves (anonymous), bytes"),
    Family("container_memory_cache", GAUGE, "", "Memory of file pages, bytes"),
    Family("container_memory_mapped_file", GAUGE, "", "Memory of mapped files, bytes"),
    Family("container_memory_swap", GAUGE, "", "Swap in use, bytes"),
    Family("container_memory_kernel_usage", GAUGE, "", "Memory of the kernel's own on its behalf, bytes"),
    Family("container_memory_total_active_file_bytes", GAUGE, "bytes", "File pages used lately"),
    Family("container_memory_total_inactive_file_bytes", GAUGE, "bytes", "File pages not used lately"),
    Family("container_memory_max_usage_bytes", GAUGE, "bytes", "Most memory that was in use at once in this run"),
    Family("container_memory_failcnt", UNKNOWN, "", "Times that the memory cap was reached in this run"),
    Family("container_memory_failures", COUNTER, "", "Page faults; pgmajfault are those that waited for a disk"),
    Family("container_spec_memory_limit_bytes", GAUGE, "bytes", "Memory cap, 0 without one"),
    Family("container_spec_memory_swap_limit_bytes", GAUGE, "bytes", "Swap cap beyond the memory, 0 without one"),
    Family("container_oom_events", COUNTER, "", "Processes that the kernel killed for want of memory"),
    Family("container_threads", GAUGE, "", "Processes and threads"),
    Family("container_threads_max", GAUGE, "", "Cap of processes and threads, 0 without one"),
    Family("container_fs_reads_bytes", COUNTER, "bytes", "Bytes read from a block device"),
    Family("container_fs_writes_bytes", COUNTER, "bytes", "Bytes written to a block device"),
    Family("container_fs_reads", COUNTER, "", "Reads from a block device"),
    Family("container_fs_writes", COUNTER, "", "Writes to a block device"),
    Family("container_fs_usage_bytes", GAUGE, "bytes", "Held by its writable layer, where that is capped"),
    Family("container_fs_limit_bytes", GAUGE, "bytes", "Disk cap of its writable layer"),
    Family("container_fs_inodes_total", GAUGE, "", "Cap of files in its writable layer"),
    Family("container_fs_inodes_free", GAUGE, "", "Files that may still be made in its writable layer"),
    Family("container_network_receive_bytes", COUNTER, "bytes", "Bytes received"),
    Family("container_network_receive_packets", COUNTER, "", "Packets received"),
    Family("container_network_receive_packets_dropped", COUNTER, "", "Packets dropped on their way to it"),
    Family("container_network_receive_errors", COUNTER, "", "Packets that failed on their way to it"),
    Family("container_network_transmit_bytes", COUNTER, "bytes", "Bytes sent"),
    Family("container_network_transmit_packets", COUNTER, "", "Packets sent"),
    Family("container_network_transmit_packets_dropped", COUNTER, "", "Packets dropped that it sent"),
    Family("container_network_transmit_errors", COUNTER, "", "Packets that failed that it sent"),
    Family("container_pressure_cpu_waiting_seconds", COUNTER, "seconds", "Time in which some task waited for a CPU"),
    Family("container_pressure_cpu_stalled_seconds", COUNTER, "seconds", "Time in which all tasks waited for a CPU"),
    Family("container_pressure_memory_waiting_seconds", COUNTER, "seconds", "Time in which some task waited for memory"),
    Family("container_pressure_memory_stalled_seconds", COUNTER, "seconds", "Time in which all tasks waited for memory"),
    Family("container_pressure_io_waiting_seconds", COUNTER, "seconds", "Time in which some task waited for a disk"),
    Family("container_pressure_io_stalled_seconds", COUNTER, "seconds", "Time in which all tasks waited for a disk"),
    Family("container_start_time_seconds", GAUGE, "seconds", "When its present run began, since the epoch"),
    Family("container_last_seen", GAUGE, "", "When it was last seen running, seconds since the epoch"),
    # ours: containers
    Family("pycontainer_container_status", STATESET, "", "Whether it is created, running, paused, restarting, stopped"),
    Family("pycontainer_container_health", STATESET, "", "What its health check says; only of those that have one"),
    Family("pycontainer_container_restarts", COUNTER, "", "Times that its restart policy has started it again"),
    Family("pycontainer_container_restart_attempts", GAUGE, "", "Restarts in a row without a run that went well"),
    Family("pycontainer_container_exit_code", GAUGE, "", "Exit code of its last run, of one that does not run"),
    # ours: tenants
    Family("pycontainer_tenant_containers", GAUGE, "", "Containers of the tenant"),
    Family("pycontainer_tenant_running", GAUGE, "", "Containers of the tenant that run"),
    Family("pycontainer_tenant_cpu_usage_seconds", COUNTER, "seconds", "CPU time used by the tenant's containers"),
    Family("pycontainer_tenant_cpu_cfs_periods", COUNTER, "", "Periods of the tenant's CPU cap"),
    Family("pycontainer_tenant_cpu_cfs_throttled_periods", COUNTER, "", "Periods in which the tenant's CPU cap was reached"),
    Family("pycontainer_tenant_cpu_cfs_throttled_seconds", COUNTER, "seconds", "Time for which its CPU cap stopped it"),
    Family("pycontainer_tenant_spec_cpus", GAUGE, "", "CPUs that the tenant may use, 0 without a cap"),
    Family("pycontainer_tenant_memory_usage_bytes", GAUGE, "bytes", "Memory in use, with all file pages"),
    Family("pycontainer_tenant_memory_working_set_bytes", GAUGE, "bytes",
           "Memory in use without the file pages that the kernel would drop first"),
    Family("pycontainer_tenant_spec_memory_limit_bytes", GAUGE, "bytes", "Memory cap of the tenant, 0 without one"),
    Family("pycontainer_tenant_oom_events", COUNTER, "",
           "Processes that the kernel killed for want of memory; cgroup v1 does not count them for a tenant"),
    Family("pycontainer_tenant_threads", GAUGE, "", "Processes and threads"),
    Family("pycontainer_tenant_threads_max", GAUGE, "", "Cap of processes and threads, 0 without one"),
    Family("pycontainer_tenant_fs_usage_bytes", GAUGE, "bytes", "Held by the writable layers, where their sum is capped"),
    Family("pycontainer_tenant_fs_limit_bytes", GAUGE, "bytes", "Cap of the writable layers together"),
    Family("pycontainer_tenant_pressure_cpu_waiting_seconds", COUNTER, "seconds", "Time in which some task waited for a CPU"),
    Family("pycontainer_tenant_pressure_memory_waiting_seconds", COUNTER, "seconds",
           "Time in which some task waited for memory"),
    Family("pycontainer_tenant_pressure_io_waiting_seconds", COUNTER, "seconds", "Time in which some task waited for a disk"),
    # ours: the host
    Family("pycontainer_host_cpus", GAUGE, "", "CPUs that are online"),
    Family("pycontainer_host_load1", GAUGE, "", "Tasks that ran or waited, on the average of a minute"),
    Family("pycontainer_host_memory_bytes", GAUGE, "bytes", "Memory of the host"),
    Family("pycontainer_host_memory_available_bytes", GAUGE, "bytes", "Memory that the kernel could give without swapping"),
    Family("pycontainer_host_swap_bytes", GAUGE, "bytes", "Swap of the host"),
    Family("pycontainer_host_swap_free_bytes", GAUGE, "bytes", "Swap that is free"),
    Family("pycontainer_host_state_size_bytes", GAUGE, "bytes", "Size of the file system with images and containers"),
    Family("pycontainer_host_state_available_bytes", GAUGE, "bytes", "Free there"),
    Family("pycontainer_host_state_inodes", GAUGE, "", "Inodes of the file system with images and containers"),
    Family("pycontainer_host_state_inodes_free", GAUGE, "", "Inodes free there"),
    Family("pycontainer_host_tracked_connections", GAUGE, "", "Connections that the host's firewall tracks"),
    Family("pycontainer_host_tracked_connections_max", GAUGE, "", "Connections that it can track"),
    Family("pycontainer_host_pressure_waiting_seconds", COUNTER, "seconds", "Time in which some task waited, by resource"),
    Family("pycontainer_host_pressure_stalled_seconds", COUNTER, "seconds", "Time in which all tasks waited, by resource"),
    Family("pycontainer_host_containers", GAUGE, "", "Containers by status"),
    # ours: the supervisor, and this process
    Family("pycontainer_supervisor_up", GAUGE, "", "Whether the supervisor answers; containers go on without it"),
    Family("pycontainer_supervisor", INFO, "", "The version that runs"),
    Family("pycontainer_supervisor_start_time_seconds", GAUGE, "seconds", "When it came up, since the epoch"),
    Family("pycontainer_supervisor_cpu_usage_seconds", COUNTER, "seconds", "CPU time that it used"),
    Family("pycontainer_supervisor_resident_memory_bytes", GAUGE, "bytes", "Memory that it has"),
    Family("pycontainer_supervisor_open_fds", GAUGE, "", "Descriptors that it has open"),
    Family("pycontainer_supervisor_connections", GAUGE, "", "Clients that are connected"),
    Family("pycontainer_supervisor_requests", COUNTER, "", "Requests that were answered, by verb and outcome"),
    Family("pycontainer_supervisor_request_seconds", COUNTER, "seconds",
           "Time from request to answer, of all requests together, by verb; those that wait or follow take as long as that"),
    Family("pycontainer_supervisor_events", COUNTER, "", "Events that were numbered, over restarts and reboots"),
    Family("pycontainer_supervisor_damaged_records", GAUGE, "", "Containers, tenants, networks whose records are damaged"),
    Family("pycontainer_metrics_collect_duration_seconds", GAUGE, "seconds", "Time that it took to gather all this"),
    Family("pycontainer_metrics_unreadable", GAUGE, "", "Cgroups that are there and cannot be read; its log says why"),
    Family("pycontainer_metrics_cpu_usage_seconds", COUNTER, "seconds", "CPU time that the metrics process used"),
)  # fmt: skip

FAMILIES: dict[str, Family] = {family.name: family for family in _FAMILIES}

CONTAINER_SOURCES = (
    Source("container_cpu_usage_seconds", "cpu_usage_usec", 'cpu="total"', is_usec=True),
    Source("container_cpu_user_seconds", "cpu_user_usec", is_usec=True),
    Source("container_cpu_system_seconds", "cpu_system_usec", is_usec=True),
    Source("container_cpu_cfs_periods", "cpu_periods"),
    Source("container_cpu_cfs_throttled_periods", "cpu_throttled_periods"),
    Source("container_cpu_cfs_throttled_seconds", "cpu_throttled_usec", is_usec=True),
    Source("container_spec_cpu_quota", "cpu_quota_usec"),
    Source("container_spec_cpu_period", "cpu_period_usec"),
    Source("container_memory_usage_bytes", "memory_usage_bytes"),
    Source("container_memory_working_set_bytes", "memory_working_set_bytes"),
    Source("container_memory_rss", "memory_rss_bytes"),
    Source("container_memory_cache", "memory_cache_bytes"),
    Source("container_memory_mapped_file", "memory_mapped_bytes"),
    Source("container_memory_swap", "memory_swap_bytes"),
    Source("container_memory_kernel_usage", "memory_kernel_bytes"),
    Source("container_memory_total_active_file_bytes", "memory_active_file_bytes"),
    Source("container_memory_total_inactive_file_bytes", "memory_inactive_file_bytes"),
    Source("container_memory_max_usage_bytes", "memory_peak_bytes"),
    Source("container_memory_failcnt", "memory_limit_hits"),
    Source("container_memory_failures", "page_faults", 'failure_type="pgfault",scope="hierarchy"'),
    Source("container_memory_failures", "major_page_faults", 'failure_type="pgmajfault",scope="hierarchy"'),
    Source("container_spec_memory_limit_bytes", "memory_limit_bytes", default=0),
    Source("container_spec_memory_swap_limit_bytes", "swap_limit_bytes", default=0),
    Source("container_oom_events", "oom_kills"),
    Source("container_threads", "tasks"),
    Source("container_threads_max", "tasks_limit", default=0),
    Source("container_pressure_cpu_waiting_seconds", "cpu_waiting_usec", is_usec=True),
    Source("container_pressure_cpu_stalled_seconds", "cpu_stalled_usec", is_usec=True),
    Source("container_pressure_memory_waiting_seconds", "memory_waiting_usec", is_usec=True),
    Source("container_pressure_memory_stalled_seconds", "memory_stalled_usec", is_usec=True),
    Source("container_pressure_io_waiting_seconds", "io_waiting_usec", is_usec=True),
    Source("container_pressure_io_stalled_seconds", "io_stalled_usec", is_usec=True),
)

DEVICE_SOURCES = (
    Source("container_fs_reads_bytes", "io_read_bytes"),
    Source("container_fs_writes_bytes", "io_write_bytes"),
    Source("container_fs_reads", "io_reads"),
    Source("container_fs_writes", "io_writes"),
)

TENANT_SOURCES = (
    Source("pycontainer_tenant_cpu_usage_seconds", "cpu_usage_usec", is_usec=True),
    Source("pycontainer_tenant_cpu_cfs_periods", "cpu_periods"),
    Source("pycontainer_tenant_cpu_cfs_throttled_periods", "cpu_throttled_periods"),
    Source("pycontainer_tenant_cpu_cfs_throttled_seconds", "cpu_throttled_usec", is_usec=True),
    Source("pycontainer_tenant_memory_usage_bytes", "memory_usage_bytes"),
    Source("pycontainer_tenant_memory_working_set_bytes", "memory_working_set_bytes"),
    Source("pycontainer_tenant_spec_memory_limit_bytes", "memory_limit_bytes", default=0),
    Source("pycontainer_tenant_oom_events", "oom_kills"),
    Source("pycontainer_tenant_threads", "tasks"),
    Source("pycontainer_tenant_threads_max", "tasks_limit", default=0),
    Source("pycontainer_tenant_pressure_cpu_waiting_seconds", "cpu_waiting_usec", is_usec=True),
    Source("pycontainer_tenant_pressure_memory_waiting_seconds", "memory_waiting_usec", is_usec=True),
    Source("pycontainer_tenant_pressure_io_waiting_seconds", "io_waiting_usec", is_usec=True),
)

# The counts of a link as /proc/net/dev has them, seen from inside: what the host receives on it the container has sent.
# Columns there: receive bytes packets errs drop fifo frame compressed multicast, transmit bytes packets errs drop ...
RECEIVED_BYTES, RECEIVED_PACKETS = 8, 9
LINK_SOURCES = (
    ("container_network_receive_bytes", RECEIVED_BYTES),
    ("container_network_receive_packets", RECEIVED_PACKETS),
    ("container_network_receive_errors", 10),
    ("container_network_receive_packets_dropped", 11),
    ("container_network_transmit_bytes", 0),
    ("container_network_transmit_packets", 1),
    ("container_network_transmit_errors", 2),
    ("container_network_transmit_packets_dropped", 3),
)
