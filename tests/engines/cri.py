"""The Container Runtime Interface, as a kubelet speaks it: gRPC over containerd's socket, the messages written by hand.

A message is a dict by the names of api.proto (k8s.io/cri-api, runtime.v1); of each, MESSAGES has the fields that are used
here.
"""

import json
from typing import Any

import grpc

from tests.engines.containerd import HANDLER, IMAGE, PAUSE, SOCKET, Containerd
from tests.engines.protobuf import Fields, decode, encode
from tests.engines.websocket import Streams, exchange
from tests.support.poll import SLOWNESS, poll_until

_ID: Fields = {"container_id": (1, "string")}
_POD_ID: Fields = {"pod_sandbox_id": (1, "string")}
MESSAGES: dict[str, Fields] = {
    "KeyValue": {"key": (1, "string"), "value": (2, "string")},
    "Int64Value": {"value": (1, "int")},
    "VersionRequest": {"version": (1, "string")},
    "VersionResponse": {"runtime_name": (2, "string"), "runtime_version": (3, "string")},
    "StatusRequest": {"verbose": (1, "bool")},
    "StatusResponse": {"status": (1, "RuntimeStatus")},
    "RuntimeStatus": {"conditions": (1, "[RuntimeCondition]")},
    "RuntimeCondition": {"type": (1, "string"), "status": (2, "bool"), "message": (4, "string")},
    # pods
    "RunPodSandboxRequest": {"config": (1, "PodSandboxConfig"), "runtime_handler": (2, "string")},
    "RunPodSandboxResponse": _POD_ID,
    "PodSandboxConfig": {
        "metadata": (1, "PodSandboxMetadata"),
        "hostname": (2, "string"),
        "log_directory": (3, "string"),
        "port_mappings": (5, "[PortMapping]"),
        "labels": (6, "map"),
        "annotations": (7, "map"),
        "linux": (8, "LinuxPodSandboxConfig"),
    },
    "PodSandboxMetadata": {
        "name": (1, "string"),
        "uid": (2, "string"),
        "namespace": (3, "string"),
        "attempt": (4, "int"),
    },
    "PortMapping": {
        "protocol": (1, "int"),
        "container_port": (2, "int"),
        "host_port": (3, "int"),
        "host_ip": (4, "string"),
    },
    "LinuxPodSandboxConfig": {
        "cgroup_parent": (1, "string"),
        "security_context": (2, "LinuxSandboxSecurityContext"),
        "sysctls": (3, "map"),
    },
    "LinuxSandboxSecurityContext": {
        "namespace_options": (1, "NamespaceOption"),
        "privileged": (6, "bool"),
        "seccomp": (9, "SecurityProfile"),
    },
    "NamespaceOption": {"network": (1, "int"), "pid": (2, "int"), "ipc": (3, "int"), "target_id": (4, "string")},
    "SecurityProfile": {"profile_type": (1, "int"), "localhost_ref": (2, "string")},
    "StopPodSandboxRequest": _POD_ID,
    "StopPodSandboxResponse": {},
    "RemovePodSandboxRequest": _POD_ID,
    "RemovePodSandboxResponse": {},
    "PodSandboxStatusRequest": {**_POD_ID, "verbose": (2, "bool")},
    "PodSandboxStatusResponse": {"status": (1, "PodSandboxStatus"), "info": (2, "map")},
    "PodSandboxStatus": {
        "id": (1, "string"),
        "state": (3, "int"),
        "network": (5, "PodSandboxNetworkStatus"),
        "labels": (7, "map"),
        "annotations": (8, "map"),
        "runtime_handler": (9, "string"),
    },
    "PodSandboxNetworkStatus": {"ip": (1, "string")},
    "ListPodSandboxRequest": {},
    "ListPodSandboxResponse": {"items": (1, "[PodSandbox]")},
    "PodSandbox": {"id": (1, "string"), "state": (3, "int"), "runtime_handler": (7, "string")},
    # containers
    "CreateContainerRequest": {
        **_POD_ID,
        "config": (2, "ContainerConfig"),
        "sandbox_config": (3, "PodSandboxConfig"),
    },
    "CreateContainerResponse": _ID,
    "ContainerConfig": {
        "metadata": (1, "ContainerMetadata"),
        "image": (2, "ImageSpec"),
        "command": (3, "[string]"),
        "args": (4, "[string]"),
        "working_dir": (5, "string"),
        "envs": (6, "[KeyValue]"),
        "mounts": (7, "[Mount]"),
        "labels": (9, "map"),
        "annotations": (10, "map"),
        "log_path": (11, "string"),
        "stdin": (12, "bool"),
        "tty": (14, "bool"),
        "linux": (15, "LinuxContainerConfig"),
    },
    "ContainerMetadata": {"name": (1, "string"), "attempt": (2, "int")},
    "ImageSpec": {"image": (1, "string")},
    "Mount": {"container_path": (1, "string"), "host_path": (2, "string"), "readonly": (3, "bool")},
    "LinuxContainerConfig": {
        "resources": (1, "LinuxContainerResources"),
        "security_context": (2, "LinuxContainerSecurityContext"),
    },
    "LinuxContainerResources": {
        "cpu_period": (1, "int"),
        "cpu_quota": (2, "int"),
        "cpu_shares": (3, "int"),
        "memory_limit_in_bytes": (4, "int"),
        "oom_score_adj": (5, "int"),
    },
    "LinuxContainerSecurityContext": {
        "capabilities": (1, "Capability"),
        "privileged": (2, "bool"),
        "namespace_options": (3, "NamespaceOption"),
        "run_as_user": (5, "Int64Value"),
        "run_as_group": (12, "Int64Value"),
        "readonly_rootfs": (7, "bool"),
        "supplemental_groups": (8, "[int]"),
        "no_new_privs": (11, "bool"),
        "masked_paths": (13, "[string]"),
        "readonly_paths": (14, "[string]"),
        "seccomp": (15, "SecurityProfile"),
    },
    "Capability": {"add_capabilities": (1, "[string]"), "drop_capabilities": (2, "[string]")},
    "StartContainerRequest": _ID,
    "StartContainerResponse": {},
    "StopContainerRequest": {**_ID, "timeout": (2, "int")},
    "StopContainerResponse": {},
    "RemoveContainerRequest": _ID,
    "RemoveContainerResponse": {},
    "ListContainersRequest": {},
    "ListContainersResponse": {"containers": (1, "[Container]")},
    "Container": {"id": (1, "string"), "pod_sandbox_id": (2, "string"), "state": (6, "int")},
    "ContainerStatusRequest": {**_ID, "verbose": (2, "bool")},
    "ContainerStatusResponse": {"status": (1, "ContainerStatus"), "info": (2, "map")},
    "ContainerStatus": {
        "id": (1, "string"),
        "state": (3, "int"),
        "started_at": (5, "int"),
        "finished_at": (6, "int"),
        "exit_code": (7, "int"),
        "reason": (10, "string"),
        "message": (11, "string"),
        "log_path": (15, "string"),
    },
    "UpdateContainerResourcesRequest": {**_ID, "linux": (2, "LinuxContainerResources")},
    "UpdateContainerResourcesResponse": {},
    "ExecSyncRequest": {**_ID, "cmd": (2, "[string]"), "timeout": (3, "int")},
    "ExecSyncResponse": {"stdout": (1, "bytes"), "stderr": (2, "bytes"), "exit_code": (3, "int")},
    "ExecRequest": {
        **_ID,
        "cmd": (2, "[string]"),
        "tty": (3, "bool"),
        "stdin": (4, "bool"),
        "stdout": (5, "bool"),
        "stderr": (6, "bool"),
    },
    "ExecResponse": {"url": (1, "string")},
    "ContainerStatsRequest": _ID,
    "ContainerStatsResponse": {"stats": (1, "ContainerStats")},
    "ContainerStats": {"cpu": (2, "CpuUsage"), "memory": (3, "MemoryUsage")},
    "CpuUsage": {"timestamp": (1, "int"), "usage_core_nano_seconds": (2, "Int64Value")},
    "MemoryUsage": {"timestamp": (1, "int"), "working_set_bytes": (2, "Int64Value")},
    # images
    "ImageStatusRequest": {"image": (1, "ImageSpec")},
    "ImageStatusResponse": {"image": (1, "Image")},
    "Image": {"id": (1, "string"), "repo_tags": (2, "[string]")},
}

READY, NOT_READY = 0, 1  # PodSandboxState
CREATED, RUNNING, EXITED = 0, 1, 2  # ContainerState
POD, CONTAINER, NODE = 0, 1, 2  # NamespaceMode
RUNTIME_DEFAULT, UNCONFINED = 0, 1  # SecurityProfile.ProfileType


class Cri:
    """The socket of one containerd, and pods with their defaults."""

    def __init__(self, engine: Containerd) -> None:
        self.engine = engine
        self.machine = engine.machine
        self.logs = f"{self.machine.directory}/pod-logs"
        self._configs: dict[str, dict[str, Any]] = {}
        self._channel = grpc.insecure_channel(f"unix:{self.machine.path(SOCKET)}")

    def start(self) -> None:
        """Wait until containerd is ready for pods: its network configured, both images known. Make a first pod."""
        poll_until(self._is_ready, timeout_seconds=30, interval_seconds=0.1, what="the CRI is ready")
        pod = self.pod("warm", port_mappings=[{"container_port": 9, "host_port": 9999}])
        self.wait(self.run(pod, "warm", "main", "true"))
        self.clear()
        self.machine.wait_without("containerd-shim")

    def _is_ready(self) -> bool:
        conditions = self.call("Status")["status"].get("conditions", [])
        known = [self.call("ImageStatus", image={"image": name})["image"] for name in (IMAGE, PAUSE)]
        return bool(conditions) and all(one["status"] for one in conditions) and all(known)

    def call(self, method: str, *, seconds: float = 30, **request: Any) -> dict[str, Any]:
        """Make one request; grpc.RpcError if it is refused."""
        service = "ImageService" if method.startswith("Image") else "RuntimeService"
        answer = self._channel.unary_unary(f"/runtime.v1.{service}/{method}")(
            encode(MESSAGES, f"{method}Request", request), timeout=seconds * SLOWNESS
        )
        return decode(MESSAGES, f"{method}Response", answer)

    def refused(self, method: str, **request: Any) -> str:
        """Make a request that must be refused, and return why it was."""
        try:
            answer = self.call(method, **request)
        except grpc.RpcError as error:
            return str(error.details())
        raise AssertionError(f"{method} was not refused: {answer}")

    # -- pods and containers

    def pod_config(self, name: str, **more: Any) -> dict[str, Any]:
        metadata = {"name": name, "uid": f"uid-{name}", "namespace": "tests"}
        return {"metadata": metadata, "hostname": name, "log_directory": f"{self.logs}/{name}", "linux": {}, **more}

    def pod(self, name: str, *, handler: str = HANDLER, **more: Any) -> str:
        """Run a pod with our runtime and return its id."""
        self._configs[name] = self.pod_config(name, **more)
        answer = self.call("RunPodSandbox", config=self._configs[name], runtime_handler=handler)
        return str(answer["pod_sandbox_id"])

    def create(self, pod: str, pod_name: str, name: str, *command: str, **more: Any) -> str:
        """Create a container and return its id."""
        config = {
            "metadata": {"name": name},
            "image": {"image": IMAGE},
            "command": command,
            "log_path": f"{name}.log",
            "linux": {},
            **more,
        }
        answer = self.call("CreateContainer", pod_sandbox_id=pod, config=config, sandbox_config=self._configs[pod_name])
        return str(answer["container_id"])

    def run(self, pod: str, pod_name: str, name: str, *command: str, **more: Any) -> str:
        """Create and start a container; return its id."""
        container = self.create(pod, pod_name, name, *command, **more)
        self.call("StartContainer", container_id=container)
        return container

    def status(self, container: str) -> dict[str, Any]:
        return dict(self.call("ContainerStatus", container_id=container)["status"])

    def wait(self, container: str) -> dict[str, Any]:
        """Wait for a container's end and return its status."""
        poll_until(lambda: self.status(container)["state"] == EXITED, what=f"{container} ends", interval_seconds=0.05)
        return self.status(container)

    def pid(self, container: str) -> int:
        """Return the pid of a container's first process in the machine."""
        answer = self.call("ContainerStatus", container_id=container, verbose=True)
        return int(json.loads(answer["info"]["info"])["pid"])

    def log(self, pod_name: str, name: str) -> list[tuple[str, str]]:
        """Return (stream, text) of each line of a container's log, whose form a kubelet relies on."""
        lines = []
        with open(f"{self.logs}/{pod_name}/{name}.log") as file:
            for line in file:
                _, stream, tag, text = line.rstrip("\n").split(" ", 3)
                assert tag in ("F", "P"), line
                lines.append((stream, text))
        return lines

    def exec_sync(self, container: str, *command: str, timeout: int = 0) -> tuple[int, str, str]:
        """Run a command; return its exit code and both outputs."""
        answer = self.call("ExecSync", container_id=container, cmd=command, timeout=timeout)
        return answer["exit_code"], answer["stdout"].decode(), answer["stderr"].decode()

    def exec(self, container: str, *command: str, stdin: bytes = b"", tty: bool = False) -> Streams:
        """Run a command over the streaming server, as `kubectl exec` does."""
        options = {"tty": tty, "stdin": bool(stdin), "stdout": True, "stderr": not tty}
        url = self.call("Exec", container_id=container, cmd=command, **options)["url"]
        return exchange(self.machine.network.inside.connect, url, stdin)

    def clear(self) -> None:
        """Stop and remove every pod, and the cgroups above them, which are a kubelet's own."""
        for pod in self.call("ListPodSandbox")["items"]:
            self.call("StopPodSandbox", pod_sandbox_id=pod["id"])
            self.call("RemovePodSandbox", pod_sandbox_id=pod["id"])
        self.machine.remove_cgroups("kubepods")

    def close(self) -> None:
        self._channel.close()
