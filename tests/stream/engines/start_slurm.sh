#!/bin/bash
# A real Slurm in one folder: munged, slurmctld and two slurmd, "node1" and "node2", on this machine. Needs root.
#
#   start_slurm.sh FOLDER PORT       uses PORT to PORT + 2 on loopback; then: export SLURM_CONF=FOLDER/slurm.conf
#   start_slurm.sh FOLDER node2      starts this slurmd again
#   stop_slurm.sh FOLDER             ends all of it
set -eu
folder=$(realpath "$1")
export SLURM_CONF=$folder/slurm.conf
export PATH=$PATH:/usr/sbin:/sbin

node() {
    mkdir -p "$folder/spool/$1"
    slurmd -N "$1"
}

if [[ $2 == node* ]]; then
    node "$2"
    exit
fi

port=$2
mkdir -p "$folder/state" "$folder/munge"
chmod 700 "$folder/munge"
dd if=/dev/urandom of="$folder/munge/key" bs=1024 count=1 status=none
chmod 400 "$folder/munge/key"
munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/munged.pid" \
    --log-file="$folder/munged.log" --seed-file="$folder/munge/seed"

host=$(hostname -s)
cat >"$SLURM_CONF" <<END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket,cred_expire=15
CredType=cred/munge
MpiDefault=none
StateSaveLocation=$folder/state
SlurmctldPidFile=$folder/slurmctld.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmdLogFile=$folder/slurmd-%n.log
SlurmdSpoolDir=$folder/spool/%n
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=5,bf_interval=5
SlurmdTimeout=15
OverTimeLimit=1
KillWait=5
CompleteWait=0
ReturnToService=2
JobRequeue=1
MinJobAge=7200
NodeName=node[1-2] NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1))-$((port + 2)) CPUs=1 RealMemory=4000
PartitionName=main Nodes=node[1-2] Default=YES MaxTime=INFINITE State=UP
END

slurmctld
node node1
node node2
