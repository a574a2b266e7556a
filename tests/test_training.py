"""Training, resuming, evaluating, and what can go wrong on the way."""
import glob
import gzip
import json
import os
import pathlib
import re
import shutil
import sys
import time

import conftest
import numpy as np
import pytest
import warm

TAGS = {'loss', 'losses/r_loss', 'losses/kl_loss', 'losses/kl_bits',
        'losses/kl_beta', 'learning_rate', 'global_norm_1',
        'sampling_probability', 'global_step/sec'}


def train(run_dir, dataset, *flags, **kwargs):
  return conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={run_dir}',
      f'--examples_path={dataset}/drummer.tfrecord', *flags, **kwargs)


def checkpoint_steps(run_dir):
  return sorted(int(p.stem.split('-')[1])
                for p in pathlib.Path(run_dir, 'train').glob('*.index'))


def summary_tags(folder):
  import tensorflow.compat.v1 as tf
  return {value.tag for path in glob.glob(f'{folder}/events*')
          for event in tf.train.summary_iterator(path)
          for value in event.summary.value}


def test_run_directory(trained):
  assert checkpoint_steps(trained) == [12]
  assert TAGS <= summary_tags(trained / 'train')
  best = json.loads((trained / 'best' / 'best.json').read_text())
  assert best['checkpoint'] == 'model.ckpt-12'
  # Without Adam's two slots a third is left.
  size = {part: sum(p.stat().st_size for p in (trained / part).glob('*.data*'))
          for part in ('train', 'best')}
  assert size['train'] / 3.1 < size['best'] < size['train'] / 2.9


def test_same_seed_same_checkpoint(trained, dataset, tmp_path):
  assert train(tmp_path, dataset, '--num_steps=12',
               env=conftest.THREADS).returncode == 0
  name = 'train/model.ckpt-12.data-00000-of-00001'
  assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_processes_are_forked_before_a_session_opens(dataset, tmp_path, monkeypatch):
  """The first one may start a GPU, which no forked process can use."""
  from drumloops.system import magenta_setup
  from drumloops.training import trainer
  magenta_setup.music_vae()
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices
  for split in ('', '-validation'):
    shutil.copy(dataset / f'drummer{split}.tfrecord', tmp_path)
  events, session, pack = [], tf.Session, packed_slices.pack_each
  monkeypatch.setattr(tf, 'Session', lambda *args, **kwargs: (
      events.append('session'), session(*args, **kwargs))[1])
  monkeypatch.setattr(packed_slices, 'pack_each', lambda *args: (
      events.append('fork'), pack(*args))[1])
  name, hparams = (flag.split('=', 1)[1] for flag in conftest.FLAT)
  trainer.train(magenta_setup.get_config(name, hparams)._replace(
      train_examples_path=str(tmp_path / 'drummer.tfrecord')),
                trainer.TrainingRequest(tmp_path / 'run', 1))
  assert events[:3] == ['fork', 'fork', 'session'] and 'fork' not in events[2:]


def test_how_long_and_how_good_without_validation(
    dataset, tmp_path, monkeypatch, capsys):
  """Said after the first steps, and of the last batch at the end."""
  from drumloops.system import magenta_setup
  from drumloops.training import trainer
  shutil.copy(dataset / 'drummer.tfrecord', tmp_path)
  name, hparams = (flag.split('=', 1)[1] for flag in conftest.FLAT)
  config = magenta_setup.get_config(name, hparams)._replace(
      train_examples_path=str(tmp_path / 'drummer.tfrecord'))
  trainer.train(config, trainer.TrainingRequest(tmp_path / 'run', 40))
  said = capsys.readouterr().out
  assert 'Without a GPU' not in said  # It took a second.
  assert re.search(r'This run, step 40: [\d.]+ nats a loop, [\d.e-]+ bits in the '
                   r'latent \(last batch\)\.', said)
  monkeypatch.setattr(trainer, 'LONG_SECONDS', 0)
  trainer.train(config, trainer.TrainingRequest(tmp_path / 'run', 80))
  assert capsys.readouterr().out.count('Without a GPU this takes 0.0 hours more') == 1


def test_says_how_long_only_if_that_is_long_and_there_is_no_gpu(monkeypatch):
  import tensorflow as tf
  from drumloops.training import trainer
  said = []
  trainer.say_how_long(59 * 60, said.append)
  trainer.say_how_long(9000, said.append)
  monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [kind])
  trainer.say_how_long(9000, said.append)
  [sentence] = said
  assert '2.5 hours' in sentence


@pytest.mark.parametrize('config, nats, bits, words', [
    ('hierdec-drums_4bar', 145.2, 0.003, [
        'step 300: 145.2 nats a loop, 0.003 bits in the latent (validation split).',
        "The project's weights, step 8405: 94.3 nats, 32.1 bits (GMD's test split",
        'loops will hardly depend on it; train on: the same command.']),
    ('hierdec-drums_4bar', 100, 48, ['100.0 nats', '94.3 nats', 'nearer: the same']),
    ('hierdec-drums_4bar', 91, 48, ['91.0 nats', '94.3 nats', 'scripts/export.py']),
    ('flat-drums_4bar', 91, 48, ['91.0 nats']),
    ('groovae_4bar_hits_control', 91, 7, ['91.0 nats', 'hardly depend'])])
def test_where_a_run_stands(capsys, config, nats, bits, words):
  """Beside the project's weights, where they can be compared, and what to do."""
  from drumloops.runs import checkpoint_files
  from drumloops.training import trainer
  trainer.say_where_it_stands(
      300, {'reconstruction_loss': nats, 'kl_bits': bits, 'where': 'validation split'},
      checkpoint_files.own_scores(config), 'the same command')
  lines = capsys.readouterr().out.splitlines()
  assert len(lines) == len(words)
  for line, word in zip(lines, words):
    assert word in line


def test_resume_keeps_a_bounded_number(trained, dataset, tmp_path):
  shutil.copytree(trained, tmp_path / 'run')
  for steps in (13, 14, 15):
    result = train(tmp_path / 'run', dataset, f'--num_steps={steps}',
                   '--checkpoints_to_keep=2')
    assert result.returncode == 0, result.stderr
    assert f'model.ckpt-{steps - 1}' in result.stdout
    assert f'This run, step {steps}: ' in result.stdout
  assert checkpoint_steps(tmp_path / 'run') == [14, 15]
  result = train(tmp_path / 'run', dataset, '--num_steps=15')
  assert result.returncode == 0 and 'larger --num_steps' in result.stdout


def break_newest(train_dir, how):
  """Copies the newest checkpoint as step 99, broken, and points to it."""
  for path in train_dir.glob('model.ckpt-12.*'):
    data = path.read_bytes()
    copy = path.with_name(path.name.replace('-12.', '-99.'))
    if '.index' in path.name:
      copy.write_bytes(data[:100] if how == 'index' else data)
    elif how == 'missing':
      continue
    else:
      damaged = bytearray(data[:len(data) // 2] if how == 'half' else data)
      damaged[len(damaged) // 3] ^= 255 * (how == 'flipped')
      copy.write_bytes(damaged)
  (train_dir / 'checkpoint').write_text(
      'model_checkpoint_path: "/moved/away/model.ckpt-99"\n'
      'all_model_checkpoint_paths: "/moved/away/model.ckpt-99"\n')


@pytest.mark.parametrize('how', ['half', 'flipped', 'missing', 'index'])
def test_broken_checkpoints_are_skipped(trained, tmp_path, how, capsys):
  from magenta.models.music_vae import checkpoints
  import tensorflow as tf
  shutil.copytree(trained / 'train', tmp_path / 'train')
  break_newest(tmp_path / 'train', how)
  newest = checkpoints.newest_complete(str(tmp_path / 'train'))
  assert newest == str(tmp_path / 'train' / 'model.ckpt-12')
  assert 'Skipping the broken checkpoint' in capsys.readouterr().err
  assert checkpoints.repair(str(tmp_path / 'train')) == newest
  assert tf.train.latest_checkpoint(str(tmp_path / 'train')) == newest


def test_resume_and_sampling_with_a_broken_checkpoint(
    trained, dataset, tmp_path):
  shutil.copytree(trained, tmp_path / 'run')
  break_newest(tmp_path / 'run' / 'train', 'half')
  result = conftest.script('sample.py', *conftest.FLAT, '--num_outputs=1',
                           f'--run_dir={tmp_path}/run',
                           f'--output_dir={tmp_path}/out')
  assert result.returncode == 0, result.stderr
  assert 'model.ckpt-99' in result.stderr and 'model.ckpt-12' in result.stdout
  conftest.check_sentence(conftest.script(
      'sample.py', *conftest.FLAT, f'--output_dir={tmp_path}/out',
      f'--checkpoint_file={tmp_path}/run/train/model.ckpt-99'), 'half written')
  result = train(tmp_path / 'run', dataset, '--num_steps=13')
  assert result.returncode == 0, result.stderr
  assert 'model.ckpt-99' in result.stderr
  assert 'Resumed from' in result.stdout and 'ckpt-12' in result.stdout
  assert 13 in checkpoint_steps(tmp_path / 'run')


@pytest.mark.parametrize('name,words', [
    ('run', 'run/train/model.ckpt-12'), ('run/train', 'run/train/model.ckpt-12'),
    ('best-only', 'best-only/best/model.ckpt-12'),
    ('missing', 'There is no checkpoint'),
    ('run/train/model.ckpt-12.data-00000-of-00001', 'run/train/model.ckpt-12'),
    ('run/training.png', 'no checkpoint, nor a tar file'), ('empty', 'no file in it'),
    ('no-index', 'model.ckpt-12 lacks its .index'), ('half', 'is damaged'),
    ('no-data', 'model.ckpt-12 lacks a .data file'), ('cut.tar', 'is damaged'),
    ('half.tar', '/half.tar: model.ckpt-12 is damaged'),
    ('folder', 'model.ckpt-12.data-00000-of-00001'), ('only-state', 'no file in it')])
def test_which_checkpoint_is_meant(trained, tmp_path, name, words):
  """Of any folder or file; or what is wrong with it, which is not always training."""
  from drumloops.errors import UserError
  from drumloops.runs import checkpoint_files
  from drumloops.system import cli, magenta_setup
  magenta_setup.music_vae()
  shutil.copytree(trained, tmp_path / 'run')
  shutil.copytree(trained / 'best', tmp_path / 'best-only' / 'best')
  (tmp_path / 'empty').mkdir()
  index, data = (next((trained / 'train').glob(f'*.{ending}*')) for ending in (
      'index', 'data'))
  for folder, parts in (
      ('no-index', {data: slice(None)}), ('no-data', {index: slice(None)}),
      ('half', {index: slice(None), data: slice(0, -9)}), ('only-state', {}),
      ('folder', {index: slice(None)})):
    (tmp_path / folder).mkdir()
    shutil.copy(trained / 'train' / 'checkpoint', tmp_path / folder)
    for path, part in parts.items():
      (tmp_path / folder / path.name).write_bytes(path.read_bytes()[part])
  (tmp_path / 'folder' / data.name).mkdir()
  shutil.make_archive(tmp_path / 'half', 'tar', tmp_path / 'half')
  whole = (tmp_path / 'half.tar').read_bytes()
  (tmp_path / 'cut.tar').write_bytes(whole[:len(whole) // 2])
  try:
    found = checkpoint_files.find_checkpoint(checkpoint_file=str(tmp_path / name))
  except (UserError, OSError) as e:
    said = cli.sentence(e)
    assert words in said and name in said and 'first' not in said
  else:
    assert found == str(tmp_path / words)
  if name in ('missing', 'empty'):
    with pytest.raises(UserError, match='train.py first'):
      checkpoint_files.find_checkpoint(str(tmp_path / name))


def test_kill_9_during_training_and_while_a_checkpoint_is_written(
    trained, dataset, tmp_path):
  """Killed a few times at random; each time it goes on from what was whole."""
  run_dir = tmp_path / 'run'
  shutil.copytree(trained, run_dir)
  every_step = tmp_path / 'every_step.py'  # Writes checkpoints all the time.
  every_step.write_text(
      'import train; from drumloops.system import cli\n'
      'from drumloops.training import validation\n'
      'validation.validation_slices = lambda *_: None\n'
      'cli.run(train.main, train.define_flags)\n')
  steps = [12]
  for delay in (0.0, 0.013, 0.027):
    process = warm.Process(
        conftest.starter, every_step, *conftest.FLAT, f'--run_dir={run_dir}',
        f'--examples_path={dataset}/drummer.tfrecord', '--num_steps=1000000',
        '--save_seconds=0')
    deadline = time.time() + 120
    while (max(checkpoint_steps(run_dir), default=0) <= steps[-1] + 2 and
           time.time() < deadline):
      time.sleep(0.01)
    time.sleep(delay)
    process.kill()
    process.communicate()
    steps.append(max(checkpoint_steps(run_dir)))
    assert steps[-1] > steps[-2]
  result = train(run_dir, dataset, f'--num_steps={steps[-1] + 3}')
  assert result.returncode == 0, result.stderr
  assert 'Resumed from' in result.stdout
  assert max(checkpoint_steps(run_dir)) == steps[-1] + 3
  assert not list((run_dir / 'train').glob('*tempstate*'))


def test_full_disk_loses_nothing(trained, dataset, tmp_path):
  """On a real file system with room for one and a half checkpoints."""
  disk, saved = tmp_path / 'disk', tmp_path / 'saved'
  disk.mkdir()
  size = sum(p.stat().st_size for p in trained.rglob('*') if p.is_file())
  checkpoint = sum(p.stat().st_size for p in (trained / 'train').glob('model*'))
  in_namespace = f"""
mount -t tmpfs -o size={(size + checkpoint // 2) // 1024}k tmpfs {disk} || exit 77
cp -r {trained} {disk}/run
"$@"
status=$?
cp -r {disk}/run {saved}
exit $status"""
  result = conftest.run(
      'unshare', '-rm', 'bash', '-c', in_namespace, 'bash',
      sys.executable, conftest.SCRIPTS / 'train.py', *conftest.FLAT,
      f'--run_dir={disk}/run', '--num_steps=13',
      f'--examples_path={dataset}/drummer.tfrecord')
  if not saved.exists():
    pytest.skip(f'no small disk can be mounted here: {result.stderr}')
  conftest.check_sentence(result, f'disk is full ({disk}/run/train/model.ckpt-13.')
  for path in (trained / 'train').glob('model*'):
    assert (saved / 'train' / path.name).read_bytes() == path.read_bytes()
  assert train(saved, dataset, '--num_steps=13').returncode == 0
  assert max(checkpoint_steps(saved)) == 13


def test_eval_mode_is_what_evaluate_says(trained, evaluated, dataset, tmp_path):
  scores = json.loads((evaluated / 'evaluation.json').read_text())[
      'reconstruction']
  if (dataset / 'groove').exists():
    assert scores['examples'] == 1836  # Each example once, in batches of 64.
  assert 0 < scores['reconstruction_loss'] < 64 * np.log(512) * 1.05
  assert 0 <= scores['sampled_accuracy'] <= 1
  shutil.copytree(trained, tmp_path / 'run')
  result = conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={tmp_path}/run', '--mode=eval',
      f'--examples_path={dataset}/drummer-validation.tfrecord')
  assert result.returncode == 0, result.stderr
  printed = json.loads(result.stdout[result.stdout.index('{'):])
  for name in ('reconstruction_loss', 'kl_bits', 'sampled_accuracy'):
    assert printed[name] == scores[name]
  assert {'loss', 'losses/r_loss', 'metrics/accuracy'} <= summary_tags(
      tmp_path / 'run' / 'eval')


# Prepares 100 clips a split, converts those of the train split, and finds each
# among the slices of the whole performances in the TFRecord.
TFDS_CLIPS = '''
import sys
from drumloops.system import magenta_setup; magenta_setup.music_vae()
from magenta.models.music_vae import groove_tfds, packed_slices
import note_seq
import numpy as np
import tensorflow.compat.v1 as tf
tfds = groove_tfds.tfds
builder = tfds.builder(sys.argv[1])
builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(
        manual_dir=sys.argv[2], max_examples_per_split=100))
clips = list(tfds.as_numpy(builder.as_dataset(split='train')))
converter = magenta_setup.get_config('groovae_4bar').data_converter
ids = {clip['id'].decode().split(':')[0] for clip in clips}
ours = {}
for record in tf.python_io.tf_record_iterator(sys.argv[3] + '/drummer.tfrecord'):
  sequence = note_seq.NoteSequence.FromString(record)
  name = sequence.filename.split('_')[0]
  if name in ids:
    ours[name] = packed_slices.pack(sequence, converter)
slices = ties = 0
for clip in clips:
  theirs = converter.to_tensors(
      note_seq.midi_to_note_sequence(clip['midi'])).outputs
  if theirs:
    [theirs] = theirs  # As upstream: one slice of a clip.
    slices += 1
    ties += np.abs(ours[clip['id'].decode().split(':')[0]] - theirs).max(
        axis=(1, 2)).min() > 1e-5
print(len(clips), slices, ties)
'''


@pytest.mark.parametrize('name', ['groove/full-midionly',
                                  'groove/4bar-midionly'])
def test_tfds(groove_zip, dataset, tmp_path, name):
  """Prepared from the local zip; 4bar (20 minutes to prepare) in part."""
  env = {'TFDS_DATA_DIR': str(tmp_path)}
  if '4bar' in name:
    result = conftest.code(
        TFDS_CLIPS, name, pathlib.Path(groove_zip).parent, dataset, env=env)
    assert result.returncode == 0, result.stderr[-3000:]
    clips, slices, ties = map(int, result.stdout.split()[-3:])
    # A hit just halfway between two steps may fall to either: 3 of 129 slices.
    assert clips == 100 and slices > 30 and ties <= 0.05 * slices
  result = conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={tmp_path}/run', '--num_steps=2',
      f'--tfds_name={name}', env=env)
  assert result.returncode == 0, result.stderr[-3000:]
  assert (tmp_path / 'run/best/best.json').exists()
  caches = {p.name.split('.')[0]: np.load(p)['counts'].sum()
            for p in tmp_path.rglob('*.slices.npz')}
  if '4bar' in name:
    assert set(caches) == {'train', 'validation'} and min(caches.values()) > 16
  else:
    assert caches == {'train': 13251, 'validation': 1836}


def test_groovae_still_trains(groove_zip, dataset, tmp_path):
  """An upstream config with a converter of its own, by upstream's own path."""
  result = conftest.script(
      'train.py', '--config=groovae_4bar', f'--run_dir={tmp_path}',
      '--hparams=enc_rnn_size=[8],dec_rnn_size=[8],z_size=4,batch_size=8',
      f'--examples_path={dataset}/drummer-test.tfrecord', '--num_steps=2')
  assert result.returncode == 0, result.stderr[-3000:]
  assert checkpoint_steps(tmp_path) == [2]


@pytest.mark.parametrize('script', ['train.py', 'music_vae_train'])
def test_fewer_examples_than_a_batch(dataset, tmp_path, script):
  flags = (conftest.FLAT[0], '--hparams=batch_size=20000',
           f'--run_dir={tmp_path}', '--num_steps=1',
           f'--examples_path={dataset}/drummer-test.tfrecord')
  if script == 'train.py':
    conftest.check_sentence(conftest.script(script, *flags), 'batch')
  else:
    result = conftest.run(pathlib.Path(sys.executable).parent / script, *flags)
    assert result.returncode and 'but a batch takes 20000' in result.stderr


@pytest.mark.parametrize('flags,words', [
    (['--examples_path=missing.tfrecord'], ['missing.tfrecord']),
    (['--tfds_name=nonsense'], ['nonsense', 'groove/full-midionly']),
    (['--tfds_name=groove/nonsense'], ['groove/full-midionly']),
    (['--examples_path=x', '--hparams=batch_size=0'], ['batch_size']),
    (['--examples_path=x', '--tfds_name=y'], ['either']),
    (['--examples_path=x', '--seed=-1'], ['seed must be from 0']),
    ([], ['either']),
])
def test_missing_data(tmp_path, flags, words):
  conftest.check_sentence(conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={tmp_path}', *flags), *words)


def test_eval_mode_of_another_kind_of_config(trained, dataset):
  conftest.check_sentence(conftest.script(
      'train.py', '--config=groovae_4bar', f'--run_dir={trained}',
      '--mode=eval', f'--examples_path={dataset}/drummer-test.tfrecord'),
                          'does not fit')


def test_truncated_tfrecord(dataset, tmp_path):
  data = (dataset / 'drummer-test.tfrecord').read_bytes()
  (tmp_path / 'x.tfrecord').write_bytes(data[:len(data) // 2])
  conftest.check_sentence(conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={tmp_path}/run',
      f'--examples_path={tmp_path}/x.tfrecord'), f'{tmp_path}/x.tfrecord',
                          'truncated')


@pytest.mark.parametrize('split', ['train', 'validation'])
@pytest.mark.parametrize('damage,words', [
    (lambda data: data[:-9], 'truncated after'), (lambda data: b'', 'is empty'),
    (lambda data: b'1 2 3' * 1000, 'no TFRecord'), (gzip.compress, 'no TFRecord'),
    (lambda data: data[:-50] + bytes([data[-50] ^ 255]) + data[-49:],
     'truncated after')])
def test_a_damaged_tfrecord_is_named(dataset, tmp_path, split, damage, words):
  from drumloops.data import splits, styles
  from drumloops.errors import UserError
  from drumloops.system import magenta_setup
  from drumloops.training import validation
  magenta_setup.music_vae()
  name = conftest.FLAT[0].removeprefix('--config=')
  path = tmp_path / 'x.tfrecord'
  config = magenta_setup.get_config(name)._replace(train_examples_path=str(path))
  data = (dataset / 'drummer-test.tfrecord').read_bytes()
  path.write_bytes(data)
  path = tmp_path / splits.split_path('x.tfrecord', split)
  path.write_bytes(damage(data))
  readers = [lambda: splits.load_split(
      config, f'{tmp_path}/x.tfrecord', None, split)]
  if split == 'validation' and words != 'is empty':  # Which is as good as none.
    readers.append(lambda: validation.validation_slices(config))
  if words != 'is empty':  # Which gives no performances, as others may.
    readers.append(lambda: styles.performances(str(path), config.data_converter))
  for read in readers:
    with pytest.raises(UserError, match=f'^{path}.*{words}'):
      read()


def test_a_validation_split_that_gives_no_slices(dataset, tmp_path, capsys):
  from drumloops.system import magenta_setup
  from drumloops.training import validation
  magenta_setup.music_vae()
  import note_seq
  import tensorflow as tf
  config = magenta_setup.get_config(conftest.FLAT[0].removeprefix('--config='))
  config = config._replace(train_examples_path=f'{tmp_path}/x.tfrecord')
  assert validation.validation_slices(config) is None
  assert 'no validation split' in capsys.readouterr().out
  sequence = note_seq.NoteSequence()
  sequence.notes.add(pitch=60, velocity=80, end_time=1)
  with tf.io.TFRecordWriter(f'{tmp_path}/x-validation.tfrecord') as writer:
    writer.write(sequence.SerializeToString())
  assert validation.validation_slices(config) is None
  assert 'validation split gives no slices' in capsys.readouterr().out


def test_no_gpu_is_said(trained, dataset):
  result = train(trained, dataset, '--num_steps=1')
  assert 'No GPU was found' in result.stdout


def test_checkpoint_of_another_config(trained, dataset, tmp_path):
  for name, flags in (('sample.py', [f'--output_dir={tmp_path}']),
                      ('train.py', ['--mode=eval', '--examples_path='
                                    f'{dataset}/drummer-test.tfrecord'])):
    conftest.check_sentence(conftest.script(
        name, f'--config={conftest.TINY}', f'--run_dir={trained}', *flags),
                            'does not fit')


# Fine-tuning, and what other data have left.


def test_fine_tuning_begins_with_the_weights(trained, dataset, tmp_path):
  """Every weight is the other run's, the optimizer and the step are new."""
  from drumloops.system import magenta_setup
  magenta_setup.music_vae()
  import tensorflow.compat.v1 as tf
  weights = trained / 'best'  # Has no optimizer's state.
  for init_from in (weights, trained / 'train' / 'model.ckpt-12'):
    result = train(tmp_path / 'run', dataset, '--num_steps=1',
                   '--hparams=learning_rate=0.,decay_rate=1.,min_learning_rate='
                   '0.,' + conftest.FLAT[1].removeprefix('--hparams='),
                   f'--init_from={init_from}')
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'Begins with the weights of' in result.stdout
    old, new = (tf.train.load_checkpoint(str(path)) for path in (
        weights / 'model.ckpt-12', tmp_path / 'run/train/model.ckpt-1'))
    names = [n for n in old.get_variable_to_shape_map() if n != 'global_step']
    for name in names:
      np.testing.assert_array_equal(old.get_tensor(name), new.get_tensor(name))
    assert len(names) > 8 and new.get_tensor('global_step') == 1
    shutil.copytree(tmp_path / 'run', tmp_path / 'first', dirs_exist_ok=True)
    shutil.rmtree(tmp_path / 'run')
  result = train(tmp_path / 'first', dataset, '--num_steps=2',
                 f'--init_from={weights}')
  assert 'has begun already' in result.stdout and 'Resumed' in result.stdout
  conftest.check_sentence(train(tmp_path / 'other', dataset,
                                f'--init_from={tmp_path}/missing'), 'missing')
  conftest.check_sentence(conftest.script(
      'train.py', f'--config={conftest.TINY}', '--hparams=batch_size=4',
      f'--run_dir={tmp_path}/other', f'--init_from={weights}',
      f'--examples_path={dataset}/drummer.tfrecord'), 'does not fit')


def test_weights_without_an_optimizer_are_not_resumed(trained, dataset, tmp_path):
  shutil.copytree(trained / 'best', tmp_path / 'train')
  conftest.check_sentence(train(tmp_path, dataset, '--num_steps=20'),
                          'optimizer', '--init_from')


def test_a_best_checkpoint_of_other_data_is_set_aside(trained, dataset, tmp_path):
  """Its loss is of another split; exporting takes the newest one instead."""
  shutil.copytree(trained, tmp_path / 'run')
  own = tmp_path / 'own.tfrecord'  # Has no validation split.
  shutil.copy(dataset / 'drummer-test.tfrecord', own)
  exported = conftest.script(
      'export.py', *conftest.FLAT, f'--run_dir={tmp_path}/run',
      f'--examples_path={own}', f'--output_dir={tmp_path}/weights')
  assert exported.returncode == 0, exported.stderr[-3000:]
  assert 'chosen on other data' in exported.stdout
  result = conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={tmp_path}/run', '--num_steps=13',
      f'--examples_path={own}')
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'chosen on other data' in result.stdout
  assert not (tmp_path / 'run/best').exists()
  assert (tmp_path / 'run/best-on-other-data/best.json').exists()
  result = train(tmp_path / 'run', dataset, '--num_steps=14')
  assert json.loads((tmp_path / 'run/best/best.json').read_text())[
      'checkpoint'] == 'model.ckpt-14'


def test_a_pattern_leaves_other_splits_out(dataset, tmp_path, capfd):
  from drumloops.system import magenta_setup
  magenta_setup.music_vae()
  from magenta.models.music_vae import slice_cache
  for split in ('', '-validation', '-test'):
    shutil.copy(dataset / f'drummer{split}.tfrecord', tmp_path)
  shutil.copy(dataset / 'drummer-test.tfrecord', tmp_path / 'my-test.tfrecord')
  found = slice_cache.find_files(f'{tmp_path}/*.tfrecord')
  assert [os.path.basename(p) for p in found] == [
      'drummer.tfrecord', 'my-test.tfrecord']
  assert 'drummer-test.tfrecord, drummer-validation.tfrecord' in (
      capfd.readouterr().err)
  assert slice_cache.find_files(f'{tmp_path}/*-validation.tfrecord') == [
      f'{tmp_path}/drummer-validation.tfrecord']


def test_brackets_in_names(dataset, tmp_path):
  """TensorFlow takes them for patterns."""
  folder = tmp_path / 'Drums [90 BPM] 50%'
  folder.mkdir()
  for split in ('', '-validation'):
    shutil.copy(dataset / f'drummer{split}.tfrecord', folder)
  for steps in (2, 4):
    result = train(folder / 'run', folder, f'--num_steps={steps}',
                   '--checkpoints_to_keep=1')
    assert result.returncode == 0, result.stderr[-3000:]
    assert 'broken' not in result.stderr
  assert 'Resumed from' in result.stdout and checkpoint_steps(
      folder / 'run') == [4]
  assert str(tmp_path / 'Drums') in result.stdout
  state = (folder / 'run/train/checkpoint').read_text()
  assert 'model_checkpoint_path: "model.ckpt-4"' in state


def test_home_folder(trained, dataset, tmp_path):
  shutil.copytree(trained, tmp_path / 'run')
  shutil.copy(dataset / 'drummer.tfrecord', tmp_path)
  result = conftest.script(
      'train.py', *conftest.FLAT, '--run_dir=~/run', '--num_steps=13',
      '--examples_path=~/drummer.tfrecord', '--init_from=~/run/train',
      env={'HOME': str(tmp_path)})
  assert result.returncode == 0, result.stderr[-3000:]
  assert checkpoint_steps(tmp_path / 'run') == [12, 13]


def test_own_files_train_the_humanizer(tmp_path, dataset):
  """Cowbells, claps and a bass are left out, as DrumsConverter leaves them out."""
  from drumloops.system import magenta_setup
  magenta_setup.music_vae()
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices
  converter = magenta_setup.get_config('groovae_4bar_humanize').data_converter
  record = next(tf.python_io.tf_record_iterator(
      str(dataset / 'drummer-test.tfrecord')))
  plain = note_seq.NoteSequence.FromString(record)
  expected = packed_slices.pack(plain, converter)
  other = note_seq.NoteSequence.FromString(record)
  for pitch, is_drum in ((56, True), (39, True), (36, False)):
    other.notes.add(pitch=pitch, is_drum=is_drum, velocity=127, start_time=1,
                    end_time=2)
  other.notes.add(pitch=40, velocity=90, start_time=plain.total_time + 60,
                  end_time=plain.total_time + 61)
  assert len(expected)
  np.testing.assert_array_equal(packed_slices.pack(other, converter), expected)
