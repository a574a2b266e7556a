"""Every config through every stage: it works, or one sentence says why it can not.

Sizes are small (see oracle.make_narrow). Configs that differ in nothing but their
sizes, numbers of segments and drum maps are one structure, of which the first is tried.
"""
import functools
import os
import random

import conftest
from drumloops import DrumModel, errors, requests
from drumloops.data import splits
from drumloops.midi import sound
from drumloops.models import completion, constraints, latent
from drumloops.runs import checkpoint_files
from drumloops.system import cli, magenta_setup
from drumloops.training import finish, trainer
from drumloops.metrics import completion as completion_metrics
from drumloops.metrics import discriminator, evaluation
import note_seq
import oracle
import pytest

STAGES = ('train', 'sample', 'interpolate', 'reconstruct', 'evaluate',
          'export', 'complete', 'vary', 'sliders')
# A config of patterns whose slices are all used can be completed; others say so.
NOT_COMPLETED = {stage: 'can neither complete'
                 for stage in ('complete', 'vary', 'sliders')}
NO_DRUMS = {'interpolate': 'no model of drums', 'reconstruct': 'no model of drums'}
NO_SLICES = {'evaluate': 'only drum configs', 'export': 'drum configs'}
NOT_PLAYED = {stage: 'is not a loop as it is played'
              for stage in ('interpolate', 'reconstruct')}
TOLD_HITS = {stage: 'to be told the hits'
             for stage in ('sample', 'interpolate', 'reconstruct')}
CHORDS = {stage: 'told the chords' for stage in TOLD_HITS}


def exceptions(name):
  """Returns what can't be done with a config: {stage: words of the sentence}."""
  found = {**others(name)}
  for stage, why in NOT_COMPLETED.items():
    if 'drums_4bar' not in name:
      found.setdefault(stage, found.get(
          'sample' if stage == 'sliders' else 'reconstruct', why))
  return found


def others(name):
  if name == 'groovae_4bar_humanize':
    return TOLD_HITS
  if name == 'groovae_4bar_strokes':  # Its takes come when it is finished.
    return {**TOLD_HITS, 'evaluate': 'scripts/export.py makes it'}
  if name in ('groovae_4bar_hits_control', 'groovae_2bar_hits_control_tfds'):
    return {**TOLD_HITS, 'evaluate': 'to be told the hits', 'export': 'trained only'}
  if name.endswith('_chords'):
    return {**CHORDS, **NO_SLICES}
  if 'mel' in name or 'trio' in name or 'multiperf' in name:
    return {**NO_DRUMS, **NO_SLICES}
  if name.startswith('groovae_2bar') and not name.endswith('_humanize'):
    return {**NOT_PLAYED, **NO_SLICES}
  if '2bar' in name and 'drums' in name:  # At most 5 slices a file.
    return NO_SLICES
  return {}


def structures():
  """Returns a config of each structure, by name."""
  found = {}
  for name, config in magenta_setup.music_vae().CONFIG_MAP.items():
    converter, model = config.data_converter, config.model
    settings = {k: str(v) for k, v in vars(converter).items()
                if isinstance(v, (int, float, str, list, tuple, type(None)))
                and 'pitch' not in k}
    found.setdefault(str((
        settings, type(converter), type(model.encoder), type(model.decoder),
        config.hparams.max_seq_len)), name)
  return sorted(found.values())


@pytest.fixture(scope='module')
def songs(tmp_path_factory):
  """A folder of songs for melody, bass and drums, as MIDI and TFRecords."""
  import tensorflow as tf
  magenta_setup.music_vae()
  rng = random.Random(0)
  folder = tmp_path_factory.mktemp('songs')
  for split, count in (('', 6), ('-validation', 4), ('-test', 4)):
    with tf.io.TFRecordWriter(str(folder / f'songs{split}.tfrecord')) as writer:
      for i in range(count):
        song = note_seq.NoteSequence(ticks_per_quarter=220)
        song.filename = f'{i + 1}_funk_120_beat_4-4.mid'
        song.tempos.add(qpm=120)
        song.time_signatures.add(numerator=4, denominator=4)
        song.text_annotations.add(
            text='C', time=0,
            annotation_type=note_seq.NoteSequence.TextAnnotation.CHORD_SYMBOL)
        for step in range(0, 16 * 20, 2):
          start = step / 8
          for pitch, program, instrument, is_drum in (
              (rng.choice((60, 62, 64)), 0, 0, False),
              (rng.choice((36, 38)), 33, 1, False),
              (rng.choice((36, 38, 42)), 0, 9, True), (56, 0, 9, True)):
            song.notes.add(pitch=pitch, program=program, instrument=instrument,
                           is_drum=is_drum, velocity=rng.randint(60, 120),
                           start_time=start, end_time=start + 0.25)
        song.total_time = 40
        writer.write(song.SerializeToString())
    note_seq.sequence_proto_to_midi_file(song, str(folder / 'song.mid'))
  return folder


def outcome(stage):
  """Returns what came of a stage: 'works', or the sentence."""
  try:
    stage()
  except Exception as e:
    text = cli.sentence(e)
    if text is None:
      raise
    return errors.in_words(text)
  return 'works'


@pytest.mark.parametrize('name', structures())
def test_stages(name, songs, tmp_path, monkeypatch, unoptimized_graphs):
  monkeypatch.chdir(tmp_path)  # Paths are relative.
  known = magenta_setup.get_config
  def small(name, hparams=''):
    config = known(name, hparams)
    oracle.make_narrow(config)
    if name.startswith('hier') and 'trio' in name:  # Else it takes minutes.
      oracle.make_small(config)
      config.data_converter._slice_bars = 2
    config.hparams.batch_size = 4
    return config
  monkeypatch.setattr(magenta_setup, 'get_config', small)
  def silent(*_):  # Sound is tested elsewhere.
    raise ImportError
  monkeypatch.setattr(sound, '_load', silent)
  for module, constant, value in (
      (evaluation, 'SAMPLES', 8), (evaluation, 'PAIRS', 2),
      (evaluation, 'POINTS', 3),
      (completion_metrics, 'LOOPS', 4),
      # Four loops are too few to learn from.
      (discriminator, '_auc', lambda *_: 0.5), (completion, 'PARTICLES', 4),
      (latent, 'CALIBRATION_LOOPS', 64)):
    monkeypatch.setattr(module, constant, value)
  examples = str(songs / 'songs.tfrecord')
  def trained(steps):
    config = small(name)
    trainer.train(config._replace(
        train_examples_path=splits.pipeline_path(config, examples), tfds_name=None),
                  trainer.TrainingRequest('run', steps))
  @functools.cache
  def model():
    return DrumModel('run', name)
  def sampled(mode):
    return conftest.make_loops(
        model(), 'out', *[str(songs / 'song.mid')] * requests.INPUTS[mode], mode=mode,
        temperature=1., count=2, bars=6 if mode == 'vary' else None,
        constraints=constraints.Constraints(keep=(0,) if mode == 'complete' else ()))
  found = dict(zip(STAGES, map(outcome, (
      lambda: trained(2), lambda: sampled('sample'),
      lambda: sampled('interpolate'), lambda: sampled('reconstruct'),
      lambda: evaluation.evaluate(
          small(name), checkpoint_files.find_checkpoint('run'), examples,
          split='test', completion=True),
      lambda: finish.finish(small(name), 'run', examples, 'weights', 2),
      lambda: sampled('complete'), lambda: sampled('vary'),
      lambda: DrumModel('weights' if os.path.exists('weights') else 'run', name).sample(
          2, density=1, bars=6)))))
  expected = exceptions(name)
  for stage, result in found.items():
    assert expected.get(stage, 'works') in result, (stage, result)
    assert result == 'works' or result.endswith('.')
  assert (tmp_path / 'run' / 'train' / 'model.ckpt-2.index').exists()
