#!/usr/bin/env bash
# Makes the environment, then four 4-bar drum loops in outputs/.
#   bash scripts/run.sh [--zip=FILE]    (a local copy of the Groove zip)
set -euo pipefail
. "$(dirname "$0")/venv.sh"
exec .venv/bin/python scripts/quickstart.py "$@"
