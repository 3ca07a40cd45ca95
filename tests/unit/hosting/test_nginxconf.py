"""The configuration of nginx: the same for the same, one server for each way to a site, nothing that was not checked."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pycontainer.errors import InvalidInput
from pycontainer.hosting.nginxconf import SITE_CONNECTIONS, SITE_REQUESTS, WORKER_CONNECTIONS, Settings, render
from pycontainer.hosting.routes import Backend, SiteRoute
from tests.unit.hosting.test_routes import BLOG, SHOP

SETTINGS = Settings(
    (Backend("0.0.0.0", 80), Backend("::", 80)),
    (Backend("0.0.0.0", 443), Backend("::", 443)),
    "/run/door",
    "/var/door/error.log",
    "/var/door/logs",
    "/var/acme",
)


def text(*routes: SiteRoute, settings: Settings = SETTINGS) -> str:
    return render(routes, settings)[0]


def servers(configuration: str) -> list[list[str]]:
    """Return the directives of each server, blocks within it as one line each."""
    found: list[list[str]] = []
    for block in re.findall(r"^    server \{\n(.*?)^    \}$", configuration, re.DOTALL | re.MULTILINE):
        inner = re.sub(
            r"\{\n(.*?)        \}", lambda match: "{ " + " ".join(match.group(1).split()) + " }", block, flags=re.S
        )
        found.append([line.strip() for line in inner.splitlines()])
    return found


def test_a_site_with_a_certificate_and_one_without() -> None:
    status, unknown, unknown_tls, shop, shop_tls, blog = servers(text(BLOG, SHOP))
    assert status[0] == 'listen "unix:/run/door/status.sock";'
    assert unknown[:2] == [
        "listen 0.0.0.0:80 default_server backlog=4096;",
        "listen [::]:80 default_server backlog=4096;",
    ]
    assert "421" in unknown[-1] and "ssl_reject_handshake on;" in unknown_tls
    acme = (
        'location ^~ /.well-known/acme-challenge/ {{ root "/var/acme"; disable_symlinks on from=$document_root; '
        "try_files $uri {}; }}"
    )
    assert acme.format("=404") in unknown
    assert shop == [
        "listen 0.0.0.0:80;",
        "listen [::]:80;",
        "server_name shop.example www.shop.example;",
        'access_log "/var/door/logs/acme/shop.log" site if=$is_logged;',
        f"limit_conn site {SITE_CONNECTIONS};",
        f"limit_req zone=rate burst={SITE_REQUESTS} nodelay;",
        acme.format("@site"),
        "location / { return 308 https://$host$request_uri; }",
        "location @site { proxy_pass http://site0; }",
    ]
    assert shop_tls == [
        "listen 0.0.0.0:443 ssl http2;",
        "listen [::]:443 ssl http2;",
        'ssl_certificate "/etc/ssl/shop.pem";',
        'ssl_certificate_key "/etc/ssl/shop.key";',
        *shop[2:6],
        "location / { proxy_pass http://site0; }",
    ]
    assert blog[-2].startswith("location / { add_header Retry-After 10 always; return 503 ")
    assert "server 10.0.0.2:8080 max_fails=3 fail_timeout=5s;" in text(SHOP)
    assert "server [fd00::2]:8080 max_fails=3 fail_timeout=5s;" in text(SHOP)
    assert "upstream site1" not in text(BLOG, SHOP)  # nginx refuses an empty one


def test_no_redirect_and_another_port() -> None:
    assert "location / { proxy_pass http://site0; }" in servers(text(replace(SHOP, redirect=False)))[3]
    elsewhere = replace(SETTINGS, https=(Backend("127.0.0.1", 8443),))
    assert "location / { return 308 https://$host:8443$request_uri; }" in servers(text(SHOP, settings=elsewhere))[3]
    without = servers(text(SHOP, settings=replace(SETTINGS, https=())))
    assert len(without) == 3 and "location / { proxy_pass http://site0; }" in without[2]


def test_the_same_is_the_same_and_another_is_another() -> None:
    assert render([SHOP, BLOG], SETTINGS) == render([BLOG, SHOP], SETTINGS)
    generations = [
        render(routes, SETTINGS, stamp)[1] for routes, stamp in (([SHOP], ""), ([SHOP, BLOG], ""), ([SHOP], "renewed"))
    ]
    assert len({*generations}) == 3
    assert f'location = /generation {{ return 200 "{generations[0]}\\n"; }}' in text(SHOP)


@pytest.mark.parametrize("count", [0, 200, 2000])
def test_the_tables_of_names_have_room(count: int) -> None:
    """A bucket holds the longest name with 24 bytes beside it; there are far more of them than names."""
    long = ".".join(["a" * 60] * 4)
    found = text(*(replace(BLOG, name=f"zoo/s{n}", domains=(f"s{n}.{long}",)) for n in range(count)))
    bucket, table = (int(re.search(rf"{key} (\d+);", found).group(1)) for key in  # type: ignore[union-attr]
                     ("server_names_hash_bucket_size", "server_names_hash_max_size"))  # fmt: skip
    assert bucket >= (16 + 8 + 250 if count else 128) and table >= max(1024, 4 * count)
    files = int(re.search(r"worker_rlimit_nofile (\d+);", found).group(1))  # type: ignore[union-attr]
    assert files >= WORKER_CONNECTIONS + count + 100
    assert SITE_CONNECTIONS * 2 <= WORKER_CONNECTIONS // 4


def test_a_host_with_few_descriptors() -> None:
    assert "worker_rlimit_nofile 4096;" in text(SHOP, settings=replace(SETTINGS, open_files=4096))


INJECTIONS = [
    "a; return 200 pwned;",
    "a }\nserver { listen 1",
    'a"b',
    "a'b",
    "a$b",
    "a\\b",
    "a{b",
    "a#b",
    "a\rb",
    "~^.*$",
]


@pytest.mark.parametrize("evil", INJECTIONS)
def test_nothing_injects_directives(evil: str) -> None:
    """API-06: each value that reaches the configuration, by each way that it could become more than a value."""
    for route in (
        replace(SHOP, domains=(evil,)),
        replace(SHOP, name=f"acme/{evil}"),
        replace(SHOP, name=f"{evil}/shop"),
        replace(SHOP, backends=(Backend(evil, 80),)),
        replace(SHOP, backends=(Backend("10.0.0.2", evil),)),  # type: ignore[arg-type]
    ):
        with pytest.raises(InvalidInput):
            render([route], SETTINGS)
    for path in (f"/etc/{evil}", evil):
        quoted = not path.startswith("/") or not path.isprintable() or {*path} & {*'"\\$'}
        for route in (replace(SHOP, certificate=Path(path)), replace(SHOP, key=Path(path))):
            if quoted:
                with pytest.raises(InvalidInput):
                    render([route], SETTINGS)
            else:  # between quotes it is a path and nothing else
                assert f' "{path}";' in render([route], SETTINGS)[0]


def structure(configuration: str) -> str:
    """Return what nginx takes for its directives and blocks: the ends of them, outside of quotes and comments."""
    lines = [line for line in configuration.splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"[^{};]", "", re.sub(r'"[^"]*"|\'[^\']*\'', "", "\n".join(lines)))


WORDS = st.one_of(
    st.text(), st.text("a.-*$;{}\"'\\# \n/~:_", max_size=12), st.sampled_from(["a.example", "/a/b", "10.0.0.2", "a/b"])
)


PATHS = st.one_of(WORDS, WORDS.map(lambda word: f"/{word}"))


@given(domain=WORDS, name=WORDS, ip=WORDS, certificate=PATHS, key=PATHS)
def test_whatever_is_asked_for_has_the_structure_of_any_other(
    domain: str, name: str, ip: str, certificate: str, key: str
) -> None:
    """Refused, or a value and nothing more."""
    plain = SiteRoute(("a.example",), (Backend("10.0.0.2", 80),), Path("/a"), Path("/b"), "acme/shop")
    for route in (
        replace(plain, domains=(domain,)),
        replace(plain, name=name),
        replace(plain, backends=(Backend(ip, 80),)),
        replace(plain, certificate=Path(certificate), key=Path(key)),
        SiteRoute((domain,), (Backend(ip, 80),), Path(certificate), Path(key), name),
    ):
        try:
            made = text(route)
        except InvalidInput:
            continue
        assert structure(made) == structure(text(plain))


def test_nor_does_the_place_of_a_world() -> None:
    evil = '/srv/a";b'
    for settings in (
        replace(SETTINGS, directory=evil),
        replace(SETTINGS, error_log=evil),
        replace(SETTINGS, logs_dir=evil),
        replace(SETTINGS, acme_dir=evil),
    ):
        with pytest.raises(InvalidInput, match="cannot be the path"):
            text(SHOP, settings=settings)


def test_no_value_of_a_client_reaches_a_site_as_ours() -> None:
    found = text(SHOP)
    for header in (
        "X-Real-IP",
        "X-Forwarded-For",
        "X-Forwarded-Proto",
        "X-Forwarded-Host",
        "X-Forwarded-Port",
        "Forwarded",
    ):
        (value,) = re.findall(rf"proxy_set_header {header} (.*);", found)
        assert value in ('""', "$remote_addr", "$scheme", "$host", "$server_port")
    assert "$proxy_add_x_forwarded_for" not in found and "$http_host" not in found
