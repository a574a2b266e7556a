"""Humanizing: the config, the decoder beside upstream's, files, the evaluation."""
import collections
import dataclasses
import functools
import os
import types

import conftest
from drumloops import DrumLoop, Humanizer, UserError, grid
from drumloops.errors import in_words
from drumloops.humanize.take import TakeRequest
from drumloops.humanize import humanize_file, humanizer, take
from drumloops.midi import midi_file
from drumloops.models import groove_model
from drumloops.system import magenta_setup
from drumloops.metrics import feel
from drumloops.output import gallery
import note_seq
import numpy as np
import pytest

HITS_ALONE = 'groovae_4bar_humanize'  # It says the mean.
HITS_CONTROL = 'groovae_4bar_hits_control'
SMALL = 'enc_rnn_size=[16],dec_rnn_size=[16],z_size=8,batch_size=16'


@pytest.fixture(autouse=True)
def magenta():
  magenta_setup.music_vae()


@pytest.mark.parametrize('name,two_bars,changed', [
    (HITS_ALONE, 'groovae_2bar_humanize', {'dropout_keep_prob': 0.9}),
    (HITS_CONTROL, 'groovae_2bar_hits_control_tfds', {
        'dropout_keep_prob': 1., 'enc_rnn_size': [256], 'z_size': 128,
        'free_bits': 64., 'max_beta': 0.08, 'input_dropout': 0.15})])
def test_config_is_upstreams_for_4_bars(name, two_bars, changed):
  """What differs is said in drums_4bar.py."""
  ours, two_bars = map(magenta_setup.get_config, (name, two_bars))
  changed = {**changed, 'max_seq_len': 64, 'batch_size': 64, 'warmup_steps': 300,
             'adam_beta2': 0.99, 'adam_epsilon': 1e-6}
  assert ours.hparams.values() == {**two_bars.hparams.values(), **changed}
  a, b = vars(ours.data_converter), vars(two_bars.data_converter)
  assert {k for k in a if a[k] != b[k]} == {
      '_split_bars', '_hop_size', '_max_tensors_per_input'} | (
          {'_hits_as_controls', '_control_depth'} if name == HITS_ALONE else set())
  assert (a['_split_bars'], a['_hop_size'], a['_hits_as_controls']) == (
      4, 16, True)
  assert (type(ours.model.encoder), type(ours.model.decoder)) == (
      type(two_bars.model.encoder), type(two_bars.model.decoder))


@pytest.mark.parametrize('name', [HITS_ALONE, HITS_CONTROL])
def test_packed_slices_are_what_upstream_feeds(dataset, name):
  """Inputs, outputs, controls and lengths of upstream's own pipeline."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import data
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import slice_cache
  config = magenta_setup.get_config(name, 'batch_size=1')._replace(
      eval_examples_path=str(dataset / 'drummer-test.tfrecord'), tfds_name=None)
  slices = slice_cache.load_slices(
      config.data_converter, config.eval_examples_path)
  assert slices.dtype == np.float32 and slices.shape[1:] == (64, 27)
  ours = [t.numpy() for t in packed_slices.unpack(
      tf.constant(slices), config.data_converter)]
  # Another reader keeps data.get_dataset from taking the packed slices.
  theirs = data.get_dataset(config, lambda path: tf.data.TFRecordDataset(path))
  for i, batch in enumerate(theirs.take(min(len(slices), 50))):
    for a, b in zip(ours, batch):
      np.testing.assert_array_equal(a[i], b.numpy()[0])
  assert ours[2].any() and ours[1][..., 9:].any()
  assert ours[0][..., 9:].any() == (name == HITS_CONTROL)


def test_slices_have_every_stroke(dataset):
  """The first 27 numbers are upstream's; the others are what its grid drops."""
  import tensorflow.compat.v1 as tf
  converters = [magenta_setup.get_config(name).data_converter
                for name in (HITS_CONTROL, humanizer.CONFIG)]
  path = str(dataset / 'drummer-test.tfrecord')
  compared = drags = 0
  for record in list(tf.python_io.tf_record_iterator(path))[:20]:
    sequence = note_seq.NoteSequence.FromString(record)
    theirs, ours = (converter.to_tensors(sequence) for converter in converters)
    assert len(theirs.outputs) == len(ours.outputs)
    for a, b, told in zip(theirs.outputs, ours.outputs, ours.controls):
      assert b.shape == (64, 64)
      np.testing.assert_allclose(b[:, :27], a, atol=1e-6)
      np.testing.assert_allclose(
          2 ** b[:, 63], sequence.tempos[0].qpm / 120, rtol=1e-6)
      np.testing.assert_array_equal(told, b[:, [*range(9), 63]])
      more = b[:, 27:63].reshape(64, 2, 2, 9)
      assert (more[:, 1, 0] <= more[:, 0, 0]).all()
      assert (more[:, 0, 0] <= b[:, 9:18]).all()
      compared += 1
    if not ours.outputs:
      continue
    step, drum_of = 15 / sequence.tempos[0].qpm, converters[1].pitch_class_map
    strokes = collections.Counter(
        (int(note.start_time / step + 0.5), drum_of[note.pitch])
        for note in sequence.notes if note.pitch in drum_of)
    wanted = sum(min(count, 3) for (at, _), count in strokes.items() if at < 64)
    [decoded] = converters[1].from_tensors(ours.outputs[:1])
    assert len(decoded.notes) == wanted
    drags += wanted - sum(at < 64 for at, _ in strokes)
  assert compared and drags > 10


def test_counts_of_gmd(groove_zip, dataset):
  from magenta.models.music_vae import slice_cache
  converter = magenta_setup.get_config(humanizer.CONFIG).data_converter
  for split, count in (('-validation', 1939), ('-test', 1919)):
    assert len(slice_cache.load_slices(
        converter, str(dataset / f'drummer{split}.tfrecord'))) == count


def train(run_dir, examples, *flags):
  return conftest.script(
      'train.py', f'--config={humanizer.CONFIG}', f'--hparams={SMALL}',
      f'--run_dir={run_dir}', f'--examples_path={examples}', *flags)


@pytest.fixture(scope='module')
def run_dir(dataset, tmp_path_factory):
  """A small model, trained for 30 steps."""
  run_dir = tmp_path_factory.mktemp('humanize')
  result = train(run_dir, dataset / 'drummer.tfrecord', '--num_steps=30')
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'the best so far' in result.stdout
  return run_dir


@pytest.fixture(scope='module')
def finished(run_dir, dataset, tmp_path_factory):
  """Its finished weights."""
  folder = tmp_path_factory.mktemp('finished')
  result = conftest.script(
      'export.py', f'--config={humanizer.CONFIG}', f'--hparams={SMALL}',
      f'--run_dir={run_dir}', f'--examples_path={dataset}/drummer.tfrecord',
      f'--output_dir={folder}')
  assert result.returncode == 0, result.stderr[-3000:]
  assert 'the feel of ' in result.stdout
  assert sorted(p.name for p in folder.iterdir()) == [
      'checkpoint', 'feel.npz', 'model.ckpt-30.data-00000-of-00001',
      'model.ckpt-30.index']
  return str(folder)


def load(finished, **asked):
  return Humanizer(finished, hparams=SMALL).choose(TakeRequest(**asked))


@pytest.fixture(scope='module')
def player(finished):
  magenta_setup.music_vae()
  return load(finished)


def test_what_is_drawn_is_what_was_learned(finished, dataset):
  """The last hit's velocity and offset have the distribution of the training loss."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import stroke_network
  config = magenta_setup.get_config(humanizer.CONFIG, SMALL)
  hits = np.zeros([64, 9], bool)
  hits[::2, 2] = hits[::8, 0] = hits[4::8, 1] = True
  model = groove_model.load(config, tf.train.latest_checkpoint(finished))
  rng = np.random.RandomState(0)
  z = rng.standard_normal((1, 8)).astype('f')
  count = 400
  chance = np.tile(rng.uniform(size=(1, 64, 9, stroke_network.CHANCE)), [count, 1, 1, 1])
  chance[:, 62, 2, 1:3] = rng.uniform(size=(count, 2))
  chance[..., -1] = 0.5
  played = np.array(model.play([hits] * count, [100] * count, z.repeat(count, 0), chance))
  assert not played[:, :, 27:63].any()
  velocity, offset = np.meshgrid(np.arange(64), np.arange(64), indexing='ij')
  everything = np.tile(played[:1], [64 * 64, 1, 1])
  everything[:, 62, 9 + 2] = np.minimum(2 * velocity.ravel() + 2, 127) / 127
  everything[:, 62, 18 + 2] = (offset.ravel() + 0.5) / 32 - 1
  with tf.Graph().as_default(), tf.Session() as sess:
    config.model.build(config.hparams, 64, is_training=False)
    fed = tf.placeholder(tf.float32, [512, 64, 64])
    loss, _ = config.model.decoder.reconstruction_loss(
        None, fed, None, tf.constant(z.repeat(512, 0)),
        tf.concat([fed[..., :9], fed[..., 63:]], axis=-1))
    tf.train.Saver([v for v in tf.global_variables() if 'decoder' in v.name]).restore(
        sess, tf.train.latest_checkpoint(finished))
    nats = np.concatenate([sess.run(loss, {fed: part})
                           for part in np.split(everything, 8)]).reshape(64, 64)
  shares = np.exp(-(nats - nats.min()).astype(float))
  shares /= shares.sum()
  temperatures = groove_model.TEMPERATURES
  def place(shares, temperature, u):
    cumulated = np.cumsum(shares ** (1 / temperature), axis=-1)
    return (cumulated / cumulated[..., -1:] < u[..., np.newaxis]).sum(axis=-1)
  bins = np.round((played[:, 62, 11] * 127 - 1.5) / 2).astype(int)
  offsets = np.round((played[:, 62, 20] + 1) * 32 - 0.5).astype(int)
  expected = place(shares.sum(axis=1), temperatures[0], chance[:, 62, 2, 1])
  assert np.mean(bins == expected) > 0.98 and len(set(bins)) > 4
  expected = place(shares[bins], temperatures[1], chance[:, 62, 2, 2])
  assert np.mean(offsets == expected) > 0.98 and len(set(offsets)) > 4


def test_memory_goes_on(finished):
  """8 bars are played in a row: what the first 4 were decides about the next."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import stroke_network
  model = groove_model.load(magenta_setup.get_config(humanizer.CONFIG, SMALL),
                            tf.train.latest_checkpoint(finished))
  hits = np.tile(np.arange(128)[:, np.newaxis] % 4 == 0, [1, 9])
  chance = np.random.RandomState(0).uniform(size=(2, 128, 9, stroke_network.CHANCE))
  z = np.zeros([2, 8])
  whole, short = model.play([hits, hits[:64]], [120, 120], z, [chance[0], chance[0][:64]])
  ahead = 64 - stroke_network.AFTER  # The hits after a hit count, too.
  np.testing.assert_array_equal(whole[:ahead], short[:ahead])
  chance[1, 64:] = chance[0, 64:]
  other = model.play([hits], [120], z[:1], chance[1:])[0]
  assert (whole[64:] != other[64:]).any()


def on_grid(count=200, qpm=100.):
  """A NoteSequence of drums on sixteenths, and a piano."""
  sequence = note_seq.NoteSequence(ticks_per_quarter=480)
  sequence.tempos.add(qpm=qpm)
  step = 15 / qpm
  for i in range(count):
    sequence.notes.add(pitch=(36, 42, 38, 42)[i % 4], velocity=90, is_drum=True,
                       instrument=9, start_time=i * step,
                       end_time=(i + 0.5) * step)
  sequence.notes.add(pitch=36, velocity=33, instrument=1, start_time=1,
                     end_time=2)
  # A cowbell is none of the nine drums of the Roland map, but General MIDI's
  # map counts it as a snare; pitch 3 is nothing.
  sequence.notes.add(pitch=3, velocity=44, is_drum=True, instrument=9,
                     start_time=2 * step, end_time=3 * step)
  return sequence


def test_file(player, tmp_path):
  """Of any length; the pattern and all other notes stay."""
  source, target = (str(tmp_path / name) for name in ('in.mid', 'out.mid'))
  note_seq.sequence_proto_to_midi_file(on_grid(), source)
  humanize_file.humanize_file(source, target, player)
  before, after = (note_seq.midi_file_to_note_sequence(path)
                   for path in (source, target))
  def notes(sequence, is_drum):
    return sorted(((n.start_time, n.pitch, n.velocity, n.end_time)
                   for n in sequence.notes if n.is_drum == is_drum))
  assert notes(before, False) == notes(after, False)
  step = 15 / 100
  steps = [sorted((round(n.start_time / step), n.pitch)
                  for n in sequence.notes if n.is_drum)
           for sequence in (before, after)]
  assert steps[0] == steps[1] and len(steps[0]) == 201
  played = [n for n in after.notes if n.is_drum and n.pitch != 3]
  assert len({n.velocity for n in played}) > 2
  assert np.ptp([n.start_time / step - round(n.start_time / step)
                 for n in played]) > 0.005
  [other] = [n for n in after.notes if n.pitch == 3]
  assert other.velocity == 44
  assert other.start_time == pytest.approx(2 * step, abs=1e-3)


def test_file_and_loop_get_the_same_feel(player, tmp_path):
  path = str(tmp_path / 'loop.mid')
  note_seq.sequence_proto_to_midi_file(on_grid(64), path)
  loop = DrumLoop.read(path)
  humanize_file.humanize_file(path, path, player)
  [(played, _)] = take.play(
      player, [[hit for hit in loop.hits if hit.drum]], qpm=[loop.qpm])
  # In a file nothing can be before the beginning.
  seconds = 60 / loop.qpm
  a, b = (sorted((hit.pitch, max(0, hit.time * seconds), hit.velocity)
                 for hit in hits if hit.drum)
          for hits in (played, DrumLoop.read(path).hits))
  np.testing.assert_allclose(a, b, atol=1e-3)


def hits_of(path):
  """[(tick, pitch, velocity)] of a MIDI file's drums."""
  return [(hit.on.tick, *hit.on.data[1:]) for hit in midi_file.find_hits(
      midi_file.read(str(path)).tracks)]


def humanize(source, target, player, finished, as_flags, amounts):
  """Humanizes a file by the command or by Python; returns `hits_of` it."""
  if as_flags:
    result = conftest.script(
        'humanize.py', source, target, f'--checkpoint_file={finished}',
        f'--hparams={SMALL}', *(f'--{k}={v}' for k, v in amounts.items()))
    assert result.returncode == 0, result.stderr[-2000:]
  else:
    humanize_file.humanize_file(
        str(source), str(target), player, TakeRequest(**amounts).how_much)
  return hits_of(target)


@pytest.mark.parametrize('as_flags', [False, True])
def test_amounts(player, finished, tmp_path, as_flags):
  """None of it leaves every byte; velocities or timing alone leave the other."""
  source, target = tmp_path / 'in.mid', tmp_path / 'out.mid'
  note_seq.sequence_proto_to_midi_file(on_grid(), str(source))
  # Running status, which this project does not write: bytes of another program.
  data = source.read_bytes()
  source.write_bytes(data + b'XTRA\0\0\0\2hi')
  def humanized(**amounts):
    return humanize(source, target, player, finished, as_flags, amounts)
  assert humanized(amount=0) == hits_of(source)
  assert target.read_bytes() == source.read_bytes()
  before = hits_of(source)
  scale = midi_file.read(str(target)).ticks_per_step
  louder = humanized(timing=0)
  assert [h[:2] for h in louder] == [h[:2] for h in before]
  assert [h[2] for h in louder] != [h[2] for h in before]
  moved = humanized(velocity=0)
  assert sorted(h[1:] for h in moved) == sorted(h[1:] for h in before)
  assert [h[0] for h in moved] != [h[0] for h in before]
  whole, half = humanized(), humanized(amount=0.5)
  def away(hits):
    return np.array([[h[2] - b[2], (h[0] - b[0]) / scale] for h, b in zip(
        sorted(hits, key=lambda h: (h[1], h[0])),
        sorted(before, key=lambda h: (h[1], h[0])))])
  np.testing.assert_allclose(away(half), away(whole) / 2, atol=0.51)


@pytest.mark.parametrize('as_flags', [False, True])
def test_amounts_by_drum(player, finished, tmp_path, as_flags):
  """Drums that are not named get the amount; hits of others are as without."""
  source, target = tmp_path / 'in.mid', tmp_path / 'out.mid'
  note_seq.sequence_proto_to_midi_file(on_grid(), str(source))
  def humanized(**amounts):
    """{pitch: [(tick, velocity)]} of the file."""
    return by_pitch(humanize(source, target, player, finished, as_flags, amounts))
  def by_pitch(hits):
    return {pitch: np.array([(tick, v) for tick, p, v in hits if p == pitch])
            for pitch in (36, 38, 42)}
  before, whole = by_pitch(hits_of(source)), humanized()
  scale = round(whole[36][-1, 0] / before[36][-1, 0])
  found = humanized(velocity='snare:0', timing='0, closed-hi-hat:1')
  for pitch in (36, 38, 42):
    ticks, velocities = (whole if pitch == 42 else before)[pitch].T
    np.testing.assert_array_equal(
        found[pitch][:, 0], ticks * (1 if pitch == 42 else scale))
    np.testing.assert_array_equal(
        found[pitch][:, 1], (before if pitch == 38 else whole)[pitch][:, 1])
  assert (whole[38][:, 1] != before[38][:, 1]).any()
  assert (whole[42][:, 0] != before[42][:, 0] * scale).any()
  half = humanized(amount=0.5, velocity='kick:1')
  for pitch, much in ((36, 1), (38, 0.5), (42, 0.5)):
    np.testing.assert_allclose(
        half[pitch][:, 1] - before[pitch][:, 1],
        much * (whole[pitch] - before[pitch])[:, 1], atol=0.51)
  humanized(amount=0, velocity='snare:0,toms:0')
  assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize('velocity,words', [
    ('snaer:0.5', "velocity knows no drum 'snaer'"), ('snare', "not 'snare'"),
    ('snare:', "not 'snare:'"), ('snare:0.5,0.8', 'a number, or one for each drum'),
    ({'snare': 'x'}, "not {'snare': 'x'}"), ({'snare': 1.3}, 'from 0 to 1.2'),
    ('kick:-1', 'from 0 to 1.2'), ('nan', 'from 0 to 1.2'),
    ('hi-hat:1,open hi-hat:0.5', 'two numbers for the open hi-hat')])
def test_wrong_amounts_by_drum(velocity, words):
  with pytest.raises(UserError, match=words) as raised:
    TakeRequest(velocity=velocity)
  assert 'velocity' in raised.value.fields


def test_page_says_amounts_by_drum(tmp_path):
  """In words that --velocity takes."""
  facts = {'config': 'a', 'checkpoint': 'a', 'mode': 'sample', 'seed': 1, 'qpm': 90.,
           'temperature': 0.6, 'humanized': False}
  loop = DrumLoop.of_note_sequence(on_grid(64), facts=facts)
  [played] = Humanizer().play(loop, velocity={'toms': 0, 'snare': 0.5}, timing=0.25)
  page = gallery.write([played], tmp_path, 'a', sounds=False, pictures=False)['page']
  [entry] = gallery.read_entries(page)[0]
  assert entry['velocity'] == '1,snare:0.5,low tom:0,mid tom:0,high tom:0'
  assert TakeRequest(velocity=entry['velocity']) == TakeRequest(
      velocity={'toms': 0, 'snare': 0.5})
  assert f'velocity {entry["velocity"]}, timing 0.25 ·' in gallery.describe(entry)


class Drags:
  """A player of one velocity whose off-beats are later than its beats, and uneven."""
  longest, adds_strokes = None, False

  def __init__(self, beats=0.03, off_beats=0.15, spread=0.03):
    from magenta.models.music_vae import data
    self.pitch_classes = data.ROLAND_DRUM_PITCH_CLASSES
    self.late, self.spread = np.array([[beats], [off_beats]]), spread

  def __call__(self, sections):
    rng, played = np.random.RandomState(0), []
    for hits, *_ in sections:
      late = self.late[np.arange(len(hits)) % 2] + self.spread * rng.standard_normal(
          hits.shape)
      played.append(np.array([[np.full(hits.shape, 0.9), late * hits]]))
    return played


def write_hats(path, swing=0., begin=0, count=64, before=(), pitch=42):
  """Writes sixteenths of a hi-hat with a kick, of which the second are later.

  Args:
    path: The file.
    swing: By so many steps.
    begin: The first step.
    count: Of steps.
    before: Time signatures, of mido.
    pitch: Of another drum than the hi-hat.
  """
  import mido
  events = [(round(120 * (begin + step + swing * (step % 2))), note)
            for step in range(count) for note in (pitch, *[36] * (step % 8 in (0, 3)))]
  track, now = mido.MidiTrack(before), sum(message.time for message in before)
  for tick, note in events:
    track.append(mido.Message('note_on', channel=9, note=note, velocity=90,
                              time=tick - now))
    now = tick
  track.append(mido.MetaMessage('end_of_track', time=120))
  mido.MidiFile(tracks=[track], ticks_per_beat=480).save(path)
  return str(path)


def hats_of(path):
  """When each hi-hat of a file is played, in steps."""
  step = midi_file.read(path).ticks_per_step
  return np.array([tick / step for tick, pitch, _ in hits_of(path) if pitch == 42])


def swing_of(hats, unit=1):
  """Where the second of two notes is between those around it, in percent."""
  first, second, third = hats[::unit][:-2:2], hats[::unit][1:-1:2], hats[::unit][2::2]
  count = len(third)
  return 100 * np.median((second[:count] - first[:count]) / (third - first[:count]))


@pytest.mark.parametrize('asked,wanted,unit', [
    (50, 50, 1), ('56', 56, 1), (62, 62, 1), (66.7, 66.7, 1), (75, 75, 1),
    ('eighths:60', 60, 2), ('Eighths: 66.7', 66.7, 2), ('eighths:75', 75, 2)])
@pytest.mark.parametrize('who', ['drags', 'own', 'nobody'])
def test_swing_is_measured_in_the_file(tmp_path, who, asked, wanted, unit):
  """Whoever plays on top of it; hits stay in order, sixteenths in their pattern."""
  source, target = write_hats(tmp_path / 'in.mid'), str(tmp_path / 'out.mid')
  request = TakeRequest(swing=asked, amount=who != 'nobody')
  humanize_file.humanize_file(
      source, target, own_take() if who == 'own' else Drags(),
      request.how_much, swing=request.swing)
  hats = hats_of(target)
  assert len(hats) == 64 and (np.diff(hats) > 0).all()
  assert swing_of(hats, unit) == pytest.approx(wanted, abs=2)
  if unit == 1:
    np.testing.assert_array_equal(np.floor(hats + 0.5), np.arange(64))
  if who == 'nobody':
    assert swing_of(hats, unit) == pytest.approx(min(wanted, 74.5 if unit == 1 else 75),
                                                 abs=0.5)
    assert [v for *_, v in hits_of(target)] == [v for *_, v in hits_of(source)]


@functools.cache
def own_take():
  """A take by the weights in weights/."""
  return Humanizer().choose()


def test_hits_keep_how_they_deviate_from_the_swing(tmp_path):
  """Beats are as without; off-beats as late for their place as for their mean."""
  source, target = write_hats(tmp_path / 'in.mid'), str(tmp_path / 'out.mid')
  found = []
  for swing in (None, 62):
    humanize_file.humanize_file(source, target, Drags(),
                                swing=TakeRequest(swing=swing).swing)
    found.append(hats_of(target))
  straight, swung = found
  np.testing.assert_allclose(swung[::2], straight[::2], atol=0.01)
  moves = (swung - straight)[1::2]
  assert np.ptp(moves) < 0.02 and moves.mean() == pytest.approx(0.24 - 0.12, abs=0.03)
  assert straight[1::2].std() and swing_of(straight) > 54


def test_another_swing_replaces_a_files_own(tmp_path):
  """One sentence says so; nothing is said of a straight file, or without a swing."""
  target = str(tmp_path / 'out.mid')
  for own, asked, is_said in ((0.24, 56, True), (1 / 3, 50, True), (1 / 3, 70, True),
                              (0, 60, False), (1 / 3, None, False)):
    source = write_hats(tmp_path / 'in.mid', own)
    said = ' '.join(humanize_file.humanize_file(
        source, target, Drags(), swing=TakeRequest(swing=asked).swing))
    assert ('in.mid swings (sixteenths at 6' in said) == is_said
    assert ('swing replaces that.' in in_words(said)) == is_said
    if asked:
      assert swing_of(hats_of(target)) == pytest.approx(asked, abs=2)


def test_swing_counts_from_each_bar(tmp_path):
  """Whatever meter comes before it."""
  import mido
  source = write_hats(tmp_path / 'in.mid', begin=7, before=[
      mido.MetaMessage('time_signature', numerator=7, denominator=16),
      mido.MetaMessage('time_signature', numerator=4, denominator=4, time=7 * 120)])
  target = str(tmp_path / 'out.mid')
  humanize_file.humanize_file(source, target, Drags(), take.Amount(0., 0.),
                              swing=TakeRequest(swing=66).swing)
  hats = hats_of(target) - 7
  np.testing.assert_allclose(hats[::2], np.arange(0, 64, 2), atol=0.01)
  np.testing.assert_allclose(hats[1::2], np.arange(1, 64, 2) + 0.32, atol=0.01)


def test_grace_notes_and_triplets_keep_their_order(tmp_path):
  """At the widest swing of both units."""
  starts = [*np.arange(16), *(np.arange(1, 16) - 0.15), *(16 + np.arange(48) / 3)]
  hits = [grid.hit_at(1, start, 90 - 60 * (start % 1 > 0)) for start in sorted(starts)]
  for asked in (62, 75, 'eighths:66', 'eighths:75'):
    for late in (-0.45, 0, 0.45):
      [(played, _)] = take.play(Drags(late, late, 0), [hits],
                                swing=TakeRequest(swing=asked).swing)
      assert (np.diff([hit.time for hit in played]) >= 0).all(), (asked, late)


def test_swing_flag(finished, tmp_path):
  """Alone, it moves off-beats and leaves the rest; what is wrong is said."""
  source, target = write_hats(tmp_path / 'in.mid'), str(tmp_path / 'out.mid')
  flags = [source, target, f'--checkpoint_file={finished}', f'--hparams={SMALL}']
  result = conftest.script('humanize.py', *flags, '--amount=0', '--swing=eighths:62')
  assert result.returncode == 0, result.stderr[-2000:]
  assert swing_of(hats_of(target), 2) == pytest.approx(62, abs=0.5)
  conftest.check_sentence(conftest.script('humanize.py', *flags, '--swing=80'),
                          '--swing takes percent from 50 to 75')


@pytest.mark.parametrize('swing', [
    49, 76, 0.62, 'quarters:60', 'eighths:', 'x', 'nan', True, ['62']])
def test_wrong_swings(swing):
  with pytest.raises(UserError, match='swing takes percent from 50 to 75') as raised:
    TakeRequest(swing=swing)
  assert raised.value.fields == ('swing',)


def test_swung_loops(tmp_path):
  """Humanized or not, once or again; the page says how, and kept hits stay."""
  facts = {'config': 'a', 'checkpoint': 'a', 'mode': 'sample', 'seed': 1, 'qpm': 90.,
           'temperature': 0.6, 'humanized': False}
  loop = dataclasses.replace(
      DrumLoop.read(write_hats(tmp_path / 'in.mid')), facts=facts)
  humanizer = Humanizer()
  for i, (made, wanted, words) in enumerate((
      (loop.swung(62), 62, 'swing 62 ·'), (loop.swung(62).swung('66'), 66, 'swing 66 ·'),
      (loop.swung('eighths:66').swung(56), 56, 'swing 56 ·'),
      (loop.swung(70).swung(50), 50, 'swing 50 ·'),
      (humanizer.play(loop, swing=62)[0], 62, 'take 1 · swing 62 ·'),
      (humanizer.play(loop.swung(70), swing=58)[0], 58, 'take 1 · swing 58 ·'),
      (humanizer.play(loop, swing=75)[0], 75, 'take 1 · swing 75 ·'),
      (humanizer.play(loop, amount=0, swing=62)[0], 62, 'swing 62 ·'))):
    written = gallery.write([made], tmp_path / str(i), 'a', sounds=False, pictures=False)
    assert swing_of(hats_of(written['midi'][0])) == pytest.approx(wanted, abs=2), i
    [entry] = gallery.read_entries(written['page'])[0]
    assert words in gallery.describe(entry)
    assert (made.swing is None) == (wanted == 50)
    assert DrumLoop.read(written['midi'][0]).pattern().tolist() == (
        loop.pattern().tolist())
  kept = dataclasses.replace(
      loop, kept=frozenset(hit for hit in loop.hits if hit.drum == 'kick'))
  for made in (kept.swung(66), *humanizer.play(kept, swing=66)):
    assert kept.kept < set(made.hits)
    assert swing_of(np.array([hit.start for hit in made.hits if hit.drum != 'kick'])
                    ) == pytest.approx(66, abs=2)
  other = grid.Hit(None, 0.25, 80, 56)  # A cowbell swings with the drums.
  [made] = humanizer.play(dataclasses.replace(loop, hits=(*loop.hits, other)), swing=66)
  assert [hit.time for hit in made.hits if hit.drum is None] == [pytest.approx(0.33)]
  assert loop.swung(None) is loop and loop.swung('') is loop
  empty = dataclasses.replace(loop, hits=())
  assert empty.swung(66).hits == () == humanizer.play([empty, loop], swing=66)[0].hits


class Flams(Drags):
  """A player whose hits have a softer stroke before them, and one of them two."""
  adds_strokes = True

  def __call__(self, sections):
    played = []
    for [first] in super().__call__(sections):
      second, third = np.zeros([2, *first.shape])
      second[0], second[1] = 0.3, first[1] - 0.2
      third[0, 8], third[1, 8] = 0.2, first[1, 8] - 0.3
      played.append(np.array([first, second, third]))
    return played


def test_ornaments_in_a_file(tmp_path):
  """They lie before their hits and sound like them; all else stays as without."""
  source, target = write_hats(tmp_path / 'in.mid'), str(tmp_path / 'out.mid')
  found = []
  for player in (Drags(), Flams()):
    said = humanize_file.humanize_file(source, target, player)
    found.append(sorted(hits_of(target)))
  plain, ornate = found
  assert set(plain) < set(ornate)
  added = sorted(set(ornate) - set(plain))
  assert said[-1].endswith(f'for flams and drags: {len(added)}.')
  step = midi_file.read(target).ticks_per_step
  for tick, pitch, velocity in added:
    after = min(t for t, p, _ in plain if p == pitch and t > tick)
    assert after - tick == pytest.approx(0.2 * step, abs=1) or (
        after - tick == pytest.approx(0.3 * step, abs=1))
    loud = next(v for t, p, v in plain if (t, p) == (after, pitch))
    assert velocity == round(loud * (0.3 if after - tick < 0.25 * step else 0.2) / 0.9)
  # At step 8 a hat and a kick have two more; at the very beginning there is no room.
  assert len(added) == sum(tick >= 0.2 * step for tick, *_ in plain) + 2
  ends = [event for track in midi_file.read(target).tracks for event in track
          if event.is_note_off]
  assert len(ends) == len(added)


def test_ornaments_keep_flams_that_are_there():
  """A hit that has several strokes gets no more; kept hits get none, either."""
  flam = [grid.hit_at(1, 4.0, 100), grid.hit_at(1, 3.8, 30), grid.hit_at(0, 8., 100)]
  [(hits, ornaments)] = take.play(Flams(0, 0, 0), [flam])
  assert len(hits) == 3 and [added.index for added in ornaments] == [2, 2]
  [(_, soft)] = take.play(Flams(0, 0, 0), [flam[2:]], take.Amount(0., 1.))
  assert [(round(added.hit.start, 2), added.hit.velocity) for added in soft] == [
      (7.8, 33), (7.7, 22)]
  assert take.play(Flams(), [flam[2:]], take.Amount(0., 0.))[0][1] == []


def test_ornaments_where_there_is_no_room(tmp_path):
  """Before a file's beginning, after its end, and past a change of the sound."""
  import mido
  def humanized(*messages, late=0.):
    path = str(tmp_path / 'out.mid')
    mido.MidiFile(tracks=[mido.MidiTrack(messages)], ticks_per_beat=480).save(path)
    humanize_file.humanize_file(path, path, Flams(late, late, 0))
    return hits_of(path)
  def hit(time, note=38):
    return mido.Message('note_on', channel=9, note=note, velocity=90, time=time)
  # A pickup of a quarter: its hit is at tick 0, but not at the step 0 of a bar.
  assert [tick for tick, *_ in humanized(
      mido.MetaMessage('time_signature', numerator=1, denominator=4), hit(0),
      mido.MetaMessage('time_signature', numerator=4, denominator=4, time=480),
      hit(0))] == [0, 456, 480]
  pedal = mido.Message('control_change', channel=9, control=4, value=9, time=480)
  assert [tick for tick, *_ in humanized(hit(0, 46), pedal, hit(0, 46))] == [0, 480]
  choke = mido.Message('polytouch', channel=9, note=49, value=99)
  assert [tick for tick, *_ in humanized(
      hit(480, 49), choke, hit(960, 49))] == [456, 480, 1416, 1440]
  ticks = [tick for tick, *_ in humanized(
      hit(600), mido.MetaMessage('end_of_track', time=2), late=0.4)]
  assert len(set(ticks)) == len(ticks) and max(ticks) <= 602


def test_ornaments_by_the_flag(finished, tmp_path):
  """As often as is asked; 0 keeps the pattern, and by default a file's stays."""
  source = write_hats(tmp_path / 'in.mid', count=256, pitch=38)
  target = tmp_path / 'out.mid'
  def strokes(*flags):
    result = conftest.script('humanize.py', source, target, *flags)
    assert result.returncode == 0, result.stderr[-2000:]
    return len(hits_of(target)) - len(hits_of(source))
  assert strokes() == 0 == strokes('--ornaments=0')
  assert 0 < strokes('--ornaments=1')
  conftest.check_sentence(conftest.script(
      'humanize.py', source, target, '--ornaments=1.5'), '--ornaments must be')


def test_takes(finished):
  """Each its own way to play; the same number plays the same."""
  loops = [DrumLoop.of_note_sequence(on_grid(count)).hits for count in (64, 60)]
  def played(number, loops=loops):
    return take.play(load(finished, take=number), loops)
  first, again, second, mean = map(played, (1, 1, 2, take.MEAN_TAKE))
  assert first == again
  assert len({str(x) for x in (*first, *second, *mean)}) == 6
  # Whatever else is humanized with it.
  assert first == [played(1, [loop])[0] for loop in loops]
  assert [first[1], first[0], first[0]] == played(1, [loops[1], loops[0], loops[0]])


def test_another_file_has_another_chance(finished, tmp_path):
  """Of two files that share most hits, those deviate in other ways."""
  sequences = [on_grid(64), on_grid(63)]
  paths = [str(tmp_path / f'{i}.mid') for i in range(2)]
  for sequence, path in zip(sequences, paths):
    note_seq.sequence_proto_to_midi_file(sequence, path)
    humanize_file.humanize_file(path, path, load(finished))
  step = midi_file.read(paths[0]).ticks_per_step
  timing = [[tick / step - round(tick / step) for tick, pitch, _ in hits_of(path)
             if pitch != 3][:60] for path in paths]
  assert abs(np.corrcoef(*timing)[0, 1]) < 0.4  # By one seed: 0.9 and more.


def test_like_a_performance(finished, tmp_path):
  """A loud performance's feel is not a soft one's."""
  loud, soft = (str(tmp_path / f'{name}.mid') for name in ('loud', 'soft'))
  for path, velocity in ((loud, 120), (soft, 20)):
    sequence = on_grid(64)
    for note in sequence.notes:
      note.velocity = velocity
    note_seq.sequence_proto_to_midi_file(sequence, path)
  means = []
  for like in (loud, soft):
    Humanizer().humanize_file(loud, str(tmp_path / 'out.mid'), TakeRequest(like=like))
    means.append(np.mean([v for *_, v in hits_of(tmp_path / 'out.mid')]))
  assert means[0] > means[1] + 20
  from magenta.models.music_vae import data
  slices = humanizer.read_performance(soft, types.SimpleNamespace(
      pitch_classes=data.ROLAND_DRUM_PITCH_CLASSES))
  assert slices.shape == (1, 64, 64)
  assert slices[0, :, 9:18].max() == pytest.approx(20 / 127)
  np.testing.assert_allclose(slices[..., 63], np.log2(100 / 120), atol=1e-4)
  (tmp_path / 'bad.mid').write_bytes(b'not MIDI')
  for like, word in ((tmp_path / 'bad.mid', 'valid MIDI'),
                     (tmp_path / 'missing.mid', 'no MIDI file')):
    conftest.check_sentence(conftest.script(
        'humanize.py', loud, tmp_path / 'x.mid', f'--checkpoint_file={finished}',
        f'--hparams={SMALL}', f'--like={like}'), word)
  assert not (tmp_path / 'x.mid').exists()


def test_config_of_means(dataset, tmp_path):
  """It plays one way, and has no feel to take from a performance."""
  loop = str(tmp_path / 'loop.mid')
  note_seq.sequence_proto_to_midi_file(on_grid(), loop)
  result = conftest.script(
      'train.py', f'--config={HITS_ALONE}', f'--hparams={SMALL}',
      f'--run_dir={tmp_path}/run', f'--examples_path={dataset}/drummer.tfrecord',
      '--num_steps=2')
  assert result.returncode == 0, result.stderr[-3000:]
  flags = [f'--config={HITS_ALONE}', f'--hparams={SMALL}',
           f'--run_dir={tmp_path}/run']
  result = conftest.script('humanize.py', loop, tmp_path / 'out.mid', *flags)
  assert result.returncode == 0, result.stderr[-3000:]
  assert len(hits_of(tmp_path / 'out.mid')) == 201
  conftest.check_sentence(conftest.script(
      'humanize.py', loop, tmp_path / 'x.mid', f'--like={loop}', *flags),
                          'gives each hit the mean')


def test_unfinished_and_damaged_weights(run_dir, finished, tmp_path):
  import shutil
  loop = tmp_path / 'loop.mid'
  note_seq.sequence_proto_to_midi_file(on_grid(), str(loop))
  shutil.copytree(finished, tmp_path / 'damaged')
  (tmp_path / 'damaged' / 'feel.npz').write_bytes(b'PK')
  for flag in (f'--run_dir={run_dir}', f'--checkpoint_file={tmp_path}/damaged'):
    conftest.check_sentence(conftest.script(
        'humanize.py', loop, tmp_path / 'x.mid', f'--hparams={SMALL}', flag),
                            'feel.npz')


def events(path):
  """All messages of a MIDI file but drum hits: [(track, tick in quarters, ...)].

  And the drum hits: [(track, pitch, start, velocity, length or None)].
  """
  import mido
  midi = mido.MidiFile(path)
  others, hits = [], []
  for t, track in enumerate(midi.tracks):
    now, open_hits = 0, {}
    for message in track:
      now += message.time
      at = now / midi.ticks_per_beat
      if getattr(message, 'channel', None) != 9 or message.type not in (
          'note_on', 'note_off'):
        others.append((t, at, str(message.copy(time=0))))
      elif message.type == 'note_on' and message.velocity:
        hits.append([t, message.note, at, message.velocity, None])
        open_hits.setdefault(message.note, []).append(hits[-1])
      elif open_hits.get(message.note):
        hit = open_hits[message.note].pop(0)
        hit[4] = at - hit[2]
    assert not track or track[-1].type == 'end_of_track'
  return midi.type, others, hits


@pytest.mark.parametrize('kind', [0, 1])
@pytest.mark.parametrize('ticks', [24, 480])
@pytest.mark.parametrize('ending', ['note_off', 'velocity 0', 'same tick', 'none'])
def test_all_else_in_a_file_stays(player, tmp_path, kind, ticks, ending):
  """Tracks, channels, tempos, markers, the length; however notes end."""
  import mido
  drums = [mido.MetaMessage('track_name', name='Drums')]
  for i in range(64):
    drums.append(mido.Message('note_on', channel=9, note=(36, 42)[i % 2],
                              velocity=100, time=0 if i == 0 or ending in (
                                  'note_off', 'velocity 0') else ticks // 4))
    if ending != 'none':
      drums.append(mido.Message(
          'note_on' if ending == 'velocity 0' else 'note_off', channel=9,
          note=(36, 42)[i % 2], velocity=0,
          time=0 if ending == 'same tick' else ticks // 4))
  drums.append(mido.MetaMessage('end_of_track', time=ticks))
  other = [
      mido.MetaMessage('set_tempo', tempo=616649),
      mido.MetaMessage('key_signature', key='C#'),
      mido.Message('control_change', channel=3, control=0, value=5),
      mido.Message('program_change', channel=3, program=17),
      mido.Message('note_on', channel=3, note=36, velocity=77, time=1),
      mido.Message('aftertouch', channel=3, value=9, time=5),
      mido.MetaMessage('marker', text='chorus', time=ticks),
      mido.Message('note_off', channel=3, note=36, time=2),
      mido.MetaMessage('set_tempo', tempo=500001, time=ticks),
      mido.Message('sysex', data=[1, 2, 3]),
      mido.MetaMessage('end_of_track', time=3)]
  midi = mido.MidiFile(type=kind, ticks_per_beat=ticks)
  if kind == 1:
    midi.tracks += [mido.MidiTrack(part) for part in ([], other, drums)]
  else:
    midi.tracks.append(mido.merge_tracks([other, drums]))
  source, target = str(tmp_path / 'in.mid'), str(tmp_path / 'out.mid')
  midi.save(source)
  humanize_file.humanize_file(source, target, player)
  before, after = events(source), events(target)
  assert before[:2] == after[:2]
  assert len(before[2]) == len(after[2]) == 64
  moved = []
  for a, b in zip(sorted(before[2], key=lambda h: h[1:3]),
                  sorted(after[2], key=lambda h: h[1:3])):
    assert a[:2] == b[:2]
    assert abs(a[2] - b[2]) <= 0.125  # Half a sixteenth, in quarters.
    assert (a[4] is None) == (b[4] is None) == (ending == 'none')
    moved.append(b[2] - a[2])
  assert len(set(moved)) > 3
  assert len({hit[3] for hit in after[2]}) > 2


def test_no_hit_of_gmd_is_lost(groove_zip, player, tmp_path):
  """Performances, with hits as short as a tick, and struck again in a sound."""
  import zipfile
  with zipfile.ZipFile(groove_zip) as archive:
    names = sorted(n for n in archive.namelist() if n.endswith('.mid'))[::60]
    for name in names:
      (tmp_path / 'in.mid').write_bytes(archive.read(name))
      humanize_file.humanize_file(str(tmp_path / 'in.mid'), str(tmp_path / 'out.mid'),
                               player)
      before, after = events(tmp_path / 'in.mid'), events(tmp_path / 'out.mid')
      # The pedal's position at the tick of a hi-hat hit goes with it.
      def pedal(event):
        return 'control=4 ' in event[2]
      assert ([e for e in before[1] if not pedal(e)] ==
              [e for e in after[1] if not pedal(e)]), name
      assert ([e[2] for e in before[1] if pedal(e)] ==
              [e[2] for e in after[1] if pedal(e)]), name
      pitches = [sorted(hit[1] for hit in hits) for hits in (before[2], after[2])]
      assert pitches[0] == pitches[1], name
  assert len(names) > 15


def test_tempo_changes_stay(player, tmp_path):
  """Timing goes by the beats, at whatever tempo they come."""
  import mido
  source, target = (str(tmp_path / name) for name in ('in.mid', 'out.mid'))
  sequence = on_grid(64)
  note_seq.sequence_proto_to_midi_file(sequence, source)
  midi = mido.MidiFile(source)
  midi.tracks[0].insert(-1, mido.MetaMessage(
      'set_tempo', tempo=mido.bpm2tempo(50), time=4 * 480))
  midi.save(str(tmp_path / 'slower.mid'))
  humanize_file.humanize_file(source, target, player)
  humanize_file.humanize_file(str(tmp_path / 'slower.mid'),
                           str(tmp_path / 'slower-out.mid'), player)
  def ticks(path):
    found = []
    for track in mido.MidiFile(path).tracks:
      now = 0
      for message in track:
        now += message.time
        if message.type == 'note_on' and message.channel == 9:
          found.append((now, message.note, message.velocity))
    return sorted(found)
  a, b = ticks(target), ticks(str(tmp_path / 'slower-out.mid'))
  assert [x[1:] for x in a] == [x[1:] for x in b]
  assert max(abs(x[0] - y[0]) for x, y in zip(a, b)) <= 1


def test_wrong_files(finished, tmp_path):
  (tmp_path / 'bad.mid').write_bytes(b'not MIDI')
  piano = note_seq.NoteSequence()
  piano.notes.add(pitch=60, velocity=80, end_time=1)
  note_seq.sequence_proto_to_midi_file(piano, str(tmp_path / 'piano.mid'))
  note_seq.sequence_proto_to_midi_file(on_grid(), str(tmp_path / 'on-grid.mid'))
  flags = [f'--checkpoint_file={finished}', f'--hparams={SMALL}']
  for arguments, word in (
      ([tmp_path / 'bad.mid', tmp_path / 'x.mid'], 'valid MIDI'),
      ([tmp_path / 'piano.mid', tmp_path / 'x.mid'], 'no drums'),
      ([tmp_path / 'missing.mid', tmp_path / 'x.mid'], 'no MIDI file'),
      ([tmp_path / 'on-grid.mid', tmp_path], 'is not a file'),
      ([tmp_path / 'on-grid.mid', tmp_path / 'no' / 'x.mid'], 'no/x.mid'),
      ([tmp_path / 'bad.mid'], 'in.mid and out.mid'),
      ([tmp_path / 'bad.mid', 'x.mid', 'y.mid'], 'y.mid'),
      ([tmp_path / 'bad.mid', 'x.mid', '--config=groovae_4bar'],
       'does not humanize')):
    conftest.check_sentence(
        conftest.script('humanize.py', *arguments, *flags), word)
  assert not (tmp_path / 'x.mid').exists()


def test_like_other_percussion(tmp_path):
  """Which is on channel 10 already, but none of the nine drums."""
  from magenta.models.music_vae import data
  sequence, performer = note_seq.NoteSequence(), types.SimpleNamespace(
      pitch_classes=data.ROLAND_DRUM_PITCH_CLASSES)
  sequence.notes.add(pitch=88, velocity=80, end_time=1, is_drum=True)
  path = str(tmp_path / 'other.mid')
  note_seq.sequence_proto_to_midi_file(sequence, path)
  with pytest.raises(UserError, match='nine drums.*pitches 88 on') as raised:
    humanizer.read_performance(path, performer)
  assert 'move' not in str(raised.value)


def test_a_full_disk_leaves_the_old_file(player, tmp_path, monkeypatch):
  path = tmp_path / 'loop.mid'
  note_seq.sequence_proto_to_midi_file(on_grid(), str(path))
  before = path.read_bytes()
  def full(*_):
    raise OSError(28, 'No space left on device')
  monkeypatch.setattr(midi_file.disk.os, 'replace', full)
  with pytest.raises(OSError, match='loop.mid'):
    humanize_file.humanize_file(str(path), str(path), player)
  assert path.read_bytes() == before and os.listdir(tmp_path) == ['loop.mid']


# The evaluation.


def test_distances_and_means_of_what_is_known():
  """Two bars of one drum, loud on the beat and soft after it."""
  hits = np.zeros([2, 64, 9], bool)
  hits[:, ::2, 0] = True
  velocities = np.where(np.arange(64) % 4 == 0, 100., 40.)[:, np.newaxis] * hits
  microtiming = 0.1 * hits
  more = np.zeros([2, 64, 9, 2, 2])
  more[:, 8, 0, :, 0] = 30, -0.3
  known = feel.Performances(hits, velocities, microtiming, more,
                            np.full([2, 1, 1], 125.), ['a', 'a'])
  real = velocities, microtiming, more
  same = feel.describe(known, real, *real)
  assert same['velocity_error'] == same['timing_distance_ms'] == 0
  assert same['velocity_correlation'] == pytest.approx(1)
  assert same['bar_repetition'] == pytest.approx(1)
  assert same['velocity_range'] == same['timing_range'] == 1
  assert same['auc'] == same['timing_auc'] == 0.5
  assert same['more_strokes'] == pytest.approx(1 / 32)
  assert (same['kick_on_beat'], same['kick_between'], same['loudest']) == (100, 40, 0)
  assert same['latest_off_beat'] == pytest.approx(0.1)
  flat = feel.describe(known, real, 70., 0.)
  assert flat['timing_error_ms'] == pytest.approx(12.5)
  assert flat['timing_distance_ms'] == pytest.approx(12.5)
  assert flat['velocity_error'] == flat['velocity_distance'] == 30
  assert flat['velocity_correlation'] == flat['velocity_range'] == 0
  # The right values at the wrong hits: the distribution is right all the same.
  swapped = feel.describe(known, real, (140 - velocities) * hits, microtiming)
  assert swapped['velocity_distance'] == pytest.approx(0)
  assert swapped['velocity_error'] == 60
  means = feel.means(known, velocities)
  assert (means[::4, 0] == 100).all() and (means[2::4, 0] == 40).all()
  assert (means[1::2, 0] == 70).all()  # Never played: the drum's mean.


def test_offsets_are_milliseconds_late(dataset):
  """Against the MIDI's own times, by upstream's quantizing."""
  config = magenta_setup.get_config(humanizer.CONFIG)
  path = str(dataset / 'drummer-test.tfrecord')
  found = feel.performances(path, config.data_converter)
  import tensorflow.compat.v1 as tf
  sequence = next(
      s for s in map(note_seq.NoteSequence.FromString,
                     tf.python_io.tf_record_iterator(path))
      if s.filename == found.names[0])
  step = 15 / sequence.tempos[0].qpm
  assert found.step_ms[0, 0, 0] == pytest.approx(1000 * step)
  times = [(n.start_time, n.velocity) for n in sequence.notes]
  for step_index, drum in np.argwhere(found.hits[0])[:100]:
    start = (step_index + found.microtiming[0, step_index, drum]) * step
    assert any(abs(start - time) < 1e-4 and velocity == pytest.approx(
        found.velocities[0, step_index, drum]) for time, velocity in times)


def test_evaluation(finished, dataset, tmp_path):
  """Of some performances; test_weights.py has the numbers of all."""
  import tensorflow as tf
  for split in ('', '-test'):
    records = list(tf.data.TFRecordDataset(str(dataset / f'drummer{split}.tfrecord')))
    with tf.io.TFRecordWriter(str(tmp_path / f'few{split}.tfrecord')) as writer:
      for record in records[::max(1, len(records) // 20)]:
        writer.write(record.numpy())
  result = conftest.script(
      'evaluate.py', f'--config={humanizer.CONFIG}', f'--hparams={SMALL}',
      f'--checkpoint_file={finished}', f'--examples_path={tmp_path}/few.tfrecord',
      '--split=test', f'--output_dir={tmp_path}/out')
  assert result.returncode == 0, result.stderr[-3000:]
  for name in (feel.REAL, feel.FLAT, feel.MEAN, feel.MEAN_TAKE, 'take 1', 'take 2'):
    assert f'| {name} |' in result.stdout
  assert sorted(os.listdir(tmp_path / 'out')) == ['evaluation.json', 'evaluation.png']


def test_evaluation_without_data(run_dir, tmp_path):
  conftest.check_sentence(conftest.script(
      'evaluate.py', f'--config={humanizer.CONFIG}', f'--hparams={SMALL}',
      f'--run_dir={run_dir}', f'--examples_path={tmp_path}/x.tfrecord'),
                          'x.tfrecord')


def test_eval_mode(run_dir, dataset):
  result = train(run_dir, dataset / 'drummer-validation.tfrecord', '--mode=eval')
  assert result.returncode == 0, result.stderr[-3000:]
  assert '"reconstruction_loss"' in result.stdout
