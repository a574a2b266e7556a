#!/usr/bin/env bash
# Makes the environment and runs all tests, or those given as arguments.
set -euo pipefail
. "$(dirname "$0")/venv.sh"
exec .venv/bin/python -m pytest "${@:-tests}"
