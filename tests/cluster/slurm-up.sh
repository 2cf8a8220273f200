#!/usr/bin/env bash
# Start a private single-node SLURM (munged + slurmctld + slurmd) on loopback.
#   usage: slurm-up.sh DIR [CPUS] [EXTRA_SLURM_CONF_LINE ...]
#   then:  export SLURM_CONF=DIR/slurm.conf   (only this variable is needed by sbatch/squeue/...)
# Everything (config, keys, sockets, spool, state, logs) lives under DIR; nothing in /etc is written.
# Needs Debian packages: slurmctld slurmd slurm-client munge (no systemd, no cgroups).
set -euo pipefail
DIR=${1:?usage: slurm-up.sh DIR [CPUS]}; CPUS=${2:-4}; shift; [ $# -gt 0 ] && shift
mkdir -p "$DIR"/{munge,state,spool,log,run}; DIR=$(cd "$DIR" && pwd)
ME=$(id -un); HOST=$(hostname -s)   # SlurmctldHost must be this machine's own hostname
chmod 700 "$DIR/munge"
freeport() { python3 -c 'import socket;s=socket.socket();s.bind(("127.0.0.1",0));print(s.getsockname()[1])'; }
CTLPORT=$(freeport); DPORT=$(freeport)

# --- munge: own key, own socket -------------------------------------------------------------
KEY=$DIR/munge/munge.key; SOCK=$DIR/run/munge.socket
[ -s "$KEY" ] || { (umask 077; head -c 1024 /dev/urandom > "$KEY"); }
chmod 400 "$KEY"; chmod 755 "$DIR/run"
munged --force --key-file="$KEY" --socket="$SOCK" --pid-file="$DIR/run/munged.pid" \
       --log-file="$DIR/log/munged.log" --seed-file="$DIR/munge/seed"
munge -S "$SOCK" -n | unmunge -S "$SOCK" >/dev/null

# --- slurm.conf -----------------------------------------------------------------------------
cat > "$DIR/slurm.conf" <<CONF
ClusterName=sbitest
SlurmctldHost=$HOST(127.0.0.1)
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job waits before it starts again (default 120 s)
AuthInfo=socket=$SOCK,cred_expire=5
SlurmctldPort=$CTLPORT
SlurmdPort=$DPORT
SlurmctldPidFile=$DIR/run/slurmctld.pid
SlurmdPidFile=$DIR/run/slurmd.pid
StateSaveLocation=$DIR/state
SlurmdSpoolDir=$DIR/spool
SlurmctldLogFile=$DIR/log/slurmctld.log
SlurmdLogFile=$DIR/log/slurmd.log
SlurmctldDebug=info
SlurmdDebug=info
# no cgroups, no task plugin: works inside containers / sandboxes
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/builtin
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,requeue_setup_env_fail
# job history in a text file (no slurmdbd): one line per finished job
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$DIR/log/jobcomp.txt
# fast reactions for tests
KillWait=5
MinJobAge=600
InactiveLimit=0
SlurmctldTimeout=30
SlurmdTimeout=30
ReturnToService=2
OverTimeLimit=0
JobRequeue=1
# smaller than the number of shards of the tests
MaxArraySize=3
MailProg=/bin/true
# pretend to have CPUS cores / 4 GB even if the machine has fewer
SlurmdParameters=config_overrides
MessageTimeout=10
# two fake GPUs, so scripts with --gres=gpu:1 / --gpus can be submitted on a CPU-only machine
GresTypes=gpu
NodeName=$HOST NodeAddr=127.0.0.1 NodeHostname=$HOST CPUs=$CPUS RealMemory=4000 Gres=gpu:2 State=UNKNOWN
PartitionName=test Nodes=$HOST Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES:4
CONF
printf 'Name=gpu File=%s\n' /dev/null /dev/zero > "$DIR/gres.conf"
for line in "$@"; do echo "$line" >> "$DIR/slurm.conf"; done
export SLURM_CONF="$DIR/slurm.conf"

# --- daemons --------------------------------------------------------------------------------
slurmctld -f "$SLURM_CONF"
slurmd -f "$SLURM_CONF" -N "$HOST"
for i in $(seq 100); do
  case "$(timeout 5 sinfo -h -o %t 2>/dev/null)" in idle*|mix*|alloc*) ok=1; break;; esac; sleep 0.1
done
[ "${ok:-}" = 1 ] || { echo "slurm did not come up" >&2; sinfo -R -l >&2 || true; tail -20 "$DIR"/log/slurm*.log >&2; exit 1; }
echo "export SLURM_CONF=$SLURM_CONF"
