"""config.json as engines write it: what they ask of a runtime, field by field, with shorter lists where those only repeat.

RUNC_SPEC and RUNC_SPEC_ROOTLESS are `runc spec` 1.1; PODMAN is podman 4.3 (`podman run -t`), CONTAINERD_PAUSE and
CONTAINERD_CONTAINER the two of a Kubernetes pod through the CRI of containerd 1.6, DOCKER is Docker 20.10. RARE holds what
the specification has and none of them writes.
"""

from typing import Any

_CAPABILITIES = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
_DEFAULT_CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
]
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/sys/firmware",
    "/proc/scsi",
]
_READONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
_NO_DEVICES = {"allow": False, "access": "rwm"}
_SECCOMP = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "defaultErrnoRet": 38,
    "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    "syscalls": [
        {"names": ["read", "write", "execve"], "action": "SCMP_ACT_ALLOW"},
        {"names": ["bdflush", "io_pgetevents"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
        {
            "names": ["personality"],
            "action": "SCMP_ACT_ALLOW",
            "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}],
        },
    ],
}


def _mount(destination: str, type: str, source: str, *options: str) -> dict[str, Any]:
    made: dict[str, Any] = {"destination": destination, "type": type, "source": source}
    return made | ({"options": list(options)} if options else {})


def _sets(*names: str, of: list[str]) -> dict[str, list[str]]:
    return dict.fromkeys(names, of)


def _namespaces(*kinds: str, **paths: str) -> list[dict[str, str]]:
    return [{"type": kind} for kind in kinds] + [{"type": kind, "path": path} for kind, path in paths.items()]


_PROC = _mount("/proc", "proc", "proc")
_DEV = _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k")
_SHM = _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
_MQUEUE = _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
_SYS = _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
_CGROUP = _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")


def _pts(*more: str) -> dict[str, Any]:
    return _mount(
        "/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", *more
    )


RUNC_SPEC: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": [_PATH, "TERM=xterm"],
        "cwd": "/",
        "capabilities": _sets("bounding", "effective", "permitted", "ambient", of=_CAPABILITIES),
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "runc",
    "mounts": [_PROC, _DEV, _pts("gid=5"), _SHM, _MQUEUE, _SYS, _CGROUP],
    "linux": {
        "resources": {"devices": [_NO_DEVICES]},
        "namespaces": _namespaces("pid", "network", "ipc", "uts", "mount", "cgroup"),
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    },
}

RUNC_SPEC_ROOTLESS: dict[str, Any] = {
    **RUNC_SPEC,
    "mounts": [
        _PROC,
        _DEV,
        _pts(),
        _SHM,
        _MQUEUE,
        _mount("/sys", "none", "/sys", "rbind", "nosuid", "noexec", "nodev", "ro"),
        _CGROUP,
    ],
    "linux": {
        "uidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1000, "size": 1}],
        "namespaces": _namespaces("pid", "ipc", "uts", "mount", "cgroup", "user"),
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    },
}

_ID = "3f2c1d6f9b1e8a7c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c"
_USERDATA = f"/run/containers/storage/overlay-containers/{_ID}/userdata"
PODMAN: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "terminal": True,
        "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [1, 2, 3, 4, 6, 10]},
        "args": ["/bin/sh", "-c", "echo $HOME"],
        "env": [_PATH, "TERM=xterm", "container=podman", "HOME=/root", "HOSTNAME=3f2c1d6f9b1e"],
        "cwd": "/",
        "capabilities": _sets("bounding", "effective", "permitted", of=_DEFAULT_CAPABILITIES),
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": 20000, "soft": 20000},
            {"type": "RLIMIT_NPROC", "hard": 32768, "soft": 32768},
        ],
        "apparmorProfile": "containers-default-0.50.1",
        "oomScoreAdj": 0,
    },
    "root": {"path": "rootfs"},
    "hostname": "3f2c1d6f9b1e",
    "mounts": [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        _pts("gid=5"),
        _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
        _mount("/run/.containerenv", "bind", f"{_USERDATA}/.containerenv", "bind", "rprivate"),
        _mount("/etc/resolv.conf", "bind", f"{_USERDATA}/resolv.conf", "bind", "rprivate"),
        _mount("/dev/shm", "bind", f"{_USERDATA}/shm", "bind", "rprivate", "nosuid", "noexec", "nodev"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"),
        _mount("/data", "bind", "/srv/data", "rbind", "rprivate", "nosuid", "nodev"),
        _mount("/scratch", "tmpfs", "tmpfs", "rprivate", "nosuid", "nodev", "tmpcopyup", "size=64m"),
    ],
    "annotations": {
        "io.container.manager": "libpod",
        "io.podman.annotations.init": "FALSE",
        "org.opencontainers.image.stopSignal": "15",
    },
    "linux": {
        "sysctl": {"net.ipv4.ping_group_range": "0 0"},
        "resources": {
            "devices": [_NO_DEVICES],
            "memory": {"limit": 134217728, "swap": 268435456},
            "cpu": {"quota": 50000, "period": 100000},
            "pids": {"limit": 2048},
        },
        "cgroupsPath": f"/libpod_parent/libpod-{_ID}",
        "namespaces": [
            *_namespaces("pid", network="/run/netns/netns-2d4a4c9e-5c9b-2b0e-7a3e-2f0d1f6f3c11"),
            *_namespaces("ipc", "uts", "mount", "cgroup"),
        ],
        "seccomp": _SECCOMP,
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    },
}

CONTAINERD_PAUSE: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "user": {"uid": 65535, "gid": 65535},
        "args": ["/pause"],
        "env": [_PATH],
        "cwd": "/",
        "capabilities": _sets("bounding", "effective", "permitted", of=_DEFAULT_CAPABILITIES),
        "noNewPrivileges": True,
        "oomScoreAdj": -998,
    },
    "root": {"path": "rootfs", "readonly": True},
    "hostname": "web-7d4b9c",
    "mounts": [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _DEV,
        _pts("gid=5"),
        _MQUEUE,
        _SYS,
        _mount(
            "/dev/shm",
            "bind",
            "/run/containerd/io.containerd.grpc.v1.cri/sandboxes/0b1c/shm",
            "rbind",
            "ro",
            "nosuid",
            "nodev",
            "noexec",
        ),
        _mount(
            "/etc/resolv.conf",
            "bind",
            "/var/lib/containerd/io.containerd.grpc.v1.cri/sandboxes/0b1c/resolv.conf",
            "rbind",
            "ro",
            "nosuid",
            "nodev",
            "noexec",
        ),
    ],
    "annotations": {
        "io.kubernetes.cri.container-type": "sandbox",
        "io.kubernetes.cri.sandbox-id": "0b1c",
        "io.kubernetes.cri.sandbox-log-directory": "/var/log/pods/default_web-7d4b9c_1",
    },
    "linux": {
        "resources": {"devices": [_NO_DEVICES], "cpu": {"shares": 2}},
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
        "cgroupsPath": "/k8s.io/0b1c",
        "namespaces": _namespaces("pid", "ipc", "uts", "mount", network="/var/run/netns/cni-5b9d9a7e-7f6c"),
        "seccomp": _SECCOMP,
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    },
}

_POD = "/var/lib/kubelet/pods/1"
CONTAINERD_CONTAINER: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "user": {"uid": 101, "gid": 101, "additionalGids": [101]},
        "args": ["nginx", "-g", "daemon off;"],
        "env": [_PATH, "HOSTNAME=web-7d4b9c", "NGINX_VERSION=1.25.3", "KUBERNETES_SERVICE_HOST=10.96.0.1"],
        "cwd": "/",
        "capabilities": _sets("bounding", "effective", "permitted", of=_DEFAULT_CAPABILITIES),
        "apparmorProfile": "cri-containerd.apparmor.d",
        "oomScoreAdj": 985,
    },
    "root": {"path": "rootfs"},
    "mounts": [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _DEV,
        _pts("gid=5"),
        _MQUEUE,
        _SYS,
        _CGROUP,
        _mount("/etc/hosts", "bind", f"{_POD}/etc-hosts", "rbind", "rprivate", "rw"),
        _mount("/dev/termination-log", "bind", f"{_POD}/containers/nginx/2a", "rbind", "rprivate", "rw"),
        _mount("/var/run/secrets/kubernetes.io/serviceaccount", "bind", f"{_POD}/token", "rbind", "rprivate", "ro"),
    ],
    "annotations": {
        "io.kubernetes.cri.container-name": "nginx",
        "io.kubernetes.cri.container-type": "container",
        "io.kubernetes.cri.sandbox-id": "0b1c",
    },
    "linux": {
        "resources": {
            "devices": [_NO_DEVICES],
            "memory": {"limit": 134217728, "swap": 134217728},
            "cpu": {"shares": 256, "quota": 50000, "period": 100000},
            "pids": {"limit": 0},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
            "unified": {"memory.oom.group": "1"},
        },
        "cgroupsPath": "kubepods-burstable-pod1.slice:cri-containerd:2a",
        "namespaces": [
            *_namespaces("pid", ipc="/proc/4711/ns/ipc", uts="/proc/4711/ns/uts"),
            *_namespaces("mount", network="/proc/4711/ns/net"),
        ],
        "seccomp": _SECCOMP,
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    },
}

DOCKER: dict[str, Any] = {
    "ociVersion": "1.0.2-dev",
    "process": {
        "user": {"uid": 0, "gid": 0, "additionalGids": [1, 2, 3, 4, 6, 10, 11, 20, 26, 27]},
        "args": ["sh", "-c", "exit 3"],
        "env": [_PATH, "HOSTNAME=6f1d2c3b4a59"],
        "cwd": "/",
        "capabilities": _sets("bounding", "effective", "inheritable", "permitted", of=_DEFAULT_CAPABILITIES),
        "apparmorProfile": "docker-default",
        "oomScoreAdj": 0,
    },
    "root": {"path": "rootfs"},
    "hostname": "6f1d2c3b4a59",
    "mounts": [
        _mount("/proc", "proc", "proc", "nosuid", "noexec", "nodev"),
        _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
        _pts("gid=5"),
        _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        _mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro", "nosuid", "noexec", "nodev"),
        _MQUEUE,
        _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=67108864"),
        _mount("/etc/hosts", "bind", "/var/lib/docker/containers/6f1d/hosts", "rbind", "rprivate"),
        _mount("/data", "bind", "/var/lib/docker/volumes/data/_data", "rbind"),
    ],
    "hooks": {
        "prestart": [
            {
                "path": "/proc/1492/exe",
                "args": ["libnetwork-setkey", "-exec-root=/var/run/docker", "6f1d", "9a0b"],
            }
        ]
    },
    "linux": {
        "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": "0 2147483647"},
        "resources": {
            "devices": [
                _NO_DEVICES,
                {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
                {"allow": True, "type": "c", "major": 136, "minor": -1, "access": "rwm"},
                {"allow": False, "type": "c", "major": 10, "minor": 229, "access": "rwm"},
            ],
            "memory": {"disableOOMKiller": False},
            "cpu": {"shares": 0},
            "pids": {"limit": 0},
            "blockIO": {"weight": 0},
        },
        "cgroupsPath": "/docker/6f1d",
        "namespaces": _namespaces("mount", "network", "uts", "pid", "ipc", "cgroup"),
        "devices": [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 8630, "uid": 0, "gid": 0}
        ],
        "seccomp": _SECCOMP,
        "maskedPaths": _MASKED,
        "readonlyPaths": _READONLY,
    },
}

RARE: dict[str, Any] = {
    "ociVersion": "1.2.1",
    "root": {"path": "rootfs"},
    "hostname": "h",
    "domainname": "d",
    "hooks": {"poststop": [{"path": "/a", "args": ["a"], "env": ["A=1"], "timeout": 1}]},
    "process": {
        "args": ["a"],
        "cwd": "/",
        "terminal": True,
        "consoleSize": {"height": 1, "width": 2},
        "user": {"uid": 1, "gid": 1, "umask": 1, "additionalGids": [1]},
        "scheduler": {
            "policy": "SCHED_DEADLINE",
            "runtime": 1,
            "deadline": 2,
            "period": 3,
            "flags": ["SCHED_FLAG_RECLAIM"],
        },
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 7},
        "execCPUAffinity": {"initial": "0-3", "final": "1"},
    },
    "mounts": [
        {
            "destination": "../a",
            "source": "b",
            "options": ["rbind", "ridmap", "rro", "rnoatime", "rslave"],
            "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
            "gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        },
        {"destination": "/t", "type": "tmpfs", "options": ["tmpcopyup", "size=1m"]},
    ],
    "linux": {
        "namespaces": [{"type": one} for one in ("user", "mount", "time", "uts", "network", "ipc")],
        "uidMappings": [{"containerID": 0, "hostID": 1, "size": 2}, {"containerID": 2, "hostID": 3, "size": 1}],
        "gidMappings": [{"containerID": 0, "hostID": 1, "size": 2}],
        "timeOffsets": {"monotonic": {"secs": -1, "nanosecs": 1}},
        "netDevices": {"eth1": {"name": "eth%d"}},
        "sysctl": {"net/ipv4/conf/a.1/forwarding": "1", "kernel.sem": "1", "net.ipv4.conf.b/2.forwarding": "0"},
        "devices": [{"type": "p", "path": "/f"}],
        "personality": {"domain": "LINUX32"},
        "intelRdt": {"closID": "a", "memBwSchema": "MB:0=1", "schemata": "L3:0=1"},
        "rootfsPropagation": "slave",
        "resources": {
            "cpu": {"quota": 2, "burst": 1, "cpus": "0-1,3"},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 1}],
            "network": {"classID": 1, "priorities": [{"name": "eth0", "priority": 1}]},
            "rdma": {"a": {"hcaHandles": 1}},
            "blockIO": {"weightDevice": [{"major": 8, "minor": 0, "weight": 10}]},
            "unified": {"memory.high": "1"},
        },
    },
}
ALL: dict[str, dict[str, Any]] = {
    "runc-spec": RUNC_SPEC,
    "runc-spec-rootless": RUNC_SPEC_ROOTLESS,
    "podman": PODMAN,
    "containerd-pause": CONTAINERD_PAUSE,
    "containerd-container": CONTAINERD_CONTAINER,
    "docker": DOCKER,
}
