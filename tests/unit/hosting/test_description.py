"""hosting.yaml: what it may say, what comes of it, and how everything wrong with it is told at once."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from pycontainer.errors import InvalidInput
from pycontainer.hosting.description import from_data, load, load_text
from pycontainer.hosting.plans import Plans
from pycontainer.hosting.site import Description, Site
from pycontainer.spec.parse import parse_spec

GOOD = """\
hosting: shops
tenants:
  acme:
    contacts: ops@acme.example
    plan: medium
    limits: {pids: 900}
    volumes: {data: 5G}
    sites:
      shop:
        image: busybox
        command: [httpd, -f]
        plan: small
        limits:
          memory: 300M
        replicas: 2
        domains: [Shop.acme.example, www.shop.acme.example]
        port: 8080
        volumes: ["data:/data", "./pages:/www:ro", "/srv/x:/x:ro"]
        env: {A: 1}
      worker:
        image: busybox
        restart: on-failure
        volumes: ["spool:/spool"]
"""


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> Plans:
    return Plans.load(str(tmp_path_factory.mktemp("plans")))


def no_check(certificate: Path, key: Path, domains: Sequence[str]) -> list[str]:
    return []


def read(text: str, plans: Plans) -> Description:
    return load_text(text, source="h.yaml", base_dir="/base", plans=plans, check_certificate=no_check)


def wrong(text: str, plans: Plans) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        read(text, plans)
    return caught.value.message.split("\n")


def site_of(settings: str, plans: Plans, *, others: str = "") -> Site:
    text = "tenants:\n  acme:\n    sites:\n      shop:\n        image: busybox\n"
    text += "".join(f"        {line}\n" for line in settings.splitlines())
    return read(text + others, plans).sites[0]


def wrong_in_site(settings: str, plans: Plans) -> list[str]:
    with pytest.raises(InvalidInput) as caught:
        site_of(settings, plans)
    prefix = "tenants.acme.sites.shop"
    return [line.replace(f"{prefix}.", "").replace(f"{prefix}: ", "") for line in caught.value.message.split("\n")]


def test_a_whole_file(plans: Plans) -> None:
    wanted = read(GOOD, plans)
    (tenant,) = wanted.tenants
    assert (wanted.name, tenant.name, tenant.contacts) == ("shops", "acme", ("ops@acme.example",))
    assert tenant.pool["memory_bytes"] == 1 << 30 and tenant.pool["pids_max"] == 900
    shop, worker = wanted.sites
    assert (shop.path, shop.replicas, shop.port) == ("acme/shop", 2, 8080)
    assert shop.domains == ("shop.acme.example", "www.shop.acme.example")
    assert (shop.spec.memory_bytes, shop.spec.cpu_quota_usec, shop.spec.tenant) == (300 << 20, 50_000, "acme")
    assert shop.spec.restart.name == "always" and worker.spec.restart.name == "on-failure"
    assert [mount.source for mount in shop.spec.mounts] == ["acme.data", "/base/pages", "/srv/x"]
    assert shop.volumes == {"acme.data": 5 << 30}
    assert worker.volumes == {"acme.spool": worker.spec.disk_bytes} and worker.spec.disk_bytes
    assert (shop.spec.health_tcp, worker.spec.health_tcp) == (8080, None)
    assert (shop.is_rolling, worker.is_rolling) == (True, False)
    for site in wanted.sites:
        assert parse_spec(dict(site.plain)) == site.spec  # what the supervisor makes of it


def test_the_same_from_data(plans: Plans) -> None:
    data = {"tenants": {"acme": {"sites": {"shop": {"image": "busybox", "domains": "a.example"}}}}}
    wanted = from_data(data, base_dir="/base", plans=plans)
    assert wanted.name == "default" and wanted.sites[0].domains == ("a.example",)
    with pytest.raises(InvalidInput, match=r"^tenants\.acme\.sites\.shop\.domains: 5 is not a list$"):
        from_data({"tenants": {"acme": {"sites": {"shop": {"image": "b", "domains": 5}}}}}, base_dir="/", plans=plans)


def test_a_file_knows_its_directory(tmp_path: Path, plans: Plans) -> None:
    (tmp_path / "h.yaml").write_text(GOOD)
    assert f"{tmp_path}/pages" in [
        mount.source for mount in load(str(tmp_path / "h.yaml"), plans=plans).sites[0].spec.mounts
    ]
    with pytest.raises(InvalidInput, match="cannot read"):
        load(str(tmp_path / "missing.yaml"), plans=plans)


def test_everything_wrong_is_told_at_once_with_its_lines(plans: Plans) -> None:
    """VAL-04"""
    text = """\
hosting: shops
tenats: {}
tenants:
  acme:
    limits: {memory: 100M, restart: always, memroy: 1G}
    memory: 1G
    sites:
      shop:
        image: busybox
        plan: smal
        domains: [a.example, a_b.example]
        memory: 5M
        tenant: other
        ports: ["8080:80", "80:81"]
        port: 99999
      blog:
        image: busybox
        plan: small
        domains: [a.example, bücher.example]
        replicas: 2
        ports: ["127.0.0.1:8080:80"]
        limits: {image: x, cpus: lots}
        env: {A: }
  Acme: {}
"""
    site = "tenants.acme.sites"
    found = wrong(text, plans)
    assert found == [
        "h.yaml:2: tenats: unknown key, did you mean 'tenants'?",
        "h.yaml:5: tenants.acme.limits.restart: is not a limit that a tenant's sites can share",
        "h.yaml:5: tenants.acme.limits.memroy: unknown limit, did you mean 'memory'?",
        "h.yaml:6: tenants.acme.memory: the limit stands beside 'limits'",
        f"h.yaml:10: {site}.shop.plan: no plan 'smal', did you mean 'small'?",
        f"h.yaml:11: {site}.shop.domains[1]: 'a_b.example' is not a domain: 'a_b' is not letters, digits, and dashes "
        "between them",
        f"h.yaml:12: {site}.shop.memory: the limit stands beside 'limits'",
        f"h.yaml:13: {site}.shop.tenant: a site has no such setting",
        f"h.yaml:14: {site}.shop.ports: host port 80 is the front door's, where requests for all domains come in",
        f"h.yaml:15: {site}.shop.port: 99999 is out of range",
        f"h.yaml:18: {site}.blog.plan: memory: plan 'small' has 256MiB, more than the 100MiB of tenant 'acme'",
        f"h.yaml:19: {site}.blog.domains[1]: 'bücher.example' is not a domain: it has letters beside a to z",
        f"h.yaml:19: {site}.blog.domains[0]: domain 'a.example' belongs to site 'acme/shop' already",
        f"h.yaml:21: {site}.blog.ports: only one of the 2 replicas can have it",
        f"h.yaml:21: {site}.blog.ports: host port 8080/tcp belongs to site 'acme/shop' already",
        f"h.yaml:22: {site}.blog.limits.image: stands with the site itself",
        f"h.yaml:22: {site}.blog.limits.cpus: 'lots' is not a number of CPUs",
        f"h.yaml:23: {site}.blog.env.A: there is no value",
        "h.yaml:24: tenants.Acme: 'Acme' is not the name of a tenant here",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ["h.yaml:1: the file describes no hosting"]),
        ("[a]\n", ["h.yaml:1: the file describes no hosting"]),
        ("hosting: a b\n", ["h.yaml:1: there are no tenants", "h.yaml:1: hosting: 'a b' is not a hosting name"]),
        ("tenants:\n", ["h.yaml:1: tenants: None is not a mapping"]),
        ("tenants: {}\n", ["h.yaml:1: tenants: there are no tenants"]),
        ("tenants: {a: 5}\n", ["h.yaml:1: tenants.a: 5 is not a mapping of settings"]),
        ("tenants: {a: {sites: [x]}}\n", ["h.yaml:1: tenants.a.sites: ['x'] is not a mapping"]),
        ("tenants: {a: {sites: {b: 1}}}\n", ["h.yaml:1: tenants.a.sites.b: 1 is not a mapping of settings"]),
        ("tenants:\n  a: {}\n  a: {}\n", ["h.yaml:3: key 'a' is given twice"]),
        ("tenants:\n\ta: {}\n", ["h.yaml:2: a tab stands in the indentation"]),
        ("tenants: {a: {}\n", ["h.yaml:2: not YAML: did not find expected ',' or '}'"]),
        ("tenants: {a: {limits: {memory: 1Q}}}\n", ["h.yaml:1: tenants.a.limits.memory: '1Q' is not a size"]),
        (
            "tenants: {a: {limits: {memory: 1G, memory_high: 2G}}}\n",
            ["h.yaml:1: tenants.a.limits.memory_high: 2GiB is more than the 1GiB of memory"],
        ),
        ("tenants: {a: {plan: tiny}}\n", ["h.yaml:1: tenants.a.plan: no plan 'tiny'"]),
        (
            "tenants: {a: {volumes: {data: 1G}}}\n",
            ["h.yaml:1: tenants.a.volumes.data: no site of the tenant has this volume"],
        ),
        (
            "tenants: {a: {contacts: [1]}}\n",
            ["h.yaml:1: tenants.a.contacts[0]: 1 is not a line of at most 200 characters"],
        ),
    ],
)
def test_the_form_of_a_file(text: str, expected: list[str], plans: Plans) -> None:
    assert sorted(wrong(text, plans)) == sorted(expected)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("replicas: 0", "h.yaml:6: replicas: 0 is out of range"),
        ("port: 80", "h.yaml:6: port: there are no domains whose requests it could get"),
        ("domains: [a.example, a.example]", "h.yaml:6: domains[1]: domain 'a.example' is there twice"),
        ("update: roling", "h.yaml:6: update: 'roling' is none, did you mean 'rolling'?"),
        (
            'update: rolling\nports: ["8080:80"]',
            "h.yaml:6: update: old and new cannot have ports at the same time",
        ),
        ("ip: 10.88.0.9\nreplicas: 3", "h.yaml:6: ip: only one of the 3 replicas can have it"),
        (
            "domains: [a.example]\nnetworks: [none]",
            "h.yaml:7: networks: with network 'none' it has no address that requests for its domains could go to",
        ),
        ("labels: {hosting.site: x}", "h.yaml:6: labels: label 'hosting.site' is ours to give"),
        ("rootfs: /srv/x", "h.yaml:4: rootfs: image and rootfs exclude each other"),
        ("certificate: a.pem", "h.yaml:6: certificate: a certificate needs its key, and a key its certificate"),
        ("certificate: a.pem\nkey: b.pem", "h.yaml:6: certificate: there are no domains that it could be for"),
        ("drain: 2h", "h.yaml:6: drain: '2h' is out of range"),
        ("limits: {memory_high: 10G}", "h.yaml:6: limits.memory_high: 10GiB is more than the 128MiB of memory"),
        (
            "volumes: [/data]",
            "h.yaml:6: volumes: a volume without a name, for '/data', would go with each container that is replaced",
        ),
        ("mounts: []", "h.yaml:6: mounts: a site has no such setting"),
        ("imag: x", "h.yaml:6: imag: unknown key, did you mean 'image'?"),
        ("restart:", "h.yaml:6: restart: there is no value"),
        ("plan:", "h.yaml:6: plan: there is no value"),
        ("plan: [small]", "h.yaml:6: plan: no plan ['small']"),
        ("replicas:", "h.yaml:6: replicas: there is no value"),
        ("update:", "h.yaml:6: update: there is no value"),
        ("limits: {memory: }", "h.yaml:6: limits.memory: there is no value"),
        ("health_tcp: 80\nhealth_http: 80/", "h.yaml:7: health_http and health_tcp exclude each other"),
    ],
)
def test_what_is_wrong_with_a_site(settings: str, expected: str, plans: Plans) -> None:
    found = wrong_in_site(settings, plans)
    assert [line for line in found if line.endswith(expected.partition(": ")[2])], found


def test_names_that_containers_of_two_sites_would_share(plans: Plans) -> None:
    text = "tenants:\n  a:\n    sites:\n      b-c: {image: x}\n  a-b:\n    sites:\n      c: {image: x}\n"
    assert wrong(text, plans) == [
        "h.yaml:7: tenants.a-b.sites.c: its containers would be named as those of site 'a/b-c'"
    ]
    long = "a" * 40
    (found,) = wrong(f"tenants: {{{long}: {{sites: {{{long}: {{image: x}}}}}}}}\n", plans)
    assert "would be too long" in found


def test_a_certificate_is_checked_for_its_domains(tmp_path: Path, plans: Plans) -> None:
    seen = []

    def check(certificate: Path, key: Path, domains: Sequence[str]) -> list[str]:
        seen.append((certificate, key, tuple(domains)))
        return ["it is for 'b.example', not for 'a.example'", "it has expired"]

    text = "tenants: {a: {sites: {b: {image: x, domains: [a.example], certificate: tls/a.pem, key: /k.pem}}}}\n"
    with pytest.raises(InvalidInput) as caught:
        load_text(text, source="h.yaml", base_dir="/base", plans=plans, check_certificate=check)
    assert caught.value.message.split("\n") == [
        "h.yaml:1: tenants.a.sites.b.certificate: it is for 'b.example', not for 'a.example'",
        "h.yaml:1: tenants.a.sites.b.certificate: it has expired",
    ]
    assert seen == [(Path("/base/tls/a.pem"), Path("/k.pem"), ("a.example",))]


@pytest.mark.parametrize(
    ("settings", "is_rolling"),
    [
        ("domains: [a.example]", True),
        ("domains: [a.example]\nvolumes: ['data:/d']", False),  # two would write the same files
        ("domains: [a.example]\nvolumes: ['data:/d:ro']", True),
        ("domains: [a.example]\nvolumes: ['data:/d']\nreplicas: 2", True),  # they do so anyway
        ("domains: [a.example]\nports: ['8080:80']", False),
        ("replicas: 2", False),
        ("update: rolling", True),
        ("domains: [a.example]\nupdate: recreate", False),
    ],
)
def test_how_a_site_is_updated(settings: str, is_rolling: bool, plans: Plans) -> None:
    assert site_of(settings, plans).is_rolling is is_rolling


@pytest.mark.parametrize(
    ("settings", "tcp", "http", "period"),
    [
        ("domains: [a.example]", 80, "", 60),
        ("domains: [a.example]\nport: 8080\nhealth_start_period: 5s", 8080, "", 5),
        ("domains: [a.example]\nhealth_http: 80/well", None, "80/well", 60),
        ("domains: [a.example]\nhealth_cmd: none", None, "", None),
        ("health_tcp: 5432", 5432, "", None),
        ("replicas: 1", None, "", None),
    ],
)
def test_how_a_site_is_asked(settings: str, tcp: int | None, http: str, period: int | None, plans: Plans) -> None:
    spec = site_of(settings, plans).spec
    assert (spec.health_tcp, spec.health_http, spec.health_start_period_seconds) == (tcp, http, period)


def test_a_tenant_cannot_have_the_volume_of_another(plans: Plans) -> None:
    """Whatever a volume is called, its name on the host begins with its tenant's."""
    for entry in ("other.data:/d", "data:/d", "acme.data:/d:ro"):
        (mount,) = site_of(f"volumes: ['{entry}']", plans).spec.mounts
        assert mount.source == f"acme.{entry.partition(':')[0]}"


def test_a_volume_that_two_sites_have_has_one_size(plans: Plans) -> None:
    text = "tenants: {a: {sites: {b: {image: x, volumes: 'd:/d', plan: small}, c: {image: x, volumes: 'd:/d'}}}}\n"
    assert [site.volumes for site in read(text, plans).sites] == [{"a.d": 5 << 30}] * 2


def test_the_digest_is_of_what_cannot_be_changed(plans: Plans) -> None:
    base = site_of("domains: [a.example]", plans).digest
    assert len(base) == 64 and site_of("domains: [b.example]\nreplicas: 3", plans).digest == base
    assert site_of("domains: [a.example]\nlimits: {memory: 1G}\nhealth_interval: 5s", plans).digest == base
    for other in ("env: {A: 1}", "labels: {a: b}", "command: [x]", "volumes: ['d:/d']", "port: 81"):
        assert site_of(f"domains: [a.example]\n{other}", plans).digest != base
