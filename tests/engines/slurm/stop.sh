#!/usr/bin/env bash
# End what start.sh DIR has started.
set -euo pipefail
export SLURM_CONF=$1/slurm.conf
scancel --user="$(id -un)" 2>/dev/null || true
for daemon in slurmd slurmctld; do
  if [ -e "$1/$daemon.pid" ]; then kill "$(cat "$1/$daemon.pid")" || true; fi
done
if [ -e "$1/munged" ]; then kill "$(cat /run/munge/munged.pid)" || true; fi
