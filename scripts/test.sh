#!/usr/bin/env bash
# All tests. Uses the Pulsar in AQUIFER_TEST_PULSAR=pulsar://H:P,http://H:P if that is set, else starts one and stops it at the end.
# Tests that trim, kill or restart a broker start their own (AQUIFER_TEST_SERVICES names the folder of the start scripts).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
services=$PWD/integration-tests/services
locked=(); [ -e Cargo.lock ] && locked=(--locked)

scratch=$(mktemp -d "${TMPDIR:-/tmp}/aquifer-test.XXXXXX")
cleanup() {
  [ ! -e "$scratch/pulsar/pid" ] || "$services/pulsar.sh" stop "$scratch/pulsar"
  rm -rf "$scratch"
}
trap cleanup EXIT
# Logs are read in files too.
export NO_COLOR=1 MAVEN_ARGS="${MAVEN_ARGS:-} -Dstyle.color=never"

# The build and the downloads go on side by side: one waits for processors, the other for the network.
"$services/pulsar.sh" fetch & fetching=$!
"$services/python.sh" venv >/dev/null & venv=$!
"$services/s3.sh" fetch & store=$!
# The tests start the `aquifer` binary; `cargo test` alone makes it only as long as some test of the server's asks for it.
cargo build "${locked[@]}" --workspace --bins
cargo test "${locked[@]}" --workspace --no-run
# A client that must not be among Aquifer's own dependencies (see its Cargo.toml) is a build of its own.
peer=${CARGO_TARGET_DIR:-$PWD/target}/magnetar
cargo build --locked --manifest-path integration-tests/magnetar/Cargo.toml --target-dir "$peer"
export AQUIFER_TEST_MAGNETAR=$peer/debug/magnetar-peer
wait $fetching; wait $venv; wait $store
export AQUIFER_TEST_PYTHON; AQUIFER_TEST_PYTHON=$("$services/python.sh" venv)
export AQUIFER_TEST_WEATHER; AQUIFER_TEST_WEATHER=$("$services/python.sh" weather)
export AQUIFER_TEST_REQUIRE=1 AQUIFER_TEST_SERVICES=$services
if [ -z "${AQUIFER_TEST_PULSAR:-}" ]; then
  export AQUIFER_TEST_PULSAR; AQUIFER_TEST_PULSAR=$("$services/pulsar.sh" start "$scratch/pulsar")
fi
echo "tests use the Pulsar at $AQUIFER_TEST_PULSAR"
cargo test "${locked[@]}" --workspace "$@"
