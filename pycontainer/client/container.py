"""One container, from outside: what the commands do, as methods."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pycontainer.client.connection import Pool, close_all
from pycontainer.client.result import Completed
from pycontainer.client.waiting import Waiter
from pycontainer.errors import InvalidInput, InvalidState, NotFound, PycontainerError

if TYPE_CHECKING:  # what only type checkers need, or only some calls: each of these costs 1 to 3 ms
    from typing import Unpack

    from pycontainer.client.images import Image
    from pycontainer.client.logs import LogLine
    from pycontainer.client.snapshots import Snapshots
    from pycontainer.client.types import Address, Change, Changes, ContainerInfo, Port, Process, Stats, Status, Why


class Container:
    """A handle on the container `id`; holds no state of its own beyond that, so it never is out of date.

    Made by `Client.run`, `create`, `container` and `containers`. Every method raises NotFound once it is removed. `warnings`
    is what there was to say when it was created through this handle.
    """

    def __init__(self, pool: Pool, container_id: str, created: "ContainerInfo | None" = None) -> None:
        """`created` is what `create` answered, if this handle asked for it."""
        self._pool = pool
        self.id = container_id
        self._created = created
        self.warnings = tuple(created["warnings"]) if created else ()

    def __repr__(self) -> str:
        return f"Container({self.id!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Container) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    # ── what it is ──

    @property
    def info(self) -> "ContainerInfo":
        """What `ps` shows of it, asked for now."""
        found: list[ContainerInfo] = self._pool.request("list", {"all": True, "filters": {"id": [self.id]}})
        for info in found:
            if info["id"] == self.id:
                return info
        raise NotFound(f"no container '{self.id}'", hint="'pycontainer ps --all' lists them")

    @property
    def name(self) -> str:
        """Its name, asked for now."""
        return self.info["name"]

    @property
    def status(self) -> "Status":
        """Its status, asked for now: created, running, paused, stopped or restarting; one whose record is damaged raises."""
        return self.info["status"]

    @property
    def exit_code(self) -> int | None:
        """The exit code of its last run; None while there is none, or if it could not be learnt."""
        return self.info["exit_code"]

    @property
    def ports(self) -> "list[Port]":
        """Its published ports."""
        return self.info["ports"]

    @property
    def addresses(self) -> "dict[str, Address]":
        """Its addresses by network."""
        return self.info["networks"]

    def inspect(self) -> dict[str, Any]:
        """Return the full record: the spec with all defaults, the state, cgroups, mounts, networks."""
        return self._request("inspect")  # type: ignore[no-any-return]

    def stats(self) -> "Stats":
        """Return one sample of what it uses."""
        samples: list[Stats] = self._pool.request("stats", {"containers": [self.id]})
        if not samples:
            raise InvalidState(f"container '{self.name}' is not running", hint="only running containers use anything")
        return samples[0]

    def why(self, seconds: float = 1.0) -> "Why":
        """Say why it stopped, or is slow; the kernel is looked at twice, so many seconds apart."""
        return self._request("why", seconds=seconds)  # type: ignore[no-any-return]

    def top(self) -> "list[Process]":
        """Return its processes."""
        return self._request("top")  # type: ignore[no-any-return]

    # ── its life ──

    def start(self, *, remove_on_failure: bool = False) -> "ContainerInfo":
        """Start it, detached, and return what `ps` shows of it once its command runs.

        Raises StartFailed, InvalidState if it runs already. With `remove_on_failure` one that cannot be started is deleted,
        not one that runs already.
        """
        try:
            return self._request("start", attach=False)  # type: ignore[no-any-return]
        except BaseException as error:
            if remove_on_failure and not (isinstance(error, InvalidState) and self._runs()):
                self._remove_after(error)
            raise

    def stop(self, timeout_seconds: float | None = None) -> None:
        """Send its stop signal, kill it after the timeout (its own, 10 by default); one that is stopped stays so."""
        self._request("stop", **_given(timeout_seconds=timeout_seconds))

    def restart(self, timeout_seconds: float | None = None) -> None:
        """Stop it if it runs, then start it."""
        self._request("restart", **_given(timeout_seconds=timeout_seconds))

    def kill(self, signal: int | str = "KILL") -> None:
        """Send a signal, by number or name ("HUP", "SIGHUP"), to its first process."""
        self._request("kill", signal=str(signal))

    def pause(self) -> None:
        """Freeze all its processes."""
        self._request("pause")

    def unpause(self) -> None:
        """Let its processes go on."""
        self._request("unpause")

    def set(self, *, transient: bool = False, force: bool = False, **changes: "Unpack[Changes]") -> "ContainerInfo":
        """Change what it may use, at once if it runs; `transient` changes end with the present run.

            web.set(memory="300M", cpus=1)

        Raises InvalidState for a cap below what is in use now, unless `force`, and for more than the host may promise.
        """
        return self._request("set", spec=changes, transient=transient, force=force)  # type: ignore[no-any-return]

    def rename(self, name: str) -> None:
        """Give it another name."""
        self._request("rename", name=name)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Delete it and what it wrote; `force` kills it first, `volumes` takes those along that its image asked for."""
        self._request("rm", force=force, **({"volumes": True} if volumes else {}))

    def wait(self) -> int | None:
        """Wait until it ends and return its exit code; None if that could not be learnt.

        A supervisor that goes away meanwhile is started again and asked again.
        """
        self._request("inspect")  # one that does not exist is an error, one that goes away meanwhile is not
        with Waiter(self._pool, self.id) as waiter:
            return waiter.exit_code()

    def stay(self, on_start: Callable[[], None] = lambda: None) -> int:
        """Start it unless it runs, call `on_start`, and return its exit code when it has ended for good.

        Restarts by its policy, and the death of a supervisor, are waited over.
        """
        from pycontainer.client.foreground import stay  # 1 ms that others need not wait for

        name = self.name
        return known(stay(self, self._pool, on_start), name)

    # ── inside ──

    def exec(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | Sequence[str] = (),
        user: str = "",
        workdir: str = "",
        stdin: bytes | None = None,
        tty: bool = False,
        privileged: bool = False,
    ) -> Completed:
        """Run one more command inside and return its exit code and output; its standard input is `stdin`, or empty.

        A command given as one string is one word, as in subprocess. Raises StartFailed if it cannot be run.
        """
        from pycontainer.client.exec import run_exec  # 2 ms that `ps` or `stop` never need
        from pycontainer.client.feed import Feed

        out: list[bytes] = []
        err: list[bytes] = []
        args = self._exec_args(command, env, user, workdir, tty=tty, privileged=privileged)
        feed = None if stdin is None else Feed(data=stdin)
        exit_code = run_exec(self._pool, args, feed, out.append, err.append)
        return Completed(exit_code, b"".join(out), b"".join(err))

    def exec_detached(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | Sequence[str] = (),
        user: str = "",
        workdir: str = "",
        privileged: bool = False,
    ) -> int:
        """Run one more command inside and leave it alone; return its pid on the host once it has been executed.

        It reads nothing, and what it writes goes nowhere. Raises StartFailed if it cannot be run.
        """
        args = self._exec_args(command, env, user, workdir, tty=False, privileged=privileged)
        null_fd = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            return int(self._pool.request("exec", {**args, "detach": True}, [null_fd] * 3)["pid"])
        finally:
            os.close(null_fd)

    def exec_attached(
        self,
        command: str | Sequence[str],
        *,
        env: Mapping[str, str] | Sequence[str] = (),
        user: str = "",
        workdir: str = "",
        tty: bool = False,
        interactive: bool = False,
        privileged: bool = False,
        detach_keys: str = "ctrl-p,ctrl-q",
    ) -> int | None:
        """Run one more command inside with this process's own input and output; return its exit code.

        With `tty` it gets a terminal of its own, of which ours is the screen and, if `interactive`, the keyboard.
        Returns None if the operator pressed the detach keys.
        """
        from pycontainer.client import exec as execution  # 3 ms that `ps` or `stop` never need
        from pycontainer.client.session import Session, leave

        session = Session(tty=tty, interactive=interactive, detach_keys=detach_keys, proxy_signals=False)
        with session:
            session.take_keyboard()
            args = self._exec_args(command, env, user, workdir, tty=tty, privileged=privileged, size=session.size)
            try:
                return execution.run_exec(
                    self._pool, args, session.feed, session.stdout, session.stderr,
                    inbox=session.inbox, on_signal=leave, terminal_fd=session.terminal_fd,
                )  # fmt: skip
            except execution.Detached:
                return None

    def attach(
        self, *, interactive: bool = True, detach_keys: str = "ctrl-p,ctrl-q", proxy_signals: bool = True
    ) -> int | None:
        """Connect this process's input and output to the container's until it ends; return its exit code.

        Returns None if the operator pressed the detach keys (in a container with a terminal). Without a terminal,
        SIGINT, SIGTERM and their like go to the container if `proxy_signals`.
        """
        return self._attached("attach", interactive=interactive, detach_keys=detach_keys, proxy_signals=proxy_signals)

    def start_attached(
        self,
        *,
        interactive: bool = False,
        detach_keys: str = "ctrl-p,ctrl-q",
        proxy_signals: bool = True,
    ) -> int | None:
        """Start it with this process's input and output connected from its first byte on; else as `attach`."""
        return self._attached("start", interactive=interactive, detach_keys=detach_keys, proxy_signals=proxy_signals)

    def start_captured(self, stdin: bytes = b"") -> Completed:
        """Start it, feed it `stdin`, wait for its end and return its exit code and output."""
        from pycontainer.client.attach import relay_attach  # 1 ms
        from pycontainer.client.feed import Feed

        out: list[bytes] = []
        err: list[bytes] = []
        with Waiter(self._pool, self.id) as waiter:
            info = self._created or self.info  # of what does not change
            feed = Feed(data=stdin) if info["stdin_open"] else None
            if info["auto_remove"]:
                waiter.watch()
            with self._attach_socket("start") as sock:
                waiter.ask()
                with self._pool.span("output"):
                    relay_attach(sock, feed, out.append, err.append)
            with self._pool.span("end of the run"):
                exit_code = waiter.exit_code()
            return Completed(known(exit_code, info["name"]), b"".join(out), b"".join(err))

    # ── its output ──

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since: float | None = None,
        until: float | None = None,
    ) -> "Iterator[LogLine]":
        """Yield what it has written, oldest first: the last `tail` lines, from `since` to `until` (epoch seconds).

        With `follow` go on until it ends. Lines are neither lost nor repeated when the log is rotated meanwhile.
        """
        from pycontainer.client import logs  # 1 ms that `ps` or `stop` never need

        found = self._request("logs")
        paths: list[str] = found["paths"]
        if not paths:
            return
        after = logs.format_time(since) if since is not None else ""
        before = logs.format_time(until) if until is not None else "~"  # greater than every digit

        path = f"{os.path.dirname(paths[-1])}/log"  # while it is rotated, only older ones are there
        reader = logs.LogReader(path, None if os.geteuid() == 0 else self._open_log)
        try:
            past: Iterable[LogLine] = (line for line in reader.read() if after <= line.time <= before)
            if tail is not None:
                past = logs.last_lines(iter(past), tail)
            yield from past
            if follow:
                with Waiter(self._pool, self.id) as waiter:
                    coming = logs.follow(reader, lambda msecs: self._is_over(waiter, msecs))
                    yield from (line for line in coming if after <= line.time <= before)
        finally:
            reader.close()

    # ── files ──

    def put(self, source: str, path: str, *, archive: bool = False) -> list[str]:
        """Copy the host's file or directory `source` to `path` inside, as `cp -r` would; return what was left out and why.

        Everything belongs to root inside, or to the same ids as here if `archive`. Links are copied, not followed.
        """
        from pycontainer.client import copy  # 6 ms: tarfile

        return copy.put(self._pool, self.id, source, path, archive=archive)

    def get(self, path: str, target: str, *, archive: bool = False) -> list[str]:
        """Copy `path` from inside to `target` on the host, as `cp -r` would; return what was left out and why.

        Nothing is written outside of `target`, whatever links the container made. Devices and sockets are left out,
        set-user-id bits dropped; everything belongs to the caller, or to the ids inside if `archive`.
        """
        from pycontainer.client import copy  # 6 ms: tarfile

        return copy.get(self._pool, self.id, path, target, archive=archive)

    def put_tar(self, tar_fd: int, path: str) -> list[str]:
        """Unpack the tar stream that `tar_fd` gives into the directory `path` inside; return what was left out.

        The caller keeps `tar_fd`.
        """
        from pycontainer.client import copy  # 6 ms: tarfile

        return copy.put_tar(self._pool, self.id, tar_fd, path)

    def get_tar(self, path: str, tar_fd: int) -> list[str]:
        """Write `path` inside as a tar stream to `tar_fd`, which the caller keeps; return what was left out."""
        from pycontainer.client import copy  # 6 ms: tarfile

        return copy.get_tar(self._pool, self.id, path, tar_fd)

    @property
    def snapshots(self) -> "Snapshots":
        """Its snapshots: make, list, restore and remove them."""
        from pycontainer.client.snapshots import Snapshots  # 1 ms that `ps` or `stop` never need

        return Snapshots(self._pool, self.id)

    def clone(self, name: str, *, snapshot: str = "", ports: Sequence[str] = ()) -> "Container":
        """Make a container like this one, with the files it has now or had at `snapshot`; it is not started.

        `ports` replace the published ones, of which two containers that run cannot have the same.
        """
        info = self._request("clone", name=name, snapshot=snapshot, ports=[*ports])
        return Container(self._pool, info["id"])

    def diff(self) -> "list[Change]":
        """Return the paths that it has added, changed or deleted of its image."""
        return self._request("diff")  # type: ignore[no-any-return]

    def commit(
        self, image: str, *, config: Mapping[str, Any] | None = None, author: str = "", message: str = ""
    ) -> "tuple[Image, list[str]]":
        """Make an image of its image and what it has written; also return what was left out, and why.

        `config` changes how containers of the image start: env, labels, exposed_ports and volumes are added, entrypoint, cmd,
        user, workdir and stop_signal replaced.
        """
        from pycontainer.client.images import Image

        done = self._request("commit", image=image, config=dict(config or {}), author=author, message=message)
        return Image(self._pool, done["image"]["name"]), done["left_out"]

    def export(self, target: str | int) -> list[str]:
        """Write it with its image, files and settings to a file, or a descriptor; return what was left out, and why.

        `Client.import_container` makes the same container of it. A file appears when it is whole.
        """
        from pycontainer.client.target import written  # 1 ms that `ps` or `stop` never need

        with written(target) as fd:
            return self._pool.request("export", {"container": self.id}, [fd])["left_out"]  # type: ignore[no-any-return]

    def mount(self) -> str:
        """Mount its root on the host, while it is stopped, and return where; ids are as inside."""
        return self._request("mount")["path"]  # type: ignore[no-any-return]

    def umount(self) -> None:
        """Take that mount down. Raises Busy while something uses it."""
        self._request("umount")

    # ── the machinery ──

    def _request(self, verb: str, **args: Any) -> Any:
        return self._pool.request(verb, {"container": self.id, **args})

    def _exec_args(
        self,
        command: str | Sequence[str],
        env: Mapping[str, str] | Sequence[str],
        user: str,
        workdir: str,
        *,
        tty: bool,
        privileged: bool,
        size: tuple[int, int] | None = None,
    ) -> dict[str, Any]:
        words = [command] if isinstance(command, str) else list(command)
        if not words:
            raise InvalidInput("no command to run inside", field="command")
        pairs = [f"{key}={value}" for key, value in env.items()] if isinstance(env, Mapping) else list(env)
        args: dict[str, Any] = {"container": self.id, "command": words, "env": pairs, "user": user, "workdir": workdir}
        if size is not None:
            args.update(rows=size[0], columns=size[1])
        return {**args, "tty": tty, "privileged": privileged}

    def _is_over(self, waiter: Waiter, msecs: int) -> bool:
        """Wait so long; tell whether it has ended, and nothing will have it run again."""
        if not waiter.has_ended(msecs):
            return False
        try:
            is_on = self._request("logs")["running"]
        except NotFound:
            return True
        if is_on:  # an end that is followed by a start is answered at once
            time.sleep(msecs / 1000)
        return not is_on

    def _open_log(self) -> list[int]:
        """Ask for the files of the log as descriptors, newest first; none once the container is gone."""
        return self._pool.asked(self._open_log_once)

    def _open_log_once(self) -> list[int]:
        opened: list[int] = []
        connection = self._pool.take()
        try:
            connection.send("logs", {"container": self.id, "open": True})
            is_result = False
            while not is_result:
                is_result, _, fds = connection.receive()
                opened += fds
        except NotFound:  # before the first of them
            return []
        except BaseException:
            close_all(opened)
            raise
        finally:
            self._pool.give_back(connection)
        return opened

    def _attach_socket(self, verb: str, *, size: tuple[int, int] | None = None) -> socket.socket:
        """Return our end of a new attach socket, the other end of which went along with `start` or `attach`."""
        args: dict[str, Any] = {"container": self.id}
        if verb == "start":
            args |= {"attach": True} if size is None else {"attach": True, "rows": size[0], "columns": size[1]}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            with theirs:
                self._pool.request(verb, args, [theirs.fileno()])
        except BaseException:
            ours.close()
            raise
        return ours

    def _attached(
        self,
        verb: str,
        *,
        interactive: bool,
        detach_keys: str,
        proxy_signals: bool,
    ) -> int | None:
        from pycontainer.client.session import Session  # 3 ms that `ps` or `stop` never need

        info = self._created or self.info  # of what does not change
        interactive = interactive and info["stdin_open"]
        session = Session(
            tty=info["tty"], interactive=interactive, detach_keys=detach_keys, proxy_signals=proxy_signals
        )
        with Waiter(self._pool, self.id) as waiter, session:
            if info["auto_remove"]:
                waiter.watch()
            with self._attach_socket(verb, size=session.size) as sock:
                waiter.ask()
                with self._pool.span("output"):
                    ended = session.relay(sock, self.pass_signal)
            if not ended:
                return None
            with self._pool.span("end of the run"):
                code = waiter.exit_code(lambda connection: session.wait_for_end(connection, self.pass_signal))
                return known(code, info["name"])

    def _runs(self) -> bool:
        try:
            return self.status in ("running", "paused")
        except PycontainerError:
            return False

    def _remove_after(self, error: BaseException) -> None:
        try:
            self.remove(force=True)
        except NotFound:
            pass  # with auto_remove it is gone already
        except PycontainerError as second:
            error.add_note(f"and container '{self.id}' could not be removed: {second}")

    def pass_signal(self, number: signal.Signals) -> None:
        """Send it a signal that this process got; nothing if it has ended meanwhile."""
        try:
            self.kill(number.name)
        except (NotFound, InvalidState):  # it has just ended
            pass


def known(exit_code: int | None, name: str) -> int:
    """Return an exit code, or raise PycontainerError if it could not be learnt."""
    if exit_code is None:
        raise PycontainerError(
            f"container '{name}' has ended, but its exit code could not be learnt",
            hint="it was removed, or the monitor was gone at that moment; 'pycontainer logs' has its output",
        )
    return exit_code


def _given(**args: Any) -> dict[str, Any]:
    return {key: value for key, value in args.items() if value is not None}
