#!/usr/bin/env bash
# Start a Slurm of one node for tests; as root, with Debian's slurm-wlm and munge.
#   start.sh DIR     writes DIR/slurm.conf, and ends once the node is idle
# Then, with KDSWEEP_TEST_SLURM=DIR/slurm.conf, tests/engines/test_slurm_cluster.py is run.
#   stop.sh DIR      ends what was started
set -euo pipefail
dir=$(mkdir -p "$1" && cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
host=$(hostname -s)
read -r port1 port2 < <(python3 -c '
import socket
made = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*[one.getsockname()[1] for one in made])')
sed "s#@DIR@#$dir#g; s#@HOST@#$host#g; s#@PORT1@#$port1#; s#@PORT2@#$port2#" \
  "$here/slurm.conf.in" >"$dir/slurm.conf"
export SLURM_CONF=$dir/slurm.conf
mkdir -p "$dir/state" "$dir/spool" /run/munge
if ! munge -n >/dev/null 2>&1; then
  chown munge:munge /run/munge
  setsid runuser -u munge -- /usr/sbin/munged --force </dev/null >"$dir/munged.log" 2>&1
  touch "$dir/munged" # is ours to stop
fi
setsid /usr/sbin/slurmctld -f "$SLURM_CONF" </dev/null
setsid /usr/sbin/slurmd -f "$SLURM_CONF" -N "$host" </dev/null
for _ in $(seq 300); do
  if sinfo -h -o %T 2>/dev/null | grep -q idle; then exit 0; fi
  sleep 0.1
done
tail "$dir"/*.log >&2
exit 1
