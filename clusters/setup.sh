#!/usr/bin/env bash
# Prepares any machine (laptop, CI, cluster node): the system libraries that FFCV builds against, a virtual
# environment, and the pinned install. Safe to run again: it does nothing when nothing has changed.
#
#   clusters/setup.sh [VENV]        default: .venv beside this repository's pyproject.toml
#   PYTHON=python3.12 clusters/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
python="${PYTHON:-python3}"

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

stamp="$venv/.ablate-setup"
wanted="$(cat pyproject.toml constraints.txt "$0" | sha256sum | cut -c1-16) $("$python" -V 2>&1) $PWD"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  echo "setup: $venv is up to date"
  exit 0
fi

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
  fail "Python 3.11 or newer is needed; '$python' is $("$python" -V 2>&1 || echo missing). Set PYTHON=..."

# FFCV compiles against OpenCV and turbojpeg; wheels of it do not exist.
if [ "$(uname -s)" = Linux ]; then
  missing=()
  command -v c++ >/dev/null || missing+=(g++)
  command -v pkg-config >/dev/null || missing+=(pkg-config)
  if command -v pkg-config >/dev/null; then
    pkg-config --exists opencv4 || missing+=(libopencv-dev)
    pkg-config --exists libturbojpeg || missing+=(libturbojpeg0-dev)
  else
    missing+=(libopencv-dev libturbojpeg0-dev)
  fi
  if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null ||
      fail "needs a C++ compiler, pkg-config, OpenCV and turbojpeg with headers; install them with this system's package manager (Debian's names: ${missing[*]})"
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then
      { command -v sudo >/dev/null && sudo -n true 2>/dev/null; } ||
        fail "needs system packages and has no right to install them. Ask for: apt-get install ${missing[*]}"
      sudo="sudo -n"
    fi
    echo "setup: installing ${missing[*]}"
    $sudo apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
fi

if [ ! -x "$venv/bin/python" ]; then
  "$python" -m venv "$venv" || fail "could not create $venv (Debian: apt-get install python3-venv)"
fi
echo "setup: installing the pinned set into $venv (minutes on a new machine)"
"$venv/bin/python" -m pip install --quiet --upgrade pip
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
"$venv/bin/python" -c 'import ffcv, ray, torch, optuna, ablate' ||
  fail "the installed packages do not import; see the error above"
printf '%s\n' "$wanted" >"$stamp"
echo "setup: done"
