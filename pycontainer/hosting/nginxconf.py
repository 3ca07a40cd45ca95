"""The configuration of nginx, made of the routes: the same for the same, and nothing in it that was not checked.

events, http      what holds for all sites: time-outs, sizes, what a request tells its site of the client
status            a unix socket that says which configuration is served
default servers   for names that nobody has: 421, and no TLS handshake at all
per site          an upstream of its replicas; a server for HTTP, one for TLS if it has a certificate
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pycontainer.hosting.routes import Backend, SiteRoute, check_path, check_routes, shown_backend

WORKER_CONNECTIONS = 16384
SITE_CONNECTIONS = 2048  # of one site at once, each with one more to its replica: a quarter of one worker's
SITE_REQUESTS = 1000  # of one site in a second
DRAIN_SECONDS = 300  # that a connection may outlive the configuration it was made under
_FEW_FILES = 512  # of a worker, beside its connections and the logs of the sites
GENERATION_MARK = "@generation@"

_HTTP = """\
    # Who sends slowly is cut off: it would hold a place that others need.
    client_header_timeout 10s;
    client_body_timeout 30s;
    send_timeout 30s;
    keepalive_timeout 30s;
    keepalive_requests 1000;
    reset_timedout_connection on;
    client_header_buffer_size 1k;
    large_client_header_buffers 4 16k;
    client_max_body_size 64m;
    http2_max_concurrent_streams 64;

    # One site's crowd, or its attackers, must not take the connections and the time of all others. Who is turned away is not
    # written down: that would cost what it saves.
    limit_conn_zone $server_name zone=site:4m;
    limit_conn_status 503;
    limit_conn_log_level info;
    limit_req_status 503;
    limit_req_log_level info;
    map "$limit_conn_status $limit_req_status" $is_logged { default 1; "~REJECTED" 0; }

    # Nothing of a request or an answer is put on the host's disk, which nobody caps: replicas take bodies as they come.
    proxy_request_buffering off;
    proxy_max_temp_file_size 0;
    proxy_buffer_size 16k;
    proxy_buffers 4 16k;
    # Nor does an answer tell nginx what to do: X-Accel-Redirect would have it answer from places of ours.
    proxy_ignore_headers X-Accel-Redirect X-Accel-Limit-Rate X-Accel-Charset X-Accel-Expires;
    proxy_http_version 1.1;
    proxy_connect_timeout 2s;
    proxy_send_timeout 60s;
    proxy_read_timeout 120s;
    # What could not be sent to one replica is sent to another; what may have had an effect (POST) is not sent twice.
    proxy_next_upstream error timeout;
    proxy_next_upstream_tries 3;
    proxy_next_upstream_timeout 10s;

    # Only WebSocket may leave HTTP: behind "Upgrade: h2c" requests would go by that nobody has looked at.
    map $http_upgrade $asked_upgrade { default ""; "~*^websocket$" websocket; }
    map $asked_upgrade $asked_connection { default ""; websocket upgrade; }
    # What a site may believe of its client. What the client says itself of these is replaced, with "_" for "-" dropped.
    underscores_in_headers off;
    ignore_invalid_headers on;
    proxy_set_header Host $host;
    proxy_set_header Upgrade $asked_upgrade;
    proxy_set_header Connection $asked_connection;
    proxy_set_header X-Real-IP $remote_addr;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-Host $host;
    proxy_set_header X-Forwarded-Port $server_port;
    proxy_set_header X-Forwarded-Server "";
    proxy_set_header X-Forwarded-Prefix "";
    proxy_set_header X-Forwarded-Ssl "";
    proxy_set_header X-Original-URL "";
    proxy_set_header X-Rewrite-URL "";
    proxy_set_header Forwarded "";
    proxy_set_header Proxy "";

    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:\
ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305;
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:tls:16m;
    ssl_session_timeout 4h;
    ssl_session_tickets off;

    # A line of the log is short, whatever was asked: it is the client who decides how many there are.
    map $request $logged_request { default ""; "~^(?<request_head>.{0,400})" $request_head; }
    map $http_user_agent $logged_agent { default "-"; "~^(?<agent_head>.{1,150})" $agent_head; }
    log_format site '$remote_addr $host [$time_iso8601] "$logged_request" $status $body_bytes_sent $request_time '
                    '"$upstream_addr" "$upstream_status" "$logged_agent"';
    access_log off;
    server_tokens off;
    absolute_redirect off;
    default_type text/plain;
    tcp_nodelay on;
"""


@dataclass(frozen=True, slots=True)
class Settings:
    """What holds for all sites: where nginx listens, where its files are, as whom its workers run.

    `directory` holds its pid, socket and temporary files, `logs_dir` TENANT/SITE.log, `acme_dir` what an ACME client puts
    below .well-known/acme-challenge. The workers themselves need to reach `acme_dir` alone.
    """

    http: tuple[Backend, ...]
    https: tuple[Backend, ...]
    directory: str
    error_log: str
    logs_dir: str
    acme_dir: str
    user: str = "www-data www-data"
    open_files: int = 65536  # that a process may have
    site_connections: int = SITE_CONNECTIONS
    site_requests: int = SITE_REQUESTS

    @property
    def status_socket(self) -> str:
        return f"{self.directory}/status.sock"

    @property
    def pid_file(self) -> str:
        return f"{self.directory}/nginx.pid"

    @property
    def conf_file(self) -> str:
        return f"{self.directory}/nginx.conf"


def render(routes: Sequence[SiteRoute], settings: Settings, stamp: str = "") -> tuple[str, str]:
    """Return (text, generation): the whole configuration, and the name under which the status socket knows it.

    Another `stamp` makes another generation, for what is in files that the text only names. InvalidInput, with all
    problems, for routes that cannot be served.
    """
    routes = check_routes(routes)
    text = "\n".join(_lines(routes, settings)) + "\n"
    generation = hashlib.sha256(f"{stamp}\0{text}".encode()).hexdigest()[:16]
    return text.replace(GENERATION_MARK, generation), generation


def _lines(routes: Sequence[SiteRoute], settings: Settings) -> Iterator[str]:
    files = min(settings.open_files, WORKER_CONNECTIONS + len(routes) + _FEW_FILES)
    yield "# Made by pycontainer of the sites it knows; what is written here by hand is lost with the next change."
    yield f"user {settings.user};"
    yield "worker_processes auto;"
    yield f"worker_rlimit_nofile {files};"
    yield f"worker_shutdown_timeout {DRAIN_SECONDS}s;"
    yield f"pid {_quoted(settings.pid_file)};"
    yield f"error_log {_quoted(settings.error_log)} error;"
    yield f"events {{ worker_connections {WORKER_CONNECTIONS}; }}"
    yield "http {"
    yield _HTTP
    yield f"    limit_req_zone $server_name zone=rate:4m rate={settings.site_requests}r/s;"
    yield from _hash_sizes([domain for route in routes for domain in route.domains])
    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"):
        yield f"    {kind}_temp_path {_quoted(f'{settings.directory}/{kind}')};"
    yield from _status(settings)
    yield from _default_servers(settings)
    for number, route in enumerate(routes):
        yield from _site(f"site{number}", route, settings)
    yield "}"


def _hash_sizes(domains: Sequence[str]) -> Iterator[str]:
    """Tables in which the longest name has room in a bucket, and all of them four times as many buckets."""
    longest = max((len(domain) for domain in domains), default=0)
    yield f"    server_names_hash_bucket_size {_power_of_two(max(128, longest + 48))};"
    yield f"    server_names_hash_max_size {_power_of_two(max(1024, 4 * len(domains)))};"


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()


def _status(settings: Settings) -> Iterator[str]:
    yield "    server {"
    yield f"        listen {_quoted(f'unix:{settings.status_socket}')};"
    yield f'        location = /generation {{ return 200 "{GENERATION_MARK}\\n"; }}'
    yield "        location = /connections { stub_status; }"
    yield "    }"


def _default_servers(settings: Settings) -> Iterator[str]:
    yield "    server {"
    for address in settings.http:
        yield f"        listen {shown_backend(address)} default_server backlog=4096;"
    yield "        server_name _;"
    yield from _acme(
        settings, "=404"
    )  # also before the site is there: it cannot come with a certificate it has not got
    yield '        location / { return 421 "no site of this name is served here\\n"; }'
    yield "    }"
    if settings.https:
        yield "    server {"
        for address in settings.https:
            yield f"        listen {shown_backend(address)} ssl http2 default_server backlog=4096;"
        yield "        server_name _;"
        yield "        ssl_reject_handshake on;"
        yield '        location / { return 421 "no site of this name is served here\\n"; }'
        yield "    }"


def _site(upstream: str, route: SiteRoute, settings: Settings) -> Iterator[str]:
    yield f"    # {route.name}"
    if route.backends:
        yield f"    upstream {upstream} {{"
        for backend in route.backends:
            yield f"        server {shown_backend(backend)} max_fails=3 fail_timeout=5s;"
        # Shorter than servers keep theirs: a request that meets their closing, and is no GET, cannot be sent again.
        yield "        keepalive 8;"
        yield "        keepalive_timeout 1s;"
        yield "    }"
    has_tls = route.certificate is not None and bool(settings.https)
    yield "    server {"
    for address in settings.http:
        yield f"        listen {shown_backend(address)};"
    yield from _common(route, settings)
    yield from _acme(settings, "@site")
    if has_tls and route.redirect:
        port = settings.https[0].port
        to = "https://$host" + ("" if port == 443 else f":{port}") + "$request_uri"
        yield f"        location / {{ return 308 {to}; }}"
    else:
        yield f"        location / {{ {_answer(upstream, route)} }}"
    yield f"        location @site {{ {_answer(upstream, route)} }}"
    yield "    }"
    if has_tls:
        yield "    server {"
        for address in settings.https:
            yield f"        listen {shown_backend(address)} ssl http2;"
        yield f"        ssl_certificate {_quoted(str(route.certificate))};"
        yield f"        ssl_certificate_key {_quoted(str(route.key))};"
        yield from _common(route, settings)
        yield f"        location / {{ {_answer(upstream, route)} }}"
        yield "    }"


def _common(route: SiteRoute, settings: Settings) -> Iterator[str]:
    yield f"        server_name {' '.join(route.domains)};"
    yield f"        access_log {_quoted(log_path(settings.logs_dir, route.name))} site if=$is_logged;"
    yield f"        limit_conn site {settings.site_connections};"
    yield f"        limit_req zone=rate burst={settings.site_requests} nodelay;"


def _acme(settings: Settings, otherwise: str) -> Iterator[str]:
    """A file of an ACME client of the host, else what the site says, which may have a client of its own."""
    yield "        location ^~ /.well-known/acme-challenge/ {"
    yield f"            root {_quoted(settings.acme_dir)};"
    yield "            disable_symlinks on from=$document_root;"
    yield f"            try_files $uri {otherwise};"
    yield "        }"


def _answer(upstream: str, route: SiteRoute) -> str:
    if route.backends:
        return f"proxy_pass http://{upstream};"
    return 'add_header Retry-After 10 always; return 503 "this site has no replica that is well\\n";'


def log_path(logs_dir: str, name: str) -> str:
    """Return where the requests to the site TENANT/SITE are logged."""
    return f"{logs_dir}/{name}.log"


def _quoted(path: str) -> str:
    return f'"{check_path(path.removeprefix("unix:")) and path}"'
