"""Certificates for tests, made by the openssl program: good ones, and wrong in one way each."""

import subprocess
from pathlib import Path
from typing import NamedTuple


class Pair(NamedTuple):
    """A certificate and its key, in PEM."""

    certificate: Path
    key: Path


def make_certificate(
    directory: Path,
    *names: str,
    name: str = "site",
    days: int = 30,
    extra: tuple[str, ...] = (),
    dates: tuple[str, str] | None = None,
) -> Pair:
    """Make a self-signed certificate for `names`; `dates` are (from, until) as YYYYMMDDHHMMSSZ instead of `days` from now.

    `extra` are further extensions, as openssl's option -addext has them.
    """
    certificate, key, request = (directory / f"{name}.{suffix}" for suffix in ("pem", "key", "csr"))
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key))
    key.chmod(0o600)
    extensions = [*([f"subjectAltName={','.join(f'DNS:{each}' for each in names)}"] if names else []), *extra]
    added = [word for extension in extensions for word in ("-addext", extension)]
    if dates is None:
        _openssl("req", "-x509", "-new", "-key", str(key), "-subj", "/CN=test", "-days", str(days), *added,
                 "-out", str(certificate))  # fmt: skip
        return Pair(certificate, key)
    # Only `openssl ca` of OpenSSL 3.0 takes dates; it keeps a database of what it signed.
    database, configuration = directory / f"{name}.db", directory / f"{name}.cnf"
    database.write_text("")
    configuration.write_text(
        f"[ca]\ndefault_ca=own\n[own]\ndatabase={database}\nrand_serial=yes\nnew_certs_dir={directory}\ndefault_md=sha256\n"
        "policy=any\ncopy_extensions=copy\n[any]\ncommonName=supplied\n"
    )
    _openssl("req", "-new", "-key", str(key), "-subj", "/CN=test", *added, "-out", str(request))
    _openssl("ca", "-batch", "-notext", "-selfsign", "-config", str(configuration), "-keyfile", str(key), "-in", str(request),
             "-startdate", dates[0], "-enddate", dates[1], "-out", str(certificate))  # fmt: skip
    return Pair(certificate, key)


def _openssl(*arguments: str) -> None:
    done = subprocess.run(
        ["openssl", *arguments], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, f"openssl {arguments}: {done.stderr}"
