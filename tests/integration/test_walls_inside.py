"""What root inside cannot do, the same whichever way it came in: as init, through exec, through attach; in both profiles."""

import os
import re
from collections.abc import Callable, Iterator

import pytest

from tests.integration.conftest import IMAGE
from tests.support.world import World, unique_name

Run = Callable[[str], list[str]]

WALLED = ("EPERM", "EACCES", "EROFS", "EINVAL", "ENOENT", "EBUSY")
COVERED = [
    "/proc/bus",
    "/proc/fs",
    "/proc/irq",
    "/proc/sys",
    "/proc/sysrq-trigger",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/timer_list",
    "/proc/slabinfo",
    "/proc/vmallocinfo",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/proc",
    "/sys",
    "/sys/fs/cgroup",
    "/dev",
    "/dev/pts",
    "/dev/shm",
    "/dev/mqueue",
    "/etc/hosts",
    "/etc/resolv.conf",
]
GLOBAL_FILES = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/core_uses_pid",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/kernel/modules_disabled",
    "/proc/sys/kernel/panic",
    "/proc/sys/kernel/panic_on_oops",
    "/proc/sys/kernel/printk",
    "/proc/sys/kernel/sysrq",
    "/proc/sys/kernel/pid_max",
    "/proc/sys/kernel/threads-max",
    "/proc/sys/kernel/hotplug",
    "/proc/sys/kernel/poweroff_cmd",
    "/proc/sys/kernel/cap_last_cap",
    "/proc/sys/kernel/dmesg_restrict",
    "/proc/sys/kernel/kptr_restrict",
    "/proc/sys/kernel/randomize_va_space",
    "/proc/sys/kernel/perf_event_paranoid",
    "/proc/sys/kernel/unprivileged_bpf_disabled",
    "/proc/sys/kernel/yama/ptrace_scope",
    "/proc/sys/kernel/keys/maxkeys",
    "/proc/sys/kernel/random/urandom_min_reseed_secs",
    "/proc/sys/kernel/sched_rt_runtime_us",
    "/proc/sys/kernel/watchdog",
    "/proc/sys/kernel/nmi_watchdog",
    "/proc/sys/kernel/numa_balancing",
    "/proc/sys/kernel/pty/max",
    "/proc/sys/kernel/tainted",
    "/proc/sys/kernel/kexec_load_disabled",
    "/proc/sys/kernel/io_uring_disabled",
    "/proc/sys/kernel/core_pipe_limit",
    "/proc/sys/kernel/ftrace_enabled",
    "/proc/sys/kernel/oops_limit",
    "/proc/sys/kernel/usermodehelper/bset",
    "/proc/sys/kernel/shmmax",
    "/proc/sys/kernel/sem",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sys/vm/drop_caches",
    "/proc/sys/vm/swappiness",
    "/proc/sys/vm/mmap_min_addr",
    "/proc/sys/vm/panic_on_oom",
    "/proc/sys/vm/nr_hugepages",
    "/proc/sys/vm/compact_memory",
    "/proc/sys/vm/dirty_ratio",
    "/proc/sys/fs/file-max",
    "/proc/sys/fs/nr_open",
    "/proc/sys/fs/suid_dumpable",
    "/proc/sys/fs/protected_symlinks",
    "/proc/sys/fs/pipe-max-size",
    "/proc/sys/fs/mount-max",
    "/proc/sys/fs/inotify/max_user_watches",
    "/proc/sys/fs/binfmt_misc/register",
    "/proc/sys/user/max_user_namespaces",
    "/proc/sys/debug/exception-trace",
    "/proc/sys/net/core/bpf_jit_enable",
    "/proc/sys/net/core/rmem_max",
    "/proc/sys/net/core/netdev_max_backlog",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/irq/0/smp_affinity",
    "/proc/kcore",
    "/proc/kmsg",
    "/proc/mtrr",
    "/proc/bus/pci/00/00.0",
    "/proc/acpi/wakeup",
    "/proc/scsi/scsi",
    "/proc/kpagecount",
    "/proc/slabinfo",
    "/proc/timer_list",
    "/sys/power/state",
    "/sys/power/disk",
    "/sys/kernel/uevent_helper",
    "/sys/kernel/uevent_seqnum",
    "/sys/kernel/mm/transparent_hugepage/enabled",
    "/sys/kernel/mm/ksm/run",
    "/sys/kernel/kexec_crash_size",
    "/sys/kernel/profiling",
    "/sys/module/kernel/parameters/panic",
    "/sys/module/printk/parameters/time",
    "/sys/bus/pci/rescan",
    "/sys/devices/system/cpu/cpu1/online",
    "/sys/devices/system/memory/probe",
    "/sys/block/vda/queue/scheduler",
    "/sys/block/vda/uevent",
    "/sys/class/net/lo/mtu",
    "/sys/firmware/efi/vars",
    "/sys/fs/cgroup/cgroup.procs",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
]
NEVER = [
    "bpf",
    "perf_event_open",
    "keyctl",
    "add_key",
    "request_key",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "kexec_load",
    "init_module",
    "finit_module",
    "delete_module",
    "open_by_handle_at",
    "quotactl",
    "swapon",
    "swapoff",
    "acct",
    "settimeofday",
    "clock_settime",
    "unshare",
    "clone",
    "personality",
    "lookup_dcookie",
    "syslog",
]
FAMILIES = {"1", "2", "10", "16"}  # unix, IPv4, IPv6, netlink


@pytest.fixture(params=["app", "system"])
def profile(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["init", pytest.param("exec", marks=pytest.mark.vm), "attach"])
def run(request: pytest.FixtureRequest, world: World, profile: str) -> Iterator[Run]:
    """Run a shell script inside and return its lines: as the first process, through exec, or typed into an attached shell."""
    way = request.param
    common = ("--profile", profile)
    name = unique_name()
    if way == "exec":
        world.ok("run", "-d", "--name", name, *common, IMAGE, "payload", "sleep", "0")

    def inside(script: str) -> list[str]:
        if way == "init":
            return world.ok("run", "--rm", *common, IMAGE, "sh", "-c", script).split("\n")
        if way == "exec":
            return world.ok("exec", name, "sh", "-c", script).split("\n")
        shell = unique_name()
        world.ok("run", "-d", "-i", "--name", shell, *common, IMAGE, "sh")
        return world.ok("attach", shell, stdin=f"{script}\nexit 0\n").split("\n")

    yield inside


def answers(lines: list[str]) -> dict[str, str]:
    """Return what lines of the form `SUBJECT: ANSWER` say."""
    return dict(line.rsplit(": ", 1) for line in lines if ": " in line)


def test_masks_stay(run: Run) -> None:
    """PS-01: what was mounted with the host's rights is locked."""
    said = answers(run("payload " + " ".join(f"umount {path}" for path in COVERED)))
    assert set(said) == {f"umount {path}" for path in COVERED}
    assert {subject: answer for subject, answer in said.items() if answer not in WALLED} == {}


def test_masked_files_do_not_come_back(run: Run, profile: str) -> None:
    """PS-01: neither with a fresh procfs or sysfs (mount_too_revealing), nor by a bind that leaves the masks behind."""
    said = answers(
        run(
            "cd /tmp; payload mount proc:/tmp/p mount sysfs:/tmp/s bind /proc:/tmp/b bind /sys:/tmp/bs "
            "bind /proc/sys:/tmp/bps move /proc/kcore:/tmp/m move /proc:/tmp/mp mount tmpfs:/tmp/t rbind /proc:/tmp/r "
            "umount /tmp/r/kallsyms umount /tmp/r/sys"
        )
    )
    assert said["mount tmpfs:/tmp/t"] == ("ok" if profile == "system" else "EPERM")  # it can mount as such
    assert said["rbind /proc:/tmp/r"] == ("ok" if profile == "system" else "EPERM")
    for tried in ("mount proc:/tmp/p", "mount sysfs:/tmp/s"):
        assert said[tried] == "EPERM", tried
    for tried in ("bind /proc:/tmp/b", "bind /sys:/tmp/bs", "bind /proc/sys:/tmp/bps", "umount /tmp/r/kallsyms"):
        assert said[tried] in ("EPERM", "EINVAL", "ENOENT"), (tried, said[tried])
    assert not [tried for tried in said if tried.startswith("move") and said[tried] == "ok"]


def test_masks_stay_in_mount_namespaces_of_its_own(run: Run) -> None:
    """PS-01"""
    script = (
        "unshare -m sh -c 'payload umount /proc/kallsyms umount /proc/sys umount /proc mount proc:/proc mount sysfs:/sys; "
        "wc -c < /proc/kallsyms' 2>&1; true"
    )
    lines = run(script)
    assert not [line for line in lines if line.endswith(": ok")]
    assert lines[-1] == "0" or "unshare" in lines[-1], lines


def test_a_fresh_procfs_is_refused_because_of_the_masks(world: World) -> None:
    """PS-01: without masks it is given, so the test above tests them."""
    shown = world.ok("run", "--rm", "--privileged", IMAGE, "payload", "mount", "proc:/tmp/p")
    assert shown == "mount proc:/tmp/p: ok"


def test_global_files_cannot_be_opened_for_writing(run: Run, profile: str) -> None:
    """PS-01; the one that is a system instance's own is looked at in test_system_profile.py."""
    files = [path for path in GLOBAL_FILES if profile == "app" or path != "/sys/fs/cgroup/cgroup.procs"]
    assert len(files) > 60
    said = answers(run("payload " + " ".join(f"write {path}" for path in files)))
    assert set(said) == set(files)
    assert {path: answer for path, answer in said.items() if answer not in WALLED} == {}


def test_masked_files_are_empty(run: Run) -> None:
    """PS-01"""
    for line in run("wc -c /proc/kallsyms /proc/timer_list /proc/slabinfo /proc/keys 2>/dev/null"):
        assert line.split()[0] == "0", line


def test_own_limits_cannot_be_changed_by_an_app(world: World, run: Run, profile: str) -> None:
    """PS-04"""
    if profile == "system":
        return  # a part of its own tree is delegated to it
    script = (
        "find /sys/fs/cgroup -type f 2>/dev/null | while read f; do payload write $f; done; "
        "for d in $(find /sys/fs/cgroup -type d); do mkdir $d/x 2>/dev/null && echo made $d: ok; done; true"
    )
    said = answers(run(script))
    assert any(path.endswith("cgroup.procs") for path in said)
    assert {path: answer for path, answer in said.items() if answer not in WALLED} == {}


def test_rights_are_those_of_the_profile(run: Run, profile: str) -> None:
    """CAP-01, SEC-03"""
    said = dict(line.split() for line in run("payload caps"))
    assert said["CapInh:"] == said["CapAmb:"] == "0" * 16
    assert said["CapEff:"] == said["CapPrm:"] == said["CapBnd:"]
    effective = int(said["CapEff:"], 16)
    never = {"SYS_MODULE": 16, "SYS_RAWIO": 17, "SYS_TIME": 25, "MAC_ADMIN": 33, "SYSLOG": 34, "BPF": 39, "PERFMON": 38}
    assert [name for name, bit in never.items() if effective >> bit & 1] == []
    assert bool(effective >> 21 & 1) == (profile == "system")  # CAP_SYS_ADMIN
    assert said["NoNewPrivs:"] == ("0" if profile == "system" else "1")
    assert said["Seccomp:"] == "2"


def test_system_calls(run: Run, profile: str) -> None:
    """SEC-01: as the profile's table has it, and with its error numbers."""
    said = answers(run("payload calls"))
    assert {name: said[name] for name in NEVER} == dict.fromkeys(NEVER, "EPERM")
    for name in ("clone3", "fsopen", "mount_setattr", "newer than all"):
        assert said[name] == "ENOSYS", name
    assert said["ptrace"] in ("EPERM", "ESRCH")  # of init, which it has not attached
    if os.uname().machine == "x86_64":
        assert (said["i386"], said["x32"]) == ("SYS", "SYS")


def test_socket_families(run: Run) -> None:
    """SEC-01"""
    said = answers(run("payload families"))
    assert len(said) == 47
    assert {family for family, answer in said.items() if answer == "ok"} == FAMILIES
    assert {answer for family, answer in said.items() if family not in FAMILIES} == {"EAFNOSUPPORT"}


def test_descriptors_are_the_three(run: Run) -> None:
    """FD-01"""
    assert [line.split()[0] for line in run("payload fds </dev/null")] == ["0", "1", "2"]


def test_the_root_is_the_top(run: Run, profile: str) -> None:
    """ESC-08: chroot and fchdir, pivot_root, and `..` 64 levels up."""
    said = answers(run("payload pivot"))
    assert said["chroot"] == said["chroot back"] == "ok"  # both profiles may, so that it is tried
    assert said["root"] == said["after"] == "own"
    assert said["pivot_root"] in ("EPERM", "EINVAL")
    inodes = {line.split()[0] for line in run("ls -di / /proc/1/root/ /proc/self/root/../../ /../../../..")}
    assert len(inodes) == 1


def test_no_other_environment(run: Run) -> None:
    """FD-04"""
    names = {line.partition("=")[0] for line in run("payload env")}
    assert names <= {"PATH", "HOME", "HOSTNAME", "TERM", "container", "PWD", "OLDPWD", "SHLVL"}


def test_mounts_do_not_travel(world: World, run: Run, profile: str) -> None:
    """ESC-09: what is mounted inside is seen on the host by nobody, and no mount inside hears of the host's."""
    mark = unique_name("mark")
    with open("/proc/self/mountinfo") as file:
        before = len(file.readlines())
    lines = run(f"payload mount tmpfs:/tmp/{mark}; cat /proc/self/mountinfo; grep -c {mark} /proc/mounts || true")
    with open("/proc/self/mountinfo") as file:
        text = file.read()
    assert mark not in text
    assert len(text.splitlines()) <= before
    assert "shared:" not in "".join(lines)
    assert lines[-1] == ("1" if profile == "system" else "0")
    sources = {line.split()[3] for line in lines[1:-1]}
    place = f"/{os.path.basename(world.root)}/"  # what is before it depends on where the disk is mounted
    ours = {"/" + source.partition(place)[2] for source in sources if place in source}
    ids = {
        re.sub(r"^/lib/containers/([0-9a-f]{12})/etc/(resolv.conf|hostname|boot_id)$", r"\1", source) for source in ours
    }
    assert len(ids - {"/lib/networks/default.hosts"}) == 1, ours  # its own id, and no other directory
