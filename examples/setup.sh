#!/bin/sh
# Install what pycontainer needs on Debian 12: system packages, and a Python environment in .venv of this checkout.
#
#     examples/setup.sh [--dev]        --dev adds what the tests need
#
# Run as root. Running it again is cheap: nothing is installed twice, nothing is asked.
set -eu
cd "$(dirname "$0")/.."
. examples/progress.sh

# The one list of system packages. python-prctl has no binary wheel: it is compiled with gcc against the headers of
# libcap and Python.
PACKAGES="
    python3 python3-venv python3-dev gcc libc6-dev libcap-dev
    libseccomp2 libnftables1 libzstd1 iproute2 ca-certificates
    mmdebstrap busybox-static tar xz-utils zstd curl
"
DEV_PACKAGES="nftables binutils binutils-aarch64-linux-gnu qemu-user-static util-linux git shellcheck xfsprogs
    qemu-system-x86 qemu-system-common kmod lxcfs btrfs-progs apparmor
    skopeo umoci docker-registry podman uidmap openssl nginx squashfs-tools erofs-utils
    conmon containernetworking-plugins iptables containerd docker.io runc crun tini
    lxc bubblewrap systemd-container
    golang-go golang-github-opencontainers-runtime-tools-dev golang-github-google-uuid-dev"

extras=""
case "${1-}" in
"") ;;
--dev)
    PACKAGES="$PACKAGES $DEV_PACKAGES"
    extras="[dev]"
    ;;
*) die "unknown argument '$1'; usage: examples/setup.sh [--dev]" ;;
esac
[ "$(id -u)" -eq 0 ] || die "setup needs root; run it as root or with sudo"

is_installed() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

missing=""
if command -v dpkg-query >/dev/null; then
    for package in $PACKAGES; do
        is_installed "$package" || missing="$missing $package"
    done
else
    # shellcheck disable=SC2086
    say "no dpkg here; these must be installed by other means:" $PACKAGES
fi
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    # An unreachable third-party source makes the update fail; the installation below tells whether that matters.
    progress "refreshing the package lists" apt-get -q update || say "going on with the lists that are there"
    if [ -n "$extras" ] && [ ! -e /usr/sbin/policy-rc.d ]; then # the tests start what they need themselves
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    # shellcheck disable=SC2086
    progress "installing system packages:$missing" apt-get -q -y -o DPkg::Lock::Timeout=300 --no-install-recommends install $missing
fi

PYTHON=${PYTHON:-/usr/bin/python3}
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$PYTHON is older than Python 3.11; name a newer one with PYTHON=/path/to/python"

# The environment is made once and refreshed when the checkout moved or pyproject.toml, this script, Python or the extras
# changed. editable_mode=compat makes it find the package by a plain path: the finder would cost each command 13 ms.
stamp=$(pwd && "$PYTHON" -V && cat pyproject.toml examples/setup.sh | sha256sum)
stamp_file=.venv/pycontainer-stamp${extras:+-dev}
if [ -z "$extras" ] && [ -e .venv/pycontainer-stamp-dev ]; then
    stamp_file=.venv/pycontainer-stamp-dev # what the tests need includes what everybody needs
fi
if [ ! -x .venv/bin/python ] || [ "$(cat "$stamp_file" 2>/dev/null)" != "$stamp" ]; then
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        progress "making the Python environment .venv" "$PYTHON" -m venv --clear .venv
    fi
    progress "installing pycontainer and its Python packages into .venv" \
        .venv/bin/python -m pip install --quiet --disable-pip-version-check \
        --config-settings editable_mode=compat --editable ".$extras"
    printf '%s\n' "$stamp" >"$stamp_file"
fi
# What pip writes for the two commands starts Python with all of the environment, which takes longer than starting a container.
.venv/bin/python -m pycontainer.startup.launcher .venv/bin/pycontainer
.venv/bin/python -m pycontainer.oci.launcher .venv/bin/pycontainer-oci
for program in pycontainer pycontainer-oci; do # else the first call has it made
    .venv/bin/python -m pycontainer.startup.build "$program" || say "$program starts as ever"
done
