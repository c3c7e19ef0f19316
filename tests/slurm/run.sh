#!/bin/sh
# Test the slurm launcher against a real SLURM: one node, this machine, from Debian's packages.
#
#   make test-slurm        (or: sh tests/slurm/run.sh [PYTHON])
#
# Installs slurmctld, slurmd and munge if they are missing (root on Debian or Ubuntu only), starts them on ports and
# folders of their own under a temporary folder, runs tests/slurm, and stops them. A SLURM that is already configured on
# the machine is neither used nor touched. Where it cannot be installed or started, it says so and ends with 0.
set -u
PYTHON=${1:-python3}
ROOT=$(cd "$(dirname "$0")/../.." && pwd)

skip() { echo "test-slurm: SKIPPED: $1"; exit 0; }

[ "$(uname -s)" = Linux ] || skip "SLURM runs on Linux only"
[ "$(id -u)" = 0 ] || skip "starting slurmd needs root"
missing=
for tool in slurmctld slurmd munged sbatch; do
    command -v "$tool" >/dev/null 2>&1 || missing=1
done
if [ -n "$missing" ]; then
    command -v apt-get >/dev/null 2>&1 || skip "no slurmctld here, and no apt-get to install it with"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        slurmctld slurmd slurm-client munge; } >/dev/null 2>&1 || skip "the packages slurmctld, slurmd and munge cannot be installed"
fi
"$PYTHON" -c 'import submitit' 2>/dev/null || skip "submitit is missing: pip install 'rrsis-bench[slurm]'"

WORK=$(mktemp -d)
mkdir -p "$WORK/munge" "$WORK/state" "$WORK/spool"
chmod 755 "$WORK" "$WORK/munge"
stop() {
    scancel --user="$(id -un)" 2>/dev/null && sleep 3
    scancel --signal=KILL --user="$(id -un)" 2>/dev/null && sleep 2
    for name in slurmd slurmctld munged; do
        [ -f "$WORK/$name.pid" ] && kill "$(cat "$WORK/$name.pid")" 2>/dev/null
    done
    sleep 1
    rm -rf "$WORK"
}
trap stop EXIT INT TERM

dd if=/dev/urandom of="$WORK/munge/key" bs=1024 count=1 2>/dev/null
chmod 400 "$WORK/munge/key"
munged --force --key-file="$WORK/munge/key" --socket="$WORK/munge/socket" --pid-file="$WORK/munged.pid" \
    --log-file="$WORK/munge/log" --seed-file="$WORK/munge/seed" || skip "munged does not start"

HOST=$(hostname -s)
cat >"$WORK/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthInfo=socket=$WORK/munge/socket
SlurmctldPort=26817
SlurmdPort=26818
SlurmctldPidFile=$WORK/slurmctld.pid
SlurmdPidFile=$WORK/slurmd.pid
SlurmctldLogFile=$WORK/slurmctld.log
SlurmdLogFile=$WORK/slurmd.log
StateSaveLocation=$WORK/state
SlurmdSpoolDir=$WORK/spool
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
MailProg=/bin/true
MpiDefault=none
ReturnToService=2
NodeName=$HOST NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=test Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
export SLURM_CONF="$WORK/slurm.conf"
slurmctld || skip "slurmctld does not start: $(tail -n 1 "$WORK/slurmctld.log")"
slurmd -N "$HOST" 2>/dev/null || slurmd || skip "slurmd does not start: $(tail -n 1 "$WORK/slurmd.log")"
tries=0
until sinfo -h -o %t 2>/dev/null | grep -q idle; do
    tries=$((tries + 1))
    [ $tries -lt 30 ] || { tail -n 5 "$WORK"/slurm*.log; skip "the node does not become idle"; }
    sleep 1
done
echo "test-slurm: $(sinfo --version) is up on $HOST"
cd "$ROOT" && RRSIS_TEST_SLURM=1 "$PYTHON" -m pytest -q tests/slurm
