"""Installs what is missing into the Python that runs this, and patches Magenta.

    python3 scripts/install.py

Nothing that is installed already is changed, so that it can be run on Colab's
image. FluidSynth's library, which makes the sound, comes from apt where this
runs as root on Debian or Ubuntu (as on Colab).
"""
import argparse
import ctypes.util
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

from pip._vendor.packaging.requirements import Requirement

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAGENTA = 'magenta==2.1.4'
OLDEST, NEWEST = (3, 11), (3, 13)
FLUIDSYNTH_PACKAGES = ('libfluidsynth3', 'libfluidsynth2')
# For the names of users' files in pictures.
HANGUL_PACKAGE, HANGUL_FONTS = 'fonts-nanum', '/usr/share/fonts/truetype/nanum'


def requirements():
  """Returns what requirements.txt asks of this Python, parsed."""
  lines = (ROOT / 'requirements.txt').read_text().splitlines()
  parsed = [Requirement(line)
            for line in lines if line and not line.startswith('#')]
  return [r for r in parsed if r.marker is None or r.marker.evaluate()]


def is_installed(name):
  try:
    importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True


def warn_of_untested_versions():
  """Names what is installed in a version that requirements.txt excludes."""
  for requirement in requirements():
    name = requirement.name
    if is_installed(name) and not requirement.specifier.contains(
        importlib.metadata.version(name), prereleases=True):
      print(f'{name} {importlib.metadata.version(name)} is installed and left '
            f'as it is, but only {requirement.specifier} was tested.')


def pip_install(*args):
  """Runs pip; what is installed already keeps its version.

  Raises:
    SystemExit: in one sentence, if pip fails.
  """
  with tempfile.NamedTemporaryFile('w', suffix='.txt') as constraints:
    for dist in importlib.metadata.distributions():
      if dist.metadata['Name']:
        constraints.write(f'{dist.metadata["Name"]}=={dist.version}\n')
    constraints.flush()
    command = [sys.executable, '-m', 'pip', 'install', '--no-input',
               '--disable-pip-version-check', '-c', constraints.name, *args]
    if subprocess.run(command).returncode:
      sys.exit('install.py: pip could not install what is missing (see above); '
               'if it found no matching version, start with a fresh '
               'environment (bash scripts/run.sh makes one), if it had no '
               'network, try again.')


def install_fluidsynth():
  """Installs FluidSynth's library with apt if it may; says how, if not."""
  if ctypes.util.find_library('fluidsynth'):
    return
  if shutil.which('apt-get') and os.geteuid() == 0:
    environment = {**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}
    quiet = {'stdout': subprocess.DEVNULL, 'stderr': subprocess.DEVNULL,
             'env': environment}
    for attempt in range(2):
      for package in FLUIDSYNTH_PACKAGES:
        if subprocess.run(['apt-get', 'install', '-y', '--no-install-recommends',
                           package], **quiet).returncode == 0:
          print('Installed FluidSynth.')
          return
      if attempt == 0:
        subprocess.run(['apt-get', 'update'], **quiet)
  print('FluidSynth was not found, so there will be MIDI and pictures but no '
        'sound; install it with `sudo apt install libfluidsynth3` (Debian, '
        'Ubuntu) or `brew install fluid-synth` (macOS).')


def install_hangul():
  """Installs a font with Hangul with apt if it may; does without, if not."""
  if shutil.which('apt-get') and os.geteuid() == 0 and not os.path.isdir(
      HANGUL_FONTS):
    subprocess.run(
        ['apt-get', 'install', '-y', '--no-install-recommends', HANGUL_PACKAGE],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'})


def main():
  argparse.ArgumentParser(description=__doc__.split('\n')[0]).parse_args()
  if not OLDEST <= sys.version_info[:2] <= NEWEST:
    sys.exit(f'install.py: Python {sys.version.split()[0]} was not tested; use '
             '3.11, 3.12 or 3.13, for example PYTHON=python3.13 bash '
             'scripts/run.sh.')
  missing = [str(r) for r in requirements() if not is_installed(r.name)]
  if missing:
    print(f'Installing {", ".join(missing)} ...', flush=True)
    pip_install(*missing)
  if not is_installed('magenta'):
    pip_install('--no-deps', MAGENTA)
  elif importlib.metadata.version('magenta') != MAGENTA.split('==')[1]:
    sys.exit(f'install.py: magenta {importlib.metadata.version("magenta")} is '
             f'installed, but the patches are for {MAGENTA}; use a fresh '
             'environment.')
  warn_of_untested_versions()
  install_fluidsynth()
  install_hangul()
  result = subprocess.run(
      [sys.executable, '-m', 'magenta_patches', 'apply'], cwd=ROOT)
  sys.exit(result.returncode)


if __name__ == '__main__':
  try:
    main()
  except KeyboardInterrupt:
    print('Stopped.', file=sys.stderr)
    sys.exit(130)
