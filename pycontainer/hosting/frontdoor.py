"""The front door: one nginx on the host's ports 80 and 443, by which requests come to the sites they name.

    up ────── apply ──▶ routes.json    what is wanted, with a reboot and without us
    follower ─ refresh ─┐   │
                        ▼   ▼
    supervisor ──▶ who is there and well ──▶ nginx.conf ──▶ nginx (nginx.py)

    /var/lib/pycontainer/frontdoor       /run/pycontainer/frontdoor     /var/lib/pycontainer-acme
    ├── routes.json                      ├── nginx.conf nginx.pid       └── .well-known/acme-challenge/
    ├── certificates/TENANT/SITE.pem     ├── status.sock
    ├── error.log, follower.log          │
    └── logs/TENANT/SITE.log             └── lock, follower.pid

Whoever changes what is served holds `lock`: what `up` says and what the follower sees come one after the other.
"""

import contextlib
import fcntl
import grp
import hashlib
import json
import os
import pwd
import resource
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from pycontainer.client.connection import Pool
from pycontainer.errors import InvalidInput, NotPermitted, PycontainerError, SupervisorUnavailable
from pycontainer.hosting import background
from pycontainer.hosting.certificates import why_unusable
from pycontainer.hosting.fitting import SITE_LABEL, fit, left_out
from pycontainer.hosting.kept import forget_others, keep
from pycontainer.hosting.nginx import Nginx
from pycontainer.hosting.nginxconf import Settings, render
from pycontainer.hosting.routes import Backend, SiteRoute, check_backend, check_routes, from_records, to_record
from pycontainer.linux.files import write_atomically
from pycontainer.paths import HostPaths
from pycontainer.record import check_version, read_record
from pycontainer.spec.problems import Problem, as_error

__all__ = ("Backend", "FrontDoor", "SiteRoute", "Status")

_VERSION = 1
_MAX_BYTES = 16 << 20
_OPEN_FILES = 65536
_EVERYWHERE = ("0.0.0.0", "::")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked of the front door."""

    http: tuple[Backend, ...]
    https: tuple[Backend, ...]
    routes: tuple[SiteRoute, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """How the front door is: `left_out` says how many replicas of a site are not sent requests, `problems` what is wrong."""

    pid: int | None  # of nginx
    follower_pid: int | None
    http: tuple[Backend, ...]
    https: tuple[Backend, ...]
    sites: int
    domains: int
    connections: int
    draining: int
    left_out: dict[str, int]
    problems: tuple[str, ...]


class FrontDoor:
    """The front door of one world; nothing of it is in this object, so that any number of processes can have one."""

    def __init__(self, paths: HostPaths) -> None:
        self._paths = paths

    def apply(self, routes: Sequence[SiteRoute]) -> None:
        """Serve these sites and no others; return when no connection is taken under what was before.

        Starts nginx and the follower if they do not run. InvalidInput, with all that is wrong, changes nothing: what was
        served still is. Requests that have begun go on as they were sent.
        """
        checked = check_routes(routes)
        if unusable := _unusable(checked):
            raise as_error([Problem("", f"site {name}: {why}") for name, why in unusable.items()])
        with self._alone():
            self._change(replace(self._wanted(), routes=checked))
        self._follow()

    def routes(self) -> tuple[SiteRoute, ...]:
        """Return the sites that were applied, each with all of its replicas."""
        return self._wanted().routes

    def refresh(self) -> bool:
        """Serve what is wanted, as far as it is there and well; True if that is something else than before.

        Without a supervisor nobody knows who is well, and it stays as it is.
        """
        with self._alone():
            wanted = self._wanted()
            try:
                fitted = self._fitted(wanted, start=False)
            except SupervisorUnavailable:
                if self._nginx().master_pid() is not None:
                    return False
                fitted = wanted.routes
            return self._serve(wanted, fitted)

    def start(self, http: Sequence[Backend] = (), https: Sequence[Backend] = ()) -> bool:
        """Start nginx and the follower, at these addresses from now on if any are given; False if nothing was to do."""
        with self._alone():
            wanted = self._wanted()
            wanted = replace(
                wanted,
                http=tuple(check_backend(*each) for each in http) or wanted.http,
                https=tuple(check_backend(*each) for each in https) or wanted.https,
            )
            changed = self._change(wanted)
        return self._follow() or changed

    def stop(self) -> bool:
        """End nginx and the follower; what is wanted stays wanted. False if neither ran."""
        followed = background.end(self._paths.frontdoor_pidfile)
        with self._alone():
            return self._nginx().stop() or followed

    def status(self) -> Status:
        """Say how it is."""
        wanted = self._wanted()
        nginx = self._nginx()
        problems = [
            f"site {name} has only the certificate of before, if any: {why}"
            for name, why in _unusable(wanted.routes).items()
        ]
        try:
            missing = left_out(wanted.routes, self._fitted(wanted, start=False))
        except SupervisorUnavailable as error:
            missing = {}
            problems.append(f"{error.message}: nobody knows which replicas are well")
        return Status(
            nginx.master_pid(),
            background.holder(self._paths.frontdoor_pidfile),
            wanted.http,
            wanted.https,
            len(wanted.routes),
            sum(len(route.domains) for route in wanted.routes),
            nginx.connections(),
            nginx.draining(),
            missing,
            tuple(problems),
        )

    def draining(self) -> int:
        """Return how many workers still answer what was taken under earlier configurations."""
        return self._nginx().draining()

    # -- steps

    def _follow(self) -> bool:
        """See to it that somebody hears what happens to containers; False if somebody did."""
        paths = self._paths
        arguments = ["--root", paths.root] if paths.root else []
        log = f"{paths.frontdoor_dir}/follower.log"
        return background.start(paths.frontdoor_pidfile, "pycontainer.hosting.follower", arguments, log)

    def _change(self, wanted: Wanted) -> bool:
        """Serve something else, and have it wanted once it is served: what cannot be served must not come back later."""
        changed = self._serve(wanted, self._fitted(wanted, start=bool(wanted.routes)))
        record = {
            "version": _VERSION,
            "http": [each._asdict() for each in wanted.http],
            "https": [each._asdict() for each in wanted.https],
            "routes": [to_record(route) for route in wanted.routes],
        }
        write_atomically(self._paths.frontdoor_file, json.dumps(record, indent=1).encode())
        return changed

    def _fitted(self, wanted: Wanted, *, start: bool) -> tuple[SiteRoute, ...]:
        """Return what is wanted of who is well, as the supervisor knows it, which is started if that is asked for."""
        pool = Pool(self._paths)
        try:
            found = pool.request("list", {"all": True, "filters": {"label": [SITE_LABEL]}}, start=start)
            networks = pool.request("network_list", {}, start=start)
        except SupervisorUnavailable:
            if wanted.routes:
                raise
            return ()  # nobody has to be asked how nobody is
        finally:
            pool.close()
        return fit(wanted.routes, found, [each[key] for each in networks for key in ("subnet", "subnet6")])

    def _serve(self, wanted: Wanted, fitted: Sequence[SiteRoute]) -> bool:
        settings = self._settings(wanted)
        os.makedirs(settings.directory, mode=0o700, exist_ok=True)
        for route in fitted:
            os.makedirs(os.path.dirname(f"{settings.logs_dir}/{route.name}"), mode=0o700, exist_ok=True)
        for part in ("", "/.well-known", "/.well-known/acme-challenge"):
            _make_readable(f"{settings.acme_dir}{part}")
        certificates = f"{self._paths.frontdoor_dir}/certificates"
        served = keep(fitted, certificates)
        text, generation = render(served, settings, _stamp(served))
        changed = Nginx(settings).serve(text, generation)
        forget_others(fitted, certificates)
        return changed

    def _nginx(self) -> Nginx:
        """Return nginx as a process, which is the same whatever is wanted of it."""
        return Nginx(self._settings(Wanted((), ())))

    def _settings(self, wanted: Wanted) -> Settings:
        paths, hard = self._paths, resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return Settings(
            wanted.http,
            wanted.https,
            paths.frontdoor_run_dir,
            f"{paths.frontdoor_dir}/error.log",
            f"{paths.frontdoor_dir}/logs",
            paths.acme_dir,
            _nobody(),
            _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES),
        )

    def _wanted(self) -> Wanted:
        """Return what is wanted; nothing is, if nobody has said so yet."""
        path = self._paths.frontdoor_file
        try:
            record = read_record(path, _MAX_BYTES)
            check_version(record, _VERSION)
            http, https = (
                tuple(check_backend(each.text("ip"), each.integer("port")) for each in record.each(key))
                for key in ("http", "https")
            )
            return Wanted(http, https, from_records(record.each("routes")))
        except FileNotFoundError:
            places = _EVERYWHERE if os.path.exists("/proc/net/if_inet6") else _EVERYWHERE[:1]
            return Wanted(tuple(Backend(ip, 80) for ip in places), tuple(Backend(ip, 443) for ip in places))
        except (ValueError, InvalidInput) as error:
            raise PycontainerError(
                f"'{path}' is damaged: {error}", hint="remove it; 'pycontainer up' writes it anew from hosting.yaml"
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Be the only one that changes what is served."""
        if os.geteuid() != 0:
            raise NotPermitted("only root can change the front door", hint="try the same command with sudo")
        for directory, mode in (
            (self._paths.run_dir, 0o750),
            (self._paths.frontdoor_run_dir, 0o700),
            (self._paths.state_dir, 0o700),
            (self._paths.frontdoor_dir, 0o700),
        ):
            os.makedirs(directory, mode=mode, exist_ok=True)
        fd = os.open(f"{self._paths.frontdoor_run_dir}/lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


def _unusable(routes: Iterable[SiteRoute]) -> dict[str, str]:
    """Return why a certificate cannot be served, by the name of its site."""
    pairs = [(route.name, route.certificate, route.key) for route in routes]
    found = {name: why_unusable(certificate, key) for name, certificate, key in pairs if certificate and key}
    return {name: why for name, why in found.items() if why}


def _stamp(routes: Sequence[SiteRoute]) -> str:
    """Return a digest of what the certificates hold: a renewed one has the path of the old."""
    digest = hashlib.sha256()
    for path in sorted(str(route.certificate) for route in routes if route.certificate):
        with open(path, "rb") as file:
            digest.update(hashlib.sha256(file.read()).digest())
    return digest.hexdigest()


def _make_readable(directory: str) -> None:
    """Make a directory that all may read, whatever our umask; one that is there is somebody's choice."""
    try:
        os.mkdir(directory)
    except FileExistsError:
        return
    os.chmod(directory, 0o755)


def _nobody() -> str:
    """Return the user and the group of the workers: Debian's for such servers, or who has nothing at all."""
    for name in ("www-data", "nobody"):
        with contextlib.suppress(KeyError):
            return f"{name} {grp.getgrgid(pwd.getpwnam(name).pw_gid).gr_name}"
    raise PycontainerError("this host has neither a user www-data nor nobody", hint="adduser --system www-data")
