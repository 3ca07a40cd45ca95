"""The Python API: `with Client() as host: host.run(...)`.

Everything the command can do. A method is one request to the supervisor, which is started on demand; errors are those
of pycontainer.errors, whichever side found them.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

import pycontainer
from pycontainer.client import sources
from pycontainer.client.connection import Connection, Pool
from pycontainer.client.container import Container
from pycontainer.client.fields import plain_spec
from pycontainer.client.images import Image, list_images
from pycontainer.client.networks import Network
from pycontainer.client.tenants import Tenant
from pycontainer.client.volumes import Volume, restore
from pycontainer.errors import InvalidState, SupervisorUnavailable
from pycontainer.paths import HostPaths

if TYPE_CHECKING:  # 3 ms of class building that only type checkers need
    from typing import Unpack

    from pycontainer.client.result import Completed
    from pycontainer.client.tracefile import Trace
    from pycontainer.client.types import (
        Capacity,
        ContainerFields,
        ContainerInfo,
        Event,
        ImageInfo,
        Limit,
        NetworkInfo,
        RegistryAccess,
        Stats,
        TenantInfo,
        Usage,
        VolumeInfo,
        Why,
    )


class Client:
    """The containers, images and networks of one host.

    `root` picks another world than the host's usual one, as `--root` does, by default the one of PYCONTAINER_ROOT.
    Connects with the first request. May be shared between threads. Use it as a context manager, or `close` it.

    With `trace`, a path, `close` writes there where the time of all requests went: docs/tracing.md.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, *, trace: "str | os.PathLike[str] | Trace | None" = None
    ) -> None:
        chosen = os.fspath(root) if root else os.environ.get("PYCONTAINER_ROOT")
        self._own_trace: Trace | None = None
        if isinstance(trace, str | os.PathLike):
            from pycontainer.client import tracefile  # 1 ms that only who traces pays

            trace = self._own_trace = tracefile.Trace(trace)
        self._pool = Pool(HostPaths(chosen), trace)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; containers go on. Raises InvalidInput if a trace cannot be written."""
        self._pool.close()
        if self._own_trace is not None:
            trace, self._own_trace = self._own_trace, None
            trace.write("client")

    @property
    def paths(self) -> HostPaths:
        """Where the files of this world are."""
        return self._pool.paths

    # ── containers ──

    @overload
    def run(
        self,
        image: str | None = None,
        command: str | Sequence[str] | None = None,
        *,
        detach: Literal[True] = True,
        **fields: "Unpack[ContainerFields]",
    ) -> Container: ...

    @overload
    def run(
        self,
        image: str | None = None,
        command: str | Sequence[str] | None = None,
        *,
        detach: Literal[False],
        stdin: bytes | None = None,
        **fields: "Unpack[ContainerFields]",
    ) -> "Completed": ...

    def run(
        self,
        image: str | None = None,
        command: str | Sequence[str] | None = None,
        *,
        detach: bool = True,
        stdin: bytes | None = None,
        **fields: Any,
    ) -> "Container | Completed":
        """Create a container and start it; if it cannot be started, nothing of it remains.

        `fields` are those of `ContainerFields` (pycontainer/client/types.py), all optional:

            web = host.run("debian-nginx", name="web", memory="200M", cpus=0.5, pids=100, ports={8080: 80})
            host.run("busybox", ["sh", "-c", "echo $A"], env={"A": "1"}, auto_remove=True, detach=False).stdout

        With `detach` return the running Container, otherwise wait for its end and return its exit code and output,
        having fed it `stdin`. Raises InvalidInput with all problems of the fields, NotFound for the image, StartFailed
        for a command that is missing or not executable.
        """
        if stdin is not None:
            fields["stdin_open"] = True
        spec = plain_spec(image, command, fields)
        if detach:
            return self.run_from(spec)
        from pycontainer.client.running import run_captured  # 1 ms

        return run_captured(self._pool, spec, stdin or b"")

    def run_from(self, spec: Mapping[str, Any]) -> Container:
        """Create and start a container from a plain spec, as `create_from` takes it; if that fails nothing of it remains."""
        info: ContainerInfo = self._pool.request("run", {"spec": plain_spec(None, None, spec)})
        return Container(self._pool, info["id"], info)

    def run_attached(
        self,
        spec: Mapping[str, Any],
        *,
        interactive: bool = True,
        detach_keys: str = "ctrl-p,ctrl-q",
        proxy_signals: bool = True,
        on_start: Callable[[Container], None] = lambda container: None,
    ) -> int | None:
        """Do the same with this process's input and output connected; return the exit code, as `Container.attach`.

        Its input is connected if it is `interactive` and the spec has stdin_open. `on_start` is called before the first of
        its output is shown.
        """
        from pycontainer.client.running import run_attached  # 1 ms

        return run_attached(
            self._pool,
            plain_spec(None, None, spec),
            interactive=interactive,
            detach_keys=detach_keys,
            proxy_signals=proxy_signals,
            on_start=on_start,
        )

    def create(
        self,
        image: str | None = None,
        command: str | Sequence[str] | None = None,
        **fields: "Unpack[ContainerFields]",
    ) -> Container:
        """Create a container without starting it; the arguments are those of `run`."""
        return self.create_from(plain_spec(image, command, fields))

    def create_from(self, spec: Mapping[str, Any]) -> Container:
        """Create a container from a plain spec, as YAML files hold it: `ContainerFields` with image and command."""
        info: ContainerInfo = self._pool.request("create", {"spec": plain_spec(None, None, spec)})
        return Container(self._pool, info["id"], info)

    def container(self, container: str) -> Container:
        """Return the container of this name, id, or unambiguous beginning of an id. Raises NotFound."""
        return Container(self._pool, self._pool.request("inspect", {"container": container})["id"])

    def containers(
        self, *, all: bool = False, filters: Mapping[str, str | Sequence[str]] | None = None
    ) -> list[Container]:
        """Return the running containers, or `all`; `filters` as {"status": "paused", "label": ["tier=web"]}."""
        return [Container(self._pool, info["id"]) for info in self.list_containers(all=all, filters=filters)]

    def remove(self, container: str, *, force: bool = False, volumes: bool = False) -> None:
        """Delete a container by name or id; with `force` also one that runs, or whose record is damaged.

        `volumes`: also those that its image asked for and no other container has.
        """
        args = {"container": container, "force": force, **({"volumes": True} if volumes else {})}
        self._pool.request("rm", args)

    def list_containers(
        self, *, all: bool = False, filters: Mapping[str, str | Sequence[str]] | None = None
    ) -> "list[ContainerInfo]":
        """Return what `ps` shows, in one request; the arguments are those of `containers`."""
        wanted = {key: [value] if isinstance(value, str) else [*value] for key, value in (filters or {}).items()}
        return self._pool.request("list", {"all": all, "filters": wanted})  # type: ignore[no-any-return]

    def stats(self, containers: Iterable[str] = ()) -> "Sequence[Stats]":
        """Return one sample of each container named, or of every running one."""
        return self._pool.request("stats", {"containers": [*containers]})  # type: ignore[no-any-return]

    def limits(
        self, containers: Iterable[str] = (), *, tenants: Iterable[str] = (), recent: bool = False
    ) -> "Sequence[Limit]":
        """Return what each container or tenant named holds of each resource, its cap and its failures.

        Without names, of every running container. With `recent`, failures since the last call with `recent`.
        """
        args = {"containers": [*containers], "tenants": [*tenants], "recent": recent}
        return self._pool.request("limits", args)  # type: ignore[no-any-return]

    def usage(self, *, tenant: str | None = None, month: str | None = None) -> "Usage":
        """Return what was used in a month (`2026-11`, UTC), or so far in the present one, by all or by one tenant."""
        args = {key: value for key, value in (("tenant", tenant), ("month", month)) if value is not None}
        return self._pool.request("usage", args)  # type: ignore[no-any-return]

    def import_container(
        self,
        source: str | os.PathLike[str] | int,
        name: str = "",
        *,
        ports: Sequence[str] = (),
        tenant: str = "",
        trusted: bool = False,
    ) -> Container:
        """Make a container of an archive that `Container.export` has written; it is not started.

        `source` is a path, or the descriptor of a file or a stream. What it asks for that reaches the host is refused, unless
        you have `trusted` who made the archive.
        """
        args = {"name": name, "ports": [*ports], "tenant": tenant, "trusted": trusted}
        info = sources.request(self._pool, "instance_import", source, args)
        return Container(self._pool, info["id"])

    # ── images and networks ──

    def images(self) -> "Sequence[Image]":
        """Return the images of the store."""
        return [Image(self._pool, info["name"]) for info in list_images(self._pool)]

    def list_images(self) -> "Sequence[ImageInfo]":
        """Return what `image list` shows, in one request."""
        return list_images(self._pool)

    def image(self, name: str) -> Image:
        """Return the image of this name, id, or beginning of an id (6 digits at least). Raises NotFound."""
        return Image(self._pool, self._pool.request("image_inspect", {"image": name})["name"])

    def remove_image(self, name: str) -> None:
        """Delete an image, by name or id, also one whose record is damaged. Raises InvalidState if containers need it."""
        Image(self._pool, name).remove()

    def import_image(
        self,
        source: str | os.PathLike[str] | int,
        name: str,
        config: Mapping[str, Any] | None = None,
        *,
        platform: str = "",
        format: str = "",
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> Image:
        """Bring a root file system or an image into the store as image `name`; what it is, is told by its content.

        `source` is a path, or the descriptor of a file or a stream. A root file system is a directory, a tarball, or a
        squashfs or erofs file. These the kernel itself reads, so they are taken only with `format` ("squashfs", "erofs") or a
        name that ends in .squashfs, .sqfs, .sfs or .erofs: trust who made them. `config` says how its containers start:
        entrypoint, cmd, env, user, workdir, exposed_ports, volumes, stop_signal, labels, healthcheck. OCI layouts and docker
        archives say that themselves; `platform`, as linux/arm64, takes one that this host cannot run. `on_progress` is
        called now and then with what is being done: step, bytes and, where it is known, total_bytes.
        """
        args = {"name": name, "config": dict(config or {}), "platform": platform, "format": format}
        info: ImageInfo = sources.request(self._pool, "image_import", source, args, on_progress)
        return Image(self._pool, info["name"])

    def load_images(
        self,
        source: str | os.PathLike[str] | int,
        *,
        name: str = "",
        platform: str = "",
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> "list[Image]":
        """Bring in the images of an OCI layout or docker archive under the names that are written there, or `name`.

        `source` is a path, or the descriptor of a file or a stream.
        """
        args = {"name": name, "platform": platform}
        loaded = sources.request(self._pool, "image_load", source, args, on_progress)
        return [Image(self._pool, info["name"]) for info in loaded]

    def prune_images(self, *, all: bool = False) -> "list[ImageInfo]":
        """Remove images without a name that no container needs, with `all` also named ones; return those."""
        return self._pool.request("image_prune", {"all": all})  # type: ignore[no-any-return]

    def pull_image(
        self,
        reference: str,
        name: str | None = None,
        *,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
        **access: "Unpack[RegistryAccess]",
    ) -> Image:
        """Fetch an image from a registry with skopeo, in this process; return it.

        `reference` is `[registry/]path[:tag][@digest]`; without a registry it is docker.io's. The image gets the `name`, or
        what stands in the reference before a digest. `access` holds what the user's own files do not say: authfile,
        username and password, cert_dir, tls_verify, policy. Raises NotFound for an unknown image, NotPermitted for bad
        credentials, certificates or signatures, Unsupported without skopeo, PycontainerError for a registry that is down.
        """
        from pycontainer.client.pull import pull  # 8 ms that others need not wait for

        return pull(self._pool, reference, name, access, on_progress)

    def save_images(
        self,
        images: str | Iterable[str],
        target: str | os.PathLike[str] | int,
        *,
        form: str = "oci-archive",
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> list[str]:
        """Write images to the file `target` (or a descriptor); return their names, or ids where they have none.

        `form` is "oci-archive", which podman, skopeo and docker load as well, "docker-archive", or "oci-dir", for which
        `target` is a directory that is empty or not there yet. A file appears when it is whole. Raises NotFound,
        AlreadyExists for a directory with something in it, InvalidState for an image that is damaged.
        """
        from pycontainer.client.save import save  # 1 ms that others need not wait for

        names = [images] if isinstance(images, str) else [*images]
        return save(self._pool, names, target, form, on_progress)

    def networks(self) -> "Sequence[Network]":
        """Return the networks."""
        return [Network(self._pool, info["name"]) for info in self.list_networks()]

    def list_networks(self) -> "Sequence[NetworkInfo]":
        """Return what `network list` shows, in one request."""
        return self._pool.request("network_list", {})  # type: ignore[no-any-return]

    def network(self, name: str) -> Network:
        """Return the network of this name. Raises NotFound."""
        network = Network(self._pool, name)
        with contextlib.suppress(InvalidState):  # damaged: it can be removed all the same
            _ = network.info
        return network

    def build_image(
        self,
        recipe: str | os.PathLike[str],
        name: str,
        arguments: Sequence[str] = (),
        *,
        on_output: Callable[[str], None] | None = None,
        on_progress: Callable[[dict[str, Any]], None] | None = None,
    ) -> Image:
        """Run a builder of rootfs-tools, or the program at a path with a slash in it, and import what it makes as `name`.

        It runs here, as this process's user, which must be root, with `arguments`. `on_output` is called with each line that
        it writes, `on_progress` as by `import_image`. Raises NotFound for the recipe, InvalidInput for wrong arguments,
        PycontainerError with the builder's own last words; nothing of it remains then.
        """
        from pycontainer.client import builders  # 15 ms (subprocess, tempfile) that other methods save

        program = builders.find(os.fspath(recipe))
        list_images(self._pool)  # a supervisor that cannot be had is told of before the work
        with builders.built(self._pool.paths, program, arguments, on_output) as (directory, config):
            return self.import_image(directory, name, config, on_progress=on_progress)

    def create_network(
        self, name: str, *, driver: str = "routed", subnet: str = "", subnet6: str = "", fast_path: bool = False
    ) -> Network:
        """Create a network: `routed` isolates its containers, `bridge` is a shared segment; no subnet picks one.

        `fast_path` as of `Network.set`.
        """
        args = {"name": name, "driver": driver, "subnet": subnet, "subnet6": subnet6, "fast_path": fast_path}
        info: NetworkInfo = self._pool.request("network_create", args)
        return Network(self._pool, info["name"])

    # ── volumes ──

    def volumes(self) -> "Sequence[Volume]":
        """Return the volumes."""
        return [Volume(self._pool, info["name"]) for info in self.list_volumes()]

    def list_volumes(self) -> "Sequence[VolumeInfo]":
        """Return what `volume list` shows, in one request."""
        return self._pool.request("volume_list", {})  # type: ignore[no-any-return]

    def volume(self, name: str) -> Volume:
        """Return the volume of this name. Raises NotFound."""
        volume = Volume(self._pool, name)
        return Volume(self._pool, volume.info["name"])

    def create_volume(
        self, name: str = "", *, size: str = "", inodes: str = "", labels: Mapping[str, str] | None = None
    ) -> Volume:
        """Create a volume, `size` ("1G") and `inodes` are caps; without a name it is an anonymous one."""
        args = {"name": name, "size": size, "inodes": inodes, "labels": dict(labels or {})}
        info: VolumeInfo = self._pool.request("volume_create", args)
        return Volume(self._pool, info["name"])

    def remove_volume(self, name: str, *, force: bool = False) -> None:
        """Delete a volume; with `force`, one that is not there is fine. Raises InvalidState naming who uses it."""
        self._pool.request("volume_rm", {"volume": name, "force": force})

    def prune_volumes(self, *, all: bool = False) -> dict[str, Any]:
        """Delete anonymous volumes that no container has, with `all` named ones too; return what went, and its bytes."""
        return self._pool.request("volume_prune", {"all": all})  # type: ignore[no-any-return]

    def restore_volume(
        self, name: str, source: str | os.PathLike[str] | int, *, size: str = "", inodes: str = ""
    ) -> Volume:
        """Unpack a backup, a file or what a descriptor gives, into the volume `name`: a new one, or empty and not in use."""
        place = source if isinstance(source, int) else os.fspath(source)
        return restore(self._pool, name, place, size=size, inodes=inodes)

    # ── tenants ──

    def tenants(self) -> "Sequence[Tenant]":
        """Return the tenants."""
        return [Tenant(self._pool, info["name"]) for info in self.list_tenants()]

    def list_tenants(self) -> "Sequence[TenantInfo]":
        """Return what `tenant list` shows, in one request."""
        return self._pool.request("tenant_list", {})  # type: ignore[no-any-return]

    def tenant(self, name: str) -> Tenant:
        """Return the tenant of this name. Raises NotFound."""
        tenant = Tenant(self._pool, name)
        with contextlib.suppress(InvalidState):  # damaged: it can be removed all the same
            _ = tenant.info
        return tenant

    def create_tenant(self, name: str, **limits: Any) -> Tenant:
        """Create a tenant: its containers together never exceed `limits` (memory="2G", cpus=2, net_out="100mbit", ...)."""
        info: TenantInfo = self._pool.request("tenant_create", {"name": name, "spec": limits})
        return Tenant(self._pool, info["name"], info["warnings"])

    # ── the host ──

    def events(
        self,
        *,
        after: int | None = None,
        since: float | None = None,
        until: float | None = None,
        filters: "Mapping[str, str | Sequence[str]] | None" = None,
        follow: bool = True,
    ) -> "Iterator[Event]":
        """Yield what happens to the containers from now on; close the iterator, or leave the loop, to stop.

        Nothing that happens after this call is missed, also before the first event is taken. `after` is the `seq` of the
        last event that was seen: what came after it is told first, 0 for all that is kept. `since` and `until` are
        seconds since the epoch. `filters` are of type, container (name or id) and tenant. Without `follow` it ends with
        what there is.
        """
        asked: dict[str, Any] = {"after": after, "since": since, "until": until}
        asked["filters"] = dict(filters) if filters else None
        asked["follow"] = None if follow else False
        args = {key: value for key, value in asked.items() if value is not None}
        connection, _ = self._pool.begin("events", args)  # the first: it listens
        return self._events(connection)

    def _events(self, connection: Connection) -> "Iterator[Event]":
        try:
            yield from connection.events()
        finally:
            self._pool.give_back(connection)

    def why(self, name: str, *, seconds: float = 1.0) -> "Why":
        """Say why a container stopped, or is slow; also one that is removed, as long as its events are kept."""
        return self._pool.request("why", {"container": name, "seconds": seconds})  # type: ignore[no-any-return]

    def info(self) -> dict[str, Any]:
        """Return facts about the host and how many containers, images and networks there are."""
        return self._pool.request("info", {})  # type: ignore[no-any-return]

    def capacity(self, seconds: float = 1.0) -> "Capacity":
        """Return what the host has for containers, what is promised of it, and what is used, between two looks."""
        return self._pool.request("capacity", {"seconds": seconds})  # type: ignore[no-any-return]

    def disk_usage(self) -> dict[str, Any]:
        """Return what everything takes on disk, and what of it nobody uses; may take half a minute."""
        return self._pool.request("system_df", {})  # type: ignore[no-any-return]

    def prune(self, *, all: bool = False, volumes: bool = False) -> dict[str, Any]:
        """Delete stopped containers, images without a name and leftovers; with `all` and `volumes` more that is unused."""
        return self._pool.request("system_prune", {"all": all, "volumes": volumes})  # type: ignore[no-any-return]

    def doctor(self, *, deep: bool = False, fix: bool = False, storage: bool = False) -> dict[str, Any]:
        """Look for what is not as it should be on disk, with `deep` also in the content of blobs, and in the kernel.

        With `fix` repair what can be; `storage` is for the disk alone.
        """
        return self._pool.request("doctor", {"deep": deep, "fix": fix, "storage": storage})  # type: ignore[no-any-return]

    def version(self) -> dict[str, Any]:
        """Return the versions of this client and of the supervisor; the latter is not started for that (None)."""
        versions: dict[str, Any] = {"client": pycontainer.__version__, "supervisor": None}
        with contextlib.suppress(SupervisorUnavailable):
            versions["supervisor"] = self._pool.request("ping", {}, start=False)["version"]
        return versions

    def boot(
        self, parallel: int | None = None, *, on_outcome: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Start the containers that start with the host, in their order, `parallel` at once (as many as it has CPUs).

        Done once in each boot: `was_done` says that it was. `on_outcome` is called for each, with its name and, if it could
        not be started, the error; the counts `started` and `failed` come back. Goes on if this process ends.
        """
        from pycontainer.client import service  # 1 ms that nothing else needs

        return service.boot(self._pool, parallel, on_outcome)

    def stop_all(
        self, timeout_seconds: float | None = None, *, on_outcome: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Stop all containers as the host's end wants it: in the other order, in 300 seconds or `timeout_seconds`.

        Those with onboot `last` start again with the next boot. `on_outcome` is called for each, with its name and exit
        code, or an error; `stopped`, a count, and `left`, the names of those that run all the same, come back.
        """
        from pycontainer.client import service  # 1 ms that nothing else needs

        return service.stop_all(self._pool, timeout_seconds, on_outcome)

    def shutdown(self) -> bool:
        """End the supervisor, if it runs (True); containers go on, and the next request starts it again."""
        from pycontainer.client import service  # 1 ms that nothing else needs

        return service.stop(self._pool.paths)
