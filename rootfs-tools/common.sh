# shellcheck shell=sh
# What the builders here share; sourced, not run. A builder makes its tree in $root and hands it to `deliver`.

tool=$(basename "$0")
work=
busy=
owner=

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

value() { # OPTION COUNT: end unless COUNT, the arguments left with OPTION itself, has room for its value
    [ "$2" -ge 2 ] || wrong "option '$1' needs a value"
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

# prepare OUT: check all that can be checked before the work, and make $work, a directory beside OUT that never outlives us.
prepare() {
    [ -n "$1" ] || wrong "say where to: -o OUT"
    out=$(realpath --canonicalize-missing -- "$1")
    pack='' is_archive=yes
    case $out in
    *.tar) ;;
    *.tar.gz | *.tgz) pack='gzip -n' && need gzip gzip ;;
    *.tar.xz) pack='xz -T2' && need xz xz-utils ;; # -T2 on every machine: the bytes depend on there being threads
    *.tar.zst) pack='zstd -q -T2' && need zstd zstd ;;
    *.tar.*) wrong "unknown kind of archive '$1', not *.tar, *.tar.gz, *.tar.xz or *.tar.zst" ;;
    *) is_archive='' ;;
    esac
    if [ -d "$out" ]; then
        [ -z "$is_archive" ] || die "'$1' is a directory" "name a file, or a directory that does not end in .tar*"
        [ -z "$(ls -A -- "$out")" ] || die "directory '$1' is not empty" "name a new directory"
    elif [ -z "$is_archive" ] && [ -e "$out" ]; then
        die "'$1' is a file" "name a new directory, or a file *.tar, *.tar.gz, *.tar.xz or *.tar.zst"
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

# deliver: put $root, as directory or archive, in the place of OUT, whole or not at all; $owner owns all of an archive.
deliver() {
    if [ -n "${SOURCE_DATE_EPOCH-}" ]; then
        find "$root" -depth -newermt "@$SOURCE_DATE_EPOCH" \
            -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
    fi
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
    say "made $out ($(du -sh -- "$out" | cut -f1))"
}
