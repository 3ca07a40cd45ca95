"""Where everything lies on disk, in one place.

    /var/lib/pycontainer   (state_dir)                  /run/pycontainer   (run_dir, gone at boot)
    ├── images/            the store's own              ├── supervisor.sock   clients connect here
    ├── containers/ID/     spec exit running .json      ├── supervisor.pid    flock'ed while it lives
    │   ├── rootfs/        upper/ work/                 ├── monitor.sock      the supervisor connects here
    │   ├── snapshots/     NAME.json                    ├── forwarder.sock    published ports on loopback
    │   └── log            log log.1 log.2              ├── stage/            mount point, inside the monitor
    ├── layers/ID/         frozen ones, shared          ├── containers/ID.json   runtime state
    ├── networks/          NAME.json, addresses         ├── mounts/ID         roots of stopped containers, on request
    ├── tenants/           NAME.json                    ├── seccomp/          compiled filters, by content
    ├── pulls/             downloads at work            ├── apparmor/         what of our profiles was loaded
    ├── volumes/NAME/                                   ├── notify/ID/notify  what a container says, sd_notify(3)
    ├── builds/            root file systems at work    ├── boot.json         which boot, and what started with it
    ├── events/            what happened, FIRSTSEQ.jsonl └── frontdoor/        nginx's own
    ├── frontdoor/         routes.json, logs of sites
    ├── reserve/           room for the end of things on a full disk
    └── ledger.db          what was used, by month
    /etc/pycontainer       (config_dir)
    ├── operator-group     who beside root may connect
    ├── plans/             named sets of limits, NAME.yaml
    ├── capacity.yaml      how much may be promised
    └── tenant-groups.yaml whose people may connect, for their own tenant alone
    /var/lib/pycontainer-acme   (acme_dir)   what proves to an authority who has a domain, for nginx's workers to read

`--root DIR` (or PYCONTAINER_ROOT) makes a world of its own: DIR/lib and DIR/run. Only the id ranges are
shared by all worlds of a host, because two instances may never own the same host uid.
"""

import os

DEFAULT_STATE_DIR = "/var/lib/pycontainer"
DEFAULT_RUN_DIR = "/run/pycontainer"
DEFAULT_CONFIG_DIR = "/etc/pycontainer"
DEFAULT_ACME_DIR = "/var/lib/pycontainer-acme"


class HostPaths:
    """All on-disk locations of one world, as absolute strings; nothing is created here."""

    def __init__(self, root: str | None = None) -> None:
        self.root = os.path.abspath(root) if root else None
        self.state_dir = f"{self.root}/lib" if self.root else DEFAULT_STATE_DIR
        self.run_dir = f"{self.root}/run" if self.root else DEFAULT_RUN_DIR
        self.config_dir = f"{self.root}/etc" if self.root else DEFAULT_CONFIG_DIR
        self.operator_group_file = f"{self.config_dir}/operator-group"
        self.plans_dir = f"{self.config_dir}/plans"
        self.capacity_file = f"{self.config_dir}/capacity.yaml"
        self.tenant_groups_file = f"{self.config_dir}/tenant-groups.yaml"
        self.images_dir = f"{self.state_dir}/images"
        self.pulls_dir = f"{self.state_dir}/pulls"
        self.containers_dir = f"{self.state_dir}/containers"
        self.layers_dir = f"{self.state_dir}/layers"
        self.networks_dir = f"{self.state_dir}/networks"
        self.tenants_dir = f"{self.state_dir}/tenants"
        self.volumes_dir = f"{self.state_dir}/volumes"
        self.builds_dir = f"{self.state_dir}/builds"
        self.events_dir = f"{self.state_dir}/events"
        self.ledger_file = f"{self.state_dir}/ledger.db"
        self.frontdoor_dir = f"{self.state_dir}/frontdoor"
        self.frontdoor_file = f"{self.frontdoor_dir}/routes.json"
        self.frontdoor_run_dir = f"{self.run_dir}/frontdoor"
        self.frontdoor_pidfile = f"{self.frontdoor_run_dir}/follower.pid"
        self.acme_dir = f"{self.root}/acme" if self.root else DEFAULT_ACME_DIR
        self.idranges_dir = f"{DEFAULT_STATE_DIR}/idranges"
        self.supervisor_socket = f"{self.run_dir}/supervisor.sock"
        self.supervisor_pidfile = f"{self.run_dir}/supervisor.pid"
        self.supervisor_log = f"{self.run_dir}/supervisor.log"
        self.monitor_socket = f"{self.run_dir}/monitor.sock"
        self.forwarder_socket = f"{self.run_dir}/forwarder.sock"
        self.stage_dir = f"{self.run_dir}/stage"
        self.run_containers_dir = f"{self.run_dir}/containers"
        self.mounts_dir = f"{self.run_dir}/mounts"
        self.seccomp_dir = f"{self.run_dir}/seccomp"
        self.apparmor_dir = f"{self.run_dir}/apparmor"
        self.notify_dir = f"{self.run_dir}/notify"

    @property
    def world(self) -> str:
        """A short tag that tells worlds apart in kernel names: empty for the default one, else 4 hex digits."""
        if not self.root:
            return ""
        import hashlib  # 2 ms (OpenSSL) that the default world and every client save

        return hashlib.sha256(os.fsencode(self.root)).hexdigest()[:4]

    @property
    def marker(self) -> str:
        """The name our kernel objects carry (cgroup, nft table): `pycontainer` or `pycontainer-1a2b`."""
        return f"pycontainer-{self.world}" if self.world else "pycontainer"

    @property
    def interface_prefix(self) -> str:
        """What the host's ends of our links begin with: `pc-`, or `px1a2b-` in another world (at most 7 bytes)."""
        return f"px{self.world}-" if self.world else "pc-"

    def tenant_pool(self, name: str) -> str:
        """Return the directory of what the containers of a tenant write, if that is capped."""
        return f"{self.tenants_dir}/{name}.pool"

    def container_dir(self, container_id: str) -> str:
        return f"{self.containers_dir}/{container_id}"

    def rootfs_dir(self, container_id: str) -> str:
        return f"{self.containers_dir}/{container_id}/rootfs"

    def mount_dir(self, container_id: str) -> str:
        """Return where the root of a stopped container is mounted when that is asked for."""
        return f"{self.mounts_dir}/{container_id}"

    def runtime_state(self, container_id: str) -> str:
        return f"{self.run_containers_dir}/{container_id}.json"
