"""A runtime under test, and a container of it: command lines, a bundle, and what comes back.

    DIRECTORY/state        --root of the runtime
    DIRECTORY/ID           bundle of a container: config.json, rootfs, and out and err of its process

Container ids begin with a tag that no other test uses, and so do their cgroups: the check for leaks goes by it.
"""

import copy
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.conformance.nursery import Command, Nursery
from tests.support.poll import poll_until

Json = dict[str, Any]

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CAPABILITIES = ["CAP_CHOWN", "CAP_KILL", "CAP_SETGID", "CAP_SETUID", "CAP_NET_BIND_SERVICE"]
SLEEP = ("payload", "sleep", "0")

_CONFIG: Json = {
    "ociVersion": "1.0.2",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": ["true"],
        "env": [f"PATH={PATH}"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        "noNewPrivileges": True,
    },
    "root": {"path": "rootfs"},
    "hostname": "conformance",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {
            "destination": "/sys",
            "type": "sysfs",
            "source": "sysfs",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        },
    ],
    "linux": {
        "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
        "resources": {"devices": [{"allow": False, "access": "rwm"}]},
    },
}


class Done(NamedTuple):
    """What a command left; `code` is -n after signal n."""

    code: int
    out: str
    err: str


class Runtime:
    """A runtime by the path of its program.

    `wrapper` is a command that starts it elsewhere or as somebody else, its program by path; `options` are global ones of
    every call. Both are forgotten with the containers.
    """

    def __init__(self, name: str, program: str, directory: str, tag: str, nursery: Nursery, rootfs: str) -> None:
        self.name, self.program, self.directory, self.tag, self.rootfs = name, program, directory, tag, rootfs
        self.root = f"{directory}/state"
        os.mkdir(self.root, 0o700)
        self.containers: list[Container] = []
        self._nursery = nursery
        self._count = 0
        self.wrapper: tuple[str, ...] = ()
        self.options: tuple[str, ...] = ()

    def start(
        self,
        *words: str,
        before: Sequence[str] = (),
        fds: Sequence[int],
        env: dict[str, str] | None = None,
        cwd: str = "/",
    ) -> Command:
        """Start a command with these descriptors; `before` are global options.

        Never hand it the host's /dev/null: some runtimes give what is on a container's stdin to the container's user.
        """
        argv = [*self.wrapper, self.program, "--root", self.root, *self.options, *before, *words]
        return self._nursery.start(argv, fds=fds, env=env or {"PATH": PATH}, cwd=cwd)

    def call(
        self,
        *words: str,
        before: Sequence[str] = (),
        stdin: str = "",
        keep_fds: Sequence[int] = (),
        env: dict[str, str] | None = None,
        cwd: str = "/",
        timeout_seconds: float = 30,
    ) -> Done:
        """Run a command to its end. What it leaves running keeps files, not pipes, so that nobody waits for it."""
        with tempfile.TemporaryFile() as feed, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            feed.write(stdin.encode())
            feed.seek(0)
            fds = [feed.fileno(), out.fileno(), err.fileno(), *keep_fds]
            code = self.start(*words, before=before, fds=fds, env=env, cwd=cwd).wait(timeout_seconds=timeout_seconds)
            texts = []
            for file in (out, err):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
        return Done(code, texts[0], texts[1])

    def ok(self, *words: str, **options: Any) -> str:
        """Run a command that must succeed, and return its output."""
        done = self.call(*words, **options)
        assert done.code == 0, f"{self.name} {' '.join(words)} ended with {done.code}: {done.err or done.out}"
        return done.out

    def fails(self, *words: str, code: int = 1, **options: Any) -> str:
        """Run a command that must fail with `code`, and return what it said: something, and no traceback."""
        done = self.call(*words, **options)
        assert done.code == code, f"{self.name} {' '.join(words)} ended with {done.code}: {done.err or done.out}"
        assert done.err.strip(), "it failed without a word"
        assert "Traceback" not in done.err and "goroutine" not in done.err, done.err
        return done.err

    def container(self) -> "Container":
        """Return a container that has a bundle and does not exist yet."""
        self._count += 1
        container = Container(self, f"{self.tag}-{self._count}")
        self.containers.append(container)
        return container

    def clear(self) -> None:
        """Remove all containers and bundles."""
        for container in self.containers:
            self.call("delete", "--force", container.id)
            shutil.rmtree(container.bundle, ignore_errors=True)
        self.containers.clear()
        self.wrapper = self.options = ()

    def children(self) -> set[int]:
        """Return the processes that were started here or orphaned by those, and have not been reaped."""
        return set(self._nursery.children())


class Container:
    """A bundle with a root file system of its own; change `config` before it is created."""

    def __init__(self, runtime: Runtime, container_id: str) -> None:
        self.runtime, self.id = runtime, container_id
        self.bundle = f"{runtime.directory}/{container_id}"
        self.rootfs = f"{self.bundle}/rootfs"
        self.config = copy.deepcopy(_CONFIG)
        self.process: Json = self.config["process"]
        self.linux: Json = self.config["linux"]
        os.mkdir(self.bundle)
        subprocess.run(["cp", "-a", "--reflink=auto", runtime.rootfs, self.rootfs], check=True)

    def write(self) -> None:
        with open(f"{self.bundle}/config.json", "w") as file:
            json.dump(self.config, file)

    def set_args(self, args: Sequence[str]) -> None:
        if args:
            self.process["args"] = list(args)

    def shell(self, script: str) -> tuple[str, ...]:
        return ("sh", "-c", script)

    def mount(self, destination: str, kind: str, source: str, *options: str) -> None:
        mount: Json = {"destination": destination, "type": kind, "source": source, "options": list(options)}
        self.config["mounts"].append(mount)

    def without_namespace(self, kind: str) -> None:
        self.linux["namespaces"] = [entry for entry in self.linux["namespaces"] if entry["type"] != kind]

    def join_namespace(self, kind: str, path: str) -> None:
        self.without_namespace(kind)
        self.linux["namespaces"].append({"type": kind, "path": path})

    def with_user_namespace(self, first_id: int = 200000) -> None:
        """Map 65536 ids to those from `first_id` on, who own the root file system."""
        self.linux["namespaces"].append({"type": "user"})
        for kind in ("uidMappings", "gidMappings"):
            self.linux[kind] = [{"containerID": 0, "hostID": first_id, "size": 65536}]
        self.give_rootfs(first_id)

    def give_rootfs(self, owner: int) -> None:
        for path, directories, files in os.walk(self.rootfs):
            for name in (*directories, *files):
                os.lchown(f"{path}/{name}", owner, owner)
        os.chown(self.rootfs, owner, owner)

    # Verbs

    def run(self, *args: str, options: Sequence[str] = (), keep_fds: Sequence[int] = ()) -> Done:
        """Create, start, wait and delete; return what the process said and left."""
        self.set_args(args)
        self.write()
        return self.runtime.call("run", "--bundle", self.bundle, *options, self.id, keep_fds=keep_fds)

    def output_of(self, *args: str, **options: Any) -> str:
        done = self.run(*args, **options)
        assert done.code == 0, f"the container ended with {done.code}: {done.err}{done.out}"
        return done.out

    def try_create(self, *args: str, options: Sequence[str] = ()) -> Done:
        """Create it; its process writes to the bundle's `out` and `err`."""
        self.set_args(args)
        self.write()
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        fds = [os.open(f"{self.bundle}/{name}", flags, 0o600) for name in ("in", "out", "err")]
        try:
            code = self.runtime.start("create", "--bundle", self.bundle, *options, self.id, fds=fds).wait()
        finally:
            for fd in fds:
                os.close(fd)
        return Done(code, self.output(), self.output("err"))

    def create(self, *args: str, options: Sequence[str] = ()) -> None:
        done = self.try_create(*args, options=options)
        assert done.code == 0, f"create ended with {done.code}: {done.err}"

    def start(self) -> None:
        self.runtime.ok("start", self.id)

    def create_and_start(self, *args: str, options: Sequence[str] = ()) -> None:
        self.create(*args, options=options)
        self.start()

    def output(self, stream: str = "out") -> str:
        with open(f"{self.bundle}/{stream}", errors="replace") as file:
            return file.read()

    def wait_for_output(self, text: str) -> None:
        poll_until(lambda: text in self.output(), what=f"{text!r} in the output")

    def state(self) -> Json:
        state: Json = json.loads(self.runtime.ok("state", self.id))
        return state

    def status(self) -> str:
        return str(self.state()["status"])

    def pid(self) -> int:
        return int(self.state()["pid"])

    def wait_stopped(self) -> None:
        poll_until(lambda: self.status() == "stopped", what="the container has stopped")

    def kill(self, *words: str) -> None:
        self.runtime.ok("kill", self.id, *words)

    def stop(self) -> None:
        self.kill("KILL")
        self.wait_stopped()

    def delete(self, *options: str) -> None:
        self.runtime.ok("delete", *options, self.id)

    def exec(self, *words: str, options: Sequence[str] = (), **more: Any) -> Done:
        return self.runtime.call("exec", *options, self.id, *words, **more)

    def exists(self) -> bool:
        return self.runtime.call("state", self.id).code == 0

    def cgroup_file(self, controller: str, v1_name: str, v2_name: str, *, pid: int | None = None) -> str:
        """Return the content of a cgroup file of the container's init, on v1 where the controller is mounted there.

        `pid` is that of the init, for who asks often: else the runtime is asked for it.
        """
        with open(f"/proc/{pid or self.pid()}/cgroup") as file:
            paths = {names: path for _, names, path in (line.rstrip("\n").split(":", 2) for line in file)}
        for names, path in paths.items():
            if controller in names.split(","):
                mount_point = f"/sys/fs/cgroup/{controller}"
                with open(f"{mount_point}{path}/{v1_name}") as file:
                    return file.read().strip()
        with open(f"/sys/fs/cgroup{paths['']}/{v2_name}") as file:
            return file.read().strip()
