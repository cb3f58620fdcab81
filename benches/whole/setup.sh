#!/bin/sh
# setup.sh VENV: makes (or completes) the Python environment of the peers, versions pinned. Needs Python 3.11 or newer.
set -eu
if [ ! -x "$1/bin/python" ]; then
    python3 -m venv "$1"
fi
"$1/bin/python" -m pip install -q --disable-pip-version-check \
    duckdb==2.0.0 polars==2.1.0 datafusion==55.0.0 pyarrow==26.0.1 numpy==2.4.6
