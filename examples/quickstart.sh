#!/bin/sh
# From a fresh Debian 12 machine to an isolated, capped web server in one command. Run as root:
#
#     examples/quickstart.sh              nginx on a Debian root file system made by mmdebstrap (one to two minutes)
#     examples/quickstart.sh --busybox    a tiny busybox web server, without a package mirror (seconds)
#
# The server is instance `web`: 200 MB of memory, half a CPU, 100 processes, host port 8080 to its port 80. Running this
# again replaces it. PORT=9090 picks another port, PYCONTAINER_ROOT=DIR another place for everything pycontainer keeps.
set -eu
cd "$(dirname "$0")/.."
. examples/progress.sh

PORT=${PORT:-8080}
case "${1-}" in
"") image=debian-nginx ;;
--busybox) image=busybox ;;
*) die "unknown argument '$1'; usage: examples/quickstart.sh [--busybox]" ;;
esac

examples/setup.sh
pycontainer=$PWD/.venv/bin/pycontainer

if "$pycontainer" image list --format json | grep -q "\"name\": *\"$image\""; then
    say "image '$image' is there already"
else
    case $image in
    busybox) progress "making an image of busybox" "$pycontainer" image build-from busybox busybox ;;
    *)
        progress "making an image of Debian with nginx (downloads some 60 MB)" \
            "$pycontainer" image build-from nginx debian-nginx
        ;;
    esac
fi

# A `web` that somebody else made is theirs.
if "$pycontainer" inspect web >/dev/null 2>&1; then
    [ -n "$("$pycontainer" ps -aq --filter name=web --filter label=made-by=quickstart)" ] ||
        die "there is a container 'web' already that this script did not make; rename it: $pycontainer rename web NAME"
    say "replacing the 'web' of an earlier run"
    "$pycontainer" rm -f web >/dev/null
fi

say "starting 'web': 200 MB, half a CPU, 100 processes, port $PORT"
case $image in
busybox) set -- sh -c 'mkdir -p /www; echo "<h1>Hello from pycontainer</h1>" >/www/index.html; exec httpd -f -v -p 80 -h /www' ;;
*) set -- ;; # the image says what to run
esac
"$pycontainer" run -d --name web --label made-by=quickstart --memory 200M --cpus 0.5 --pids-limit 100 \
    --publish "$PORT:80" "$image" "$@" >/dev/null

say "fetching http://127.0.0.1:$PORT/"
page=$(curl --silent --show-error --fail --noproxy '*' --retry 30 --retry-delay 1 --retry-all-errors \
    "http://127.0.0.1:$PORT/") || die "'web' does not answer; look at: $pycontainer logs web"
printf '%s\n' "$page" | grep '<h1>' || die "'web' answers with an unexpected page: $page"

say "pycontainer ps"
"$pycontainer" ps
say "pycontainer stats"
"$pycontainer" stats --no-stream web

cat <<END

'web' is running. What you may want to do now:

    enter it     $pycontainer enter web
    watch it     $pycontainer stats web
    its output   $pycontainer logs -f web
    stop it      $pycontainer stop web
    delete it    $pycontainer rm -f web
END
