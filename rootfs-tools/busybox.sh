# shellcheck shell=sh disable=SC2034,SC2154 # what common.sh sets and reads
# The tree of busybox, which more than one builder begins with; sourced after common.sh.

need_busybox() {
    need busybox busybox-static
    binary=$(command -v busybox)
    if ldd "$binary" >/dev/null 2>&1; then
        die "'$binary' needs libraries" "install the static one: apt-get install --yes busybox-static"
    fi
}

# Make the tree in $root; all of it belongs to root, and is as old as SOURCE_DATE_EPOCH says.
make_busybox() {
    mkdir "$root"
    cd "$root" || exit
    mkdir bin dev etc proc root run sys tmp usr var var/log var/tmp www
    chmod 700 root
    chmod 1777 tmp var/tmp
    ln -s bin sbin
    ln -s ../bin usr/bin
    ln -s ../bin usr/sbin
    cp -- "$binary" bin/busybox
    chmod 755 bin/busybox
    (cd bin && ./busybox --list | grep -vx busybox | while read -r applet; do ln -s busybox "$applet"; done)

    cat >etc/passwd <<'FILE'
root:x:0:0:root:/root:/bin/sh
www:x:33:33:www:/www:/bin/false
nobody:x:65534:65534:nobody:/:/bin/false
FILE
    cat >etc/group <<'FILE'
root:x:0:
www:x:33:
nobody:x:65534:
FILE
    cd / || exit
    SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-0}
    owner=0
}
