"""Which walls between containers and the host stand here: each with what it means where it does not, and how to get it.

One function per wall; it yields one Check. What containers cannot start without is `needed`; of the others each is one wall
more behind those.
"""

from collections.abc import Callable, Iterator

from pycontainer.linux.files import RESOLVE_IN_ROOT
from pycontainer.linux.namespaces import CLONE_NEWUSER
from pycontainer.runtime import hostfacts
from pycontainer.runtime.finding import Check, Status
from pycontainer.security import selinux
from pycontainer.security.apparmor import INSTALL, PROFILES, AppArmor

SECTION = "walls"
_KERNEL_SETTINGS = (  # file below /proc/sys/kernel, the least value that is safe, what it keeps from users of the host
    ("unprivileged_bpf_disabled", 1),
    ("yama/ptrace_scope", 1),
    ("kptr_restrict", 1),
    ("dmesg_restrict", 1),
)


def walls(facts: hostfacts.HostFacts, *, is_root: bool, directory: str, apparmor: AppArmor) -> Iterator[Check]:
    """Look at every wall; `directory` is where the store is."""
    yield _tried(
        is_root,
        "user namespaces",
        lambda: hostfacts.why_no_namespace(CLONE_NEWUSER),
        stands="root inside is nobody outside",
        without="containers do not start",
        fix="sysctl user.max_user_namespaces=65536, with a kernel that has CONFIG_USER_NS",
        needed=True,
    )
    yield _tried(
        is_root,
        "idmapped files",
        lambda: hostfacts.why_no_idmapped_mounts(directory),
        stands="files of a container belong to nobody outside",
        without="containers are copies in disk images at best",
        fix="keep the store on ext4, xfs or btrfs; install a newer kernel",
        needed=True,
    )
    yield _filter()
    yield mandatory(apparmor)
    yield _landlock()
    yield _tried(
        is_root,
        "anti-spoofing",
        hostfacts.why_no_nftables,
        stands="a container sends from its own addresses only",
        without="containers with a network do not start",
        fix="apt install libnftables1; modprobe nf_tables",
        needed=True,
    )
    yield _lookups()
    yield _procfs(facts)
    yield _delegation(facts)
    yield kernel_settings()
    yield way_in()


def _filter() -> Check:
    reason = hostfacts.why_no_seccomp() or hostfacts.why_no_libseccomp()
    return _wall(
        "system call filter",
        reason,
        stands="a list of what each profile may call",
        without="containers start with --security-opt seccomp=unconfined alone",
        fix="apt install libseccomp2; use a kernel with CONFIG_SECCOMP_FILTER",
    )


def mandatory(apparmor: AppArmor, sys_dir: str = "/sys") -> Check:
    """AppArmor or SELinux, whichever the kernel has: never both."""
    if selinux.is_enabled(sys_dir):
        if not selinux.is_enforcing(sys_dir):
            return _degraded("SELinux", "it is permissive and forbids nothing", "setenforce 1")
        fix = "install container-selinux; run --security-opt label=type:container_t"
        return _degraded("SELinux", "on; a container has a label only if it was given one", fix)
    if not apparmor.is_enabled():
        fix = "boot with security=apparmor, or a kernel with CONFIG_SECURITY_APPARMOR or CONFIG_SECURITY_SELINUX"
        detail = "the kernel has neither, or it is off; the other walls stand without it"
        return Check("AppArmor or SELinux", Status.MISSING, detail, fix, needed=False, section=SECTION)
    if reason := apparmor.why_not():
        return _degraded("AppArmor", f"on, but containers run without a profile: {reason}", INSTALL)
    loaded = [name for name in PROFILES.values() if apparmor.loaded(name)]
    detail = f"on; loaded: {', '.join(loaded)}" if loaded else "on; our profiles are loaded with the first container"
    return Check("AppArmor", Status.OK, detail, "", needed=False, section=SECTION)


def _landlock() -> Check:
    version = hostfacts.landlock_abi()
    if version >= hostfacts.LANDLOCK_SCOPES:
        detail = f"interface {version}; hides the host's abstract sockets from containers on its network"
        return Check("Landlock", Status.OK, detail, "", needed=False, section=SECTION)
    have = (
        f"interface {version}, older than {hostfacts.LANDLOCK_SCOPES}"
        if version
        else "the kernel has none, or it is off"
    )
    return _degraded(
        "Landlock",
        f"{have}: containers with --network host reach the host's abstract sockets",
        "use Linux 6.12 or newer, booted with landlock in lsm=",
    )


def _lookups() -> Check:
    reason = hostfacts.why_no_openat2(RESOLVE_IN_ROOT)
    if reason:
        return _degraded(
            "path look-ups", f"without openat2, step by step: as safe, slower ({reason})", "use Linux 5.6 or newer"
        )
    detail = "openat2: no link of a container leads out of it"
    return Check("path look-ups", Status.OK, detail, "", needed=False, section=SECTION)


def _procfs(facts: hostfacts.HostFacts) -> Check:
    how = "by descriptor" if facts.has_procfs_pidns else "by a helper born inside, before Linux 6.17"
    return Check("own /proc", Status.OK, f"made for the container's processes {how}", "", needed=False, section=SECTION)


def _delegation(facts: hostfacts.HostFacts) -> Check:
    """On v1 nothing is delegated; on v2 a namespace is a border only where the mount says so. cgroup-v2.rst, nsdelegate."""
    layout = facts.layout
    if layout is None:
        return _wall(
            "control groups", "none are mounted", stands="", without="containers do not start", fix="mount cgroup2"
        )
    if not layout.is_v2:
        detail = f"{layout.version}: a container sees its own, and writes none"
        return Check("control groups", Status.OK, detail, "", needed=False, section=SECTION)
    return _wall(
        "control groups",
        "" if _has_nsdelegate() else "mounted without nsdelegate",
        stands="v2, nsdelegate: limits of a container are out of its reach",
        without="only the ownership of files keeps a container from its limits",
        fix="mount -o remount,nsdelegate /sys/fs/cgroup",
    )


def _has_nsdelegate() -> bool:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        mounted = [line.split(" - ", 1)[1].split() for line in file]
    return any(fields[0] == "cgroup2" and "nsdelegate" in fields[2].split(",") for fields in mounted)


def kernel_settings(proc_dir: str = "/proc") -> Check:
    """What a container without a filter, and every user of the host, could do with the kernel."""
    weak = []
    for name, least in _KERNEL_SETTINGS:
        try:
            with open(f"{proc_dir}/sys/kernel/{name}", encoding="ascii") as file:
                value = int(file.read())
        except FileNotFoundError:
            continue  # the kernel has no such feature
        if value < least:
            weak.append((f"kernel.{name.replace('/', '.')}", value, least))
    return _wall(
        "kernel settings",
        ", ".join(f"{name}={value}" for name, value, _ in weak),
        stands="no BPF, tracing or kernel addresses for ordinary users",
        without="matters to containers with seccomp=unconfined, and to users of the host",
        fix=" ".join(["sysctl", *(f"{name}={least}" for name, _, least in weak)]),
    )


def way_in(proc_dir: str = "/proc") -> Check:
    """Whether who enters a container stays out of its reach until confined. proc_sys_fs(5), suid_dumpable.

    We are non-dumpable when we join, but the change of ids sets that anew, to what this setting says; 1 is for debugging.
    """
    with open(f"{proc_dir}/sys/fs/suid_dumpable", encoding="ascii") as file:
        value = int(file.read())
    return _wall(
        "exec",
        f"fs.suid_dumpable={value}" if value == 1 else "",
        stands="no process inside can trace one that is about to be confined",
        without="root of a container can trace what exec starts there, and use it before its filter and capabilities are set",
        fix="sysctl fs.suid_dumpable=0",
    )


def _tried(
    is_root: bool,
    name: str,
    why_not: Callable[[], str],
    *,
    stands: str,
    without: str,
    fix: str,
    needed: bool = False,
) -> Check:
    """Run a probe that only root may run."""
    if not is_root:
        return _degraded(name, "not tried: needs root", "run it as root", needed=needed)
    return _wall(name, why_not(), stands=stands, without=without, fix=fix, needed=needed)


def _wall(name: str, problem: str, *, stands: str, without: str, fix: str, needed: bool = False) -> Check:
    if problem:
        return Check(name, Status.MISSING, f"{without}: {problem}", fix, needed, SECTION)
    return Check(name, Status.OK, stands, "", needed, SECTION)


def _degraded(name: str, detail: str, fix: str, *, needed: bool = False) -> Check:
    return Check(name, Status.DEGRADED, detail, fix, needed, SECTION)
