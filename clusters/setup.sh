#!/usr/bin/env bash
# Prepares any machine (laptop, CI, cluster node): the system libraries that FFCV builds against, a virtual
# environment, and the pinned install. Safe to run again: it does nothing when nothing has changed.
#
#   clusters/setup.sh [VENV [EXTRAS]]    default: .venv, relative to the repository, and dev, which has them all;
#                                        nodes of a cluster need but storage, a head on AWS storage,aws
#   PYTHON=python3.12 clusters/setup.sh
set -euo pipefail
cd "$(dirname "$0")/.."
venv="${1:-.venv}"
extras="${2:-dev}"
python="${PYTHON:-python3}"

fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

minor='import sys; print("%d.%d" % sys.version_info[:2])'
version="$("$python" -c "$minor; sys.exit(sys.version_info < (3, 11))" 2>/dev/null)" ||
  fail "Python 3.11 or newer is needed; '$python' is ${version:-missing}. Name another with PYTHON=..."

stamp="$venv/.ablate-setup"
wanted="$(cat pyproject.toml constraints.txt clusters/setup.sh | cksum) $version $PWD $extras"
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  echo "setup: $venv is up to date"
  exit 0
fi

if [ -x "$venv/bin/python" ]; then
  found="$("$venv/bin/python" -c "$minor" 2>/dev/null)" || found="of no working Python"
  [ "$found" = "$version" ] ||
    fail "$venv is $found, but '$python' is $version. Remove $venv, or name its Python with PYTHON=..."
fi

# FFCV compiles against Python, OpenCV and turbojpeg; wheels of it do not exist.
modules=ray,torch,optuna,ablate
if [ "$(uname -s)" = Linux ]; then
  modules+=,ffcv
  missing=()
  command -v c++ >/dev/null || missing+=(g++)
  if command -v pkg-config >/dev/null; then
    pkg-config --exists opencv4 || missing+=(libopencv-dev)
    pkg-config --exists libturbojpeg || missing+=(libturbojpeg0-dev)
  else
    missing+=(pkg-config libopencv-dev libturbojpeg0-dev)
  fi
  # Debian takes Python apart.
  headers="$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')"
  [ -f "$headers/Python.h" ] || missing+=("python$version-dev")
  "$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=("python$version-venv")
  if [ ${#missing[@]} -gt 0 ]; then
    command -v apt-get >/dev/null ||
      fail "needs a C++ compiler, pkg-config, Python with venv, OpenCV and turbojpeg, all with headers; install what is missing with this system's package manager (Debian's names: ${missing[*]})"
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then
      { command -v sudo >/dev/null && sudo -n true 2>/dev/null; } ||
        fail "needs system packages and has no right to install them. Ask for: apt-get install ${missing[*]}"
      sudo="sudo -n"
    fi
    echo "setup: installing ${missing[*]}"
    $sudo apt-get update -qq
    $sudo env DEBIAN_FRONTEND=noninteractive \
      apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  fi
fi

# One without pip was left half-made.
if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
  "$python" -m venv "$venv" || fail "could not create $venv"
fi
echo "setup: installing the pinned set into $venv (minutes on a new machine)"
"$venv/bin/python" -m pip install --quiet --upgrade pip
"$venv/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[$extras]"
"$venv/bin/python" -c "import $modules" || fail "the installed packages do not import; see the error above"
# Compiled once a machine, here, so that no trial has to wait for it.
"$venv/bin/python" -c "import ablate.data.view_kernel" || fail "the views cannot be compiled; see the error above"
printf '%s\n' "$wanted" >"$stamp"
echo "setup: done"
