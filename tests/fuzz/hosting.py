"""hosting.yaml (hosting/description.py), and the specs that come of it."""

import functools
from collections.abc import Sequence
from pathlib import Path

from pycontainer.errors import InvalidInput
from pycontainer.hosting.description import load_text
from pycontainer.hosting.domains import check_domain
from pycontainer.hosting.plans import Plans
from pycontainer.spec.parse import parse_pool, parse_spec
from tests.fuzz.inputs import check_message, directory

SEEDS = (
    b"hosting: h\ntenants:\n  a:\n    plan: medium\n    contacts: x\n    sites:\n      b: {image: i, domains: [a.example]}\n",
    b"tenants: {a: {limits: {memory: 1G}, volumes: {d: 1G}, sites: {b: {image: i, volumes: ['d:/d'], replicas: 2}}}}\n",
    b"tenants: {a: {sites: {b: {image: i, domains: [a.example], certificate: c, key: k, port: 8, ports: ['80:80']}}}}\n",
    b"tenants: {a: {sites: {b: {imag: i, plan: x, domains: [a, a, 'b_'], limits: {memory: 1Q, x: 1}, env: {A: }}}}}\n",
    b"tenants: {A: {}, b: 5, c: {sites: [x]}}\nhosting: 5\nx: &a [*a]\n",
    b"tenants: {a-b: {sites: {c: {rootfs: ./r, networks: [none]}}}, a: {sites: {b-c: {image: i, update: rolling, ip: 1}}}}\n",
)
MAX_BYTES = 1500


@functools.cache
def plans() -> Plans:
    return Plans.load(f"{directory()}/no-plans")


def no_certificate(certificate: Path, key: Path, domains: Sequence[str]) -> list[str]:
    assert certificate.is_absolute() and key.is_absolute() and domains
    return ["there is none"]


def try_one(data: bytes) -> None:
    try:
        wanted = load_text(data, source="h.yaml", base_dir="/base", plans=plans(), check_certificate=no_certificate)
    except InvalidInput as error:
        check_message(error)
        assert all(line.startswith(("h.yaml", "and ")) for line in error.message.split("\n")), error.message
        return
    domains = [domain for site in wanted.sites for domain in site.domains]
    assert len(set(domains)) == len(domains) and [check_domain(domain) for domain in domains] == domains
    assert len({site.path for site in wanted.sites}) == len(wanted.sites)
    for tenant in wanted.tenants:
        parse_pool(tenant.limits)
    for site in wanted.sites:
        assert parse_spec(dict(site.plain)) == site.spec and site.spec.tenant == site.tenant and len(site.digest) == 64
        assert all(name.startswith(f"{site.tenant}.") for name in site.volumes)
