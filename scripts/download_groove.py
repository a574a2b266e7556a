"""Downloads the Groove MIDI Dataset (MIDI only, 3 MB) and unpacks it.

    python3 scripts/download_groove.py --output_dir=dataset

The data are by Google LLC, CC BY 4.0 (Gillick et al. 2019, arXiv 1905.06118).
"""
import hashlib
import os
import pathlib
import shutil
import urllib.error
import urllib.request
import zipfile

from drumloops.errors import UserError, field
from drumloops.system import cli
from absl import flags
from tqdm.auto import tqdm

URL = ('https://storage.googleapis.com/magentadata/datasets/groove/'
       'groove-v1.0.0-midionly.zip')
SIZE = 3_260_318  # Bytes.
SHA256 = '651cbc524ffb891be1a3e46d89dc82a1cecb09a57c748c7b45b844c4841dcc1e'
MIDI_FILES = 1150
TIMEOUT = 30  # Seconds without an answer.


def download(url: str, path: pathlib.Path, size: int = SIZE) -> None:
  """Fetches `url` into `path`, going on from what `path`.part holds already.

  Args:
    url: Of a file.
    path: Where to put it.
    size: How many bytes it has.

  Raises:
    UserError: if there is no network, or the server refuses.
  """
  part = path.with_name(path.name + '.part')
  have = part.stat().st_size if part.exists() else 0
  if have < size:
    request = urllib.request.Request(
        url, headers={'Range': f'bytes={have}-'} if have else {})
    try:
      with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        resumed = response.status == 206
        with open(part, 'ab' if resumed else 'wb') as f, tqdm(
            total=size, initial=have if resumed else 0, unit='B',
            unit_scale=True, desc='Downloading') as bar:
          for block in iter(lambda: response.read(1 << 16), b''):
            f.write(block)
            bar.update(len(block))
    except (urllib.error.URLError, TimeoutError, ConnectionError) as e:
      raise UserError(
          f'{url} could not be downloaded ({getattr(e, "reason", e)}); try '
          'again, the download goes on where it stopped, or name a local copy '
          f'with {field("zip")}.') from e
  os.replace(part, path)


def check(path: pathlib.Path, size: int = SIZE, sha256: str = SHA256) -> None:
  """Checks that a file is the published zip.

  Args:
    path: The file's.
    size: How many bytes it must have.
    sha256: What its contents' sha256 must be.

  Raises:
    UserError: if it is not.
  """
  if not path.is_file():
    raise UserError(f'There is no file {path}.')
  if path.stat().st_size != size:
    raise UserError(
        f'{path} has {path.stat().st_size} bytes instead of {size}, it is '
        'truncated or another file; delete it and download it again.')
  if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
    raise UserError(
        f'{path} is not the published zip (its sha256 differs); delete it and '
        'download it again.')


def extract(zip_path: str | os.PathLike, folder: str | os.PathLike) -> None:
  """Unpacks a zip, unless an entry would leave `folder`.

  Everything is unpacked beside it first, so that a full disk leaves no half
  data set behind.

  Raises:
    UserError: if the zip is damaged or an entry's path leads outside.
  """
  folder = pathlib.Path(folder).resolve()
  unpacking = folder / '.unpacking'
  shutil.rmtree(unpacking, ignore_errors=True)
  try:
    with zipfile.ZipFile(zip_path) as z:
      for name in z.namelist():
        if not (unpacking / name).resolve().is_relative_to(unpacking):
          raise UserError(
              f'{zip_path} was not unpacked: its entry {name!r} leads out of '
              'the target folder.')
      z.extractall(unpacking)
    for path in unpacking.iterdir():
      if (folder / path.name).exists():
        shutil.rmtree(folder / path.name)
      path.rename(folder / path.name)
  except zipfile.BadZipFile as e:
    raise UserError(f'{zip_path} is not a whole zip file ({e}); '
                    'download it again.') from e
  finally:
    shutil.rmtree(unpacking, ignore_errors=True)


def is_complete(folder: pathlib.Path) -> bool:
  """Whether a folder has all files of the data set."""
  return ((folder / 'info.csv').is_file() and
          sum(1 for _ in folder.rglob('*.mid')) == MIDI_FILES)


def download_groove(output_dir: str, zip_path: str | None = None) -> pathlib.Path:
  """Makes `output_dir`/groove and returns its path.

  Args:
    output_dir: The folder that will hold `groove/`.
    zip_path: A local copy of the zip, instead of the network.

  Raises:
    UserError: if the zip can't be had, or is another file.
  """
  output_dir = pathlib.Path(output_dir).expanduser()
  groove = output_dir / 'groove'
  if is_complete(groove):
    print(f'The Groove MIDI Dataset is already in {groove}.')
    return groove
  output_dir.mkdir(parents=True, exist_ok=True)
  if zip_path:
    zip_path = pathlib.Path(zip_path).expanduser()
    check(zip_path)
  else:
    zip_path = output_dir / URL.rpartition('/')[2]
    if not zip_path.exists():
      download(URL, zip_path)
    check(zip_path)
  extract(zip_path, output_dir)
  print(f'The Groove MIDI Dataset is in {groove}: {MIDI_FILES} MIDI files.')
  return groove


def define_flags() -> None:
  flags.DEFINE_string('output_dir', 'dataset', 'The folder to put groove/ in.')
  flags.DEFINE_string(
      'zip', os.environ.get('GROOVE_ZIP'),
      'A local copy of the zip. Default: the environment variable GROOVE_ZIP.')


def main() -> None:
  download_groove(flags.FLAGS.output_dir, flags.FLAGS.zip)


if __name__ == '__main__':
  cli.run(main, define_flags)
