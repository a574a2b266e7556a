#!/usr/bin/env bash
# Makes the environment, then four 4-bar drum loops in outputs/, from the trained
# weights in weights/. Takes sample.py's flags: bash scripts/run.sh --style=funk
set -euo pipefail
. "$(dirname "$0")/venv.sh"
exec .venv/bin/python scripts/sample.py "$@"
