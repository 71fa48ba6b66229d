#!/bin/bash
# One Ray node of the stack. usage: ray-node.sh head | worker | beside COMMAND...
#   head    keeps the cluster's books, runs no tasks
#   worker  runs tasks on RAY_CPUS processors (default 2)
#   beside  joins without processors and runs COMMAND, which can then use the cluster; ends with either
set -euo pipefail
head=${RAY_ADDRESS:-ray-head:6379}
folder=${RAY_TMPDIR:-/tmp}/ray
# This node's own address in the network in which the head is: a container may have several.
own=$(python -c '
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect((host, int(port)))
    print(probe.getsockname()[0])' "$head")
node=(ray start --block --disable-usage-stats --include-log-monitor=false "--node-ip-address=$own"
  "--temp-dir=$folder")

case ${1:-} in
  head)
    exec "${node[@]}" --head "--port=${head##*:}" --num-cpus=0 --include-dashboard=false \
      --object-store-memory=100000000
    ;;
  worker)
    exec "${node[@]}" "--address=$head" "--num-cpus=${RAY_CPUS:-2}" \
      "--object-store-memory=${RAY_STORE_BYTES:-800000000}"
    ;;
  beside)
    shift
    "${node[@]}" "--address=$head" --num-cpus=0 \
      "--object-store-memory=${RAY_STORE_BYTES:-800000000}" &
    trap 'kill $(jobs -p) 2>/dev/null || true' TERM INT
    until [ -S "$folder/session_latest/sockets/raylet" ]; do
      jobs %1 >/dev/null 2>&1 || exit 1
      sleep 0.5
    done
    "$@" &
    code=0
    wait -n || code=$?
    kill $(jobs -p) 2>/dev/null || true
    wait || true
    exit "$code"
    ;;
  *)
    echo "usage: ray-node.sh head | worker | beside COMMAND..." >&2
    exit 2
    ;;
esac
