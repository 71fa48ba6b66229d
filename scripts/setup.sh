#!/usr/bin/env bash
# Make the virtual environment from the locked versions. usage: setup.sh VENV
set -euo pipefail
venv=$1

fits() { "$1" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }
find_python() { for p in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do if fits "$p"; then echo "$p"; return; fi; done; }
apt_install() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
  DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -qq "$@" >/dev/null 2>&1 ||
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -qq "$@" >/dev/null; }
}

python=$(find_python)
if [ -z "$python" ]; then
  apt_install python3 python3-venv || true
  python=$(find_python)
fi
if [ -z "$python" ]; then
  echo "noisegate needs Python 3.11 to 3.13 with venv: install python3-venv, or set PYTHON" >&2
  exit 1
fi
# LightGBM's OpenMP runtime; slim images lack it.
if ! ldconfig -p 2>/dev/null | grep -q libgomp.so.1; then
  apt_install libgomp1 || echo "libgomp1 is missing: install it if LightGBM does not load" >&2
fi
echo "setting up $venv with $($python --version) (a few minutes, once)"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
# One old tool less between the lock and what is installed.
"$venv/bin/python" -m pip install -q --disable-pip-version-check --upgrade 'pip>=25'
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r requirements.lock
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -e .
