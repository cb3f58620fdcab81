#!/bin/sh
# Installs what the tests judge ieum's output with, and the servers that they start on the loopback interface and stop again:
# Debian packages, by root or with sudo; Python packages (requirements.txt) and Azurite below target/independent. What is
# there already is left as it is, and nothing is said then. `target/independent/servers` tells the tests that it was all done:
# from then on a server that is missing fails them.
set -eu
cd "$(dirname "$0")/../.."
place=target/independent

fail() {
    echo "setup.sh: $1" >&2
    exit 1
}

missing=
# need PROGRAM PACKAGE…: the packages are missing where the program is.
need() {
    program=$1
    shift
    command -v "$program" >/dev/null 2>&1 || missing="$missing $*"
}
# Debian keeps servers out of the path of users.
PATH=$PATH:/usr/sbin:/sbin
need age age
need minisign minisign
need openssl openssl
need python3 python3
python3 -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python3-venv"
need mariadbd mariadb-server
command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing="$missing postgresql"
azurite=$place/node_modules/.bin/azurite-blob
[ -x "$azurite" ] || command -v azurite-blob >/dev/null 2>&1 || need npm nodejs npm

if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 || fail "without apt-get: install by hand what Debian has as$missing"
    if [ "$(id -u)" -eq 0 ]; then
        as_root=
    elif command -v sudo >/dev/null 2>&1; then
        as_root=sudo
    else
        fail "neither root nor sudo: let somebody run \`apt-get install$missing\`, then start this again"
    fi
    $as_root apt-get update -qq || fail "apt-get cannot fetch its lists"
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing >/dev/null ||
        fail "these packages could not be installed:$missing"
fi

mkdir -p "$place"
# The environment was made from this list, to its end.
if ! cmp -s tests/independent/requirements.txt "$place/requirements.txt"; then
    python3 -m venv "$place"
    "$place/bin/python" -m pip install -q --disable-pip-version-check -r tests/independent/requirements.txt
    cp tests/independent/requirements.txt "$place/requirements.txt"
fi
if [ ! -x "$azurite" ] && ! command -v azurite-blob >/dev/null 2>&1; then
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$place" azurite@3.35.0
fi
: >"$place/servers"
