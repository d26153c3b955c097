#!/usr/bin/env bash
# A Slurm cluster of this one machine, for tests: `node.sh start FOLDER` starts munged, slurmctld and slurmd with everything of theirs in
# FOLDER, prints the path of slurm.conf, and `node.sh stop FOLDER` ends them. `export SLURM_CONF=FOLDER/slurm.conf` makes sbatch and the
# others speak to it. Needs Debian's packages slurm-wlm and munge; no systemd, cgroups or accounting. Jobs run as the user who started it.
# Partitions: main, and urgent, whose jobs preempt those of main, which are queued again. SLURM_TEST_CPUS: cores it says it has (4).
set -euo pipefail
PATH="$PATH:/usr/sbin:/sbin"
what="${1:?start or stop}" folder="$(mkdir -p "${2:?FOLDER}" && cd "$2" && pwd)"
daemons="slurmd slurmctld munged"

stop() {
    for name in $daemons; do
        pid="$(cat "$folder/$name.pid" 2>/dev/null || true)"
        if [ -n "$pid" ] && kill "$pid" 2>/dev/null; then
            for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || break; sleep 0.1; done
        fi
        rm -f "$folder/$name.pid"
    done
}

fail() {
    echo "$1" >&2
    for log in "$folder"/*.log; do [ -f "$log" ] && { echo "--- $log" >&2; tail -n 8 "$log" >&2; }; done
    stop
    exit 1
}

free_ports() { # two of them
    python3 -c 'import socket; s = [socket.create_server(("", 0)) for _ in range(2)]; print(*(x.getsockname()[1] for x in s))'
}

start() {
    for name in $daemons sbatch squeue scontrol; do
        command -v "$name" >/dev/null || { echo "$name is not installed (Debian: apt-get install slurm-wlm munge)" >&2; exit 1; }
    done
    chmod 755 "$folder"
    mkdir -p "$folder/state" "$folder/spool" "$folder/munge"
    chmod 700 "$folder/state" "$folder/spool"
    chmod 755 "$folder/munge"
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge.key")
    munged --force --key-file="$folder/munge.key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
        --log-file="$folder/munged.log" --seed-file="$folder/munge.seed" >"$folder/munged.out.log" 2>&1 || fail "munged did not start"
    read -r first second < <(free_ports)
    local host user
    host="$(hostname -s)" user="$(id -un)"
    cat >"$folder/slurm.conf" <<CONF
ClusterName=one
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=$first
SlurmdPort=$second
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=5
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MpiDefault=none
ReturnToService=2
KillWait=20
CompleteWait=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host NodeAddr=127.0.0.1 CPUs=${SLURM_TEST_CPUS:-4} RealMemory=16000
PartitionName=main Nodes=$host Default=YES State=UP PriorityTier=1
PartitionName=urgent Nodes=$host State=UP PriorityTier=9
CONF
    export SLURM_CONF="$folder/slurm.conf"
    slurmctld >"$folder/slurmctld.out.log" 2>&1 || fail "slurmctld did not start"
    slurmd -N "$host" >"$folder/slurmd.out.log" 2>&1 || fail "slurmd did not start"
    for _ in $(seq 100); do
        if [ "$(sinfo -h -p main -o %T 2>/dev/null)" = idle ]; then
            echo "$SLURM_CONF"
            return
        fi
        sleep 0.2
    done
    fail "the node did not become idle: $(sinfo -N -l 2>&1 | tail -n 1)"
}

"$what"
