#!/usr/bin/env bash
# One node of a training run on several; the same command on each of them.
#
#   docs/scale/node.sh HOST:PORT NODES PROCESSES FLAGS…
#
# HOST is one of the nodes, where the others meet; NODES how many there are; PROCESSES how many each one runs, one for a
# GPU; FLAGS those of `python -m trainer`. --out and --rendered must lie on a file system that all nodes share.
#
# A node that dies, or a process of one, ends the step for all, and with it the run. Start the same command on all nodes
# again, on another machine in the lost one's place: the run goes on from its last checkpoint.
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '2,6p' "$0" | cut -c3- >&2
    exit 2
fi
meet=$1 nodes=$2 processes=$3
shift 3
exec "${PYTHON:-python}" -m torch.distributed.run \
    --nnodes "$nodes" --nproc-per-node "$processes" --max-restarts 0 \
    --rdzv-backend c10d --rdzv-endpoint "$meet" --rdzv-id "${RUN_ID:-soroban}" \
    -m trainer "$@"
