"""As much of SLURM as submitit calls, on this machine: sbatch, srun, scontrol requeue and sacct.

An array's tasks start at once, without the caller's PYTHONPATH, and start again as long as they are
asked to be queued again. `status_<task>` gets a line with the exit status of each time.
"""

from pathlib import Path

SBATCH = """#!/bin/bash
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$1")
cp "$1" "$FAKE_SLURM/submitted.sh"
for task in $(seq 0 "$last"); do
  (
    unset PYTHONPATH
    export SLURM_JOB_ID=$((8 + task)) SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task
    while
      bash "$1"; echo $? >> "$FAKE_SLURM/status_$task"
      rm "$FAKE_SLURM/requeue_7_$task"
    do :; done
  ) < /dev/null > "$FAKE_SLURM/log_$task" 2>&1 &
done
echo "Submitted batch job 7"
"""
SRUN = """#!/bin/bash
filled() { local path=${1//%A/7}; path=${path//%a/$SLURM_ARRAY_TASK_ID}; echo "${path//%t/0}"; }
while [[ $1 == --* ]]; do
  case $1 in
    --output) out=$(filled "$2"); shift 2;;
    --error) err=$(filled "$2"); shift 2;;
    *) shift;;
  esac
done
mkdir -p "$(dirname "$out")"
exec "$@" >> "$out" 2>> "$err"
"""
SCONTROL = """#!/bin/bash
[ "$1" = requeue ] && touch "$FAKE_SLURM/requeue_$2"
"""
SACCT = """#!/bin/bash
echo 'JobID|State|NodeList'
"""


def install(folder: Path) -> dict[str, str]:
    """Write the commands into `folder`; the environment variables that make them be found."""
    commands = {"sbatch": SBATCH, "srun": SRUN, "scontrol": SCONTROL, "sacct": SACCT}
    folder.mkdir()
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return {"FAKE_SLURM": str(folder), "PATH": f"{folder}:/usr/local/bin:/usr/bin:/bin"}
