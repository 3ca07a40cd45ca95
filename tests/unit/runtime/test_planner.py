"""The planner: whole plans, because their order is the security."""

import dataclasses
import signal

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.init.child import REPORT_FD
from pycontainer.init.table import MODE_EXACT
from pycontainer.linux.namespaces import CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWUSER
from pycontainer.runtime import planner
from pycontainer.runtime.planner import Files, Plan
from pycontainer.runtime.users import User
from pycontainer.security.profile import rights
from pycontainer.spec.model import ContainerSpec, Device, Mount, Ulimit

ROOT = User(0, 0, [], "/root", "root")
KERNEL = (6, 12)
FILTER = (0, bytes(8))
LABEL = ("apparmor/exec", b"exec pycontainer-app")
FILES = Files(hosts="/n/hosts", resolv_conf="/c/resolv.conf", hostname="/c/hostname")


def plan(spec: ContainerSpec, *, delegated: bool = False) -> Plan:
    return planner.plan_mounts(
        spec,
        rootfs_dir="/c/rootfs",
        layers=("/i/base", "/i/top"),
        volumes={"data": "/v/data"},
        files=FILES,
        rights=rights(spec, KERNEL),
        cgroup_dirs=[("", "/cg/ID")],
        cgroup_writable=delegated,
    )


def test_whole_plan_of_a_plain_container() -> None:
    made = plan(ContainerSpec(image="x"))
    assert [(tree.path, tree.recursive) for tree in made.trees] == [
        ("/c/rootfs", False),
        ("/i/top", False),
        ("/i/base", False),
        ("/cg/ID", False),
        ("/c/resolv.conf", False),
        ("/c/hostname", False),
        ("/n/hosts", False),
    ]
    assert [step[0] for step in made.steps] == [
        "Tree",
        "Tree",
        "Tree",
        "Overlay",
        "Dev",
        "Devpts",
        "Tmpfs",
        "Kernel",
        "ReadOnly",
        "Mask",
        "Cgroup",
        "Bind",
        "Bind",
        "Bind",
    ]
    assert made.steps[3] == ["Overlay", ["t1", "t2"], "t0/upper", "t0/work", True]
    assert made.steps[6] == ["Tmpfs", "/dev/shm", 64 * 1024 * 1024, "1777", False]
    assert made.steps[-1] == ["Bind", 6, "/etc/hosts", True, False, False]


@pytest.mark.parametrize("profile", ["app", "system"])
def test_mount_points_are_all_that_a_plan_mounts_onto(profile: str) -> None:
    """But what lies in our own /dev and the kernel's file systems, of which nothing is the container's."""
    mounts = (Mount("bind", "/a/b", "/host"), Mount("volume", "/v", "data"), Mount("tmpfs", "/t"))
    spec = ContainerSpec(image="x", profile=profile, mounts=mounts, devices=(Device("/dev/fuse", "/srv/fuse"),))
    target_at = {"Tmpfs": 0, "Bind": 1, "Device": 1}
    targets = {str(step[1 + target_at[str(step[0])]]) for step in plan(spec).steps if step[0] in target_at}
    ours = {"/dev", "/proc", "/sys"}
    assert {each for each in targets if not each.startswith("/dev/")} | ours == planner.mount_points(spec)


def test_namespaces() -> None:
    plain, on_host = planner.clone_flags(ContainerSpec()), planner.clone_flags(ContainerSpec(networks=("host",)))
    assert plain & CLONE_NEWNET and not on_host & CLONE_NEWNET
    assert plain & on_host & CLONE_NEWUSER, "the user namespace is never left out"
    assert not plain & CLONE_NEWCGROUP, "the child makes it, after it was attached"


def test_masks_stand_before_anything_of_the_user() -> None:
    made = plan(ContainerSpec(mounts=(Mount("bind", "/srv", "/host"), Mount("tmpfs", "/run", size_bytes=4096))))
    names = [step[0] for step in made.steps]
    user_mounts = [n for n, step in enumerate(made.steps) if "/srv" in step or "/run" in step]
    assert len(user_mounts) == 2
    assert names.index("Mask") < min(user_mounts)


def test_parents_are_mounted_before_children() -> None:
    made = plan(ContainerSpec(mounts=(Mount("bind", "/a/b/c", "/2"), Mount("bind", "/a", "/1"))))
    targets = [step[2] for step in made.steps if step[0] == "Bind"]
    assert targets.index("/a") < targets.index("/a/b/c")


def test_volume_ids_are_mapped_and_bind_ids_are_not() -> None:
    made = plan(
        ContainerSpec(mounts=(Mount("volume", "/data", "data"), Mount("bind", "/srv", "/host", read_only=True)))
    )
    binds = {step[2]: step[3:] for step in made.steps if step[0] == "Bind"}
    assert binds["/data"] == [False, True, False]
    assert binds["/srv"] == [True, False, True]
    assert "/v/data" in [tree.path for tree in made.trees]


def test_writable_rootfs_is_used_itself() -> None:
    made = plan(ContainerSpec(rootfs="/srv/root", rootfs_writable=True))
    assert made.steps[:2] == [["Tree", 0, "t0", True], ["Root", "t0", True]]
    assert made.trees[0].path == "/srv/root"


def test_a_system_instance_gets_what_an_init_wants() -> None:
    made = plan(ContainerSpec(profile="system", tty=True), delegated=True)
    assert ["Cgroup", True, [3, ""]] in made.steps
    assert ["Dev", True] in made.steps, "the first terminal is the console"
    names = [step[0] for step in made.steps]
    tmpfs = [step[1] for step in made.steps if step[0] == "Tmpfs"]
    assert tmpfs == ["/dev/shm", "/run", "/run/lock"]
    assert names.index("File") > max(number for number, name in enumerate(names) if name == "Tmpfs")
    assert made.steps[names.index("Overlay")][-1] is False, "it becomes root by setuid programs"


def test_no_file_of_ours_in_a_run_directory_of_the_user() -> None:
    made = plan(ContainerSpec(profile="system", mounts=(Mount("bind", "/run", "/host"),)))
    assert "File" not in [step[0] for step in made.steps]


@pytest.mark.parametrize(
    ("spec", "ping"),
    [
        (ContainerSpec(), True),
        (ContainerSpec(networks=("none",)), True),
        (ContainerSpec(networks=("host",)), False),
        (ContainerSpec(sysctls=(("net.ipv4.ping_group_range", "1 0"),)), False),
    ],
)
def test_who_may_ping_is_set_in_networks_of_their_own(spec: ContainerSpec, ping: bool) -> None:
    assert ["Kernel", ping] in plan(spec).steps


def test_the_socket_for_readiness_lies_in_our_own_dev() -> None:
    """FD-04: where it is not asked for there is neither the directory nor the variable."""
    made = planner.plan_mounts(
        ContainerSpec(image="x", notify=True),
        rootfs_dir="/c/rootfs",
        layers=("/i/base",),
        volumes={},
        files=Files(hosts="", resolv_conf="", hostname="", notify_dir="/n/ID"),
        rights=rights(ContainerSpec(), KERNEL),
        cgroup_dirs=[],
        cgroup_writable=False,
    )
    bind = next(step for step in made.steps if step[0] == "Bind")
    assert made.trees[bind[1]].path == "/n/ID"  # type: ignore[call-overload]
    assert bind[2:] == ["/dev/pycontainer", True, False, False], "read-only, nobody inside removes the socket"
    assert made.steps.index(bind) > [step[0] for step in made.steps].index("Mask")
    for notify in (True, False):
        table = planner.plan_init(
            ContainerSpec(image="x", command=("/a",), notify=notify),
            {},
            name="c",
            user=ROOT,
            rights=rights(ContainerSpec(), KERNEL),
            seccomp=None,
            label=None,
            console="",
            container_id="0" * 12,
        )
        environment = table.rows[-1].arguments[2]
        assert isinstance(environment, list)
        assert (b"NOTIFY_SOCKET=/dev/pycontainer/notify" in environment) is notify


def test_read_only_root_is_the_last_step() -> None:
    assert plan(ContainerSpec(read_only=True)).steps[-1] == ["RootReadOnly"]


def test_privileged_has_no_masks() -> None:
    names = {step[0] for step in plan(ContainerSpec(privileged=True)).steps}
    assert not names & {"Mask", "ReadOnly"}


def init_table(spec: ContainerSpec, config: dict[str, object] | None = None, user: User = ROOT) -> list[str]:
    table = planner.plan_init(
        spec,
        config or {},
        name="web",
        user=user,
        rights=rights(spec, KERNEL),
        seccomp=FILTER,
        label=LABEL,
        console="",
        container_id="abc",
    )
    assert table.report_fd == REPORT_FD
    return [row.step for row in table.rows]


def test_order_of_the_childs_half() -> None:
    """Locked before pivoted; bounding set before ids, ids before capabilities; descriptors closed before the workdir is
    resolved as the user (FD-03); execve last."""
    steps = init_table(ContainerSpec(command=("/bin/true",)))
    order = [
        "mount namespace",
        "root clone",
        "pivot_root",
        "hostname",
        "capabilities",
        "user",
        "no_new_privs",
        "session",
        "signals",
        "descriptors",
        "seccomp",
        "execve",
    ]
    places = [steps.index(name) for name in order]
    assert places == sorted(places)
    last = [name for name in steps if name in ("user", "capabilities", "descriptors", "workdir", "seccomp", "execve")]
    assert last[-5:] == ["descriptors", "descriptors", "workdir", "seccomp", "execve"]
    assert steps.index("user") < len(steps) - 1 - steps[::-1].index("capabilities"), "capset comes after the ids"


def test_a_system_loads_its_filter_while_it_may() -> None:
    """Without no_new_privs, loading needs CAP_SYS_ADMIN of the user namespace, which goes with the ids. seccomp(2)"""
    steps = init_table(ContainerSpec(command=("/sbin/init",), profile="system"), user=User(5, 5, [], "/", "u"))
    assert "no_new_privs" not in steps
    assert steps.index("seccomp") < steps.index("user")


def test_the_label_is_opened_first_and_written_late() -> None:
    """The host's procfs is gone before anything of the container is near, and what we do ourselves need not be allowed."""
    steps = init_table(ContainerSpec(command=("/bin/true",)))
    assert steps[:2] == ["label", "label"]
    late = [
        name for name in steps if name in ("mount namespace", "user", "no_new_privs", "label", "descriptors", "execve")
    ]
    assert late[2:] == ["mount namespace", *["user"] * 3, "no_new_privs", "label", *["descriptors"] * 2, "execve"]


@pytest.mark.parametrize("profile", ["app", "system"])
def test_the_reaper_is_confined_as_what_it_bears(profile: str) -> None:
    """SEC-03: the reaper executes no program, so its label and its filter must be in force before it forks."""
    steps = init_table(ContainerSpec(command=("/bin/true",), init=True, profile=profile))
    assert steps.count("seccomp") == 1
    assert max(steps.index("label", 2), steps.index("seccomp")) < steps.index("reaper")


@pytest.mark.parametrize("profile", ["app", "system"])
def test_abstract_sockets_are_hidden_on_the_hosts_network(profile: str) -> None:
    """CVE-2020-15257: loading needs CAP_SYS_ADMIN or no_new_privs, and the system calls that a filter may forbid."""
    spec = ContainerSpec(command=("/bin/true",), profile=profile, networks=("host",))
    steps = init_table(spec, user=User(5, 5, [], "/", "u"))
    assert steps.count("landlock") == 2
    assert steps.index("landlock") < steps.index("seccomp")
    if profile == "app":
        assert steps.index("no_new_privs") < steps.index("landlock")
    else:
        assert steps.index("landlock") < steps.index("user")
    for other in (ContainerSpec(), ContainerSpec(networks=("host",), security_opt=(("landlock", "unconfined"),))):
        assert "landlock" not in init_table(dataclasses.replace(other, command=("/bin/true",)))


def test_a_system_may_set_its_own_network_up() -> None:
    steps = plan(ContainerSpec(profile="system")).steps
    assert steps[steps.index(["Writable", "/proc/sys/net"]) - 1][0] == "ReadOnly"
    assert not [step for step in plan(ContainerSpec()).steps if step[0] == "Writable"]


def test_joining_is_non_dumpable_first() -> None:
    table = planner.plan_exec(
        ContainerSpec(),
        {},
        command=["ls"],
        env=[],
        workdir="",
        user=ROOT,
        rights=rights(ContainerSpec(), KERNEL),
        seccomp=FILTER,
        label=LABEL,
        tty=False,
        privileged=False,
        name="web",
    )
    assert [row.step for row in table.rows[:5]] == ["label"] * 2 + ["join"] * 3
    assert table.rows[2].arguments == (4, 0)  # PR_SET_DUMPABLE, 0
    assert [row.step for row in table.rows if row.mode == MODE_EXACT] == ["label"]


@pytest.mark.parametrize(
    ("entrypoint", "command", "config", "expected"),
    [
        (None, (), {"cmd": ["a", "b"]}, ["a", "b"]),
        (None, ("c",), {"cmd": ["a", "b"]}, ["c"]),
        (None, (), {"entrypoint": ["e"], "cmd": ["a"]}, ["e", "a"]),
        (None, ("c",), {"entrypoint": ["e"], "cmd": ["a"]}, ["e", "c"]),
        (("x",), (), {"entrypoint": ["e"], "cmd": ["a"]}, ["x"]),
        (("x",), ("c",), {"entrypoint": ["e"], "cmd": ["a"]}, ["x", "c"]),
        ((), ("c",), {"entrypoint": ["e"]}, ["c"]),
    ],
)
def test_command_line_as_docker_joins_it(
    entrypoint: tuple[str, ...] | None, command: tuple[str, ...], config: dict[str, object], expected: list[str]
) -> None:
    assert planner.command_line(ContainerSpec(entrypoint=entrypoint, command=command), config) == expected


def test_no_command_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no command"):
        planner.command_line(ContainerSpec(), {})
    with pytest.raises(InvalidInput, match="^the command's first word is empty$"):
        planner.command_line(ContainerSpec(command=("",)), {"cmd": ["sh"]})


def test_environment_holds_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """FD-04"""
    monkeypatch.setenv("LD_PRELOAD", "/evil.so")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/x")
    made = planner.build_environment(
        ContainerSpec(env=(("A", "own"), ("B", "own"))),
        {"env": ["A=image", "C=image"]},
        ROOT,
        hostname="h",
        tty=False,
        extra=["B=call"],
    )
    assert made == [f"PATH={planner.DEFAULT_PATH}", "HOSTNAME=h", "HOME=/root", "A=own", "C=image", "B=call"]


def test_program_is_searched_along_the_containers_path() -> None:
    spec = ContainerSpec(command=("nginx",), env=(("PATH", "/one:/two"),))
    table = planner.plan_init(
        spec,
        {},
        name="n",
        user=ROOT,
        rights=rights(spec, KERNEL),
        seccomp=FILTER,
        label=LABEL,
        console="",
        container_id="abc",
    )
    assert [row.path for row in table.rows if row.step == "execve"] == ["/one/nginx", "/two/nginx"]


def test_core_dumps_are_off_unless_asked_for() -> None:
    assert planner.rlimits(ContainerSpec()) == [(4, 0, 0)]
    asked = planner.rlimits(ContainerSpec(ulimits=(Ulimit("core", None, None), Ulimit("nofile", 10, 20))))
    assert asked == [(4, (1 << 64) - 1, (1 << 64) - 1), (7, 10, 20)]


@pytest.mark.parametrize(
    ("own", "image", "expected"),
    [
        ("", None, 15),
        ("", "SIGQUIT", 3),
        ("HUP", "SIGQUIT", 1),
        ("9", None, 9),
        ("", "SIGRTMIN+3", 37),  # what images with systemd say
        ("SIGRTMIN+4", None, 38),
    ],
)
def test_stop_signal(own: str, image: str | None, expected: int) -> None:
    assert planner.stop_signal_number(ContainerSpec(stop_signal=own), {"stop_signal": image}) == expected


@pytest.mark.parametrize(
    ("profile", "command", "program", "expected"),
    [
        ("system", (), "/usr/lib/systemd/systemd", signal.SIGRTMIN + 3),
        ("system", ("/sbin/init",), "/bin/busybox", signal.SIGUSR2),
        ("system", ("/sbin/init",), "", signal.SIGRTMIN + 3),
        ("system", ("nginx",), "/usr/sbin/nginx", signal.SIGTERM),
        ("app", ("/sbin/init",), "/usr/lib/systemd/systemd", signal.SIGTERM),
    ],
)
def test_an_init_is_asked_in_its_own_way(profile: str, command: tuple[str, ...], program: str, expected: int) -> None:
    spec = ContainerSpec(profile=profile, command=command)
    assert planner.stop_signal_number(spec, {}, program) == expected
    assert planner.stop_signal_number(dataclasses.replace(spec, stop_signal="QUIT"), {}, program) == signal.SIGQUIT
