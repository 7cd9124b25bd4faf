#!/usr/bin/env bash
# The programs that some tests drive: Chromium (pages are the product) and PostgreSQL (behind an MLflow server).
# Where they cannot be installed this says so, and those tests skip with the reason. Safe to run again.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
[ ${#missing[@]} -gt 0 ] || exit 0

skip() { printf 'tests: %s; tests that need %s are skipped\n' "$1" "${missing[*]}"; exit 0; }

command -v apt-get >/dev/null || skip "no apt-get here"
sudo=""
if [ "$(id -u)" -ne 0 ]; then
  { command -v sudo >/dev/null && sudo -n true 2>/dev/null; } || skip "no right to install packages"
  sudo="sudo -n"
fi
# The tests make a database of their own; Debian would make, and start, one for the machine.
config=/etc/postgresql-common/createcluster.conf
if [ ! -e "$config" ]; then
  $sudo mkdir -p "$(dirname "$config")"
  echo "create_main_cluster = false" | $sudo tee "$config" >/dev/null
fi
echo "tests: installing ${missing[*]}"
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null || skip "apt-get failed"
