#!/usr/bin/env bash
# A real S3-compatible store for tests, without root and without a container: versitygw where Go is there, else moto in a Python environment.
#
#   s3.sh fetch              build or download the store (once)
#   s3.sh start DIR [PORT]   start it with data under DIR and the bucket `aquifer`, wait until ready, print the value for AQUIFER_TEST_S3:
#                            ENDPOINT,ACCESS_KEY,SECRET_KEY
#   s3.sh stop DIR           stop it
#
# The store lies in $AQUIFER_CACHE (default ${XDG_CACHE_HOME:-$HOME/.cache}/aquifer-ci).
set -euo pipefail

cache=${AQUIFER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/aquifer-ci}
gateway=$cache/versitygw-1.8.0/versitygw
venv=$cache/moto-5.2
key=testkey secret=testsecret

# Another process may be fetching: one at a time, the second finds it done.
fetch() {
  mkdir -p "$cache"
  exec 9>"$cache/s3.lock"; flock 9
  if [ -e "$gateway" ] || [ -e "$venv/.complete" ]; then return; fi
  if command -v go >/dev/null; then
    echo "s3.sh: building versitygw (once, about two minutes)" >&2
    local fresh; fresh=$(mktemp -d "$cache/versitygw.XXXXXX")
    if GOBIN=$fresh GOFLAGS=-p=1 nice go install github.com/versity/versitygw/cmd/versitygw@v1.8.0 >&2; then
      mkdir -p "$(dirname "$gateway")" && mv "$fresh/versitygw" "$gateway"
    fi
    rm -rf "$fresh"
    [ ! -e "$gateway" ] || return 0
  fi
  command -v python3 >/dev/null || { echo "s3.sh: needs Go, or Python 3 with venv: apt-get install python3 python3-venv" >&2; exit 1; }
  echo "s3.sh: making a Python environment with moto (once)" >&2
  rm -rf "$venv"
  python3 -m venv "$venv"
  "$venv/bin/pip" -q --disable-pip-version-check install 'moto[server]==5.2.*' >&2
  touch "$venv/.complete"
}

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

start() {
  local dir=$1 port=${2:-}
  mkdir -p "$dir/data/aquifer"; dir=$(cd "$dir" && pwd)
  [ -n "$port" ] || port=$(free_port)
  ( fetch )
  if [ -e "$gateway" ]; then
    ( cd "$dir" && ROOT_ACCESS_KEY=$key ROOT_SECRET_KEY=$secret exec setsid "$gateway" --port "127.0.0.1:$port" posix data >> store.log 2>&1 < /dev/null ) &
  else
    ( cd "$dir" && exec setsid "$venv/bin/moto_server" -H 127.0.0.1 -p "$port" >> store.log 2>&1 < /dev/null ) &
  fi
  local pid=$!
  echo "$pid" > "$dir/pid"
  local deadline=$((SECONDS + 60))
  until curl -s -o /dev/null -m 2 "http://127.0.0.1:$port/"; do
    kill -0 "$pid" 2>/dev/null || { echo "s3.sh: the store ended; the end of its log:" >&2; tail -n 20 "$dir/store.log" >&2; exit 1; }
    [ $SECONDS -lt $deadline ] || { echo "s3.sh: not ready after 60 s; see $dir/store.log" >&2; kill -9 "$pid"; exit 1; }
    sleep 0.2
  done
  # moto knows no buckets and asks for no signature; in the other a folder is a bucket.
  [ -e "$gateway" ] || curl -fs -o /dev/null -X PUT "http://127.0.0.1:$port/aquifer"
  echo "http://127.0.0.1:$port,$key,$secret"
}

stop() {
  local pid; pid=$(cat "$1/pid" 2>/dev/null) || return 0
  kill "$pid" 2>/dev/null || true
  for _ in $(seq 50); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
  kill -9 "$pid" 2>/dev/null || true
  rm -f "$1/pid"
}

case ${1:-} in
  fetch) fetch ;;
  start) shift; start "$@" ;;
  stop) stop "$2" ;;
  *) sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; [ "${1:-}" = --help ] || exit 2 ;;
esac
