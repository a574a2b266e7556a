# Sourced by run.sh and test.sh: makes .venv with $PYTHON (default python3),
# installs into it and patches Magenta; leaves the shell in the project's root.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
unset PYTHONDONTWRITEBYTECODE  # TensorFlow and Magenta start slowly without.

if [ -x .venv/bin/python ] && [ -n "${PYTHON:-}" ] && [ \
    "$(.venv/bin/python -c 'import sys; print(sys.version)')" != \
    "$("$PYTHON" -c 'import sys; print(sys.version)')" ]; then
  echo "Making .venv again, with $PYTHON."
  rm -rf .venv
fi
if ! [ -x .venv/bin/python ]; then
  command -v "${PYTHON:-python3}" > /dev/null || {
    echo "${PYTHON:-python3} was not found; install Python 3.11, 3.12 or 3.13," \
         'or name one with PYTHON=.' >&2; exit 1; }
  "${PYTHON:-python3}" -m venv .venv || {
    rm -rf .venv
    echo 'No virtual environment could be made; on Debian and Ubuntu' \
         '`sudo apt install python3-venv` helps.' >&2; exit 1; }
fi
.venv/bin/python scripts/install.py --tested
