"""Running `skopeo`, which talks to registries for us: with the user's own logins, mirrors and signature policy.

It runs as the caller and in the caller's environment, so REGISTRY_AUTH_FILE, proxies and the files of `man 5
containers-auth.json`, `containers-registries.conf` and `containers-policy.json` count as they do for skopeo itself. A
password never stands on its command line, nor in a file: it is handed over in memory (memfd_create(2)).
"""

import base64
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pycontainer.errors import InvalidInput, NotFound, NotPermitted, PycontainerError, Unsupported
from pycontainer.units import shown

if TYPE_CHECKING:
    from pycontainer.client.types import RegistryAccess

DEFAULT_REGISTRY = "docker.io"
_POLL_SECONDS = 0.2
_MAX_INSPECT_SECONDS = 120
_MAX_STDERR_BYTES = 1 << 16
_MAX_OUTPUT_BYTES = 8 << 20
_MESSAGE = re.compile(r'level=(?:fatal|error) msg="((?:[^"\\]|\\.)*)"')
_MAX_SHOWN = 300
_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*", re.ASCII)
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}", re.ASCII)

# What skopeo's words mean for whoever asked: pattern, class, what to say, hint. The first that fits counts.
_MEANINGS: tuple[tuple[str, type[PycontainerError], str, str], ...] = (
    (
        r"policy\.json: no such file|no policy\.json file found",
        PycontainerError,
        "there is no policy that says which images are trusted",
        "write /etc/containers/policy.json (Debian: package golang-github-containers-common), or name one with --policy",
    ),
    (
        r"Source image rejected|Running image .* is rejected by policy|rejected by policy",
        NotPermitted,
        "the policy for signatures does not allow it",
        "see /etc/containers/policy.json, or the file of --policy",
    ),
    (
        r"invalid policy|Error loading trust policy|trust policy",
        InvalidInput,
        "the policy for signatures cannot be used",
        "see /etc/containers/policy.json, or the file of --policy",
    ),
    (
        r"server gave HTTP response to HTTPS client",
        PycontainerError,
        "the registry speaks plain HTTP",
        "if it is yours, say --no-tls-verify, or set insecure = true for it in registries.conf",
    ),
    (
        r"x509:|tls: |certificate",
        NotPermitted,
        "its certificate is not trusted",
        "give its authority with --cert-dir (man 5 containers-certs.d)",
    ),
    (
        r"unauthorized|authentication required|access to the resource is denied|status 401|status 403|403 \(|401 \("
        r"|denied:|invalid username/password|incorrect username or password",
        NotPermitted,
        "it refuses these credentials, or wants some",
        "log in with 'skopeo login REGISTRY', or give --authfile, or --username with --password-stdin",
    ),
    (
        r"manifest unknown|name unknown|repository name not known|name invalid|status 404|404 \("
        r"|(?:manifest|repository|blob|tag)[^:]* not found",
        NotFound,
        "it has no such image",
        "'skopeo list-tags docker://REPOSITORY' shows what there is",
    ),
    (
        r"does not match expected|[Dd]igest did not match|did not match digest|unexpected EOF|fingerprint mismatch",
        InvalidInput,
        "what came is damaged",
        "try again; if it stays, the registry's copy is damaged",
    ),
    (
        r"connection refused|no such host|i/o timeout|network is unreachable|no route to host|connection reset"
        r"|server misbehaving|EOF|status 5\d\d|5\d\d \(|TLS handshake timeout|deadline exceeded|broken pipe"
        r"|toomanyrequests|pinging container registry",
        PycontainerError,
        "the registry does not answer as it should",
        "try again later; what was fetched completely is kept and not fetched again",
    ),
    (r"no space left on device", PycontainerError, "the disk is full", "free some space, and try again"),
)


class Reference(NamedTuple):
    """An image in a registry; `tag` and `digest` may be empty, but not both."""

    repository: str  # with its registry
    tag: str
    digest: str

    @property
    def registry(self) -> str:
        return self.repository.partition("/")[0]

    def __str__(self) -> str:
        return self.repository + (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")

    @property
    def source(self) -> str:
        """As skopeo takes it: with a digest, which says all, there must be no tag."""
        return f"docker://{self.repository}" + (f"@{self.digest}" if self.digest else f":{self.tag}")

    def pinned(self, digest: str) -> "Reference":
        return Reference(self.repository, "", digest)


def has_registry(text: str) -> bool:
    """Tell whether a reference says itself which registry it is in."""
    first, slash, _ = text.removeprefix("docker://").partition("/")
    return bool(slash) and ("." in first or ":" in first or first == "localhost")


def parse_reference(text: str) -> Reference:
    """Read `[registry[:port]/]path[:tag][@digest]` as Docker does: what names no registry is docker.io's.

    The first part is a registry if it holds a dot or a colon, or is `localhost`; a single name is `library/NAME`; without
    a tag and a digest the tag is `latest`. Raises InvalidInput.
    """
    rest, _, digest = text.removeprefix("docker://").partition("@")
    first, _, behind = rest.partition("/")
    registry, path = (first, behind) if has_registry(rest) else (DEFAULT_REGISTRY, rest)
    path, colon, tag = path.partition(":")
    if registry in ("index.docker.io", "registry-1.docker.io"):
        registry = DEFAULT_REGISTRY
    if registry == DEFAULT_REGISTRY and "/" not in path:
        path = f"library/{path}"
    is_right = (
        _HOST.fullmatch(registry)
        and _NAME.fullmatch(path)
        and (_TAG.fullmatch(tag) if colon else True)
        and (_DIGEST.fullmatch(digest) if "@" in text else True)
    )
    if not is_right:
        hint = "write REGISTRY/PATH:TAG, such as docker.io/library/nginx:1.27, in lower case"
        raise InvalidInput(f"{shown(text)} is no reference to an image in a registry", hint=hint, field="reference")
    return Reference(f"{registry}/{path}", tag or ("" if digest else "latest"), digest)


class Access(NamedTuple):
    """How to get at a registry, where the user's own files do not say it; empty means theirs."""

    authfile: str = ""
    cert_dir: str = ""
    tls_verify: bool | None = None
    username: str = ""
    password: str = ""
    policy: str = ""


def access_of(given: "RegistryAccess") -> Access:
    """Return what a caller gave, checked: it may come from a program that heeds no types. InvalidInput."""
    unknown = sorted(given.keys() - Access._fields)
    if unknown:
        raise InvalidInput(
            f"unknown way to a registry: {shown(unknown[0])}", hint=f"there are {', '.join(Access._fields)}"
        )
    access = Access(**given)
    if any("\0" in text for text in (access.username, access.password)) or ":" in access.username:
        raise InvalidInput("a registry's user name holds no colon and no NUL, nor does a password hold NUL")
    if access.password and not access.username:
        raise InvalidInput("a password without a user name", hint="give the name as well", field="username")
    return access


class Skopeo:
    """The program, with one way of access. Every call ends with the program, come what may."""

    def __init__(self, access: Access, registry: str) -> None:
        """`registry` is the one whose name and password `access` may hold."""
        self._access, self._registry = access, registry
        found = shutil.which("skopeo")
        if found is None:
            raise Unsupported(
                "registries are reached through the program 'skopeo', which is not installed",
                hint="install it (Debian: apt install skopeo); 'image load' takes what another machine saved",
                feature="skopeo",
            )
        self._program = found

    def inspect(self, reference: Reference, *, config: bool = False) -> bytes:
        """Return the manifest of an image, or its config, byte for byte as the registry has it."""
        words = ["inspect", "--raw", *(["--config"] if config else []), *self._transport(""), reference.source]
        with tempfile.TemporaryFile() as output:
            self._run(words, str(reference), output=output.fileno(), on_wait=_deadline(str(reference)))
            output.seek(0)
            data = output.read(_MAX_OUTPUT_BYTES + 1)
        if len(data) > _MAX_OUTPUT_BYTES:
            raise InvalidInput(f"the {'config' if config else 'manifest'} of '{reference}' is larger than 8 MiB")
        return data

    def copy(
        self,
        source: str,
        target: str,
        what: str,
        *,
        side: str,
        options: Sequence[str] = (),
        cwd: str | None = None,
        keep_fds: Sequence[int] = (),
        on_wait: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        """Copy an image; `side` ("src" or "dest") is the one at the registry.

        `on_wait` is called now and then, with skopeo's pid.
        """
        words = ["copy", "--quiet", *options, *self._transport(f"{side}-"), source, target]
        self._run(words, what, cwd=cwd, keep_fds=keep_fds, on_wait=on_wait)

    def _transport(self, prefix: str) -> Iterator[str]:
        if self._access.tls_verify is not None:
            yield f"--{prefix}tls-verify={str(self._access.tls_verify).lower()}"
        if self._access.cert_dir:
            yield f"--{prefix}cert-dir={os.path.abspath(self._access.cert_dir)}"

    def _run(
        self,
        words: Sequence[str],
        what: str,
        *,
        output: int = subprocess.DEVNULL,
        cwd: str | None = None,
        keep_fds: Sequence[int] = (),
        on_wait: Callable[[int], None] = lambda _pid: None,
    ) -> None:
        policy = ["--policy", os.path.abspath(self._access.policy)] if self._access.policy else []
        verb, *rest = words
        with contextlib.ExitStack() as undo:
            errors = undo.enter_context(tempfile.TemporaryFile())
            login, fds = self._login(undo)
            process = subprocess.Popen(
                [self._program, *policy, verb, *login, *rest],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
                cwd=cwd,
                pass_fds=[*keep_fds, *fds],
            )
            try:
                while True:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(_POLL_SECONDS)
                        break
                    on_wait(process.pid)
            finally:
                if process.poll() is None:
                    process.send_signal(signal.SIGTERM)
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(5)
                    process.kill()
                    process.wait()
            if process.returncode:
                errors.seek(0)
                raise _failure(errors.read(_MAX_STDERR_BYTES).decode(errors="replace"), what, process.returncode)

    def _login(self, undo: contextlib.ExitStack) -> tuple[list[str], list[int]]:
        if self._access.username:
            pair = base64.b64encode(f"{self._access.username}:{self._access.password}".encode()).decode()
            fd = os.memfd_create("auth", os.MFD_CLOEXEC)
            undo.callback(os.close, fd)
            os.write(fd, json.dumps({"auths": {self._registry: {"auth": pair}}}).encode())
            return [f"--authfile=/proc/self/fd/{fd}"], [fd]
        if self._access.authfile:
            if not os.path.isfile(self._access.authfile):
                raise NotFound(f"no auth file {shown(self._access.authfile)}", hint="'skopeo login' writes one")
            return [f"--authfile={os.path.abspath(self._access.authfile)}"], []
        return [], []


def _deadline(what: str) -> Callable[[int], None]:
    """Return what raises, and so ends skopeo, when a small document has not come in time."""
    begun = time.monotonic()

    def check(_pid: int) -> None:
        if time.monotonic() - begun >= _MAX_INSPECT_SECONDS:
            raise PycontainerError(
                f"'{what}': the registry did not answer within {_MAX_INSPECT_SECONDS} seconds", hint="try again later"
            )

    return check


def _failure(text: str, what: str, status: int) -> PycontainerError:
    """Return the error that skopeo's words mean."""
    said = _MESSAGE.findall(text)
    message = said[-1].replace('\\"', '"').replace("\\\\", "\\") if said else text.strip().rpartition("\n")[2]
    for pattern, kind, meaning, hint in _MEANINGS:
        if re.search(pattern, message):
            return kind(f"'{what}': {meaning}: {_end(message)}", hint=hint)
    if not message:
        how = f"signal {-status}" if status < 0 else f"exit {status}"
        return PycontainerError(f"'{what}': skopeo ended without a word ({how})")
    return PycontainerError(f"'{what}': skopeo says: {_end(message)}")


def _end(message: str) -> str:
    """Return the end of a long message, where Go's errors have their cause."""
    return message if len(message) <= _MAX_SHOWN else f"...{message[-_MAX_SHOWN:]}"
