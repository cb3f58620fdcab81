#!/bin/sh
# Installs the stock tools that tests judge ieum's output with, where they are missing: age and openssl (Debian packages), and
# the Python packages of requirements.txt in a virtual environment below target/.
set -eu
cd "$(dirname "$0")/../.."
missing=
for tool in age openssl python3; do
    command -v "$tool" >/dev/null || missing="$missing $tool"
done
python3 -c 'import ensurepip' 2>/dev/null || missing="$missing python3-venv"
if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    apt-get update -q && apt-get install -qy --no-install-recommends $missing
fi
venv=target/independent
if ! "$venv/bin/python" -c 'import bagit, frictionless' 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/python" -m pip install -q -r tests/independent/requirements.txt
fi
