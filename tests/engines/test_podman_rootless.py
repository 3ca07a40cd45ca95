"""Podman of a user without rights over the runtime: it is root of the user's namespace, and of nothing else."""

import pytest

from tests.engines.podman import IMAGE
from tests.engines.rootless import RANGE, USER, RootlessPodman
from tests.support.poll import poll_until

_POD = f"""
apiVersion: v1
kind: Pod
metadata:
  name: played
spec:
  hostname: played
  restartPolicy: Never
  containers:
    - name: job
      image: {IMAGE}
      imagePullPolicy: Never
      command: ["hostname"]
"""

pytestmark = pytest.mark.requires("uidmap", "user_namespaces")


def test_run_gives_both_outputs_and_the_code(rootless_podman: RootlessPodman) -> None:
    result = rootless_podman.cli("run", "--rm", IMAGE, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (result.exit_code, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_life_of_a_container(rootless_podman: RootlessPodman) -> None:
    podman = rootless_podman
    script = "trap 'echo asked; exit 7' TERM; echo ready; while :; do sleep 60 & wait; done"
    podman.ok("run", "-d", "--name", "waits", IMAGE, "sh", "-c", script)
    poll_until(lambda: "ready" in podman.ok("logs", "waits"), what="it is ready", interval_seconds=0.1)
    assert podman.ids_of("waits") == (str(USER), str(USER))
    assert podman.ok("exec", "waits", "id", "-u") == "0"
    assert podman.cli("exec", "waits", "sh", "-c", "exit 9").exit_code == 9
    podman.ok("stop", "waits")
    assert podman.ok("inspect", "--format", "{{.State.Status}} {{.State.ExitCode}}", "waits") == "exited 7"
    assert podman.ok("logs", "waits") == "ready\nasked"


def test_users_of_the_image_are_of_the_range(rootless_podman: RootlessPodman) -> None:
    rootless_podman.ok("run", "-d", "--name", "other", "--user", "1000:1001", IMAGE, "payload", "sleep", "0")
    assert rootless_podman.ids_of("other") == (str(RANGE + 999), str(RANGE + 1000))


def test_keep_id(rootless_podman: RootlessPodman) -> None:
    """The user keeps its number inside, through one more user namespace."""
    rootless_podman.ok("run", "-d", "--name", "kept", "--userns=keep-id", IMAGE, "payload", "sleep", "0")
    assert rootless_podman.ids_of("kept") == (str(USER), str(USER))
    assert rootless_podman.ok("exec", "kept", "id", "-u") == str(USER)


@pytest.mark.parametrize("network", ["none", "host"])
def test_networks_without_a_helper(rootless_podman: RootlessPodman, network: str) -> None:
    out = rootless_podman.ok("run", "--rm", f"--network={network}", IMAGE, "sh", "-c", "ls /sys/class/net; echo ok")
    assert out.split()[-1] == "ok" and "lo" in out.split()


@pytest.mark.parametrize(
    ("words", "code"), [(("no-such-program",), 127), (("/etc",), 126)], ids=["not found", "not executable"]
)
def test_codes_of_programs_that_do_not_run(rootless_podman: RootlessPodman, words: tuple[str, ...], code: int) -> None:
    assert rootless_podman.cli("run", "--rm", IMAGE, *words).exit_code == code


def test_volumes_are_the_users(rootless_podman: RootlessPodman) -> None:
    volume = f"{rootless_podman.home}/volume"
    rootless_podman.machine.ok("mkdir", volume)
    rootless_podman.machine.ok("chown", f"{USER}:{USER}", volume)
    rootless_podman.ok("run", "--rm", "-v", f"{volume}:/data", IMAGE, "touch", "/data/made")
    assert rootless_podman.machine.ok("stat", "-c", "%u", f"{volume}/made") == str(USER)


def test_pod(rootless_podman: RootlessPodman) -> None:
    """What joins the network, ipc and host name of the pod cannot go back to the machine's, which are not the user's."""
    podman = rootless_podman
    podman.ok("pod", "create", "--name", "pod", "--hostname", "shared-name", "--network=none")
    podman.ok("run", "-d", "--pod", "pod", "--name", "web", IMAGE, "httpd", "-f", "-p", "80", "-h", "/www")
    script = "wget -qO- http://127.0.0.1/ | grep -c Hello; hostname"
    poll_until(
        lambda: podman.cli("run", "--rm", "--pod", "pod", IMAGE, "sh", "-c", script).stdout == "1\nshared-name\n",
        what="the page comes over the shared loopback",
    )
    assert podman.ok("exec", "web", "hostname") == "shared-name"
    podman.ok("pod", "rm", "--force", "--time", "0", "pod")


def test_pod_with_shared_processes(rootless_podman: RootlessPodman) -> None:
    podman = rootless_podman
    podman.ok("pod", "create", "--name", "pod", "--share", "pid,net", "--network=none")
    assert "payload" in podman.ok("run", "--rm", "--pod", "pod", IMAGE, "cat", "/proc/1/comm")
    podman.ok("pod", "rm", "--force", "--time", "0", "pod")


def test_kube_play(rootless_podman: RootlessPodman) -> None:
    podman = rootless_podman
    podman.machine.write(f"{podman.home}/pod.yaml", _POD)
    podman.ok("kube", "play", "--network=none", f"{podman.home}/pod.yaml")
    poll_until(lambda: "exited" in podman.ok("inspect", "--format", "{{.State.Status}}", "played-job"), what="it ends")
    assert podman.ok("logs", "played-job") == "played"
    podman.ok("kube", "down", f"{podman.home}/pod.yaml")
