"""`pycontainer check`: what this host can do, what is missing, and how to get it. Needs no supervisor."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator

from pycontainer.cgroup import devices
from pycontainer.cgroup.hierarchy import REQUIRED
from pycontainer.linux import namespaces
from pycontainer.linux.capabilities import NUMBERS, read_sets
from pycontainer.paths import HostPaths
from pycontainer.runtime import hostfacts
from pycontainer.runtime.finding import Check, Status
from pycontainer.runtime.walls import walls
from pycontainer.security.apparmor import AppArmor

_NEWER_KERNEL = "install a newer kernel (Debian: linux-image-amd64 from the release or its backports)"
_CAPABILITIES = (
    "CAP_SYS_ADMIN",
    "CAP_NET_ADMIN",
    "CAP_SETUID",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETFCAP",
    "CAP_CHOWN",
    "CAP_FOWNER",
    "CAP_DAC_OVERRIDE",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
)
_NAMESPACES = (
    ("user", namespaces.CLONE_NEWUSER, "sysctl user.max_user_namespaces=65536, with a kernel that has CONFIG_USER_NS"),
    ("pid", namespaces.CLONE_NEWPID, "use a kernel with CONFIG_PID_NS"),
    ("mount", namespaces.CLONE_NEWNS, "leave the sandbox that forbids mounts"),
    ("uts", namespaces.CLONE_NEWUTS, "use a kernel with CONFIG_UTS_NS"),
    ("ipc", namespaces.CLONE_NEWIPC, "use a kernel with CONFIG_IPC_NS"),
    ("network", namespaces.CLONE_NEWNET, "use a kernel with CONFIG_NET_NS"),
    ("cgroup", namespaces.CLONE_NEWCGROUP, "use a kernel with CONFIG_CGROUPS, 4.6 or newer"),
)
_USER_NAMESPACES_MAX = "/proc/sys/user/max_user_namespaces"


def run_checks(paths: HostPaths | None = None) -> list[Check]:
    """Try everything and return what was found; nothing of the host is changed."""
    facts = hostfacts.host_facts()
    is_root = os.geteuid() == 0
    paths = paths or HostPaths()
    directory = _existing(paths)
    return [
        *_process(is_root),
        *_kernel(facts),
        *_isolation(is_root, directory),
        *_network(is_root),
        *_cgroups(is_root, facts),
        *_disk(directory),
        *_tools(),
        *walls(facts, is_root=is_root, directory=directory, apparmor=AppArmor(paths.apparmor_dir)),
    ]


def is_usable(checks: list[Check]) -> bool:
    """Say whether everything that is needed is there."""
    return all(check.status is Status.OK for check in checks if check.needed)


def _process(is_root: bool) -> Iterator[Check]:
    yield _check("root", "" if is_root else f"running as uid {os.geteuid()}", "run it as root: sudo pycontainer check")
    effective = read_sets()[0]
    missing = [name for name in _CAPABILITIES if not effective >> NUMBERS[name] & 1]
    yield _check(
        "capabilities",
        f"not effective: {', '.join(missing)}" if missing else "",
        "start it without dropping capabilities",
    )


def _kernel(facts: hostfacts.HostFacts) -> Iterator[Check]:
    old = facts.kernel < (6, 1)
    yield _check(
        "kernel",
        f"{facts.kernel_release} is older than 6.1, the oldest that is tested" if old else "",
        _NEWER_KERNEL,
        good=f"{facts.kernel_release} on {facts.machine}",
        needed=False,
    )
    for name, why_not, worth in (
        ("clone into cgroup", hostfacts.why_no_clone_into_cgroup, "a child is moved to its cgroup after its birth"),
        ("procfs by namespace", hostfacts.why_no_procfs_pidns, "a helper process mounts /proc at each start"),
        ("exit code by pidfd", hostfacts.why_no_pidfd_exit_info, "lost if a container ends while no monitor runs"),
    ):
        reason = why_not()
        if reason:
            yield Check(name, Status.DEGRADED, f"{worth}: {reason}", _NEWER_KERNEL, needed=False)
        else:
            yield Check(name, Status.OK, "", "", needed=False)


def _isolation(is_root: bool, directory: str) -> Iterator[Check]:
    for name, flag, fix in _NAMESPACES:
        yield _tried(is_root, f"{name} namespace", lambda flag=flag: hostfacts.why_no_namespace(flag), fix)  # type: ignore[misc]
    with open(_USER_NAMESPACES_MAX, encoding="ascii") as file:
        limit = int(file.read())
    yield _check(
        "user namespace limit",
        "" if limit else f"{_USER_NAMESPACES_MAX} is 0",
        "sysctl user.max_user_namespaces=65536",
        good=f"{limit} per user",
    )
    yield _tried(
        is_root,
        "overlay",
        lambda: hostfacts.why_no_overlay(directory),
        "modprobe overlay; keep the store on ext4, xfs or btrfs, not on an overlay",
        good=f"works in {directory}",
    )
    yield _tried(
        is_root,
        "idmapped mounts",
        lambda: hostfacts.why_no_idmapped_mounts(directory),
        f"keep the store on ext4, xfs or btrfs; {_NEWER_KERNEL}",
        good=f"works in {directory}",
    )
    yield _tried(
        is_root,
        "overlay on idmapped layers",
        lambda: hostfacts.why_no_overlay(directory, idmapped=True),
        f"Linux 5.19 has it; {_NEWER_KERNEL}",
    )
    yield _check("seccomp", hostfacts.why_no_seccomp(), "use a kernel with CONFIG_SECCOMP_FILTER", needed=False)
    yield _check("libseccomp", hostfacts.why_no_libseccomp(), "apt install libseccomp2", needed=False)


def _network(is_root: bool) -> Iterator[Check]:
    yield _tried(is_root, "veth", lambda: hostfacts.why_no_link("veth"), "modprobe veth, of a kernel with CONFIG_VETH")
    yield _tried(
        is_root,
        "bridge",
        lambda: hostfacts.why_no_link("bridge"),
        "modprobe bridge; only 'network create --driver bridge' needs it",
        needed=False,
    )
    yield _tried(
        is_root,
        "nftables",
        hostfacts.why_no_nftables,
        "apt install libnftables1; modprobe nf_tables, of a kernel with CONFIG_NF_TABLES_INET and CONFIG_NFT_NAT",
    )
    yield _tried(
        is_root,
        "fast path",
        hostfacts.why_no_fast_path,
        "Linux 6.6 has what it takes, with CONFIG_NF_CT_NETLINK and CONFIG_NETFILTER_NETLINK_LOG; only 'network create "
        f"--fast-path' needs it; {_NEWER_KERNEL}",
        needed=False,
    )
    has_ipv6 = os.path.exists("/proc/net/if_inet6")
    yield _check(
        "ipv6", "" if has_ipv6 else "the kernel has it switched off", "boot without ipv6.disable=1", needed=False
    )


def _cgroups(is_root: bool, facts: hostfacts.HostFacts) -> Iterator[Check]:
    layout = facts.layout
    if layout is None:
        yield _check("cgroups", "no cgroup file system below /sys/fs/cgroup", "mount -t cgroup2 none /sys/fs/cgroup")
        return
    required = REQUIRED if layout.is_v2 else (*REQUIRED, "cpuacct", "freezer")
    missing = layout.missing(*required)
    yield _check(
        "cgroups",
        f"{layout.version}, without {', '.join(missing)}" if missing else "",
        "boot with cgroup_enable=memory; in a container, have the controllers delegated",
        good=f"{layout.version}: {' '.join(layout.controllers)}",
    )
    by_program = layout.is_v2
    yield _tried(
        is_root or not by_program,
        "device policy",
        lambda: devices.why_no_policy(layout),
        "use a kernel with CONFIG_CGROUP_BPF; until then containers start with --best-effort alone"
        if by_program
        else "mount -t cgroup -o devices none /sys/fs/cgroup/devices, of a kernel with CONFIG_CGROUP_DEVICE; until then "
        "containers start with --best-effort alone",
        good="a BPF program for each container" if by_program else "the devices controller",
    )
    yield _check("swap limit", _why_no_swap_limit(), "boot with swapaccount=1, or turn swap off", needed=False)


def _why_no_swap_limit() -> str:
    """Look for the files; on v2 the root has none, any child does."""
    layout = hostfacts.host_facts().layout
    if layout is None or "memory" not in layout.controllers:
        return "no memory controller"
    base = layout.controllers["memory"]
    if not layout.is_v2:
        found = os.path.exists(f"{base}/memory.memsw.limit_in_bytes")
    else:
        with os.scandir(base) as entries:
            children = [entry.path for entry in entries if entry.is_dir()]
        with_memory = [path for path in children if os.path.exists(f"{path}/memory.max")]
        found = not with_memory or any(os.path.exists(f"{path}/memory.swap.max") for path in with_memory)
    return "" if found else "a memory limit does not count swap"


def _disk(directory: str) -> Iterator[Check]:
    yield _check(
        "project quota",
        _why_no_project_quota(directory),
        "mount the store's file system with 'prjquota' (ext4: tune2fs -O project,quota before)",
        needed=False,
    )


def _why_no_project_quota(directory: str) -> str:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        options = {line.split(" ")[4]: line.rstrip("\n").split(" ")[-1].split(",") for line in file}
    point = os.path.realpath(directory)
    while point not in options:
        point = os.path.dirname(point)
    return "" if {"prjquota", "pquota"} & set(options[point]) else f"the file system at {point} is mounted without it"


def _tools() -> Iterator[Check]:
    for name, package, purpose in (
        ("mmdebstrap", "mmdebstrap", "builds Debian root file systems"),
        ("skopeo", "skopeo", "fetches images from registries"),
        ("newuidmap", "uidmap", "maps ids for other rootless tools; ours needs no helper"),
        ("lxcfs", "lxcfs", "shows containers their own memory and CPUs in /proc"),
    ):
        path = shutil.which(name)
        yield _check(
            name,
            "" if path else f"not installed; it {purpose}",
            f"apt install {package}",
            good=path or "",
            needed=False,
        )
    yield _criu()


def _criu() -> Check:
    path = shutil.which("criu")
    if path is None:
        reason = "not installed; it saves and restores running containers"
        return Check("criu", Status.MISSING, reason, "apt install criu", needed=False)
    try:
        done = subprocess.run([path, "check"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("criu", Status.DEGRADED, f"'criu check' does not run: {error}", "reinstall it", needed=False)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = lines[-1] if lines else f"'criu check' ended with {done.returncode}"
        fix = "install a criu that knows this kernel: 4.2 for Linux 6.13 and newer"
        return Check("criu", Status.DEGRADED, reason, fix, needed=False)
    return Check("criu", Status.OK, path, "", needed=False)


def _tried(
    is_root: bool, name: str, why_not: Callable[[], str], fix: str, *, good: str = "", needed: bool = True
) -> Check:
    """Run a probe that only root may run."""
    if not is_root:
        return Check(name, Status.DEGRADED, "not tried: needs root", "run it as root", needed)
    return _check(name, why_not(), fix, good=good, needed=needed)


def _check(name: str, problem: str, fix: str, *, good: str = "", needed: bool = True) -> Check:
    if problem:
        return Check(name, Status.MISSING, problem, fix, needed)
    return Check(name, Status.OK, good, "", needed)


def _existing(paths: HostPaths) -> str:
    """Return the store's directory, or the nearest one above it that is there."""
    directory = paths.state_dir
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory
