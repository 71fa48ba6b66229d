#!/bin/sh
# Tell the Prefect server about the work pool and the deployments of prefect.yaml. Safe to repeat.
set -eu
cd "$(dirname "$0")/.."
export PWD # prefect.yaml asks for it: the worker finds the code in the same place
prefect work-pool inspect noisegate >/dev/null 2>&1 ||
  prefect --no-prompt work-pool create noisegate --type process
exec prefect --no-prompt deploy --all
