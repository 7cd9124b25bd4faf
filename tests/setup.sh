#!/usr/bin/env bash
# The programs that some tests drive: Chromium (pages are the product), PostgreSQL (behind an MLflow server) and,
# as root in CI (or with ABLATE_TEST_CLUSTERS=1), an SSH server, rsync and Slurm for hosts in namespaces.
# What cannot be installed is said, and those tests skip with the reason. Safe to run again.
set -euo pipefail

missing=()
command -v chromium >/dev/null || missing+=(chromium fonts-dejavu-core)
compgen -G "/usr/lib/postgresql/*/bin/initdb" >/dev/null || command -v initdb >/dev/null || missing+=(postgresql)
# Not on anybody's own machine unasked: these are servers.
if [ "$(id -u)" -eq 0 ] && { [ "${CI:-}" = true ] || [ "${ABLATE_TEST_CLUSTERS:-}" = 1 ]; }; then
  [ -x /usr/sbin/sshd ] || missing+=(openssh-server)
  command -v ssh >/dev/null || missing+=(openssh-client)
  command -v rsync >/dev/null || missing+=(rsync)
  command -v ip >/dev/null || missing+=(iproute2)
  [ -x /usr/sbin/slurmctld ] || missing+=(slurmctld slurmd slurm-client munge)
fi
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
# Nor is any server to be started for the machine: the tests start their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap '$sudo rm -f "$policy"' EXIT
  printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
  $sudo chmod 755 "$policy"
fi
echo "tests: installing ${missing[*]}"
$sudo apt-get update -qq
$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
  -o Dpkg::Options::=--force-confold "${missing[@]}" >/dev/null || skip "apt-get failed"
