"""Sampling, interpolation and reconstruction, by bytes and by numbers."""
import os

import conftest
from drumloops import DrumLoop, DrumModel, UserError, abilities, grid
from drumloops.humanize.take import TakeRequest
from drumloops.midi import drum_maps, loop_file, midi_file, soundfonts
from drumloops.models import latent
from drumloops.output import gallery
from drumloops.requests import LoopRequest
from drumloops.system import magenta_setup
import numpy as np
import pytest
import soundfile
import test_sound


def make(output_dir, run_dir, *flags, **kwargs):
  return conftest.script(
      'sample.py', *conftest.FLAT, f'--run_dir={run_dir}',
      f'--output_dir={output_dir}', *flags, **kwargs)


def onsets(audio, rate):
  """Counts the rises of the loudness by 10 ms frames."""
  frames = audio[:len(audio) // (rate // 100) * (rate // 100)].reshape(
      -1, rate // 100)
  loudness = np.sqrt((frames ** 2).mean(axis=1))
  return int(((loudness[1:] > 2 * loudness[:-1]) &
              (loudness[1:] > 0.02)).sum())


def test_same_seed_same_bytes(trained, tmp_path):
  import soundfile
  for folder, seed in (('a', 3), ('b', 3), ('c', 4)):
    result = make(tmp_path / folder, trained, f'--seed={seed}',
                  '--temperature=1.0', '--num_outputs=2', env=conftest.THREADS)
    assert result.returncode == 0, result.stderr
  names = ['index.html'] + [f'sample-{i}.{kind}' for i in (1, 2)
                            for kind in ('mid', 'png', 'wav')]
  assert sorted(os.listdir(tmp_path / 'a')) == names
  for name in names:
    a, b, c = ((tmp_path / f / name).read_bytes() for f in 'abc')
    assert a == b != c, name
  audio, rate = soundfile.read(tmp_path / 'a' / 'sample-1.wav')
  assert rate == 44100
  assert np.sqrt((audio ** 2).mean()) > 0.01 and np.abs(audio).max() <= 1
  assert onsets(audio, rate) >= 4


@pytest.fixture
def two_loops(dataset):
  """Two MIDI files of the data."""
  paths = sorted(dataset.rglob('*4-4.mid')) or sorted(dataset.rglob('*.mid'))
  return str(paths[0]), str(paths[-1])


def test_interpolate_and_reconstruct(trained, two_loops, tmp_path):
  a, b = two_loops
  result = make(tmp_path, trained, '--mode=interpolate', '--num_outputs=3',
                f'--input_midi_1={a}', f'--input_midi_2={b}')
  assert result.returncode == 0, result.stderr
  assert len(list(tmp_path.glob('interpolate-*.mid'))) == 3
  assert (tmp_path / 'interpolate.png').exists()
  # The most likely drums, which are the same again, or by chance.
  found = []
  for name, flags in (('a', ['--seed=1']), ('b', ['--seed=2', '--num_outputs=1']),
                      ('c', ['--temperature=1', '--num_outputs=2'])):
    result = make(tmp_path / name, trained, '--mode=reconstruct', '--nosound',
                  '--nopictures', f'--input_midi_1={a}', *flags)
    assert result.returncode == 0, result.stderr
    assert ('so one is made' in result.stdout) == (name == 'a')
    found.append([path.read_bytes() for path in sorted(
        (tmp_path / name).glob('reconstruct-*.mid'))])
  assert [len(loops) for loops in found] == [1, 1, 2]
  assert found[0] == found[1] and len({*found[0], *found[2]}) == 3
  assert 'the most likely drums' in (tmp_path / 'a' / 'index.html').read_text('utf-8')


def test_slerp_is_upstreams():
  p0, p1 = np.random.RandomState(0).randn(2, 16)
  omega = np.arccos(p0 @ p1 / np.linalg.norm(p0) / np.linalg.norm(p1))
  for t in (0, 0.3, 1):
    np.testing.assert_allclose(
        latent.slerp(p0, p1, t),
        np.sin((1 - t) * omega) / np.sin(omega) * p0 +
        np.sin(t * omega) / np.sin(omega) * p1)
  np.testing.assert_allclose(latent.slerp(p0, p0, 0.5), p0)


def test_first_slice_is_what_the_converter_makes(dataset, tmp_path):
  """A loop that the converter decodes is encoded as it was."""
  magenta_setup.music_vae()
  import note_seq
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import slice_cache
  config = magenta_setup.get_config(conftest.TINY)
  converter = config.data_converter
  slices = slice_cache.load_slices(
      converter, str(dataset / 'drummer-test.tfrecord'))
  slices = slices[(slices[:, :16] > 0).any(axis=1)][::50]
  inputs, outputs, _, _ = (t.numpy() for t in packed_slices.unpack(
      slices, converter))
  for i, sequence in enumerate(converter.from_tensors(outputs)):
    path = str(tmp_path / 'loop.mid')
    note_seq.sequence_proto_to_midi_file(sequence, path)
    np.testing.assert_array_equal(
        DrumLoop.read(path).encoder_input(converter), inputs[i])
    drawn = np.zeros([64, 9], bool)
    for hit in DrumLoop.of_note_sequence(sequence).hits:
      drawn[hit.step, hit.index] = True
    np.testing.assert_array_equal(drawn, inputs[i, :, :9])


def test_tempo(trained, tmp_path):
  """The same loop, faster: in MIDI, WAV and on the page."""
  import note_seq
  import soundfile
  starts = []
  for qpm, name in ((90, 'sample-1'), (180, 'sample-take2-1')):
    result = make(tmp_path, trained, '--num_outputs=1', f'--qpm={qpm}')
    assert result.returncode == 0, result.stderr
    sequence = note_seq.midi_file_to_note_sequence(
        str(tmp_path / f'{name}.mid'))
    assert sequence.tempos[0].qpm == pytest.approx(qpm, rel=1e-5)
    starts.append(np.array([n.start_time for n in sequence.notes]))
    assert soundfile.info(tmp_path / f'{name}.wav').frames == round(
        16 * 60 / qpm * 44100)
    assert gallery.read_entries(tmp_path / 'index.html')[0][0]['qpm'] == qpm
  np.testing.assert_allclose(starts[0], 2 * starts[1], atol=2e-3)


def test_wrong_midi(trained, tmp_path):
  import note_seq
  bad = tmp_path / 'bad.mid'
  bad.write_bytes(b'not MIDI')
  note_seq.sequence_proto_to_midi_file(
      note_seq.NoteSequence(), str(tmp_path / 'empty.mid'))
  piano = note_seq.NoteSequence()
  piano.notes.add(pitch=60, velocity=80, end_time=1)
  waltz = note_seq.NoteSequence()
  waltz.time_signatures.add(numerator=3, denominator=4)
  waltz.notes.add(pitch=36, velocity=80, end_time=1, is_drum=True, instrument=9)
  for name, sequence in (('piano', piano), ('waltz', waltz)):
    note_seq.sequence_proto_to_midi_file(sequence, str(tmp_path / f'{name}.mid'))
  for name, word in (('bad', 'valid MIDI'), ('missing', 'missing.mid'),
                     ('piano', 'no drums'), ('empty', 'no notes'),
                     ('waltz', '4/4')):
    with pytest.raises(UserError, match=word):
      DrumLoop.read(str(tmp_path / f'{name}.mid'))
  conftest.check_sentence(
      make(tmp_path, trained, '--mode=reconstruct', f'--input_midi_1={bad}'),
      'valid MIDI')
  conftest.check_sentence(make(tmp_path, trained, '--mode=interpolate'),
                          '--input_midi_1 and --input_midi_2')


@pytest.mark.parametrize('flags,word', [
    (['--run_dir=missing'], 'missing'),
    (['--checkpoint_file=missing'], 'missing'),
    (['--run_dir=a', '--checkpoint_file=b'], 'either'),
    (['--config=flat-drums_4bar'], 'no weights'),
    (['--config=groovae_4bar_humanize'], 'humanize.py'),
    (['--run_dir=a', '--temperature=0'], '--temperature'),
    (['--run_dir=a', '--qpm=5'], '--qpm'),
    (['--run_dir=a', '--humanize', '--amount=1.3'], '--amount'),
    (['--run_dir=a', '--timing=0.5'], '--humanize'),
    (['--run_dir=a', '--velocity=0'], '--humanize'),
    (['--run_dir=a', '--humanize', '--velocity=snaer:1'], '--velocity knows no drum'),
    (['--run_dir=a', '--swing=eighths:80'], '--swing takes percent from 50 to 75'),
])
def test_wrong_flags(tmp_path, flags, word):
  conftest.check_sentence(conftest.script(
      'sample.py', f'--output_dir={tmp_path}', *flags), word)


@pytest.mark.parametrize('seed', [-1, 2 ** 32, 1732752000000, 2 ** 80])
def test_seeds_and_takes_that_there_are_not(seed):
  for words, call, kwargs in (
      ('seed', LoopRequest, {'seed': seed}), ('take', TakeRequest, {'take': seed})):
    with pytest.raises(UserError, match=f'{words} must be from 0 to 4294967295'):
      call(**kwargs)


def test_the_last_seed_and_take(trained, tmp_path):
  """By a SoundFont without a hi-hat, which is said."""
  font = test_sound.without_closed_hihat(tmp_path / 'a.sf2')
  result = make(tmp_path, trained, '--num_outputs=1', '--humanize', '--nopictures',
                f'--seed={2 ** 32 - 1}', f'--take={2 ** 32 - 1}', f'--soundfont={font}')
  assert result.returncode == 0, result.stderr
  assert 'a.sf2 has no sound of these drums, so they are silent: ' \
         'closed hi-hat, note 42.\n' in result.stdout


def test_without_fluidsynth(trained, tmp_path):
  """Drums play; for a SoundFont, one sentence says how to get it."""
  (tmp_path / 'fluidsynth.py').write_text('raise ImportError("no library")\n')
  for name, flags in (('out', ()), ('font', (f'--soundfont={soundfonts.TIMGM}',))):
    result = make(tmp_path / name, trained, '--num_outputs=1', *flags,
                  python=conftest.sys.executable, env={'PYTHONPATH': str(tmp_path)})
    assert result.returncode == 0, result.stderr
    assert sorted(os.listdir(tmp_path / name)) == [
        'index.html', 'sample-1.mid', 'sample-1.png', *['sample-1.wav'] * (not flags)]
    assert ('Drums alone play by --soundfont=synth.\n' in result.stdout) == bool(flags)


def test_stems(trained, tmp_path):
  """A WAV file a drum of the loop, beside its own; without sound there are none."""
  result = make(tmp_path, trained, '--num_outputs=2', '--stems', '--nopictures')
  assert result.returncode == 0, result.stderr
  for i in (1, 2):
    file = midi_file.read(str(tmp_path / f'sample-{i}.mid'))
    drums = {drum_maps.drum_of_decoded(hit.pitch)
             for hit in midi_file.find_hits(file.tracks)}
    mix, *stems = (soundfile.read(tmp_path / name, dtype='int16')[0].astype(int)
                   for name in [f'sample-{i}.wav', *(
                       f'sample-{i}-{grid.DRUM_CLASSES[drum].replace(" ", "-")}.wav'
                       for drum in drums)])
    np.testing.assert_array_equal(sum(stems), mix)
  assert f'{len(list(tmp_path.glob("*-?-*.wav")))} stems' in result.stdout
  conftest.check_sentence(
      make(tmp_path, trained, '--num_outputs=1', '--stems', '--nosound'), '--stems')


def test_without_sound_and_pictures(trained, tmp_path):
  """MIDI alone, of the same bytes."""
  for name, flags in (('all', ()), ('midi', ('--nosound', '--nopictures'))):
    result = make(tmp_path / name, trained, '--num_outputs=2', *flags)
    assert result.returncode == 0, result.stderr
  assert sorted(os.listdir(tmp_path / 'midi')) == [
      'index.html', 'sample-1.mid', 'sample-2.mid']
  for i in (1, 2):
    assert (tmp_path / 'midi' / f'sample-{i}.mid').read_bytes() == (
        tmp_path / 'all' / f'sample-{i}.mid').read_bytes()


def test_a_song_is_one_file_of_each_kind(tmp_path):
  flags = ('--nopictures', f'--output_dir={tmp_path}')
  result = conftest.script('sample.py', '--form=verse4,chorus2', *flags)
  assert result.returncode == 0, result.stderr
  assert sorted(os.listdir(tmp_path)) == ['index.html', 'song-1.mid', 'song-1.wav']
  audio, rate = soundfile.read(tmp_path / 'song-1.wav')
  assert len(audio) == 6 * 2 * rate  # Bars of two seconds.
  [entry] = gallery.read_entries(tmp_path / 'index.html')[0]
  assert (entry['bars'], entry['form']) == (6, 'verse4, chorus2')
  for wrong in (['--form=verse'], ['--mode=song'], ['--form=verse4', '--bars=8'],
                ['--form=verse4', '--mode=complete', '--keep=kick']):
    conftest.check_sentence(conftest.script('sample.py', *wrong, *flags), '--form')


def test_humanized(trained, tmp_path):
  """The same pattern, with dynamics and timing, by the weights in weights/."""
  config, hparams = (flag.partition('=')[2] for flag in conftest.FLAT)
  model, found = DrumModel(str(trained), config, hparams), {}
  for name, flags in (
      ('plain', None), ('take 1', {}), ('take 2', {'take': 2}),
      ('nothing of it', {'amount': 0.}), ('velocity', {'timing': 0.})):
    path = conftest.make_loops(
        model, tmp_path / name, count=1, take=flags)['midi'][0]
    file = midi_file.read(path)
    found[name] = sorted((hit.on.data[1], hit.on.tick / file.ticks_per_step,
                          hit.on.data[2]) for hit in midi_file.find_hits(file.tracks))
    [entry] = gallery.read_entries(tmp_path / name / 'index.html')[0]
    is_played = name not in ('plain', 'nothing of it')
    assert (entry['humanized'], entry['take']) == (
        is_played, flags.get('take', 1) if is_played else None)
  plain = found['plain']
  for hits in found.values():
    assert sorted((pitch, grid.nearest_step(start)) for pitch, start, _ in hits) == [
        (pitch, start) for pitch, start, _ in plain]
  assert len({velocity for _, _, velocity in plain}) == 1
  for take in ('take 1', 'take 2'):
    assert len({velocity for _, _, velocity in found[take]}) > 10
    assert np.std([start - round(start) for _, start, _ in found[take]]) > 0.01
  assert found['take 1'] != found['take 2']
  assert found['nothing of it'] == plain
  assert [hit[:2] for hit in found['velocity']] == [hit[:2] for hit in plain]
  assert len({velocity for _, _, velocity in found['velocity']}) > 10


def test_swing(trained, tmp_path):
  """The same pattern with its second sixteenths late, humanized or not."""
  def made(name, *flags):
    result = make(tmp_path / name, trained, '--num_outputs=1', '--temperature=2',
                  '--nosound', '--nopictures', *flags)
    assert result.returncode == 0, result.stderr
    [entry] = gallery.read_entries(tmp_path / name / 'index.html')[0]
    file = midi_file.read(str(tmp_path / name / 'sample-1.mid'))
    return entry, np.array(sorted(
        (hit.on.data[1], hit.on.tick / file.ticks_per_step, hit.on.data[2])
        for hit in midi_file.find_hits(file.tracks)))
  pitches, steps, velocities = made('plain')[1].T
  entry, swung = made('swung', '--swing=66')
  assert (entry['swing'], entry['humanized']) == ('66', False)
  np.testing.assert_allclose(swung, np.array(
      [pitches, steps + 0.32 * (steps % 2), velocities]).T, atol=0.01)
  entry, played = made('played', '--swing=66', '--humanize', '--velocity=snare:0',
                       '--ornaments=0')
  assert (entry['swing'], entry['velocity']) == ('66', '1,snare:0')
  np.testing.assert_array_equal(np.floor(played[:, 1] + 0.5), steps)
  is_snare = np.array([drum_maps.drum_of_decoded(int(pitch)) == 1 for pitch in pitches])
  assert is_snare.any() and (played[is_snare, 2] == velocities[is_snare]).all()
  assert len(set(played[~is_snare, 2])) > 10
  is_late = steps % 2 > 0
  late = [np.median((played[:, 1] - steps)[rows]) for rows in (is_late, ~is_late)]
  assert late[0] - late[1] == pytest.approx(0.32, abs=0.1)


def test_trained_model_in_a_users_own_code(trained, tmp_path):
  """Unmodified user code, as in Magenta's own Colab notebook."""
  code = '''
import sys
from magenta.models.music_vae import configs
from magenta.models.music_vae.trained_model import TrainedModel
import note_seq
config = configs.CONFIG_MAP['flat-drums_4bar']
config.hparams.parse('enc_rnn_size=[16],dec_rnn_size=[16],z_size=8')
model = TrainedModel(config, batch_size=2, checkpoint_dir_or_path=sys.argv[1])
for i, ns in enumerate(model.sample(n=2, length=64, temperature=0.5)):
  note_seq.sequence_proto_to_midi_file(ns, '%s/%d.mid' % (sys.argv[2], i))
'''
  result = conftest.code(code, trained / 'train', tmp_path)
  assert result.returncode == 0, result.stderr[-3000:]
  assert sorted(os.listdir(tmp_path)) == ['0.mid', '1.mid']


@pytest.mark.parametrize('inside', ['', 'groovae/train/'])
def test_checkpoint_in_a_tar_file(tmp_path, inside):
  """As Magenta publishes its own; the same bytes as from the folder."""
  import tarfile
  weights = conftest.ROOT / 'weights' / 'hierdec-drums_4bar'
  with tarfile.open(tmp_path / 'mine.tar', 'w') as tar:
    for path in weights.glob('model.ckpt-*'):
      tar.add(path, inside + path.name)
  made = []
  for checkpoint in (tmp_path / 'mine.tar', weights):
    result = conftest.script(
        'sample.py', f'--checkpoint_file={checkpoint}', '--num_outputs=1',
        f'--output_dir={tmp_path}/out')
    assert result.returncode == 0, result.stderr[-3000:]
    made.append((tmp_path / 'out' / 'sample-1.mid').read_bytes())
  assert made[0] == made[1]
  for content, words in ((b'', 'no checkpoint'), (None, 'no checkpoint in')):
    if content is None:
      with tarfile.open(tmp_path / 'bad.tar', 'w'):
        pass
    else:
      (tmp_path / 'bad.tar').write_bytes(content)
    conftest.check_sentence(conftest.script(
        'sample.py', f'--checkpoint_file={tmp_path}/bad.tar',
        f'--output_dir={tmp_path}/out'), words)


def test_keras_3_in_the_environment(tmp_path):
  result = conftest.script(
      'sample.py', '--num_outputs=1', f'--output_dir={tmp_path}',
      python=conftest.sys.executable, env={'TF_USE_LEGACY_KERAS': '0'})
  assert result.returncode == 0, result.stderr[-3000:]
  code = """
import sys; sys.path.insert(0, sys.argv[1])
import tensorflow as tf
tf.keras.Model
from drumloops import errors
from drumloops.system import magenta_setup
try:
  magenta_setup.music_vae()
except errors.UserError as e:
  print(e)
"""
  result = conftest.run(conftest.sys.executable, '-c', code, conftest.SCRIPTS,
                        env={'TF_USE_LEGACY_KERAS': '0'})
  assert 'TF_USE_LEGACY_KERAS' in result.stdout, result.stderr[-3000:]


def test_early_hits_are_played_with_the_loop():
  """Only those before it; nothing is shifted, and no hit is lost to velocity 0."""
  import note_seq
  sequence = note_seq.NoteSequence()
  sequence.tempos.add(qpm=120)
  for start, velocity in ((-0.03, 90), (0.47, 0), (7.99, 80)):
    sequence.notes.add(pitch=36, velocity=velocity, is_drum=True,
                       start_time=start, end_time=start + 0.1)
  loop = DrumLoop.of_note_sequence(sequence, 60, 4)
  [hits] = loop_file.deliver([loop.to_note_sequence()])
  assert [(round(start, 2), velocity) for _, start, velocity in hits] == [
      (0, 90), (3.76, 1), (63.92, 80)]


@pytest.mark.parametrize('name,bars', [('hierdec-drums_4bar', 4),
                                       ('cat-drums_2bar_small', 2),
                                       ('groovae_4bar', 4), ('flat-mel_16bar', 16)])
def test_loops_are_as_long_as_the_configs(name, bars):
  import note_seq
  loop = DrumLoop.of_note_sequence(note_seq.NoteSequence(), 100, abilities.of(
      magenta_setup.get_config(name)).bars)
  assert loop_file.bars_of(loop.to_note_sequence()) == loop.bars == bars
