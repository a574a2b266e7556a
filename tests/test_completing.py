"""Completing: what is kept is kept exactly, in the file; what can't be, is said."""
import conftest
from drumloops import DrumLoop, DrumModel, Humanizer, UserError, grid, model
from drumloops.data import patterns
from drumloops.midi import drum_maps, loop_file, midi_file, swing
from drumloops.models import completion, fills, sliders, variation
from drumloops.models.constraints import Constraints, roll
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
from magenta_patches.added.drum_classes import CRASH, KICK, LOW_TOM
import note_seq
import numpy as np
import pytest

FUNK = [(36, 0), (38, 4), (36, 10), (38, 12)]  # Pitches at sixteenths of a bar.


@pytest.fixture(scope='module')
def weights():
  """The project's own config and checkpoint."""
  config = magenta_setup.get_config(magenta_setup.DEFAULT_CONFIG)
  return config, checkpoint_files.find_checkpoint(
      config_name=magenta_setup.DEFAULT_CONFIG)


@pytest.fixture
def mine(tmp_path):
  """Writes a musician's file: bars of hits, late by a tenth of a step, at 93."""
  def write(bars=4, hits=FUNK, name='mine.mid', velocity=33):
    sequence = note_seq.NoteSequence(ticks_per_quarter=480)
    sequence.tempos.add(qpm=93)
    step = 60 / 93 / 4
    for bar in range(bars):
      for i, (pitch, at) in enumerate(hits):
        start = (16 * bar + at + 0.1) * step
        sequence.notes.add(pitch=pitch, velocity=velocity + i, is_drum=True,
                           start_time=start, end_time=start + step)
    note_seq.sequence_proto_to_midi_file(sequence, str(tmp_path / name))
    return str(tmp_path / name)
  return write


def read(path, bars):
  """Returns [(drum, start in steps, velocity)] of a written file."""
  file = midi_file.read(path)
  assert file.last_tick == bars * 4 * file.ticks_per_quarter
  return [(drum_maps.drum_of_decoded(hit.on.data[1]), hit.on.tick / file.ticks_per_step,
           hit.on.data[2]) for hit in midi_file.find_hits(file.tracks)]


def make(path, tmp_path, *others, mode='complete', **options):
  paths = conftest.make_loops(
      DrumModel(), tmp_path / 'out', path, *others, mode=mode, **options)
  return [read(p, options.get('bars') or 4) for p in paths['midi']], paths


def complete(path, bars=4, constraints=Constraints(), **options):
  """Returns the loop of a file as it is completed, and what is said of it."""
  loop = DrumLoop.read(path, bars, **options)
  fitted = model.with_length(loop, bars, constraints)
  return fitted, ' '.join([*loop.left_out, *fitted.remarks])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
  monkeypatch.setattr(completion, 'PARTICLES', 8)


def test_1000_requests_keep_what_they_keep(weights):
  """Any mask, empty and full ones too; impossible ones are a sentence."""
  rng = np.random.RandomState(0)
  allowed, requests, impossible = [], [], 0
  while len(allowed) < 1000:
    loop = rng.randint(512, size=64) * (rng.random_sample(64) < rng.rand())
    drums = np.flatnonzero(rng.random_sample(9) < rng.rand())
    constraints = Constraints(
        tuple(drums), tuple(np.flatnonzero(rng.random_sample(4) < 0.3)),
        rng.rand() < 0.3, tuple(np.flatnonzero(rng.random_sample(9) < 0.2)))
    try:
      allowed.append(constraints.allowed(loop))
      requests.append((loop, constraints))
    except UserError as e:
      assert 'no drum is left' in str(e)
      impossible += 1
  assert impossible > 5
  done = completion.Completer(*weights).complete(np.array(allowed), 1.)
  for loop, (original, constraints) in zip(done, requests):
    bars = np.repeat(np.isin(np.arange(4), constraints.keep_bars), 16)
    np.testing.assert_array_equal(loop[bars], original[bars])
    before, after = patterns.bits(original), patterns.bits(loop)
    np.testing.assert_array_equal(after[:, list(constraints.keep)],
                                  before[:, list(constraints.keep)])
    silent = [d for d in constraints.without if d not in constraints.keep]
    assert not after[~bars][:, silent].any()
    if constraints.rhythm:
      np.testing.assert_array_equal(loop > 0, original > 0)


def test_seed_decides(weights):
  allowed = np.ones([2, 64, 512], bool)
  a, b, c = (completion.Completer(*weights, seed=seed).complete(allowed, 0.6)
             for seed in (1, 1, 2))
  np.testing.assert_array_equal(a, b)
  assert (a != c).any()


def test_kept_hits_keep_their_velocity_and_timing(mine, tmp_path):
  loops, paths = make(mine(), tmp_path, count=2, take={},
                      constraints=Constraints.read(keep='kick,snare'))
  for found in loops:
    own = [(drum_maps.drum_of_decoded(pitch), 16 * bar + at + 0.1, 33 + i)
           for bar in range(4) for i, (pitch, at) in enumerate(FUNK)]
    kept = [hit for hit in found if hit[0] in (0, 1)]
    assert len(kept) == len(own)
    for (drum, start, velocity), expected in zip(kept, own):
      assert (drum, velocity) == (expected[0], expected[2])
      assert start == pytest.approx(expected[1], abs=1 / 120)
    assert len(found) > len(kept)  # There is something around it.


def test_at_the_files_own_tempo(mine, tmp_path):
  _, paths = make(mine(), tmp_path, count=1,
                  constraints=Constraints.read(keep='kick'))
  assert midi_file.tempo_at(midi_file.read(paths['midi'][0]).tracks, 0) == pytest.approx(
      93, abs=0.01)


def test_a_short_file_repeats_and_says_so(mine, tmp_path, capsys):
  loops, _ = make(mine(bars=2), tmp_path, count=1, bars=8,
                  constraints=Constraints.read(keep='kick'))
  assert 'gives 2 bars, which repeat: bar 3 is bar 1 again' in capsys.readouterr().out
  kicks = [round(start) for drum, start, _ in loops[0] if drum == 0]
  assert kicks == [16 * bar + at for bar in range(8) for at in (0, 10)]


def kicks(loop):
  return [round(start, 1) for drum, start, _ in loop if drum == 0]


def end_at(path, quarters):
  """Lets a file end so many quarters after its beginning."""
  file = midi_file.read(path)
  for track in file.tracks:
    track[-1].tick = quarters * file.ticks_per_quarter
  midi_file.write(midi_file.to_bytes(file), path)


def test_a_rest_at_the_end_is_kept(mine, tmp_path, capsys):
  """The file's length is its tracks', not that of what is hit in it."""
  path = mine(bars=1)
  end_at(path, 16)
  [loop], _ = make(path, tmp_path, count=1, bars=8,
                   constraints=Constraints.read(keep='kick'))
  assert kicks(loop) == [0.1, 10.1, 64.1, 74.1]
  assert 'gives 4 bars, which repeat: bar 5 is bar 1' in capsys.readouterr().out


@pytest.mark.parametrize('own,bars', [(1, 4), (3, 4), (3, 8), (5, 8), (6, 8)])
def test_a_file_of_any_length_begins_again(mine, own, bars):
  """As it is: what is early for its next bar, but not for one after the loop."""
  path = mine(bars=own, hits=[(36, 0), (38, 15.7)])
  file = midi_file.read(path)
  for i, hit in enumerate(midi_file.find_hits(file.tracks)):
    hit.on.data = hit.on.data[:2] + bytes([i + 1])
  midi_file.write(midi_file.to_bytes(file), path)
  found, said = complete(path, bars, Constraints.read(keep='kick'))
  every = [(16 * bar + at + 0.1, 2 * (bar % own) + i + 1)
           for bar in range(bars) for i, at in enumerate((0, 15.7))]
  assert [(pytest.approx(hit.start, abs=0.01), hit.velocity) for hit in
          found.hits] == every[:2 * bars - bool(bars % own)]
  assert f'gives {own} bar{"s" * (own > 1)}, which repeat' in said
  with pytest.raises(UserError, match=f'gives {own} bar.* goes up to {own}'):
    complete(path, bars, Constraints.read(keep='', keep_bars='1-8'))
  assert 'after that there is silence' in complete(path, bars)[1]


@pytest.mark.parametrize('own,first_bar', [(4, 0), (8, 0), (8, 5)])
def test_32nds_are_in_the_bars_in_which_they_lie(
    weights, mine, own, first_bar):
  """The last one too, though it is nearer to the sixteenth after it."""
  path = mine(bars=own, hits=[(36, at / 2 - 0.1) for at in range(32)])
  found, said = complete(path, first_bar=first_bar)
  assert [round(hit.start, 1) for hit in found.hits] == [at / 2 for at in range(128)]
  assert ('the 128 hits before them are not' in said) == (first_bar == 5)
  assert ('the 128 hits after them are not' in said) == (own == 8 and not first_bar)
  assert (found.pattern() == 1).all() and found.encoder_input(
      weights[0].data_converter).shape == (64, 10)


def test_the_last_32nd_is_in_the_loop(mine, tmp_path):
  [loop], _ = make(mine(hits=[(36, at / 2 - 0.1) for at in range(32)]), tmp_path,
                       count=1, constraints=Constraints.read(keep='kick'))
  assert kicks(loop) == [at / 2 for at in range(128)]


def test_bars_after_the_kept_ones(mine, tmp_path):
  """Two bars are given, six are played to them, in one file of eight."""
  loops, _ = make(mine(bars=2), tmp_path, count=1, bars=8,
                  constraints=Constraints.read(keep_bars='1-2'))
  first = [(d, round(s)) for d, s, _ in loops[0] if s < 31.5]
  assert sorted(first) == sorted(
      (drum_maps.drum_of_decoded(p), 16 * b + at) for b in (0, 1) for p, at in FUNK)
  bars = {int(start // 16) for _, start, _ in loops[0]}
  assert bars >= set(range(2, 8)) - {7} and max(bars) < 8


def test_vary_from_the_loop_itself_to_others(mine, tmp_path):
  path = mine()
  def hits(amount):
    loops, _ = make(path, tmp_path, mode='vary', amount=amount, count=4)
    return loops
  own = read_as_is = [
      (drum_maps.drum_of_decoded(p), 16 * bar + at, 33 + i)
      for bar in range(4) for i, (p, at) in enumerate(FUNK)]
  assert all([(d, round(s), v) for d, s, v in found] == own for found in hits(0))
  def changed(amount):
    cells = {(d, s) for d, s, _ in read_as_is}
    return np.mean([len(cells ^ {(d, round(s)) for d, s, _ in found})
                    for found in hits(amount)])
  assert 0 < changed(0.1) < changed(1.)
  text = (tmp_path / 'out' / 'index.html').read_text()
  for amount in ('0', '0.1', '1'):
    assert f'vary mine.mid · amount {amount} · seed' in text


def test_every_mode_goes_on(mine, tmp_path):
  for mode, inputs in (('sample', 0), ('reconstruct', 1), ('interpolate', 2)):
    paths = conftest.make_loops(
        DrumModel(), tmp_path / mode,
        *[mine(), mine(name='b.mid', hits=FUNK[:2])][:inputs], mode=mode, count=2,
        bars=6)
    for path in paths['midi']:
      found = read(path, 6)
      assert any(start >= 64 for _, start, _ in found)


def test_interpolation_ends_at_the_loops(weights):
  """Hit for hit, whatever their latents leave out."""
  rng = np.random.RandomState(0)
  loops = rng.randint(512, size=[2, 64])  # As no drummer plays.
  path = variation.interpolate(variation.Varier(*weights), *loops, 5, 0.6, 0)
  np.testing.assert_array_equal(path[[0, -1]], loops)


def test_noise_is_gumbel_noise():
  """Of loops as the model would sample them; mixed, too."""
  rng = np.random.RandomState(0)
  logits = rng.standard_normal((20000, 4))
  drawn = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)
  noise = variation.noise_of(logits, drawn, rng)
  np.testing.assert_array_equal(np.argmax(logits + noise, axis=1), drawn)
  for values in (noise, variation.mix_noise(noise, rng.gumbel(size=noise.shape),
                                          0.4)):
    assert values.mean() == pytest.approx(np.euler_gamma, abs=0.02)
    assert values.std() == pytest.approx(np.pi / np.sqrt(6), abs=0.02)


def test_input_of_the_encoder():
  loop = np.array([1, 0, 6, 3] * 16)
  def encoder_input(**constraints):
    return roll(Constraints(**constraints).allowed(loop))
  np.testing.assert_array_equal(encoder_input(keep_bars=range(4))[:4, :4], [
      [1, 0, 0, 0], [0, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0]])
  np.testing.assert_array_equal(encoder_input(keep_bars=range(4))[:4, 9], [0, 1, 0, 0])
  np.testing.assert_array_equal(encoder_input(keep=(0,))[:4, [0, 1, 9]], [
      [1, .5, 0], [0, .5, .5], [0, .5, .5], [1, .5, 0]])
  np.testing.assert_array_equal(encoder_input(rhythm=True)[:4, [0, 9]], [
      [.5, 0], [0, 1], [.5, 0], [.5, 0]])
  assert (encoder_input() == .5).all()


def test_hidden_in_training_as_in_completing():
  """What `hide` makes of loops is what `roll` makes of some Constraints's mask."""
  import tensorflow as tf
  from magenta.models.music_vae import slice_batches
  magenta_setup.music_vae()
  rng = np.random.RandomState(0)
  loops = rng.randint(512, size=[200, 64]) * (rng.random_sample([200, 64]) < 0.6)
  bits = patterns.bits(loops.astype(int))
  rolls = np.append(bits, ~bits.any(axis=-1, keepdims=True), axis=-1)
  tf.random.set_seed(0)
  heard = slice_batches.hide(tf.constant(rolls)).numpy()
  known = heard != 0.5
  np.testing.assert_array_equal(heard[known], rolls[known])
  assert 0.2 < known.mean() < 0.8
  # That no drum plays is known just where it follows, or in a rhythm.
  follows = known[..., :9].all(-1) | (known[..., :9] & bits).any(-1)
  is_rhythm = known[..., 9].all(axis=1)
  np.testing.assert_array_equal(known[..., 9][~is_rhythm], follows[~is_rhythm])
  assert 0.1 < is_rhythm.mean() < 0.4


def test_mixed_loops_are_of_the_batchs_bars_and_drums():
  import tensorflow as tf
  from magenta.models.music_vae import slice_batches
  magenta_setup.music_vae()
  loops = np.repeat(np.arange(1, 65)[:, np.newaxis], 64, axis=1)
  tf.random.set_seed(0)
  np.testing.assert_array_equal(
      slice_batches.mix(tf.constant(loops, tf.int32), 0.), loops)
  mixed = slice_batches.mix(tf.constant(loops, tf.int32), 1.).numpy()
  assert mixed.min() >= 0 and mixed.max() < 128 and (mixed != loops).mean() > 0.5


def test_a_fill_is_in_its_bar_around_what_is_kept(mine):
  """All else is as it was, but for a crash after it; a short file repeats."""
  loop, own = DrumLoop.read(mine(bars=2)), DrumModel()
  [filled] = own.complete(loop, fill=[4, 7], bars=8, seed=1)
  before = np.tile(loop.pattern()[:32], 4).reshape(8, -1)
  after = filled.pattern().reshape(8, -1)
  assert (after != before).any(axis=1)[[3, 6]].all()
  after[[4, 7], 0] &= ~(1 << CRASH)
  np.testing.assert_array_equal(np.delete(after, [3, 6], axis=0),
                                np.delete(before, [3, 6], axis=0))
  assert min(sliders.fills(after[[3, 6]])) > max(sliders.fills(before))
  [filled] = own.complete(loop, keep='kick', without='crash,toms', fill=4, bars=8)
  drums = patterns.bits(filled.pattern())
  np.testing.assert_array_equal(drums[:, KICK], patterns.bits(before.ravel())[:, KICK])
  assert not drums[:, [CRASH, LOW_TOM]].any()


def test_every_fourth_bar_or_these():
  assert fills.bars_of(fills.read(4), 16) == (3, 7, 11, 15)
  assert fills.bars_of(fills.read('4,6'), 16) == (3, 5)
  assert fills.bars_of(fills.read([2]), 5) == (1, 3)
  assert fills.bars_of(fills.read(''), 4) == ()


@pytest.mark.parametrize('flags,words', [
    (('--mode=complete', '--keep=kick'), '--input_midi_1'),
    (('--mode=complete', '--input_midi_1=MINE'), '--keep=kick,snare'),
    (('--mode=complete', '--input_midi_1=MINE', '--keep=cowbell'), "'cowbell'"),
    (('--mode=complete', '--input_midi_1=MINE', '--keep_bars=0'), "not '0'"),
    (('--mode=complete', '--input_midi_1=MINE', '--keep_bars=5'), 'goes up to 4'),
    (('--mode=complete', '--input_midi_1=MINE', '--keep_bars=5', '--bars=8'),
     'mine.mid gives 4 bars, so --keep_bars goes up to 4'),
    (('--drum_channel=2',), '--first_bar, --drum_channel and --map say how a MIDI'),
    (('--mode=complete', '--input_midi_1=MINE', '--rhythm', '--keep=toms',
      '--without=kick,snare,cymbals'), 'no drum is left'),
    (('--mode=complete', '--input_midi_1=MINE', '--keep=hi-hat',
      '--without=cymbals'), 'both in --keep and in --without'),
    (('--mode=complete', '--input_midi_1=MINE', '--keep_bars=3-1'), '1-3'),
    (('--bars=0',), 'from 1 to 64'),
    (('--keep=kick',), 'goes with --mode=complete'),
    (('--fill=5',), '--fill goes up to 4'),
    (('--fill=x',), "not 'x'"),
    (('--fill=4', '--mode=interpolate', '--input_midi_1=MINE',
      '--input_midi_2=MINE'), '--fill goes with'),
    (('--mode=complete', '--input_midi_1=MINE', '--keep_bars=1,2', '--fill=2'),
     'Bar 2 is both in --keep_bars and in --fill'),
    (('--mode=complete', '--input_midi_1=MINE', '--keep_bars=4', '--fill=2'),
     'Bar 4 is both in --keep_bars and in --fill'),
    (('--mode=vary', '--input_midi_1=MINE', '--amount=1.5'), '--amount'),
    (('--bars=3',), 'from 4 to 64'),
    (('--mode=vary', '--input_midi_1=MINE', '--style=funk'), '--style goes with'),
])
def test_wrong_requests(mine, tmp_path, flags, words):
  conftest.check_sentence(conftest.script(
      'sample.py', *(f.replace('MINE', mine()) for f in flags),
      f'--output_dir={tmp_path / "out"}'), words)
  assert not (tmp_path / 'out').exists()


def test_given_back_on_the_users_own_pitch(mine, tmp_path):
  """General MIDI's other kick, 35, stays what it is."""
  path = mine(hits=[(35, 0), (38, 8)])
  paths = make(path, tmp_path, count=1, constraints=Constraints.read(
      keep='kick', keep_bars='1-2', without='toms'))[1]
  with open(paths['page'], encoding='utf-8') as f:
    assert ('complete mine.mid · kick and bars 1, 2 kept, without low tom, mid tom, '
            'high tom') in f.read()
  pitches = {hit.on.data[1] for hit in midi_file.find_hits(
      midi_file.read(paths['midi'][0]).tracks)}
  assert 35 in pitches and 36 not in pitches


def test_what_is_added_has_the_files_notes(mine, tmp_path):
  """The most frequent of a drum's; a cowbell, though counted as a snare, is none."""
  path = mine(hits=[(35, 0), (40, 4), (35, 6), (36, 8), (40, 12), (22, 2), (44, 3),
                    *[(56, at) for at in range(0, 16, 3)]])
  straight = mine(name='b.mid', hits=FUNK)
  def notes(*others, **options):
    paths = make(path, tmp_path, *others, pictures=True, count=3, **options)[1]
    return [{hit.on.data[1] for hit in midi_file.find_hits(midi_file.read(p).tracks)}
            for p in paths['midi']]
  bars = Constraints.read(keep_bars='1')
  for made in (notes(constraints=bars, bars=6), notes(constraints=bars, take={}),
               notes(mode='vary', amount=1.)):
    found = set.union(*made)
    assert {35, 40} <= found and not {37, 38, 58, 22} & found and 42 in found
  first, nearer, last = notes(straight, mode='interpolate')
  assert {35, 40} <= first and {36, 38} == last
  assert not {36, 38} & (first | nearer)


def test_swing_is_found():
  """Between straight and triplets, by people and by machines; not where none is."""
  rng = np.random.RandomState(0)
  beats = np.arange(0, 64, 4)
  def find(starts, noise=0, graces=()):
    hits = [grid.hit_at(1, start + noise * rng.standard_normal(), velocity, 38)
            for velocity, part in ((90, starts), (30, graces)) for start in part]
    return swing.find_swing(hits)
  for unit, places in (
      ('eighths', lambda share: [0, 4 * share]),
      ('sixteenths', lambda share: [0, 2 * share, 2, 2 + 2 * share])):
    for share in (0.54, 0.58, 0.6, 0.62, 0.64, 2 / 3, 0.68):
      for noise in (0, 0.06) if share > 0.55 else (0,):
        starts = np.add.outer(beats, places(share)).ravel()
        found = find(0.1 + starts, noise)
        assert found.unit == unit and found.share == pytest.approx(share, abs=0.03)
  eighths = np.arange(32) * 2
  assert find(eighths, graces=eighths - 0.3) is None
  for starts in ([], [2.67], beats, eighths, np.arange(64), np.arange(128) / 2,
                 np.arange(64) + 0.3, [*range(60), 60, 61.33, 62.67]):
    assert find(starts) is None
  for starts in [eighths, np.arange(64), np.arange(64) + 0.1] * 20:
    assert find(starts, 0.1) is None
  # A fill is no swing; a few swung hits are, where they are all over the file.
  for starts in ([*eighths, *60 + np.arange(6) * 4 / 6],
                 *([*beats, *begin + np.arange(0, 6, 4 / parts)]
                   for begin in (56, 58) for parts in (3, 5))):
    assert find(starts) is None
  for starts in ([0, 4, 4 + 8 / 3, 8, 12, 12 + 8 / 3],  # A bar of jazz on a ride.
                 [*eighths, *np.arange(4) * 16 + 7 + 1 / 3]):
    assert find(starts) is not None


@pytest.mark.parametrize('between,expected', [
    ([8 / 3], [0, 4 / 3, 8 / 3]), ([1.2, 2, 3.2], [0, 1.2, 2, 3.2])])
def test_what_is_added_swings(mine, tmp_path, capsys, between, expected):
  """In every mode, in bars after the fourth too; given hits are as they were."""
  hits = [(51, 4 * beat + at) for beat in range(4) for at in (0, *between)]
  path = mine(hits=hits + [(36, 0), (38, 4), (38, 12)])
  own = {(8, 16 * bar + at) for bar in range(4) for _, at in hits}
  def away(*others, **options):
    made = make(path, tmp_path, *others, count=2, pictures=False, sounds=False,
                **options)[0]
    assert capsys.readouterr().out.count('mine.mid swings (') == 1
    added = np.array([start for loop in made for drum, start, _ in loop if not any(
        drum == d and abs(start - at - 0.1) < 0.01 for d, at in own)])
    return np.abs((added % 4)[:, np.newaxis] - [*expected, 4]).min(axis=1)
  constraints = Constraints.read(keep='ride')
  assert away(constraints=constraints, bars=6).max() < 0.11  # It is late by 0.1.
  assert away(mode='vary', amount=1.).max() < 0.11
  assert away(mode='reconstruct', temperature=1.).max() < 0.01
  other = mine(name='b.mid', hits=hits)
  assert away(other, mode='interpolate').max() < 0.01
  played = away(constraints=constraints, take={})
  assert 0.02 < np.median(played) < 0.25
  # A straight hit of a kept drum stays the one that it was.
  path, constraints = mine(hits=[*hits, (36, 6)]), Constraints.read(keep='kick')
  for loop in make(path, tmp_path, count=2, constraints=constraints)[0]:
    assert [round(start, 1) for drum, start, _ in loop if drum == 0] == [
        16 * bar + 6.1 for bar in range(4)]


def test_another_swing_than_the_files(mine, tmp_path):
  """What is added has it, what is kept stays, and a sentence names the way."""
  hits = [(51, 4 * beat + at) for beat in range(4) for at in (0, 1.2, 2, 3.2)]
  path = mine(hits=hits + [(36, 0), (38, 4), (38, 12)])
  given = DrumLoop.read(path)
  for take in (False, True):
    [made] = DrumModel().complete(given, keep='ride')
    assert made.remarks[-1].endswith('unless swing asks for another swing.')
    [made] = Humanizer().play(made, swing=70) if take else [made.swung(70)]
    made.save(str(tmp_path / 'out.mid'))
    found = read(str(tmp_path / 'out.mid'), 4)
    assert [start for drum, start, _ in found if drum == 8] == pytest.approx(
        [16 * bar + at + 0.1 for bar in range(4) for _, at in hits], abs=0.01)
    added = np.array([start for drum, start, _ in found if drum != 8])
    away, steps = added - np.floor(added + 0.5), np.floor(added + 0.5)
    late, on_beats = away[steps % 2 == 1], away[steps % 2 == 0]
    assert len(late) > 3
    if take:  # A drummer is early, or late, on the beats too.
      assert np.median(late) - np.median(on_beats) == pytest.approx(0.4, abs=0.1)
    else:
      np.testing.assert_allclose(late, 0.4, atol=0.01)


def test_straight_hits_of_a_swinging_file_stay(mine, tmp_path):
  """One drum at both sixteenths that a shuffle plays at one place."""
  rides = [2, *(4 * beat + at for beat in range(4) for at in (0, 8 / 3))]
  path, other = (mine(name=name, hits=[(51, at) for at in rides])
                 for name in ('a.mid', 'b.mid'))
  for loop in make(path, tmp_path, other, mode='interpolate', count=2,
                   pictures=False, sounds=False)[0]:
    assert sorted(start for _, start, _ in loop) == pytest.approx(
        sorted(16 * bar + at for bar in range(4) for at in rides), abs=0.03)


def test_a_new_seed_is_as_a_new_graph(weights):
  """Twice, whatever was completed before; seed 0 is a special case of TensorFlow's."""
  allowed = np.ones([2, 64, 512], bool)
  used = completion.Completer(*weights, seed=1)
  for seed in (5, 0):
    new = completion.Completer(*weights, seed=seed)
    expected = [new.complete(allowed, 0.6) for _ in range(2)]
    for _ in range(2):
      used.reseed(seed)
      np.testing.assert_array_equal(
          [used.complete(allowed, 0.6) for _ in range(2)], expected)


def test_fine_tuning_changes_the_encoder_only(weights):
  from drumloops.models import encoder_finetuning
  config, checkpoint = weights
  slices = np.random.RandomState(0).randint(512, size=[200, 64])
  changed = encoder_finetuning.finetune(config, checkpoint, slices, 3)
  assert changed and all(name.startswith('encoder/') for name in changed)
  again = encoder_finetuning.finetune(config, checkpoint, slices, 3)
  for name, value in changed.items():
    np.testing.assert_array_equal(value, again[name])


def test_loops_are_longer_in_the_file_and_sound(mine, tmp_path):
  import soundfile
  _, paths = make(mine(), tmp_path, count=1, bars=8, qpm=120,
                  constraints=Constraints.read(keep='kick'))
  if paths['wav']:
    audio, rate = soundfile.read(paths['wav'][0])
    assert len(audio) / rate == pytest.approx(16, abs=0.01)
  assert loop_file.TICKS_PER_QUARTER == midi_file.read(paths['midi'][0]).ticks_per_quarter
