"""Mounts, the root file system, masked and read-only paths, as the container sees them in /proc/self/mountinfo."""

import os
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.conformance.runtime import SLEEP, Container

RUNC_ROOT = "sets the propagation before pivot_root, where it is lost or in its own way"


class Seen(NamedTuple):
    """A line of mountinfo."""

    root: str
    options: set[str]
    propagation: set[str]
    kind: str
    super_options: set[str]


def seen_mounts(container: Container) -> dict[str, Seen]:
    """Run `cat /proc/self/mountinfo` and return mount point → the topmost mount there."""
    found = {}
    for line in container.output_of("cat", "/proc/self/mountinfo").splitlines():
        before, after = (part.split() for part in line.split(" - "))
        found[before[4]] = Seen(
            before[3], set(before[5].split(",")), {word.split(":")[0] for word in before[6:]}, after[0],
            set(after[2].split(",")),
        )  # fmt: skip
    return found


@pytest.fixture
def source(container: Container) -> Iterator[str]:
    """A directory of the host with a file and a mount beneath, sub."""
    directory = f"{container.bundle}/source"
    os.makedirs(f"{directory}/sub")
    with open(f"{directory}/file", "w") as file:
        file.write("of the host\n")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", f"{directory}/sub"], check=True)
    try:
        yield directory
    finally:
        subprocess.run(["umount", f"{directory}/sub"], check=True)


def test_file_systems(container: Container) -> None:
    found = seen_mounts(container)
    kinds = {path: found[path].kind for path in ("/proc", "/dev", "/dev/pts", "/sys")}
    assert kinds == {"/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/sys": "sysfs"}
    assert {"ro", "nosuid", "nodev", "noexec"} <= found["/sys"].options


def test_options(container: Container) -> None:
    container.mount("/a", "tmpfs", "tmpfs", "ro", "nosuid", "nodev", "noexec", "noatime", "size=1m", "mode=0711")
    container.mount("/b", "tmpfs", "tmpfs", "rw", "suid", "dev", "exec", "nodiratime", "size=64k")
    found = seen_mounts(container)
    assert {"ro", "nosuid", "nodev", "noexec", "noatime"} <= found["/a"].options
    assert {"size=1024k", "mode=711"} <= found["/a"].super_options
    assert {"rw", "nodiratime"} <= found["/b"].options
    assert not {"nosuid", "nodev", "noexec"} & found["/b"].options


def test_later_options_win(container: Container) -> None:
    container.mount("/a", "tmpfs", "tmpfs", "ro", "noexec", "nosuid", "rw", "exec")
    options = seen_mounts(container)["/a"].options
    assert {"rw", "nosuid"} <= options and "noexec" not in options


def test_bind(container: Container, source: str) -> None:
    container.mount("/a", "bind", source, "bind")
    found = seen_mounts(container)
    assert found["/a"].options & {"rw", "ro"} == {"rw"}
    assert "/a/sub" not in found


def test_bind_is_known_by_its_options(container: Container, source: str) -> None:
    """The specification: type `none` is customary with options bind and rbind."""
    container.mount("/a", "none", source, "rbind")
    assert "/a/sub" in seen_mounts(container)


def test_bind_of_a_file(container: Container, source: str) -> None:
    container.mount("/made/for/it", "bind", f"{source}/file", "bind", "ro")
    assert container.output_of("cat", "/made/for/it") == "of the host\n"


def test_bind_with_options_of_a_filesystem(container: Container, source: str) -> None:
    """They mean nothing to what is there already; those of the mount hold."""
    container.mount("/a", "bind", source, "bind", "ro", "mode=700", "size=64k")
    before = os.stat(source).st_mode
    assert "ro" in seen_mounts(container)["/a"].options
    assert os.stat(source).st_mode == before


@pytest.mark.deviates("runc", "1.1 hands the label to file systems that know none without SELinux")
def test_label_without_selinux(container: Container) -> None:
    if os.path.exists("/sys/fs/selinux/enforce"):
        pytest.skip("SELinux is there, and knows which labels there are")
    container.linux["mountLabel"] = "system_u:object_r:svirt_sandbox_file_t:s0:c1,c2"
    container.mount("/a", "tmpfs", "tmpfs", "size=64k")
    assert not any("context" in option for option in seen_mounts(container)["/a"].super_options)


def test_read_only_bind(container: Container, source: str) -> None:
    container.mount("/a", "bind", source, "rbind", "ro", "nosuid", "nodev", "noexec")
    found = seen_mounts(container)
    assert {"ro", "nosuid", "nodev", "noexec"} <= found["/a"].options
    assert "rw" in found["/a/sub"].options
    with open(f"{source}/still", "w") as file:
        file.write("writable for the host")


def test_recursively_read_only_bind(container: Container, source: str) -> None:
    container.mount("/a", "bind", source, "rbind", "rro")
    found = seen_mounts(container)
    assert "ro" in found["/a"].options and "ro" in found["/a/sub"].options


@pytest.mark.parametrize(
    ("option", "expected"),
    [
        ("private", set()), ("shared", {"shared"}), ("unbindable", {"unbindable"}),
        ("rprivate", set()), ("rshared", {"shared"}), ("runbindable", {"unbindable"}),
    ],
)  # fmt: skip
def test_propagation(container: Container, source: str, option: str, expected: set[str]) -> None:
    container.mount("/a", "bind", source, "rbind", option)
    found = seen_mounts(container)
    assert found["/a"].propagation == expected
    if option.startswith("r"):
        assert found["/a/sub"].propagation == expected


@pytest.mark.parametrize(
    ("propagation", "expected"),
    [
        ("private", set()),
        pytest.param("shared", {"shared"}, marks=pytest.mark.deviates("runc", RUNC_ROOT)),
        pytest.param("unbindable", {"unbindable"}, marks=pytest.mark.deviates("runc", RUNC_ROOT)),
    ],
)
def test_propagation_of_the_root(container: Container, propagation: str, expected: set[str]) -> None:
    container.linux["rootfsPropagation"] = propagation
    assert seen_mounts(container)["/"].propagation == expected


def test_nothing_propagates_to_the_host(container: Container, source: str) -> None:
    """ESC-09. Even a shared root has no peer outside."""
    container.linux["rootfsPropagation"] = "rshared"
    container.process["capabilities"] = {kind: ["CAP_SYS_ADMIN"] for kind in ("bounding", "effective", "permitted")}
    container.create_and_start("payload", "mount", "tmpfs:/inner", *SLEEP[1:])
    container.wait_for_output("mount tmpfs:/inner: ok")
    with open("/proc/self/mountinfo") as file:
        assert "/inner" not in file.read()


def test_order_of_mounts_is_kept(container: Container) -> None:
    container.mount("/a", "tmpfs", "first", "size=64k")
    container.mount("/a/b", "tmpfs", "second", "size=128k")
    container.mount("/a/b/c", "tmpfs", "third", "size=256k")
    found = seen_mounts(container)
    assert [next(o for o in found[p].super_options if o.startswith("size")) for p in ("/a", "/a/b", "/a/b/c")] == [
        "size=64k", "size=128k", "size=256k",
    ]  # fmt: skip


def test_copy_up(container: Container) -> None:
    os.makedirs(f"{container.rootfs}/data/inner")
    with open(f"{container.rootfs}/data/inner/file", "w") as file:
        file.write("of the image\n")
    os.chmod(f"{container.rootfs}/data", 0o710)
    container.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    out = container.output_of("sh", "-c", "cat /data/inner/file; echo changed >/data/inner/file; stat -f -c %T /data")
    assert out == "of the image\ntmpfs\n"
    with open(f"{container.rootfs}/data/inner/file") as file:
        assert file.read() == "of the image\n"


def test_destination_through_a_link_stays_inside(container: Container) -> None:
    """PATH-01: links of the image are followed within its root."""
    outside = f"{container.bundle}/outside"
    os.mkdir(outside)
    os.symlink(outside, f"{container.rootfs}/absolute")
    os.symlink("../" * 20 + outside[1:], f"{container.rootfs}/relative")
    container.mount("/absolute/a", "tmpfs", "tmpfs")
    container.mount("/relative/b", "tmpfs", "tmpfs")
    found = seen_mounts(container)
    assert f"{outside}/a" in found and f"{outside}/b" in found
    assert os.listdir(outside) == []


@pytest.mark.parametrize("destination", ["/../../../x", "//x//", "/./x", "/y/../x"])
def test_destination_is_normalised(container: Container, destination: str) -> None:
    """PATH-05."""
    container.mount(destination, "tmpfs", "tmpfs")
    assert "/x" in seen_mounts(container)


def test_link_instead_of_proc(container: Container) -> None:
    """PATH-01: nothing of procfs may be fooled by the image."""
    if os.path.isdir(f"{container.rootfs}/proc"):
        os.rmdir(f"{container.rootfs}/proc")
    os.symlink("/tmp", f"{container.rootfs}/proc")
    assert container.run("true").code != 0


def test_source_that_is_not_there(container: Container) -> None:
    container.mount("/a", "bind", "/no/such/source", "bind")
    done = container.run("true")
    assert done.code == 1
    assert "no such file or directory" in done.err.lower()


def test_read_only_root(container: Container) -> None:
    container.config["root"]["readonly"] = True
    container.mount("/rw", "tmpfs", "tmpfs")
    out = container.output_of("sh", "-c", "touch /x 2>&1; touch /rw/x && echo written; touch /dev/x && echo dev")
    assert "Read-only file system" in out and "written" in out and "dev" in out
    assert not os.path.exists(f"{container.rootfs}/x")


def test_writable_root(container: Container) -> None:
    container.output_of("touch", "/made-inside")
    assert os.path.exists(f"{container.rootfs}/made-inside")


def test_absolute_root(container: Container) -> None:
    container.config["root"]["path"] = container.rootfs
    assert container.output_of("payload", "out", "ok") == "ok\n"


def test_masked_paths(container: Container) -> None:
    os.mkdir(f"{container.rootfs}/secret")
    for path in ("secret/inner", "hidden"):
        with open(f"{container.rootfs}/{path}", "w") as file:
            file.write("secret\n")
    container.linux["maskedPaths"] = ["/secret", "/hidden", "/proc/timer_list", "/not/there"]
    out = container.output_of("sh", "-c", "ls /secret; cat /hidden /proc/timer_list; touch /secret/x 2>&1; true")
    assert "Read-only file system" in out and "secret\n" not in out and "inner" not in out


def test_read_only_paths(container: Container) -> None:
    container.linux["readonlyPaths"] = ["/proc/sys", "/etc", "/not/there"]
    os.makedirs(f"{container.rootfs}/etc", exist_ok=True)
    found = seen_mounts(container)
    assert "ro" in found["/proc/sys"].options and "ro" in found["/etc"].options


def test_no_root_of_the_host_is_in_sight(container: Container) -> None:
    """ESC-08: what was there before pivot_root is gone, not only covered."""
    container.process["capabilities"] = {kind: ["CAP_SYS_CHROOT"] for kind in ("bounding", "effective", "permitted")}
    out = container.output_of("payload", "pivot")
    assert "root: own" in out and "after: own" in out


@pytest.mark.vm
def test_cgroup_mount(container: Container) -> None:
    container.linux["namespaces"].append({"type": "cgroup"})
    container.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "ro")
    found = seen_mounts(container)
    mounts = {
        path: mount for path, mount in found.items() if path.startswith("/sys/fs/cgroup") and "cgroup" in mount.kind
    }
    assert mounts and all("ro" in mount.options for mount in mounts.values())


def test_shm_and_mqueue(container: Container) -> None:
    container.mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
    container.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    found = seen_mounts(container)
    assert found["/dev/shm"].kind == "tmpfs" and found["/dev/mqueue"].kind == "mqueue"
