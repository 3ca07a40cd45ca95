"""Podman's pods, its network, and Kubernetes' YAML."""

from tests.engines.podman import IMAGE, Podman
from tests.engines.recipes import DIRECTORY
from tests.support.hostns import INSIDE_IP
from tests.support.poll import poll_until

SERVE = ("httpd", "-f", "-p", "80", "-h", "/www")

_POD = f"""
apiVersion: v1
kind: Pod
metadata:
  name: played
spec:
  hostname: played
  restartPolicy: Never
  containers:
    - name: web
      image: {IMAGE}
      imagePullPolicy: Never
      command: ["httpd", "-f", "-p", "80", "-h", "/www"]
      ports:
        - containerPort: 80
          hostPort: 8082
      resources:
        limits:
          memory: 64Mi
    - name: job
      image: {IMAGE}
      imagePullPolicy: Never
      command: ["sh", "-c", "hostname; echo $WHO; cat /shared/none || echo empty"]
      env:
        - name: WHO
          value: tests
      volumeMounts:
        - name: shared
          mountPath: /shared
  volumes:
    - name: shared
      emptyDir: {{}}
"""


def test_published_port_is_reached_from_outside(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "web", "-p", "8080:80", IMAGE, *SERVE)
    assert "Hello from pycontainer" in podman.machine.network.outside.http_get_soon(f"http://{INSIDE_IP}:8080/")
    assert podman.ok("port", "web") == "80/tcp -> 0.0.0.0:8080"


def test_containers_reach_each_other(podman: Podman) -> None:
    podman.ok("run", "-d", "--name", "web", IMAGE, *SERVE)
    address = podman.inspect("web")["NetworkSettings"]["IPAddress"]
    text = podman.ok("run", "--rm", IMAGE, "sh", "-c", f"wget -qO- http://{address}/; ip route | head -n 1")
    assert "Hello from pycontainer" in text and text.splitlines()[-1].startswith("default via"), text


def test_no_network(podman: Podman) -> None:
    assert podman.ok("run", "--rm", "--network", "none", IMAGE, "ls", "/sys/class/net") == "lo"


def test_pod(podman: Podman) -> None:
    """Containers of a pod share network, ipc and host name; the pod is stopped and removed as one."""
    podman.ok("pod", "create", "--name", "pod", "--hostname", "shared-name", "-p", "8081:80")
    podman.ok("run", "-d", "--pod", "pod", "--name", "web", IMAGE, *SERVE)
    script = "wget -qO- http://127.0.0.1/ | grep -c Hello; hostname"
    poll_until(
        lambda: podman.cli("run", "--rm", "--pod", "pod", IMAGE, "sh", "-c", script).stdout == "1\nshared-name\n",
        what="the page comes over the shared loopback",
    )
    assert "Hello" in podman.machine.network.outside.http_get_soon(f"http://{INSIDE_IP}:8081/")
    podman.ok("pod", "pause", "pod")
    assert podman.inspect("web")["State"]["Status"] == "paused"
    podman.ok("pod", "unpause", "pod")
    podman.ok("pod", "stop", "--time", "0", "pod")
    assert podman.inspect("web")["State"]["Status"] == "exited"
    podman.ok("pod", "rm", "pod")
    assert podman.ok("ps", "--all", "--quiet") == ""


def test_kube_play_and_down(podman: Podman) -> None:
    podman.ok("kube", "play", "-", stdin=_POD)
    assert "Hello" in podman.machine.network.outside.http_get_soon(f"http://{INSIDE_IP}:8082/")
    poll_until(lambda: podman.inspect("played-job")["State"]["Status"] == "exited", what="the job is done")
    assert podman.ok("logs", "played-job").splitlines()[:2] == ["played", "tests"]
    web = podman.inspect("played-web")
    assert (web["OCIRuntime"], web["HostConfig"]["Memory"]) == ("pycontainer", 64 << 20)
    podman.ok("kube", "down", "-", stdin=_POD)
    assert podman.ok("pod", "ps", "--quiet") == ""


def test_kube_play_of_the_recipe(podman: Podman) -> None:
    """examples/oci/runtimeclass.yaml: Podman plays its pod and leaves out the RuntimeClass."""
    with open(f"{DIRECTORY}/runtimeclass.yaml") as file:
        pod = file.read().split("---\n")[1]
    podman.ok("kube", "play", "-", stdin=pod)
    get = ("exec", "web-web", "wget", "-qO-", "http://127.0.0.1/")
    poll_until(lambda: "Hello" in podman.cli(*get).stdout, what="the page is served")
    pid = podman.pid("web-web")
    assert podman.machine.cgroup_value(pid, "memory", "memory.limit_in_bytes") == str(64 << 20)
