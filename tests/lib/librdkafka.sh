# Sourced after env.sh: librdkafka, its test program and its benchmark client, built once from the sources that the
# rdkafka-sys crate ships. Sets LIBRDKAFKA to the built tree.

RDKAFKA_SYS_VERSION=4.10.0
LIBRDKAFKA_VERSION=2.12.1
LIBRDKAFKA="$CACHE/librdkafka/$LIBRDKAFKA_VERSION"

# crate_source NAME VERSION: prints the directory that cargo unpacked the crate into, downloading it if needed.
crate_source() {
    local project="$CACHE/crates/$1-$2"
    mkdir -p "$project/src"
    : >"$project/src/lib.rs"
    cat >"$project/Cargo.toml" <<TOML
[package]
name = "source-of-$1"
version = "0.0.0"
edition = "2021"

[dependencies]
$1 = { version = "=$2", default-features = false }

[workspace]
TOML
    cargo metadata --quiet --format-version 1 --manifest-path "$project/Cargo.toml" |
        python3 -c '
import json, pathlib, sys
for package in json.load(sys.stdin)["packages"]:
    if package["name"] == sys.argv[1]:
        print(pathlib.Path(package["manifest_path"]).parent)' "$1"
}

# rapidjson_include: prints the directory of RapidJSON's headers, which two of the tests are built with: Debian's package,
# unpacked in the cache. Prints nothing when they are installed, or cannot be had; the program skips the tests then.
rapidjson_include() {
    local unpacked="$CACHE/rapidjson"
    echo '#include <rapidjson/schema.h>' | g++ -x c++ -fsyntax-only - 2>/dev/null && return
    if [ ! -d "$unpacked/usr/include" ] && command -v apt-get >/dev/null; then
        mkdir -p "$unpacked"
        (
            cd "$unpacked"
            apt-get download rapidjson-dev || { apt-get update && apt-get download rapidjson-dev; }
            dpkg -x rapidjson-dev_*.deb .
        ) >"$unpacked/download.log" 2>&1 || echo "no RapidJSON: two tests will be skipped, see $unpacked/download.log" >&2
    fi
    [ ! -d "$unpacked/usr/include" ] || echo "$unpacked/usr/include"
}

# build_librdkafka: makes the library, examples/rdkafka_performance and tests/test-runner.
build_librdkafka() {
    local stamp="$LIBRDKAFKA/.built" source log="$LIBRDKAFKA/build.log"
    [ -e "$stamp" ] && return
    need cargo "https://rustup.rs"
    need make "apt-get install make"
    need g++ "apt-get install g++"
    source="$(crate_source rdkafka-sys "$RDKAFKA_SYS_VERSION")/librdkafka"
    [ -d "$source/tests" ] || fail "rdkafka-sys $RDKAFKA_SYS_VERSION does not ship librdkafka's tests"
    rm -rf "$LIBRDKAFKA"
    mkdir -p "$(dirname "$LIBRDKAFKA")"
    cp -r "$source" "$LIBRDKAFKA"
    chmod -R u+w "$LIBRDKAFKA"
    echo "building librdkafka $LIBRDKAFKA_VERSION (log: $log)" >&2
    (
        cd "$LIBRDKAFKA"
        CPLUS_INCLUDE_PATH="$(rapidjson_include)"
        export CPLUS_INCLUDE_PATH
        ./configure --disable-curl --disable-sasl --disable-ssl
        make -j"${MILLSTREAM_TEST_JOBS:-2}" libs
        make -C examples rdkafka_performance
        make -j"${MILLSTREAM_TEST_JOBS:-2}" -C tests build
    ) >"$log" 2>&1 || fail "librdkafka did not build, see $log"
    touch "$stamp"
}
