"""What this machine offers to the tests: each probe returns why not, or an empty string.

Standard library only, any Python 3.9 or newer: `.ci/run` calls this file before the environment exists.
"""

import ctypes.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

QEMU = "qemu-system-x86_64"
VIRTIOFSD = "/usr/lib/qemu/virtiofsd"  # of Debian 12's qemu-system-common
MACHINE_OF_OURS = "pycontainer.machine"  # on the kernel's command line; one with a dot is a module's, and ignored
V1_CONTROLLERS = ("memory", "cpu", "cpuset", "pids", "freezer")


def _root() -> str:
    return "" if os.geteuid() == 0 else "not root"


def _mounted_types() -> "dict[str, list[str]]":
    """Return file system type -> super options of every mount."""
    found: dict[str, list[str]] = {}
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split(" - ", 1)[1].split()
            found.setdefault(fields[0], []).append(fields[2])
    return found


def _cgroup_v1() -> str:
    options = ",".join(_mounted_types().get("cgroup", [])).split(",")
    missing = [name for name in V1_CONTROLLERS if name not in options]
    return f"no v1 hierarchy with {', '.join(missing)}" if missing else ""


def _cgroup_v2() -> str:
    """The unified hierarchy with real controllers, not the empty one of a hybrid host."""
    try:
        with open("/sys/fs/cgroup/cgroup.controllers") as file:
            missing = {"memory", "cpu", "pids"} - set(file.read().split())
    except FileNotFoundError:
        return "/sys/fs/cgroup is not a cgroup2 mount"
    return f"v2 lacks {', '.join(sorted(missing))}" if missing else ""


def cgroup_mount(kind: str, option: str) -> str:
    """Return where the first file system of type `kind` (cgroup, cgroup2) with a super option is mounted, or nothing."""
    with open("/proc/self/mountinfo") as file:
        for line in file:
            fields = line.split(" - ", 1)[1].split()
            if fields[0] == kind and option in fields[2].split(","):
                return line.split()[4]
    return ""


def _devices_v1() -> str:
    return "" if cgroup_mount("cgroup", "devices") else "no v1 hierarchy with devices"


def _cgroup2_tree() -> str:
    """A unified hierarchy, with controllers or without."""
    return "" if cgroup_mount("cgroup2", "rw") else "no cgroup2 mount"


def _tun() -> str:
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    return ""


def _systemd() -> str:
    return "" if os.path.isdir("/run/systemd/system") else "systemd is not the first process"


def _hugetlb() -> str:
    """A controller for huge pages that we use: with v1 beside it, the v2 tree is left alone."""
    if not _cgroup_v2():
        with open("/sys/fs/cgroup/cgroup.controllers") as file:
            return "" if "hugetlb" in file.read().split() else "v2 lacks hugetlb"
    options = ",".join(_mounted_types().get("cgroup", [])).split(",")
    return "" if "hugetlb" in options else "no v1 hierarchy with hugetlb"


def _overlay() -> str:
    with open("/proc/filesystems") as file:
        return "" if "\toverlay\n" in file.read() else "the kernel has no overlay"


def _kernel_at_least(major: int, minor: int) -> bool:
    match = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return bool(match) and (int(match.group(1)), int(match.group(2))) >= (major, minor)  # type: ignore[union-attr]


def _idmapped_mounts() -> str:
    return "" if _kernel_at_least(5, 19) else f"kernel {os.uname().release}: overlay on idmapped mounts needs 5.19"


def _works(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return f"no {command[0]}"
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stderr.strip() or f"{command[0]} ended with {done.returncode}"


def _user_namespaces() -> str:
    return _works("unshare", "--user", "--map-root-user", "true")


def _veth() -> str:
    return _works("unshare", "--net", "ip", "link", "add", "t0", "type", "veth", "peer", "name", "t1")


def _skbedit() -> str:
    """A traffic control action that not every kernel has; net/shaping.py needs it where bpf(2) is shut."""
    script = """ip link add v0 type veth peer name v1; tc qdisc add dev v0 clsact
    tc filter add dev v0 ingress u32 match u32 0 0 action skbedit priority 1:5"""
    return _works("unshare", "--net", "sh", "-e", "-c", script)


def _nft() -> str:
    if ctypes.util.find_library("nftables") is None:
        return "no libnftables"
    return _works("unshare", "--net", "nft", "add", "table", "inet", "probe")


def _lxcfs() -> str:
    """The program, and a kernel with FUSE for it."""
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    return _programs("lxcfs")


def _seccomp() -> str:
    if ctypes.util.find_library("seccomp") is None:
        return "no libseccomp"
    return "" if os.path.exists("/proc/sys/kernel/seccomp/actions_avail") else "the kernel has no seccomp filters"


def _apparmor() -> str:
    """Switched on, its policy visible, and the program that loads profiles."""
    try:
        with open("/sys/module/apparmor/parameters/enabled") as file:
            if file.read().strip() != "Y":
                return "the kernel has AppArmor switched off"
    except FileNotFoundError:
        return "the kernel has no AppArmor"
    if not os.path.isdir("/sys/kernel/security/apparmor"):
        return "no securityfs at /sys/kernel/security"
    return _programs("apparmor_parser")


def _landlock_scopes() -> str:
    """Landlock 6, which knows abstract sockets. landlock_create_ruleset(2): no attributes, no size, VERSION."""
    version = ctypes.CDLL(None).syscall(444, None, 0, 1)
    return "" if version >= 6 else f"Landlock's interface is {max(version, 0)}, not 6"


def _project_quota() -> str:
    """An xfs made in a file, mounted with project quotas in a mount namespace of its own."""
    if missing := _programs("mkfs.xfs", "mount", "unshare"):
        return missing
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        script = f"""set -e; truncate -s 320M {directory}/image; mkfs.xfs -q {directory}/image
        mkdir {directory}/at; mount -o loop,prjquota {directory}/image {directory}/at; umount {directory}/at"""
        return _works("unshare", "--mount", "sh", "-c", script)


def _btrfs() -> str:
    """A btrfs in a file, with quotas."""
    if missing := _programs("mkfs.btrfs", "btrfs", "mount", "unshare"):
        return missing
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        script = f"""set -e; truncate -s 200M {directory}/image; mkfs.btrfs -q {directory}/image
        mkdir {directory}/at; mount -o loop {directory}/image {directory}/at; btrfs quota enable {directory}/at
        umount {directory}/at"""
        return _works("unshare", "--mount", "sh", "-c", script)


def _cap_sys_resource() -> str:
    with open("/proc/self/status") as file:
        mask = next(int(line.split()[1], 16) for line in file if line.startswith("CapEff"))
    return "" if mask >> 24 & 1 else "no CAP_SYS_RESOURCE"


def _debian_mirror() -> str:
    """mmdebstrap, and an apt source that answers."""
    if shutil.which("mmdebstrap") is None:
        return "no mmdebstrap"
    sources = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(SITE) $(RELEASE)", "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\n")
    for line in sources:
        site, _, release = line.partition(" ")
        if site.startswith("http") and release.strip() in ("bookworm", "trixie", "stable"):
            try:
                with urllib.request.urlopen(f"{site.rstrip('/')}/dists/{release.strip()}/Release", timeout=20) as reply:
                    reply.read(1)
                return ""
            except OSError as error:
                return f"the package mirror does not answer: {error}"
    return "no Debian source configured"


def _programs(*names: str) -> str:
    missing = [name for name in names if shutil.which(name) is None]
    return f"no {', '.join(missing)}" if missing else ""


def _oci_runtime() -> str:
    """Our own front door for engines, in the environment of this checkout."""
    return _works(str(Path(__file__).parents[2] / ".venv/bin/pycontainer-oci"), "--version")


def _runtime_tools() -> str:
    """What builds the OCI project's validation programs (tests/conformance/runtimetools.py)."""
    if os.uname().machine != "x86_64":
        return f"their root file system is one of x86_64, not of {os.uname().machine}"
    return _programs("go", "apt-get", "unshare")


def _filesystem(kind: str, *programs: str) -> str:
    """A file system that the kernel has, and what makes one."""
    with open("/proc/filesystems") as file:
        known = kind in file.read().split()
    return _programs(*programs) if known else f"the kernel has no {kind}"


def _assembler() -> str:
    """Assemblers of all machines we have code for, and what runs the code of the foreign one."""
    return _programs("as", "objcopy", "nm", "aarch64-linux-gnu-as", "aarch64-linux-gnu-objcopy", "qemu-aarch64-static")


def _atheris() -> str:
    """The Python package, in this Python or in the environment of this checkout; importing it would take a second."""
    environment = Path(__file__).parents[2] / ".venv/lib"
    places = [*map(Path, sys.path), *environment.glob("python3*/site-packages")]
    return "" if any((place / "atheris").is_dir() for place in places) else "no Python package 'atheris'"


def _file_flags() -> str:
    """Where worlds and temporary files lie."""
    if reason := _programs("chattr"):
        return reason
    for directory in ("/var/tmp", tempfile.gettempdir()):
        with tempfile.NamedTemporaryFile(dir=directory, prefix="pct-feature-") as file:
            for flags in ("+ia", "-ia"):
                done = subprocess.run(["chattr", flags, file.name], capture_output=True, text=True, check=False)
                if done.returncode:
                    return done.stderr.strip()
    return ""


def _vm() -> str:
    """What boots a stock kernel, which apt brings (tests/vm)."""
    if not os.path.exists(VIRTIOFSD):
        return f"no {VIRTIOFSD}"
    return _programs(QEMU, "busybox", "depmod", "apt-get", "dpkg")


def _own_clock() -> str:
    """A machine of tests/vm, which says so on its kernel's command line: nobody else goes by its clock."""
    with open("/proc/cmdline") as file:
        return (
            ""
            if MACHINE_OF_OURS in file.read().split()
            else "the clock is not ours to set: this is no machine of tests/vm"
        )


PROBES: "dict[str, Callable[[], str]]" = {
    "root": _root,
    "cgroup_v1": _cgroup_v1,
    "cgroup_v2": _cgroup_v2,
    "devices_v1": _devices_v1,
    "cgroup2_tree": _cgroup2_tree,
    "tun": _tun,
    "systemd": _systemd,
    "hugetlb": _hugetlb,
    "overlay": _overlay,
    "idmapped_mounts": _idmapped_mounts,
    "user_namespaces": _user_namespaces,
    "veth": _veth,
    "nft": _nft,
    "skbedit": _skbedit,
    "seccomp": _seccomp,
    "lxcfs": _lxcfs,
    "apparmor": _apparmor,
    "landlock_scopes": _landlock_scopes,
    "assembler": _assembler,
    "atheris": _atheris,
    "mkfs_xfs": lambda: _programs("mkfs.xfs"),
    "project_quota": _project_quota,
    "btrfs": _btrfs,
    "file_flags": _file_flags,
    "cap_sys_resource": _cap_sys_resource,
    "debian_mirror": _debian_mirror,
    "registry": lambda: _programs("docker-registry", "skopeo", "openssl"),
    "openssl": lambda: _programs("openssl"),
    "nginx": lambda: _programs("nginx", "prlimit", "ss"),
    "vm": _vm,
    "own_clock": _own_clock,
    "skopeo": lambda: _programs("skopeo"),
    "prometheus": lambda: _programs("prometheus", "promtool"),
    "umoci": lambda: _programs("umoci"),
    "podman": lambda: _programs("podman"),
    "uidmap": lambda: _programs("newuidmap", "newgidmap"),
    "runc": lambda: _programs("runc"),
    "crun": lambda: _programs("crun"),
    "pycontainer_oci": _oci_runtime,
    "runtime_tools": _runtime_tools,
    "engines": lambda: _programs("podman", "conmon", "containerd", "ctr", "dockerd", "runc", "tini", "iptables"),
    "squashfs": lambda: _filesystem("squashfs", "mksquashfs"),
    "erofs": lambda: _filesystem("erofs", "mkfs.erofs"),
}


@lru_cache
def why_not(feature: str) -> str:
    """Return why this host lacks `feature`, or an empty string."""
    return PROBES[feature]()


if __name__ == "__main__":
    for name in PROBES:
        reason = why_not(name)
        print(f"{name:16} {'no: ' + reason if reason else 'yes'}")
