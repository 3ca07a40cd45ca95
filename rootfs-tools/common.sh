# shellcheck shell=sh
# What the builders here share; sourced, not run.
#
# A builder sets $about (one line), $options (those with a value; 'NAME+' collects a list), $operand (the variable of what
# stands without an option) and $config (how containers of the image start, as JSON), defines `usage` and calls `parse`,
# `prepare`, makes its tree in $root, and calls `deliver`.

tool=$(basename "$0")
# shellcheck disable=SC2034 # for those who source this
here=$(dirname "$0")
work=
busy=
owner=
out=
options=
operand=out
config={}

say() { printf '%s: %s\n' "$tool" "$*" >&2; }

die() { # PROBLEM [HINT]
    say "$1"
    [ -z "${2-}" ] || printf 'hint: %s\n' "$2" >&2
    exit 1
}

wrong() { # PROBLEM: the command line is wrong
    say "$1"
    printf 'hint: see %s --help\n' "$0" >&2
    exit 2
}

need() { # COMMAND PACKAGE: end with what to install when COMMAND is not there
    command -v "$1" >/dev/null || die "'$1' is missing" "install it: apt-get install --yes $2"
}

need_root() { # WHAT
    [ "$(id -u)" -eq 0 ] || die "making $1 root file system needs root" "run it with sudo"
}

value() { # OPTION COUNT: end unless COUNT, the arguments left with OPTION itself, has room for its value
    [ "$2" -ge 2 ] || wrong "option '$1' needs a value"
}

# parse ARGUMENT...: set the variable that each option is named after, and $out and $operand.
parse() {
    while [ $# -gt 0 ]; do
        case $1 in
        --?*=*)
            option=${1%%=*} word=${1#*=}
            shift
            set -- "$option" "$word" "$@"
            continue
            ;;
        -o | --output) value "$1" $# && out=$2 && shift ;;
        -h | --help) usage && exit ;;
        --?*)
            option=$(printf '%s' "${1#--}" | tr - _)
            case $option in *[!a-z0-9_]*) wrong "unknown option '$1'" ;; esac
            case " $options " in
            *" $option "*) value "$1" $# && eval "$option=\$2" && shift ;;
            *" $option+ "*) value "$1" $# && eval "$option=\${$option:+\$$option,}\$2" && shift ;;
            *) wrong "unknown option '$1'" ;;
            esac
            ;;
        -*) wrong "unknown option '$1'" ;;
        *)
            eval "word=\$$operand"
            # shellcheck disable=SC2154 # set by the line above
            [ -z "$word" ] || wrong "one $(echo "$operand" | tr '[:lower:]' '[:upper:]') only, not '$word' and '$1'"
            eval "$operand=\$1"
            ;;
        esac
        shift
    done
}

usage_out() { # what every builder's --help says of its output
    cat <<HELP
  -o OUT            where to: a file *.tar, *.tar.gz, *.tar.xz or *.tar.zst (it is replaced, and OUT.sha256 is written
                    beside it), else a new directory; OUT.json beside it says how containers of it start
  --help            this text
HELP
}

# run COMMAND...: run what may take long in a session of its own, so that a signal to us ends it at once, and all it started.
run() {
    busy=yes
    setsid "$@" </dev/null &
    if wait "$!"; then code=0; else code=$?; fi
    busy=
    return "$code"
}

# KILL, as nobody may take his time or refuse. What a pid namespace ends is gone a moment later only, hence the second rm.
clean_up() {
    trap '' HUP INT TERM
    if [ -n "$busy" ]; then
        kill -s KILL -- "-${!:-}" 2>/dev/null || kill -s KILL "${!:-}" 2>/dev/null || : # not yet in its session
        wait
    fi
    if [ -n "$work" ]; then
        rm -rf --one-file-system -- "$work" 2>/dev/null || { sleep 1 && rm -rf --one-file-system -- "$work"; }
    fi
}

# prepare: check all of $out that can be checked before the work, and make $work, a directory beside it that never outlives us.
prepare() {
    [ -n "$out" ] || wrong "say where to: -o OUT"
    given=$out
    out=$(realpath --canonicalize-missing -- "$given")
    pack='' is_archive=yes
    case $out in
    *.tar) ;;
    *.tar.gz | *.tgz) pack='gzip -n' && need gzip gzip ;;
    *.tar.xz) pack='xz -T2' && need xz xz-utils ;; # -T2 on every machine: the bytes depend on there being threads
    *.tar.zst) pack='zstd -q -T2' && need zstd zstd ;;
    *.tar.*) wrong "unknown kind of archive '$given', not *.tar, *.tar.gz, *.tar.xz or *.tar.zst" ;;
    *) is_archive='' ;;
    esac
    if [ -d "$out" ]; then
        [ -z "$is_archive" ] || die "'$given' is a directory" "name a file, or a directory that does not end in .tar*"
        [ -z "$(ls -A -- "$out")" ] || die "directory '$given' is not empty" "name a new directory"
    elif [ -z "$is_archive" ] && [ -e "$out" ]; then
        die "'$given' is a file" "name a new directory, or a file *.tar, *.tar.gz, *.tar.xz or *.tar.zst"
    fi
    parent=$(dirname -- "$out")
    [ -d "$parent" ] || die "there is no directory '$parent'" "make it: mkdir -p '$parent'"
    [ -w "$parent" ] || die "cannot write to directory '$parent'" "name another place, or run as root"
    umask 022
    trap clean_up EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    work=$(mktemp -d -- "$parent/.rootfs.XXXXXX")
    chmod 711 "$work" # apt downloads as a user of its own
    root=$work/root
}

# What no root file system of a container holds: the runtime makes /dev, and devices anywhere else are none of its business.
forget_devices() {
    [ ! -d "$root/dev" ] || find "$root/dev" -mindepth 1 -delete
    find "$root" -xdev '(' -type b -o -type c -o -type p -o -type s ')' -delete
}

# unpack TAR [OPTION]...: unpack it into $root. Whoever made it may be hostile, so tar sees no more than itself and $root.
unpack() {
    # shellcheck disable=SC2016 # the inner shell's
    run unshare --mount --pid --fork --kill-child sh -eu -c '
        jail=$1 root=$2 tar=$3
        shift 3
        mkdir -p "$jail" "$root"
        mount -t tmpfs -o mode=755 tmpfs "$jail"
        for name in usr bin lib lib64; do
            if [ -L "/$name" ]; then
                ln -s "$(readlink "/$name")" "$jail/$name"
            elif [ -d "/$name" ]; then
                mkdir "$jail/$name"
                mount --bind "/$name" "$jail/$name"
                mount -o remount,bind,ro "$jail/$name"
            fi
        done
        mkdir "$jail/root"
        mount --bind "$root" "$jail/root"
        : >"$jail/tar"
        mount --bind "$tar" "$jail/tar"
        mount -o remount,bind,ro "$jail/tar"
        exec chroot "$jail" tar --extract --file /tar --directory /root --numeric-owner --same-owner --preserve-permissions \
            --xattrs --xattrs-include=security.capability --xattrs-include="user.*" --delay-directory-restore "$@"
    ' unpack "$work/jail" "$root" "$@"
}

quoted() { # WORD: as a shell reads it
    case $1 in
    *[!A-Za-z0-9/._+:@-]*) printf "'%s'" "$(printf '%s' "$1" | sed "s/'/'\\\\''/g")" ;;
    *) printf '%s' "$1" ;;
    esac
}

# deliver: put $root, as directory or archive, in the place of OUT, whole or not at all; $owner owns all of an archive.
deliver() {
    if [ -n "${SOURCE_DATE_EPOCH-}" ]; then
        find "$root" -depth -newermt "@$SOURCE_DATE_EPOCH" \
            -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    fi
    printf '%s\n' "$config" >"$work/config"
    if [ -n "$is_archive" ]; then
        run tar --create --file "$work/archive" ${pack:+--use-compress-program="$pack"} --directory "$root" \
            --sort=name --numeric-owner ${owner:+--owner="$owner" --group="$owner"} \
            --xattrs --xattrs-include=security.capability --format=pax \
            --pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' . ||
            die "cannot pack '$out' (see above)"
        sum=$(sha256sum <"$work/archive")
        printf '%s  %s\n' "${sum%% *}" "$(basename -- "$out")" >"$work/sum"
        mv -T -- "$work/archive" "$out"
        mv -T -- "$work/sum" "$out.sha256"
    else
        mv -T -- "$root" "$out"
    fi
    mv -T -- "$work/config" "$out.json"
    say "made $out ($(du -sh -- "$out" | cut -f1))"
    # `pycontainer image build-from` does it by itself
    [ -n "${PYCONTAINER_BUILD-}" ] ||
        say "import it: pycontainer image import --config $(quoted "$out.json") $(quoted "$out") $tool"
}
