"""The Groove MIDI Dataset as TensorFlow Datasets has it, with or without network."""
import os
import sys


class _LazyTfds:
  """The module tensorflow_datasets, imported when it is first used.

  The import is slow, and not always needed.

  Colab's tensorflow_metadata was generated for a newer protobuf than Colab has. It
  works, but protobuf's version check refuses it. Protobuf's own switch turns the check
  off during the import.
  """

  def load(self, name: str, split: str, shuffle_files: bool = False,
           try_gcs: bool = False):
    """Returns a split's tf.data.Dataset; upstream calls this. See `prepared`."""
    del try_gcs
    return prepared(name).as_dataset(split=split, shuffle_files=shuffle_files)

  def __getattr__(self, name: str) -> object:
    switch = 'TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK'
    before = os.environ.get(switch)
    os.environ[switch] = 'true'
    try:
      import tensorflow_datasets  # pylint: disable=import-outside-toplevel
    finally:
      if before is None:
        del os.environ[switch]
      else:
        os.environ[switch] = before
    return getattr(tensorflow_datasets, name)


tfds = _LazyTfds()


def prepared(name: str) -> object:
  """Returns the TFDS builder `name`, downloaded and prepared.

  Its data come from the published zip, not from TFDS's own bucket. The environment
  variable GROOVE_ZIP may name a local copy of the zip.

  Raises:
    FileNotFoundError: if TFDS has no data set of MIDI of this name.
  """
  try:
    builder = tfds.builder(name)
  except ValueError:  # TFDS's DatasetNotFoundError is one.
    builder = None
  if builder is None or 'midi' not in builder.info.features:
    raise FileNotFoundError(
        f'TensorFlow Datasets has no MIDI named {name}; for drums there are '
        'groove/full-midionly and groove/4bar-midionly.')
  zip_path = os.environ.get('GROOVE_ZIP')
  if not builder.data_path.exists() and 'bar' in name:
    print(f'TensorFlow Datasets makes {name} once, of some 14 clips a second, '
          'which takes about 20 minutes.', file=sys.stderr)
  builder.download_and_prepare(download_config=tfds.download.DownloadConfig(
      manual_dir=os.path.dirname(os.path.abspath(zip_path))
      if zip_path else None))
  return builder
