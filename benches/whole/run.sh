#!/bin/sh
# The whole night, ieum beside DuckDB and Polars; see README.md.
#   PEOPLE=200000 ROUNDS=5 NIGHT= (a generated night, else one is made) IEUM=target/release/ieum benches/whole/run.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
ieum=${IEUM:-$root/target/release/ieum}
people=${PEOPLE:-200000}
base=${TMPDIR:-/tmp}/ieum-whole
mkdir -p "$base"

venv=$base/venv
if [ ! -x "$venv/bin/python" ]; then
    python3 -m venv "$venv"
fi
"$venv/bin/pip" install -q --disable-pip-version-check duckdb==2.0.0 polars==2.1.0 pyarrow==26.0.1 numpy==2.4.6

one() { # title, night folder, further arguments of generate
    title=$1 night=$2
    shift 2
    if [ ! -d "$night" ]; then
        "$ieum" generate --catalog "$root/sample-data/catalog" --people "$people" --requests 20000 --seed 1 \
            --date 2026-11-22 "$@" "$night" >"$base/generate.log"
    fi
    echo "== $title: $people people, 20000 requests, $(du -sh "$night/exports" | cut -f1) of exports"
    work=$(mktemp -d "$base/work.XXXXXX")
    "$venv/bin/python" -B "$here/rounds.py" "$night" "$work" "$ieum" "${ROUNDS:-5}"
    rm -rf "$work"
}

if [ -n "${NIGHT:-}" ]; then
    one "given night" "$NIGHT"
else
    one "planted faults" "$base/night-$people"
    one "no faults" "$base/night-$people-clean" --no-faults
fi
