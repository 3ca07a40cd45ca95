"""A kubelet's calls over the real socket of containerd's CRI, for the runtime handler `pycontainer`."""

import pytest

from tests.engines.containerd import HANDLER
from tests.engines.cri import (
    CONTAINER,
    CREATED,
    EXITED,
    NODE,
    NOT_READY,
    READY,
    RUNNING,
    RUNTIME_DEFAULT,
    Cri,
)
from tests.engines.programs import FOREVER
from tests.support.hostns import INSIDE_IP
from tests.support.poll import poll_until

WAITS = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 60 & wait; done"


def log_soon(cri: Cri, pod: str, name: str, text: str) -> None:
    poll_until(lambda: ("stdout", text) in cri.log(pod, name), what=f"{name} writes {text!r}")


def test_life_of_a_pod(cri: Cri) -> None:
    """RunPodSandbox, CreateContainer, StartContainer, ExecSync, logs, Stop, Remove."""
    version = cri.call("Version")
    assert (version["runtime_name"], version["runtime_version"].split(".")[:2]) == ("containerd", ["1", "6"])
    pod = cri.pod("life", labels={"app": "life"}, annotations={"note": "kept"})
    status = cri.call("PodSandboxStatus", pod_sandbox_id=pod)["status"]
    assert (status["state"], status["runtime_handler"]) == (READY, HANDLER)
    assert (status["labels"], status["annotations"]) == ({"app": "life"}, {"note": "kept"})

    container = cri.create(pod, "life", "main", "sh", "-c", WAITS, envs=[{"key": "WHO", "value": "tests"}])
    assert cri.status(container)["state"] == CREATED
    cri.call("StartContainer", container_id=container)
    assert cri.status(container)["state"] == RUNNING
    log_soon(cri, "life", "main", "ready")
    assert cri.exec_sync(container, "sh", "-c", "echo $WHO; echo err >&2; hostname; exit 5") == (
        5,
        "tests\nlife\n",
        "err\n",
    )

    cri.call("StopContainer", container_id=container, timeout=10)
    status = cri.status(container)
    assert (status["state"], status["exit_code"], status["reason"]) == (EXITED, 7, "Error")
    assert cri.log("life", "main") == [("stdout", "ready"), ("stdout", "asked")]
    cri.call("StopContainer", container_id=container, timeout=10)  # again: nothing to do is no error
    cri.call("RemoveContainer", container_id=container)
    cri.call("RemoveContainer", container_id=container)
    cri.call("StopPodSandbox", pod_sandbox_id=pod)
    assert cri.call("PodSandboxStatus", pod_sandbox_id=pod)["status"]["state"] == NOT_READY
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)
    assert cri.call("ListPodSandbox")["items"] == [] and cri.call("ListContainers")["containers"] == []


def test_the_handler_runs_our_runtime(cri: Cri) -> None:
    """A handler that is not configured is refused, so the others here show that ours was used."""
    reason = cri.refused("RunPodSandbox", config=cri.pod_config("unknown"), runtime_handler="no-such-handler")
    assert "no-such-handler" in reason
    pod = cri.pod("handled")
    with open(cri.machine.path(f"/run/containerd/io.containerd.runtime.v2.task/k8s.io/{pod}/options.json")) as file:
        assert cri.engine.runtime in file.read()


def test_stop_kills_who_does_not_end(cri: Cri) -> None:
    pod = cri.pod("deaf")
    container = cri.run(pod, "deaf", "main", "payload", "ignore", "15", *FOREVER[1:])
    cri.call("StopContainer", container_id=container, timeout=1)
    assert cri.status(container)["exit_code"] == 137


def test_removing_a_pod_ends_what_runs_in_it(cri: Cri) -> None:
    pod = cri.pod("busy")
    for name in ("one", "two"):
        cri.run(pod, "busy", name, *FOREVER)
    cri.call("StopPodSandbox", pod_sandbox_id=pod)
    assert {one["state"] for one in cri.call("ListContainers")["containers"]} == {EXITED}
    cri.call("RemovePodSandbox", pod_sandbox_id=pod)


def test_exec_over_the_streaming_server(cri: Cri) -> None:
    """What `kubectl exec` does: streams of its own, the exit code in a last status, a terminal if asked."""
    pod = cri.pod("streams")
    container = cri.run(pod, "streams", "main", *FOREVER)
    streams = cri.exec(container, "sh", "-c", "read line; echo got $line; echo err >&2; exit 6", stdin=b"words\n")
    assert (streams.stdout, streams.stderr, streams.exit_code) == (b"got words\n", b"err\n", 6)
    assert cri.exec(container, "true").exit_code == 0
    streams = cri.exec(container, "sh", "-c", "test -t 0 && tty", stdin=b"\n", tty=True)
    assert b"/dev/pts/" in streams.stdout and streams.exit_code == 0
    streams = cri.exec(container, "no-such-program")
    assert "executable file not found in $PATH" in streams.status["message"]


def test_exec_sync_has_an_end(cri: Cri) -> None:
    pod = cri.pod("slow")
    container = cri.run(pod, "slow", "main", *FOREVER)
    assert "timeout" in cri.refused("ExecSync", container_id=container, cmd=["sleep", "1000"], timeout=1)
    poll_until(
        lambda: "sleep" not in cri.exec_sync(container, "ps", "-o", "args")[1].replace("payload sleep", ""),
        what="the command is gone",
    )


def test_namespaces_of_a_pod(cri: Cri) -> None:
    """Containers share network, ipc and host name; processes as asked: their own, Kubernetes' default, or the pod's."""
    pod = cri.pod("shared")
    own = {"security_context": {"namespace_options": {"pid": CONTAINER}}}
    read = ("sh", "-c", "cd /proc/1/ns; for name in net ipc uts pid mnt; do readlink $name; done")
    one, two = (cri.run(pod, "shared", name, *FOREVER, linux=own) for name in ("one", "two"))
    first, second = (cri.exec_sync(container, *read)[1].splitlines() for container in (one, two))
    assert first[:3] == second[:3] and first[3] != second[3] and first[4] != second[4]
    together = [cri.run(pod, "shared", name, *FOREVER) for name in ("three", "four")]
    namespaces = {cri.exec_sync(container, "readlink", "/proc/self/ns/pid")[1] for container in together}
    assert len(namespaces) == 1 and "payload" in cri.exec_sync(together[0], "cat", "/proc/1/cmdline")[1]


def test_pod_in_the_network_of_the_node(cri: Cri) -> None:
    options = {"security_context": {"namespace_options": {"network": NODE}}}
    pod = cri.pod("host", linux=options, hostname="")
    container = cri.run(pod, "host", "main", *FOREVER, linux=options)
    own = cri.machine.ok("readlink", "/proc/self/ns/net")
    assert cri.exec_sync(container, "readlink", "/proc/self/ns/net")[1].strip() == own


def test_pod_is_reached_by_its_address_and_a_port_of_the_node(cri: Cri) -> None:
    pod = cri.pod("web", port_mappings=[{"container_port": 80, "host_port": 8080}])
    cri.run(pod, "web", "main", "httpd", "-f", "-p", "80", "-h", "/www")
    address = cri.call("PodSandboxStatus", pod_sandbox_id=pod)["status"]["network"]["ip"]
    network = cri.machine.network
    assert "Hello" in network.inside.http_get_soon(f"http://{address}/")
    assert "Hello" in network.outside.http_get_soon(f"http://{INSIDE_IP}:8080/")


def test_resources_and_update(cri: Cri) -> None:
    cpu = {"cpu_period": 100_000, "cpu_quota": 50_000, "cpu_shares": 512}
    resources = {"memory_limit_in_bytes": 64 << 20, "oom_score_adj": 500, **cpu}
    pod = cri.pod("capped", linux={"cgroup_parent": "/kubepods/burstable/pod-capped"})
    container = cri.run(pod, "capped", "main", *FOREVER, linux={"resources": resources})
    pid = cri.pid(container)

    def value(controller: str, name: str) -> str:
        return cri.machine.cgroup_value(pid, controller, name)

    assert value("memory", "memory.limit_in_bytes") == str(64 << 20)
    assert (value("cpu", "cpu.cfs_quota_us"), value("cpu", "cpu.shares")) == ("50000", "512")
    with open(cri.machine.path(f"/proc/{pid}/oom_score_adj")) as file:
        assert file.read() == "500\n"
    with open(cri.machine.path(f"/proc/{pid}/cgroup")) as file:
        assert f"/kubepods/burstable/pod-capped/{container}" in file.read()
    changed = {"memory_limit_in_bytes": 128 << 20, "cpu_quota": 25_000}
    cri.call("UpdateContainerResources", container_id=container, linux=changed)
    assert value("memory", "memory.limit_in_bytes") == str(128 << 20)
    assert value("cpu", "cpu.cfs_quota_us") == "25000"


def test_stats(cri: Cri) -> None:
    pod = cri.pod("counted")
    container = cri.run(pod, "counted", "main", "payload", "allocate", "16", "spin", "1", "sleep", "0")

    def use() -> tuple[int, int]:
        """Return bytes and nanoseconds, 0 before there are any."""
        stats = cri.call("ContainerStats", container_id=container)["stats"]
        memory = stats["memory"].get("working_set_bytes", {}).get("value", 0)
        return memory, stats["cpu"].get("usage_core_nano_seconds", {}).get("value", 0)

    poll_until(lambda: use()[1] > 10_000_000, what="it has used the processor", interval_seconds=0.1)
    poll_until(lambda: use()[0] > 8 << 20, what="it has used the memory", interval_seconds=0.1)


def test_out_of_memory(cri: Cri) -> None:
    pod = cri.pod("large")
    limit = {"resources": {"memory_limit_in_bytes": 32 << 20}}
    container = cri.run(pod, "large", "main", "payload", "allocate", "200", linux=limit)
    status = cri.wait(container)
    assert status["exit_code"] == 137
    poll_until(lambda: cri.status(container)["reason"] == "OOMKilled", what="the reason is known")


def test_security_context(cri: Cri) -> None:
    context = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 1001},
        "supplemental_groups": [1005],
        "readonly_rootfs": True,
        "no_new_privs": True,
        "capabilities": {"drop_capabilities": ["ALL"]},
        "seccomp": {"profile_type": RUNTIME_DEFAULT},
        "masked_paths": ["/proc/kcore", "/sys/firmware"],
        "readonly_paths": ["/proc/sys"],
    }
    directory = f"{cri.machine.directory}/mounted"
    cri.machine.ok("sh", "-c", f"mkdir {directory}; echo bound >{directory}/file")
    mounts = [{"container_path": "/bound", "host_path": directory, "readonly": True}]
    pod = cri.pod("secure")
    more = {"linux": {"security_context": context}, "mounts": mounts, "working_dir": "/www"}
    container = cri.run(pod, "secure", "main", *FOREVER, **more)
    script = """id -u; id -g; id -G; pwd; cat /bound/file; head -c 1 /proc/kcore | wc -c
    touch /tmp/x 2>/dev/null || echo refused; touch /bound/x 2>/dev/null || echo refused
    grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/self/status"""
    _, out, _ = cri.exec_sync(container, "sh", "-c", script)
    cri.machine.ok("rm", "-r", directory)
    lines = out.splitlines()
    assert lines[:8] == ["1000", "1001", "1001 1005", "/www", "bound", "0", "refused", "refused"]
    assert [line.split()[1] for line in lines[8:]] == ["0000000000000000", "1", "2"]


def test_privileged(cri: Cri) -> None:
    pod = cri.pod("strong", linux={"security_context": {"privileged": True}})
    script = "mount -t tmpfs none /tmp && echo mounted; exec sleep 1000"
    privileged = {"security_context": {"privileged": True}}
    container = cri.run(pod, "strong", "main", "sh", "-c", script, linux=privileged)
    log_soon(cri, "strong", "main", "mounted")
    assert cri.exec_sync(container, "sh", "-c", "test -e /dev/fuse && echo there")[1] == "there\n"


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("no-such-program", "executable file not found in $PATH"),
        ("/no/such/file", "no such file or directory"),
        ("/etc/passwd", "permission denied"),
    ],
)
def test_start_tells_what_cannot_be_run(cri: Cri, command: str, text: str) -> None:
    """What `kubectl describe pod` shows as the reason."""
    pod = cri.pod("broken")
    container = cri.create(pod, "broken", "main", command)
    reason = cri.refused("StartContainer", container_id=container)
    assert text in reason and command in reason
    assert cri.status(container)["state"] == EXITED
