# Sourced by every suite's script: where the repository is, and where what it downloads and builds is kept.
#
#   MILLSTREAM_TEST_CACHE   the cache directory (default: .cache at the root of the repository, ignored by git)

TESTS_ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
REPOSITORY_ROOT="$(dirname "$TESTS_ROOT")"
CACHE="${MILLSTREAM_TEST_CACHE:-$REPOSITORY_ROOT/.cache}"
mkdir -p "$CACHE"

# fail MESSAGE: ends the script, saying why.
fail() {
    printf '%s: %s\n' "$(basename "$0")" "$1" >&2
    exit 1
}

# need PROGRAM HOW: ends the script unless PROGRAM is installed.
need() {
    command -v "$1" >/dev/null || fail "$1 is not installed ($2)"
}

# done_before STAMP INPUT...: whether STAMP exists and is newer than every INPUT, so that a build step can be skipped.
done_before() {
    local stamp="$1" input
    shift
    [ -e "$stamp" ] || return 1
    for input in "$@"; do
        [ "$stamp" -nt "$input" ] || return 1
    done
}

# locked NAME: takes the cache's lock of that name until the script ends, so that two runs do not build the same thing
# in the same place.
locked() {
    exec {CACHE_LOCK}>"$CACHE/$1.lock"
    flock "$CACHE_LOCK"
}
