"""Installs what is missing into the Python that runs this, and patches Magenta.

    python3 scripts/install.py
    python3 scripts/install.py --tested  # As run.sh installs into .venv.

What is installed already keeps its version, so that this can run on Colab's image.
FluidSynth's library, which plays SoundFonts and melodies, comes from apt where this
runs as root on Debian or Ubuntu (as on Colab).
"""
from drumloops import ROOT  # Which looks at this Python before it goes on.
import argparse
import ctypes.util
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tempfile

try:
  from pip._vendor.packaging.requirements import Requirement
  from pip._vendor.packaging.utils import canonicalize_name
except ImportError:
  sys.exit(f'install.py: {sys.executable} has no pip; `{sys.executable} -m ensurepip` '
           'gives it one, on Debian and Ubuntu `sudo apt install python3-pip`.')

MAGENTA = 'magenta==2.1.4'
TESTED = 'scripts/constraints.txt'
LARGE = ('0.7 GB to download, 3.2 GB on the disk; pip says nothing for some minutes '
         '...')
SMALL = 'some MB, less than a minute ...'
FLUIDSYNTH_PACKAGES = ('libfluidsynth3', 'libfluidsynth2')
# For the names of users' files in pictures.
HANGUL_PACKAGE, HANGUL_FONTS = 'fonts-nanum', '/usr/share/fonts/truetype/nanum'


def requirements(name: str = 'requirements.txt') -> list[Requirement]:
  """Returns what requirements.txt, or a file like it, asks of this Python."""
  lines = (ROOT / name).read_text().splitlines()
  parsed = [Requirement(line)
            for line in lines if line and not line.startswith('#')]
  return [r for r in parsed if r.marker is None or r.marker.evaluate()]


def is_installed(name: str) -> bool:
  """Whether a package is installed, in whatever version."""
  try:
    importlib.metadata.version(name)
  except importlib.metadata.PackageNotFoundError:
    return False
  return True


def warn_of_untested_versions() -> None:
  """Names what is installed in a version that requirements.txt excludes."""
  for requirement in requirements():
    name = requirement.name
    if is_installed(name) and not requirement.specifier.contains(
        importlib.metadata.version(name), prereleases=True):
      print(f'{name} {importlib.metadata.version(name)} is installed and left '
            f'as it is, but only {requirement.specifier} was tested.')


def pip_install(tested: bool, *args: str) -> None:
  """Runs pip; what is installed already keeps its version.

  Args:
    tested: Whether to take the versions of TESTED for what is not installed.
    *args: What pip is told.

  Raises:
    SystemExit: in one sentence, if pip fails.
  """
  versions = {canonicalize_name(r.name): r.specifier
              for r in (requirements(TESTED) if tested else ())}
  for dist in importlib.metadata.distributions():
    if dist.metadata['Name']:
      versions[canonicalize_name(dist.metadata['Name'])] = f'=={dist.version}'
  with tempfile.NamedTemporaryFile('w', suffix='.txt') as constraints:
    constraints.writelines(f'{name}{version}\n' for name, version in versions.items())
    constraints.flush()
    command = [sys.executable, '-m', 'pip', 'install', '-q', '--no-input',
               '--disable-pip-version-check', '-c', constraints.name, *args]
    if subprocess.run(command).returncode:
      sys.exit('install.py: pip could not install what is missing (see above); '
               'if it found no matching version, start with a fresh '
               'environment (bash scripts/run.sh makes one), if it had no '
               'network, try again.')


def may_use_apt() -> bool:
  """Whether this machine has apt, and this user may install with it."""
  return bool(shutil.which('apt-get')) and os.geteuid() == 0


def apt_get(*args: str) -> bool:
  """Runs apt-get, without a word; returns whether it did what it was told."""
  return subprocess.run(
      ['apt-get', *args], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
      env={**os.environ, 'DEBIAN_FRONTEND': 'noninteractive'}).returncode == 0


def apt_install(package: str) -> bool:
  """Returns whether apt installed a package."""
  return apt_get('install', '-y', '--no-install-recommends', package)


def install_fluidsynth() -> None:
  """Installs FluidSynth's library with apt if it may; says how, if not."""
  if ctypes.util.find_library('fluidsynth'):
    return
  if may_use_apt():
    for attempt in range(2):
      if any(map(apt_install, FLUIDSYNTH_PACKAGES)):
        print('Installed FluidSynth.')
        return
      if attempt == 0:
        apt_get('update')
  print('FluidSynth was not found, so SoundFonts and melodies will not play; install '
        'it with `sudo apt install libfluidsynth3` (Debian, Ubuntu) or '
        '`brew install fluid-synth` (macOS).')


def install_hangul() -> None:
  """Installs a font with Hangul with apt if it may; does without, if not."""
  if may_use_apt() and not os.path.isdir(HANGUL_FONTS):
    apt_install(HANGUL_PACKAGE)


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument(
      '--tested', action='store_true',
      help=f'take the versions of {TESTED}, not the newest ones')
  tested = parser.parse_args().tested
  missing = [r for r in requirements() if not is_installed(r.name)]
  if missing:
    names = [r.name for r in missing]
    print(f'Installing {", ".join(names)} and what they need: '
          + (LARGE if 'tensorflow' in names else SMALL), flush=True)
    pip_install(tested, *map(str, missing))
  if not is_installed('magenta'):
    pip_install(tested, '--no-deps', MAGENTA)
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
