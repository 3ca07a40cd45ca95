# shellcheck shell=sh disable=SC2016,SC2034,SC2154 # the $(NAME) of apt; what the builder and common.sh set and read
# What the builders of Debian and its kin share; sourced after common.sh.
#
#     distribution  Debian (default) or Ubuntu        keyring    what signs its packages, there in its root file systems too
#     packages      what the recipe is made of        customize  changes the tree in $root, if the recipe defines it

distribution=Debian
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
packages=
suite='' variant=minbase include='' mirror='' arch=''
options='suite variant include+ mirror arch'

customize() { :; }

usage_bootstrap() { # the options of all of them
    cat <<HELP
  --suite NAME      the release, such as $1
  --variant NAME    how much to begin with (default: minbase; the others: mmdebstrap(1), Variants)
  --include LIST    packages to add, separated by commas; may be repeated
  --mirror MIRROR   where the packages come from: a URL, a sources file, or a line 'deb [signed-by=KEYRING] URL SUITE main'
                    (default: this host's apt sources of $distribution itself: the suite, its updates and its security
                    updates; if it has none, the official mirrors)
  --arch NAME       the machine it is for (default: this one's; another needs qemu-user-static)
HELP
    usage_out
    cat <<HELP

Needs root, mmdebstrap and a mirror; takes half a minute or more, most of it download, through the proxy that this host's apt
uses, or that of http_proxy. Nothing of this host stays in the result but the addresses of the mirrors. With
SOURCE_DATE_EPOCH set, equal packages give equal bytes.
HELP
}

usage_recipe() { # the --help of a recipe, but for its own words, which follow
    cat <<HELP
Usage: $tool [OPTION]... [-o] OUT

$about, from Debian packages:
rootfs-tools/debian --include $packages, and what it takes to start it.

HELP
    usage_bootstrap "bookworm (default: this host's, else stable)"
}

recipe() { # ARGUMENT...: all of a recipe
    parse "$@"
    default_suite
    bootstrap
}

# Print this host's apt sources of the distribution itself for $suite, one line for each. Not those of others, nor those that
# hold a password or mean something on this host only (file:, mirror+file:).
host_sources() {
    format='$(ORIGIN)|$(REPO_URI)|$(RELEASE)|$(COMPONENT)'
    targets=$(apt-get indextargets --format "$format" 'Created-By: Packages' 2>/dev/null) || :
    if [ -z "$targets" ] && [ "$distribution" = Debian ]; then # before the first `apt-get update`: then no origin is known
        targets=$(apt-get indextargets --no-release-info --format "$format" 'Created-By: Packages' 2>/dev/null) || :
    fi
    printf '%s\n' "$targets" | sort -u | while IFS='|' read -r origin url release component; do
        case $origin in "$distribution" | '$(ORIGIN)') ;; *) continue ;; esac
        case $url in *@*) continue ;; http://* | https://*) ;; *) continue ;; esac
        case $release in "$suite" | "$suite-updates" | "$suite-security") ;; *) continue ;; esac
        echo "deb ${signed_by:+[signed-by=$signed_by] }$url $release $component"
    done
}

default_suite() { # this host's, if it is a Debian
    # shellcheck disable=SC1091 # this host's
    [ -n "$suite" ] || suite=$(. /etc/os-release && [ "$ID" = debian ] && echo "${VERSION_CODENAME-}") || :
    suite=${suite:-stable}
}

# bootstrap: all of a builder, from the options that `parse` has read to OUT.
bootstrap() {
    include=$packages${include:+${packages:+,}$include}
    [ -n "$out" ] || wrong "say where to: -o OUT"
    need_root "a $distribution"
    need mmdebstrap mmdebstrap
    prepare

    if [ -z "$mirror" ]; then
        signed_by=$keyring
        [ -e "$signed_by" ] || signed_by=''
        host_sources >"$work/host.list"
        [ ! -s "$work/host.list" ] || mirror=$work/host.list
    fi
    # What this host's apt needs to reach a mirror, proxies and TLS settings: as --aptopt, removed below.
    apt-config dump --no-empty --format '%F "%v";%n' Acquire::http Acquire::https >"$work/host.conf" 2>/dev/null || :

    say "making $distribution $suite ($variant${include:+ with $include}) with mmdebstrap"
    # In namespaces of ours: mmdebstrap mounts into its tree, and whatever ends it ends those mounts and all its processes, too.
    export TMPDIR="$work"
    run unshare --mount --pid --fork --kill-child --mount-proc \
        mmdebstrap --mode=root --format=directory --variant="$variant" ${include:+--include="$include"} \
        ${arch:+--architectures="$arch"} --aptopt="$work/host.conf" \
        "$suite" "$root" ${mirror:+"$mirror"} >&2 ||
        die "mmdebstrap failed (see above); nothing was written to '$out'" "other packages or another mirror? see $0 --help"

    customize
    normalize
    deliver
}

# Remove what is this host's, what differs from run to run, and what must not be the same in every container of an image.
normalize() {
    forget_devices
    find "$root/etc" -maxdepth 1 -type f '(' -name resolv.conf -o -name hostname -o -name '*-' ')' -delete
    rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
    # Made for this host's download user, or root, as the case was; apt makes them again.
    rm -rf "$root/var/lib/apt/lists/partial" "$root/var/cache/apt/archives/partial"
    find "$root/var/cache/debconf" "$root/var/lib/dpkg" "$root/var/lib/ucf" -maxdepth 2 -type f '(' -name '*-old' -o -name '*.old' ')' \
        -delete 2>/dev/null || :
    find "$root/var/log" -type f -size +0 -exec truncate --size=0 {} +
    rm -rf "$root/var/cache/ldconfig" "$root/var/cache/man"
    find "$root/var/backups" -mindepth 1 -delete
    find "$root/usr" "$root/opt" -type d -name __pycache__ -prune -exec rm -rf {} +
    : >"$root/etc/machine-id" # systemd makes one when it boots
    rm -f "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed" "$root/var/lib/systemd/catalog/database"

    # Keys that packages make when they are installed would be the same for everybody.
    rm -f "$root/etc/ssl/private/ssl-cert-snakeoil.key" "$root/etc/ssl/certs/ssl-cert-snakeoil.pem"
    find "$root/etc/ssl/certs" -xtype l -delete 2>/dev/null || : # the name by its hash
    find "$root/etc/postgresql" -name postgresql.conf -exec sed -i 's/^ssl = on/ssl = off/' {} + 2>/dev/null || : # with that key
    if [ -x "$root/usr/sbin/sshd" ]; then
        rm -f "$root"/etc/ssh/ssh_host_*
        mkdir -p "$root/etc/systemd/system/ssh.service.d"
        printf '%s\n' '# A server has keys of its own, made when it first starts.' '[Service]' 'ExecStartPre=' \
            'ExecStartPre=/usr/bin/ssh-keygen -A' 'ExecStartPre=/usr/sbin/sshd -t' \
            >"$root/etc/systemd/system/ssh.service.d/host-keys.conf"
    fi
}
