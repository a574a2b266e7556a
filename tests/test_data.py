"""From the zip to the tensors that training reads."""
import functools
import http.server
import threading
import zipfile

import conftest
import common
import download_groove
import make_tfrecord
import numpy as np
import pytest

# GMD's known counts: MIDI files, and 4-bar slices (General MIDI, Roland map).
FILES = {'train': 897, 'validation': 124, 'test': 129}
SLICES = {'train': (13251, 13251), 'validation': (1836, 1831),
          'test': (1768, 1768)}


def records(path):
  import tensorflow.compat.v1 as tf
  return list(tf.python_io.tf_record_iterator(str(path)))


def sequences(path):
  import note_seq
  return [note_seq.NoteSequence.FromString(r) for r in records(path)]


# Download.


class RangeHandler(http.server.SimpleHTTPRequestHandler):
  """Serves one blob, from a byte on if asked to; notes the requests."""
  blob, ranges = bytes(range(256)) * 100, []

  def do_GET(self):
    wanted = self.headers.get('Range')
    self.ranges.append(wanted)
    start = int(wanted[len('bytes='):-1]) if wanted else 0
    self.send_response(206 if wanted else 200)
    self.end_headers()
    self.wfile.write(self.blob[start:])

  def log_message(self, *_):
    pass


def test_download_goes_on_where_it_stopped(tmp_path):
  server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), RangeHandler)
  threading.Thread(target=server.serve_forever, daemon=True).start()
  path = tmp_path / 'blob'
  (tmp_path / 'blob.part').write_bytes(RangeHandler.blob[:1000])
  try:
    download_groove.download(f'http://127.0.0.1:{server.server_port}/blob', path,
                             size=len(RangeHandler.blob))
  finally:
    server.shutdown()
  assert RangeHandler.ranges == ['bytes=1000-']
  assert path.read_bytes() == RangeHandler.blob


def test_no_network(tmp_path):
  with pytest.raises(common.UserError, match='--zip'):
    download_groove.download('http://127.0.0.1:9/x', tmp_path / 'x')


def test_zip_is_unpacked_once(groove_zip, tmp_path):
  for _ in range(2):
    result = conftest.script('download_groove.py', f'--zip={groove_zip}',
                             f'--output_dir={tmp_path}')
    assert result.returncode == 0
  assert 'already' in result.stdout
  assert len(list(tmp_path.rglob('*.mid'))) == sum(FILES.values())
  assert not (tmp_path / '.unpacking').exists()


@pytest.mark.parametrize('damage,word', [
    (lambda data: data[:1000], 'truncated'),
    (lambda data: bytes([data[0] ^ 1]) + data[1:], 'sha256'),
])
def test_wrong_zip_is_refused(tmp_path, damage, word):
  path = tmp_path / 'groove.zip'
  path.write_bytes(damage(bytes(download_groove.SIZE)))
  conftest.check_sentence(conftest.script(
      'download_groove.py', f'--zip={path}', f'--output_dir={tmp_path}'), word)
  conftest.check_sentence(conftest.script(
      'download_groove.py', '--zip=missing.zip', f'--output_dir={tmp_path}'),
                          'missing.zip')


def test_zip_that_leaves_the_folder_is_refused(tmp_path):
  path = tmp_path / 'evil.zip'
  with zipfile.ZipFile(path, 'w') as z:
    z.writestr('groove/a.mid', b'')
    z.writestr('../../evil.txt', b'')
  target = tmp_path / 'a' / 'b'
  target.mkdir(parents=True)
  with pytest.raises(common.UserError, match='evil.txt'):
    download_groove.extract(path, target)
  assert not list(target.iterdir())
  assert not (tmp_path / 'evil.txt').exists()


# MIDI to NoteSequences.


def test_official_split(groove_zip, dataset):
  for split, count in FILES.items():
    path = make_tfrecord.split_path(dataset / 'drummer.tfrecord', split)
    found = sequences(path)
    assert len(found) == count
    info = make_tfrecord.read_splits(dataset / 'groove')
    assert {info[ns.filename] for ns in found} == {split}


def test_note_sequences_are_stocks_byte_for_byte(dataset, stock_python, tmp_path):
  midi = dataset / ('groove' if (dataset / 'groove').exists() else 'own')
  result = conftest.run(
      stock_python, '-m', 'magenta.scripts.convert_dir_to_note_sequences',
      f'--input_dir={midi}/', f'--output_file={tmp_path}/stock.tfrecord',
      '--recursive')
  assert result.returncode == 0, result.stderr[-3000:]
  ours = [r for split in FILES for r in records(
      make_tfrecord.split_path(dataset / 'drummer.tfrecord', split))]
  assert sorted(ours) == sorted(records(tmp_path / 'stock.tfrecord'))


def test_corrupt_midi_is_skipped_counted_and_named(tmp_path):
  midi = tmp_path / 'midi'
  common.music_vae()
  conftest.own_loops.write_own_loops(midi, count=2)
  (midi / 'bad.mid').write_bytes(b'MThd, not really')
  (midi / 'empty.MID').write_bytes(b'')
  result = conftest.script('make_tfrecord.py', f'--input_dir={midi}',
                           f'--output_file={tmp_path}/x.tfrecord')
  assert result.returncode == 0, result.stderr
  assert 'Skipped 2 of 4 files' in result.stdout
  assert 'bad.mid' in result.stdout and 'empty.MID' in result.stdout
  assert len(records(tmp_path / 'x.tfrecord')) == 2
  assert {p.name for p in tmp_path.iterdir()} == {'midi', 'x.tfrecord'}


def test_folder_without_midi(tmp_path):
  (tmp_path / 'sub').mkdir()
  (tmp_path / 'sub' / 'bad.mid').write_bytes(b'')
  make = functools.partial(conftest.script, 'make_tfrecord.py',
                           f'--output_file={tmp_path}/x.tfrecord')
  conftest.check_sentence(make(f'--input_dir={tmp_path}'), '--recursive')
  conftest.check_sentence(make(f'--input_dir={tmp_path}', '--recursive'),
                          'valid MIDI')
  conftest.check_sentence(make('--input_dir=missing'), 'missing')
  assert not (tmp_path / 'x.tfrecord').exists()


# NoteSequences to slices.


@pytest.mark.parametrize('split', SLICES)
def test_known_numbers_of_slices(groove_zip, dataset, split):
  common.music_vae()
  from magenta.models.music_vae import packed_slices
  path = make_tfrecord.split_path(dataset / 'drummer.tfrecord', split)
  counts = tuple(len(packed_slices.load_slices(
      common.get_config(name).data_converter, str(path)))
                 for name in ('hierdec-drums_4bar_small', 'hierdec-drums_4bar'))
  assert counts == SLICES[split]


def test_packed_dataset_is_upstreams(dataset):
  """The same examples, as the same four tensors, as upstream's get_dataset."""
  import tensorflow.compat.v1 as tf
  common.music_vae()
  from magenta.models.music_vae import data
  from magenta.models.music_vae import packed_slices
  path = str(dataset / 'drummer-test.tfrecord')
  config = common.get_config(conftest.TINY, 'batch_size=1')._replace(
      eval_examples_path=path)
  packed = list(packed_slices.get_dataset(config, False).as_numpy_iterator())
  # Any other reader sends get_dataset down upstream's own path.
  upstream = list(data.get_dataset(
      config, tf_file_reader=lambda f: tf.data.TFRecordDataset(f),
      is_training=False).as_numpy_iterator())
  def keys(examples):
    return sorted(tuple((a.dtype.str, a.shape, a.tobytes()) for a in e)
                  for e in examples)
  assert len(packed) > 10
  assert keys(packed) == keys(upstream)


def test_all_cores_pack_what_one_does(dataset, monkeypatch):
  common.music_vae()
  from magenta.models.music_vae import packed_slices
  converter = common.get_config(conftest.TINY).data_converter
  reads = [lambda s=s: s for s in sequences(
      dataset / 'drummer-validation.tfrecord')]
  assert len(reads) > 1
  packed = []
  for cores in (2, 1):
    monkeypatch.setattr('os.cpu_count', lambda: cores)
    packed.append(packed_slices.pack_all(reads, converter))
  np.testing.assert_array_equal(*packed)
  # As upstream's converter has them, which also makes the encoder's rolls.
  outputs = [converter.to_tensors(read()).outputs for read in reads]
  np.testing.assert_array_equal(packed[0], np.concatenate([
      np.unique(np.argmax(o, axis=-1), axis=0) for o in outputs if o]))


def test_cache_follows_content_and_converter(dataset, tmp_path, capsys):
  common.music_vae()
  from magenta.models.music_vae import packed_slices
  path = tmp_path / 'x.tfrecord'
  path.write_bytes((dataset / 'drummer-test.tfrecord').read_bytes())
  roland = common.get_config('hierdec-drums_4bar').data_converter
  gm = common.get_config('hierdec-drums_4bar_small').data_converter
  caches = lambda: sorted(tmp_path.glob('*.slices.npy'))
  slices = packed_slices.load_slices(roland, str(path))
  assert len(caches()) == 1
  packed_slices.load_slices(gm, str(path))
  assert len(caches()) == 2
  stamp = {p: p.stat().st_mtime_ns for p in caches()}
  np.testing.assert_array_equal(
      packed_slices.load_slices(roland, str(path)), slices)
  assert {p: p.stat().st_mtime_ns for p in caches()} == stamp
  path.write_bytes((dataset / 'drummer-validation.tfrecord').read_bytes())
  packed_slices.load_slices(roland, str(path))
  assert len(caches()) == 3
  path.write_bytes((dataset / 'drummer-test.tfrecord').read_bytes())
  for cache in caches():
    cache.write_bytes(b'damaged')
  np.testing.assert_array_equal(
      packed_slices.load_slices(roland, str(path)), slices)
  assert 'damaged cache' in capsys.readouterr().err


def test_cache_that_can_not_be_written(dataset, tmp_path, capsys, monkeypatch):
  common.music_vae()
  from magenta.models.music_vae import packed_slices
  path = tmp_path / 'x.tfrecord'
  path.write_bytes((dataset / 'drummer-test.tfrecord').read_bytes())
  def full(*_):
    raise OSError(28, 'No space left on device')
  monkeypatch.setattr(packed_slices.np, 'save', full)
  assert len(packed_slices.load_slices(
      common.get_config(conftest.TINY).data_converter, str(path)))
  assert 'No space left' in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ['x.tfrecord']


# preprocess_tfrecord.


def preprocess(dataset, output, python):
  """The examples without their ids, and the ids, in a definite order."""
  result = conftest.script(
      'preprocess_tfrecord.py', '--config=hierdec-drums_4bar', python=python,
      *(f'--input_tfrecord={dataset}/drummer-validation.tfrecord',
        f'--output_tfrecord={output}', '--output_shards=3'))
  assert result.returncode == 0, result.stderr[-3000:]
  examples = []
  for shard in range(3):
    for ns in sequences(f'{output}-{shard:05d}-of-00003'):
      ids, ns.id = sorted(ns.id.split(',')), ''
      examples.append((ns.SerializeToString(deterministic=True), ids))
  return sorted(examples)


def test_preprocess_has_no_cap_and_agrees_with_beam(
    dataset, beam_python, tmp_path):
  import importlib.util
  assert importlib.util.find_spec('apache_beam') is None
  assert conftest.run(beam_python, '-c', 'import apache_beam').returncode == 0
  ours = preprocess(dataset, tmp_path / 'ours', conftest.sys.executable)
  assert ours == preprocess(dataset, tmp_path / 'beam', beam_python)
  if (dataset / 'groove').exists():
    assert len(ours) == SLICES['validation'][1]


def test_preprocess_takes_drums_only(dataset, tmp_path):
  import tensorflow as tf
  piano = sequences(dataset / 'drummer-test.tfrecord')[0]
  piano.notes.add(pitch=60, velocity=80, start_time=0, end_time=1)
  with tf.io.TFRecordWriter(f'{tmp_path}/piano.tfrecord') as writer:
    writer.write(piano.SerializeToString())
  flags = (f'--input_tfrecord={tmp_path}/piano.tfrecord', '--output_shards=1',
           '--config=hierdec-drums_4bar')
  for extra, is_empty in (((), True), (('--nodrums_only',), False)):
    result = conftest.script(
        'preprocess_tfrecord.py', *flags, *extra,
        f'--output_tfrecord={tmp_path}/out')
    assert result.returncode == 0, result.stderr[-3000:]
    assert (not records(tmp_path / 'out-00000-of-00001')) == is_empty


def test_preprocess_of_nothing(tmp_path):
  conftest.check_sentence(conftest.script(
      'preprocess_tfrecord.py', '--input_tfrecord=missing', '--config=x',
      f'--output_tfrecord={tmp_path}/out'), 'x')
  conftest.check_sentence(conftest.script(
      'preprocess_tfrecord.py', '--input_tfrecord=missing',
      f'--config={conftest.TINY}', f'--output_tfrecord={tmp_path}/out'),
                          'missing')


def test_augmented_loops_are_the_same_grooves():
  """Each change by itself, on loops in which every drum can be told apart."""
  common.music_vae()
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices as ps
  loops = np.random.RandomState(0).randint(0, 512, [400, 64])
  def augmented(probability):
    tf.random.set_random_seed(1)
    return ps.augment(tf.constant(loops, tf.int32), probability).numpy()
  np.testing.assert_array_equal(augmented(0.), loops)
  changed = augmented(1.)
  def rolls(x):
    return (x[..., None] >> np.arange(9)) & 1
  before, after = rolls(loops), rolls(changed)
  # The crash is gone, the ride and the hi-hat have swapped, and the toms have
  # gone round: low to high, mid to low, high to mid; the bars have too.
  order = [ps.KICK, ps.SNARE, ps.RIDE, ps.OPEN_HIHAT, ps.MID_TOM, ps.HIGH_TOM,
           ps.LOW_TOM, ps.CRASH, ps.CLOSED_HIHAT]
  expected = before[:, :, order] * (np.arange(9) != ps.CRASH)
  shifts = [[bars for bars in range(4) if np.array_equal(
      np.roll(e, -16 * bars, axis=0), a)] for e, a in zip(expected, after)]
  assert all(len(s) == 1 for s in shifts)
  assert {s[0] for s in shifts} == {0, 1, 2, 3}
  tenth = (augmented(0.1) != loops).any(axis=1).mean()
  # Five changes, of which the bars' does nothing in one of four cases.
  assert tenth == pytest.approx(1 - 0.9 ** 4 * 0.925, abs=0.08)
