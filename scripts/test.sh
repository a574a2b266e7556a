#!/usr/bin/env bash
# Makes the environment and runs all tests, or those given as arguments.
set -euo pipefail
. "$(dirname "$0")/venv.sh"
# uv makes the other environments (Colab's, stock Magenta's), xdist runs three at a time, since many wait,
# timeout says where a test hangs, the notebook is opened in JupyterLab, ruff reads.
.venv/bin/python -c 'import uv, xdist, pytest_timeout, jupyterlab, ruff' 2> /dev/null ||
  .venv/bin/python -m pip install -q uv pytest-xdist pytest-timeout jupyterlab ruff
.venv/bin/python -m ruff check
# A function that has annotations has all of them; see .ruff.toml.
.venv/bin/python -m ruff check --select ANN0 \
  --config lint.flake8-annotations.ignore-fully-untyped=true
exec .venv/bin/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder \
  --timeout=900 -ra --durations=10 "${@:-tests}"
