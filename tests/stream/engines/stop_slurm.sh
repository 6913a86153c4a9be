#!/bin/bash
# End what start_slurm.sh began in a folder, jobs and all.
folder=$(realpath "$1")
export SLURM_CONF=$folder/slurm.conf
scancel --state=PENDING --user=root 2>/dev/null
scancel --full --signal=KILL --user=root 2>/dev/null
for _ in $(seq 20); do
    [ -z "$(squeue --noheader 2>/dev/null)" ] && break
    sleep 0.5
done
for name in slurmd-node1 slurmd-node2 slurmctld munged; do
    [ -e "$folder/$name.pid" ] && kill "$(cat "$folder/$name.pid")" 2>/dev/null
done
for _ in $(seq 40); do
    [ -z "$(ls "$folder" | grep '\.pid$')" ] && break
    sleep 0.25
done
exit 0
