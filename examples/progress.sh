# shellcheck shell=sh
# Shell functions for saying what happens; sourced by setup.sh and quickstart.sh.

say() { # TEXT...: one line about what comes next
    printf '==> %s\n' "$*"
}

die() { # TEXT...: end with one clear line
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# MESSAGE COMMAND...: run a slow command quietly, showing the seconds it takes; its output appears only if it fails.
progress() {
    _message=$1
    shift
    _log=$(mktemp)
    _began=$(date +%s)
    printf '==> %s\n' "$_message"
    (
        _seconds=0
        while sleep 1 >/dev/null 2>&1 && kill -0 "$$" 2>/dev/null; do
            _seconds=$((_seconds + 1))
            if [ -t 1 ]; then
                printf '\r    %d s' "$_seconds"
            elif [ $((_seconds % 10)) -eq 0 ]; then
                printf '    still working, %d s\n' "$_seconds"
            fi
        done
    ) &
    _ticker=$!
    if "$@" >"$_log" 2>&1 </dev/null; then _code=0; else _code=$?; fi
    kill "$_ticker" 2>/dev/null || true
    wait "$_ticker" 2>/dev/null || true
    if [ -t 1 ]; then printf '\r'; fi
    if [ "$_code" -ne 0 ]; then
        cat "$_log" >&2
        printf 'error: %s: the command ended with %d: %s\n' "$_message" "$_code" "$*" >&2
    else
        printf '    done in %d s\n' $(($(date +%s) - _began))
    fi
    rm -f "$_log"
    return "$_code"
}
