"""Users' files: every hit is read, in beats, and nothing else is touched."""
import os
import struct

import conftest
from drumloops import DrumLoop, Humanizer, UserError, grid
from drumloops.humanize import humanize_file, take
from drumloops.midi import drum_maps, input_loop, midi_file
from drumloops.output import gallery
from drumloops.system import magenta_setup
import numpy as np
import pytest

KICK, SNARE, HIHAT, LOW_TOM = 36, 38, 42, 43


@pytest.fixture(autouse=True)
def magenta():
  magenta_setup.music_vae()


def cells_of(hits):
  """[(step, pitch)] of Hits."""
  return [(hit.step, hit.pitch) for hit in hits]


def meta(kind, content):
  return bytes([midi_file.META, kind]) + midi_file.write_number(len(content)) + content


def tempo(qpm):
  return meta(midi_file.TEMPO, round(60e6 / qpm).to_bytes(3, 'big'))


def time_signature(numerator, power):
  return meta(midi_file.TIME_SIGNATURE, bytes([numerator, power, 24, 8]))


def groove(bars=4):
  """[(step, pitch)] whose every bar is another."""
  hits = [(s, HIHAT) for s in range(0, 16 * bars, 2)]
  hits += [(s + 4, SNARE) for s in range(0, 16 * bars, 8)]
  for bar in range(bars):
    hits += [(16 * bar + s, KICK) for s in ((0, 8), (0, 7, 10), (0, 3, 8),
                                            (0, 6, 10, 11))[bar % 4]]
  return sorted(hits + [(60, LOW_TOM)])


def notes(hits, ticks=480, length=60, channel=9, shift=0):
  """[(tick, message)] of (step, pitch), each ended after `length` ticks or not."""
  found = []
  for step, pitch in hits:
    tick = max(0, round(step * ticks / 4) + shift)
    found.append((tick, bytes([0x90 | channel, pitch, 100])))
    if length is not None:
      found.append((tick + length, bytes([0x80 | channel, pitch, 64])))
  return found


def write(path, *tracks, kind=1, ticks=480):
  """Writes a file of tracks of [(tick, message)]."""
  made = []
  for track in tracks:
    events = [midi_file.Event(*e) for e in sorted(track, key=lambda e: e[0])]
    events.append(midi_file.Event(max([0] + [e.tick for e in events]),
                             meta(midi_file.END_OF_TRACK, b'')))
    made.append(events)
  path.write_bytes(midi_file.to_bytes(midi_file.Midi(kind, ticks, made)))
  return str(path)


def steps_of(path, bars=4):
  return cells_of(input_loop.read_bars(path, bars).hits)


TEMPOS = [(b * 1920, tempo(96 + b / 7)) for b in range(4)]


@pytest.mark.parametrize('tracks,kind', [
    ([notes(groove())], 0),
    ([TEMPOS, notes(groove())], 1),  # A tempo map moves nothing, ...
    ([[], TEMPOS[1:] + notes(groove())], 1),  # ... wherever it stands.
    ([notes(groove(), length=None)], 0),  # Nothing ends a hit.
    ([notes(groove(), length=0)], 0),  # It lasts no time.
    ([notes(groove(), shift=-40)], 0),  # Early; the first one as far as can be.
    ([notes([h for h in groove() if h[1] == pitch])  # One drum a track.
      for pitch in (HIHAT, KICK, LOW_TOM, SNARE)], 1),
    ([notes(groove()), notes([(0, 60), (64, 60)], channel=0)], 1),
    ([[(0, time_signature(2, 1))] + notes(groove())], 1),  # 2/2: as long a bar.
])
def test_all_hits_are_read(tmp_path, tracks, kind):
  path = write(tmp_path / 'in.mid', *tracks, kind=kind)
  assert sorted(steps_of(path)) == groove()


def test_bars_are_counted_by_the_time_signatures(tmp_path):
  """Four bars of 4/4 after two of 3/4, and hits after them."""
  shifted = [(s + 24, p) for s, p in groove(6)]
  path = write(tmp_path / 'in.mid', [(0, time_signature(3, 2)), (
      2 * 1440, time_signature(4, 2))] + notes(shifted))
  assert sorted(steps_of(path)) == [h for h in groove(6) if h[0] < 64]
  assert 'bars 3 to 6 are used' in ''.join(input_loop.read_bars(path).left_out)


@pytest.mark.parametrize('where', [0, 2, 3])
@pytest.mark.parametrize('numerator', [2, 4])
def test_a_bar_of_2_4_is_refused(tmp_path, where, numerator):
  """One of 4/4 that the next time signature cuts in half, too."""
  path = write(tmp_path / 'in.mid', [
      (where * 1920, time_signature(numerator, 2)),
      (where * 1920 + 960, time_signature(4, 2))] + notes(groove()))
  if where:
    with pytest.raises(UserError, match='not in 4/4 throughout'):
      steps_of(path)
  else:  # The loop begins after the upbeat, if nothing plays in it.
    path = write(tmp_path / 'in.mid', [
        (0, time_signature(numerator, 2)), (960, time_signature(4, 2))]
                 + notes([(s + 8, p) for s, p in groove()]))
    assert sorted(steps_of(path)) == groove()


def bars_of(path, most=8, **options):
  return input_loop.read_bars(path, most, **options).count


@pytest.mark.parametrize('end,bars', [
    (4 * 1920, 4), (4 * 1920 + 12, 4),  # As some programs write it.
    (4 * 1920 + 480, 4), (4 * 1920 + 481, 5),  # A last note sounds; a bar begins.
    (3 * 1920, 3), (2 * 1920 + 960, 3), (5 * 1920, 5), (1, 1)])
def test_a_files_length_is_that_of_its_tracks(tmp_path, end, bars):
  """Wherever its hits are, on whichever track the end is."""
  path = write(tmp_path / 'in.mid', notes([(0, KICK), (4, SNARE)]),
               [(end, meta(1, b''))])
  assert bars_of(path) == bars and bars_of(path, 2) == min(bars, 2)


def test_an_early_end_and_other_instruments(tmp_path):
  """A file that ends with its last note is as long as the bars that it begins."""
  path = write(tmp_path / 'in.mid', notes([(0, KICK), (50, SNARE)]))
  assert bars_of(path) == 4
  path = write(tmp_path / 'in.mid', notes([(0, KICK), (50, SNARE)]),
               notes([(100, 60)], channel=1))
  assert bars_of(path) == 7
  # A note that rings is not a rest.
  ringing = notes([(0, KICK)]) + notes([(60, 49)], length=9 * 120)
  for more, bars in (([], 4), ([(69 * 120 + 1, meta(1, b''))], 5)):
    assert bars_of(write(tmp_path / 'in.mid', ringing + more)) == bars


def test_what_is_early_for_the_next_bar(tmp_path):
  """Is not in these, unless the file ends with them."""
  early = notes([(0, KICK), (63.8, SNARE)], length=10)
  for end, there in ((4 * 1920, True), (8 * 1920, False)):
    path = write(tmp_path / 'in.mid', early + [(end, meta(1, b''))])
    found = input_loop.read_bars(path)
    assert [round(hit.start, 1) for hit in found.hits] == [0, 63.8][:1 + there]
    assert ('the 1 hits after them are not' in ''.join(found.left_out)) != there


@pytest.mark.parametrize('meter,power,steps', [
    (1, 2, 4), (3, 3, 6), (3, 2, 12), (4, 2, 4)])
def test_first_bar(tmp_path, meter, power, steps):
  """After a pickup, and by the time signatures."""
  pickup = [(0, time_signature(meter, power)), (steps * 120, time_signature(4, 2))]
  path = write(tmp_path / 'in.mid', pickup + notes(
      [(steps - 2, SNARE)] + [(s + steps, p) for s, p in groove(6)]))
  with pytest.raises(UserError, match='bars 1 to 4, which .* first_bar=N'):
    input_loop.read_bars(path)
  def read(first_bar):
    return sorted(cells_of(input_loop.read_bars(path, first_bar=first_bar).hits))
  assert read(2) == [hit for hit in groove(6) if hit[0] < 64]
  assert 'bars 2 to 5 are used, the 1 hits before and the ' in ''.join(
      input_loop.read_bars(path, first_bar=2).left_out)
  assert read(4) == [(s - 32, p) for s, p in groove(6) if s >= 32]
  assert bars_of(path, first_bar=6) == 2
  with pytest.raises(UserError, match='ends with its bar 7'):
    read(8)
  with pytest.raises(UserError, match='from 1'):
    read(-1)


def test_first_bar_without_drums(tmp_path):
  path = write(tmp_path / 'in.mid', notes([(0, KICK), (100, KICK)]))
  with pytest.raises(UserError, match='nine drums in its bars 2 to 5'):
    input_loop.read_bars(path, first_bar=2)


# Drums on another channel.


def test_drums_of_another_channel(tmp_path):
  bass = notes([(s, 40) for s in range(0, 64, 3)], channel=9)
  path = write(tmp_path / 'in.mid', notes(groove(), channel=2), bass)
  found = input_loop.read_bars(path, drum_channel=3)
  assert sorted(cells_of(found.hits)) == groove() and not found.left_out
  # One flag is for two files, of which one may be a loop of this project.
  path = write(tmp_path / 'ours.mid', notes(groove()))
  found = input_loop.read_bars(path, drum_channel=3)
  assert len(found.hits) == len(groove())
  assert 'ours.mid has no notes on MIDI channel 3' in found.left_out[0]


def test_humanized_on_their_own_channel(tmp_path):
  """All else stays, what is on channel 10 too; so do the pedals."""
  others = [(tick, bytes([0xb9, 4, tick % 128])) for tick in range(0, 7000, 500)]
  others += notes([(s, HIHAT) for s in range(64)])
  path = write(tmp_path / 'in.mid', notes(groove(), channel=0), others)
  reference = write(tmp_path / 'reference.mid', notes(groove()))
  humanize_file.humanize_file(path, path, Pushes(), drum_channel=1)
  humanize_file.humanize_file(reference, reference, Pushes())
  (drums, rest), (expected,) = (midi_file.read(p).tracks for p in (path, reference))
  assert [(e.tick, e.data) for e in drums[:-1]] == [
      (e.tick, bytes([e.data[0] - 9]) + e.data[1:]) for e in expected[:-1]]
  assert [(e.tick, e.data) for e in rest[:-1]] == sorted(others, key=lambda e: e[0])


BASS = [(s, 36 + (s * 5) % 12) for s in range(0, 64, 2)]  # One note at a time.
CHORDS = [(s, p) for s in range(0, 64, 2) for p in (48, 52, 55, 64)]


@pytest.mark.parametrize('parts,words', [
    ({0: groove()}, 'on MIDI channel 1, drums are read from channel 10; the notes of '
     'channel 1 look like drums, which drum_channel=1 reads'),
    ({0: BASS, 1: CHORDS, 4: groove()}, 'channel 1, 2, 5, .* of channel 5 look like'),
    ({0: BASS, 1: CHORDS}, 'from channel 10; drum_channel names another'),
    ({0: groove(), 9: [(0, 3)]}, 'only of the pitches 3 on MIDI channel 10; the '
     'notes of channel 1 look like drums')])
def test_channels_that_look_like_drums(tmp_path, parts, words):
  path = write(tmp_path / 'in.mid', *(
      notes(hits, channel=channel) for channel, hits in parts.items()))
  with pytest.raises(UserError, match=words):
    steps_of(path)


def test_general_midi_is_known_and_the_rest_is_said(tmp_path):
  other = {KICK: 35, LOW_TOM: 41, SNARE: 40}
  path = write(tmp_path / 'gm.mid', notes(
      [(s, other.get(p, p)) for s, p in groove()] + [(1, 3), (2, 3), (70, 36)]))
  found = input_loop.read_bars(path)
  known = [hit.drum for hit in found.hits if hit.drum]
  assert len(known) == len(groove()) == len(found.hits) - 2
  assert set(known) == {'kick', 'snare', 'closed hi-hat', 'low tom'}
  said = ''.join(found.left_out)
  assert '2 of 55 hits are left out, because the pitches 3' in said
  assert 'the 1 hits after them are not' in said


def odd_files():
  """Files that DAWs open: {name: [(tick, message)] before the drums}."""
  return {
      'key signature': [(0, meta(0x59, bytes([0, 255])))],
      'controller': [(0, bytes([0xb9, 4, 255]))],
      'time signature': [(0, meta(midi_file.TIME_SIGNATURE, bytes([4, 2])))],
      'offset': [(0, meta(0x54, bytes([97, 0, 0, 0, 0])))],
      'unknown meta': [(0, meta(0x0b, b'x')), (7, meta(0x60, b'yz'))],
      'escape': [(0, bytes([0xf7, 2, 1, 2])), (3, bytes([0xf0, 2, 1, 0xf7]))],
      'tempo 0': [(0, meta(midi_file.TEMPO, bytes(3)))],
      'text': [(0, meta(3, '드럼'.encode('cp949')))]}


@pytest.mark.parametrize('name', odd_files())
def test_what_daws_open_is_opened_and_kept(tmp_path, name):
  path = write(tmp_path / 'in.mid', odd_files()[name] + notes(groove()))
  assert sorted(steps_of(path)) == groove()
  before = midi_file.read(path)
  midi_file.write(midi_file.to_bytes(before), str(tmp_path / 'out.mid'))
  assert (tmp_path / 'out.mid').read_bytes() == (
      tmp_path / 'in.mid').read_bytes()


def test_chunks_of_others_and_a_riff(tmp_path):
  path = write(tmp_path / 'in.mid', [(0, tempo(72))], notes(groove()))
  data = (tmp_path / 'in.mid').read_bytes()
  second = data.index(b'MTrk', 20)
  vendor = data[:second] + b'XFIH' + struct.pack('>I', 3) + b'abc' + data[second:]
  for content in (vendor, data + b'\0\0', b'RIFF' + struct.pack(
      '<I', 12 + len(data)) + b'RMIDdata' + struct.pack('<I', len(data)) + data):
    (tmp_path / 'in.mid').write_bytes(content)
    assert sorted(steps_of(path)) == groove()
    assert input_loop.read_bars(path).qpm == pytest.approx(72, rel=1e-5)


def test_running_status():
  """After a meta event too, as some programs write it."""
  track = (b'\0\x99\x24\x64' + b'\x78\x26\x64' + b'\0\xff\x01\x01a'
           + b'\x78\x24\0' + b'\0\xff\x2f\0')
  data = b'MThd' + struct.pack('>IHHH', 6, 0, 1, 480) + b'MTrk' + struct.pack(
      '>I', len(track)) + track
  hits = midi_file.find_hits(midi_file.parse(data).tracks)
  assert [(h.on.tick, h.on.data[1], h.off and h.off.tick) for h in hits] == [
      (0, 36, 240), (120, 38, None)]


@pytest.mark.parametrize('change,words', [
    (lambda data: b'', 'not a valid MIDI file'),
    (lambda data: b'not MIDI at all, but long enough', 'not a valid MIDI file'),
    (lambda data: data[:200], 'breaks off in track 1'),
    (lambda data: data[:14], 'no track'),
    (lambda data: data[:12] + b'\xe2\x50' + data[14:], 'in seconds'),
    (lambda data: data[:12] + b'\0\0' + data[14:], 'no ticks'),
    (lambda data: data[:22] + b'\0\x24' + data[24:], 'middle of an event')])
def test_damage_is_a_sentence(tmp_path, change, words):
  path = write(tmp_path / 'in.mid', notes(groove()))
  (tmp_path / 'in.mid').write_bytes(change((tmp_path / 'in.mid').read_bytes()))
  with pytest.raises(UserError, match=words) as error:
    midi_file.read(path)
  assert path in str(error.value) and str(error.value).endswith('.')


def test_why_there_are_no_drums(tmp_path):
  path = write(tmp_path / 'in.mid', notes(groove(), channel=0))
  with pytest.raises(UserError, match='on MIDI channel 1, drums'):
    steps_of(path)
  path = write(tmp_path / 'in.mid', notes([(0, 3)]))
  with pytest.raises(UserError, match='only of the pitches 3'):
    steps_of(path)


def test_slices_are_what_upstreams_converters_make(dataset):
  """Of performances, the first slice of DrumsConverter and GrooveConverter."""
  import note_seq
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import packed_slices
  rolls = magenta_setup.get_config('hierdec-drums_4bar')
  grooves = magenta_setup.get_config('groovae_4bar')
  folder = next(dataset / d for d in ('groove', 'own') if (dataset / d).exists())
  compared = 0
  for record in list(tf.python_io.tf_record_iterator(
      str(dataset / 'drummer-validation.tfrecord')))[:20]:
    sequence = note_seq.NoteSequence.FromString(record)
    windows = packed_slices.all_windows(sequence, grooves.data_converter)
    # Where they begin with the first bar, and no drum of it is left out.
    if not len(windows) or not windows[0][:16, :9].any() or any(
        drum_maps.drum_map()(note.pitch) is None for note in sequence.notes):
      continue
    path = str(folder / sequence.filename)
    np.testing.assert_allclose(
        DrumLoop.read(path).encoder_input(grooves.data_converter),
        windows[0], atol=0.01)
    roll = DrumLoop.read(path).encoder_input(rolls.data_converter)
    np.testing.assert_array_equal(roll[:, :9], windows[0][:, :9] > 0)
    np.testing.assert_array_equal(roll[:, 9], ~windows[0][:, :9].any(axis=1))
    compared += 1
  assert compared > 1


# Humanizing users' files.


class Pushes:
  """A player that makes everything louder and later, or earlier, by drum."""
  longest, adds_strokes = None, False
  said = 0.9  # Of velocities.

  def __init__(self):
    self.slices = 0
    from magenta.models.music_vae import data
    self.pitch_classes = data.ROLAND_DRUM_PITCH_CLASSES

  def __call__(self, sections):
    self.slices += sum(len(section.hits) // 64 for section in sections)
    return [np.array([[np.full(hits.shape, self.said),
                       hits * np.where(np.arange(9) % 2, 0.45, -0.45)]])
            for hits, *_ in sections]


class Listens(Pushes):
  """It moves nothing, and keeps what it was told."""

  def __call__(self, sections):
    [(hits, *_)] = sections
    self.told = hits.copy()
    return [np.array([[np.full(hits.shape, 0.9), 0 * hits]])]


@pytest.mark.parametrize('signatures,steps', [
    ([(1, 2, 4)], 12), ([(3, 3, 6)], 10), ([(1, 2, 4), (1, 2, 4)], 8),  # A pickup.
    ([(4, 2, 8)], 8),  # The same, as some programs write it.
    ([(4, 2, 32), (2, 2, 8)], 8), ([(4, 2, 40)], 8),  # 2/4 after two bars.
    ([(3, 2, 48)], 0)])  # Four bars of 3/4 are three of 4/4.
def test_bars_are_humanized_as_the_time_signatures_have_them(
    tmp_path, signatures, steps):
  """As the same hits in 4/4 throughout, with rests for what the bars lack."""
  head, begin = [], 0
  for numerator, power, length in signatures:
    head.append((120 * begin, time_signature(numerator, power)))
    begin += length
  head.append((120 * begin, time_signature(4, 2)))
  is_pickup = begin < 16
  before = [(s, SNARE) for s in range(begin)]
  after = [(s + begin - 0.2 * (s == 0), p) for s, p in groove()]
  path = write(tmp_path / 'in.mid', head + notes(before + after))
  told = []
  for path in (path, write(tmp_path / 'reference.mid', notes(
      [(s + steps * is_pickup, p) for s, p in before] +
      [(s + steps, p) for s, p in after]))):
    player = Listens()
    said = humanize_file.humanize_file(path, path, player)
    told.append(player.told)
    if path.endswith('in.mid'):
      assert ('not in 4/4 throughout' in ''.join(said)) != is_pickup
      assert [start for start, *_ in played(path)] == pytest.approx(
          sorted(s for s, _ in before + after), abs=0.01)
  np.testing.assert_array_equal(*told)


def played(path):
  """[(tick in steps, pitch, velocity)] of a file's hits, by time."""
  file = midi_file.read(path)
  return [(hit.on.tick / file.ticks_per_step, *hit.on.data[1:])
          for hit in midi_file.find_hits(file.tracks)]


def test_one_drummer_plays_all_tracks(tmp_path):
  together = write(tmp_path / 'a.mid', notes(groove()))
  apart = write(tmp_path / 'b.mid', *[
      notes([h for h in groove() if h[1] == pitch])
      for pitch in (SNARE, KICK, HIHAT, LOW_TOM)])
  player = Humanizer().choose()
  results = []
  for path in (together, apart):
    humanize_file.humanize_file(path, path, player)
    results.append(sorted(played(path)))
  assert results[0] == results[1] and len({v for _, _, v in results[0]}) > 5


def test_each_hit_stays_in_its_sixteenth(tmp_path):
  """And in its order, wherever in it it was played."""
  starts = np.arange(0, 64, 0.23)
  path = write(tmp_path / 'in.mid', [
      event for start in starts for event in notes([(start, KICK), (start, SNARE)])])
  before = played(path)
  humanize_file.humanize_file(path, path, Pushes())
  after = played(path)
  for pitch in (KICK, SNARE):
    a, b = ([start for start, p, _ in hits if p == pitch]
            for hits in (before, after))
    assert [grid.nearest_step(x) for x in a] == [grid.nearest_step(x) for x in b]
    moves = np.subtract(b, a)
    nearest = [abs(x - grid.nearest_step(x)) < 0.01 for x in a]
    np.testing.assert_allclose(  # On the grid by all of it; an early first not.
        moves[nearest][1:], -0.45 if pitch == KICK else 0.45, atol=0.03)


@pytest.mark.parametrize('amount', [0., 0.5, 1., 1.2])
def test_hits_in_one_sixteenth_keep_their_ratio(amount):
  """The player says the loudest's velocity; softer ones stay softer, from 1 on."""
  player = Pushes()
  def new(said, *velocities):
    player.said = said
    [(played, _)] = take.play(player, [
        [grid.hit_at(1, 4 - 0.1 * i, v) for i, v in enumerate(velocities)]],
                              take.Amount(amount, 0.))
    return [hit.velocity for hit in played]
  # Grace notes before a stroke, a pair of one velocity, and one hit.
  for velocities in ((34, 112), (30, 30, 100), (127, 126), (90, 90), (3, 2, 1), (60,)):
    for said in (1., 0.6, 0.1, 0.):
      found, loudest = new(said, *velocities), max(velocities)
      expected = loudest + amount * (127 * said - loudest)
      assert max(found) == np.clip(round(expected), len(set(velocities)), 127)
      for a, v in zip(found, velocities):
        assert a >= 1 and abs(a - max(found) * v / loudest) < len(velocities)
        for b, w in zip(found, velocities):
          assert (a < b) == (v < w)


def test_many_loops_are_one_batch():
  player = Pushes()
  player.calls = 0
  hit_at = grid.hit_at
  patterns = [[hit_at(0, 0., 80), hit_at(1, 4., 80), hit_at(None, 5., 80)], [],
              [hit_at(8, 3., 80), hit_at(0, 1000., 80)]]
  played = [hits for hits, _ in take.play(player, patterns)]
  assert player.slices == 3  # Not the 15 that are silent.
  assert played[0] == [hit_at(0, -0.45, 114), hit_at(1, 4.45, 114), None]
  assert played[1:] == [[], [hit_at(8, 2.55, 114), hit_at(0, 999.55, 114)]]
  assert take.play(player, [[hit_at(None, 1., 80)], []]) == [([None], []), ([], [])]


def pedals(path):
  """For each hi-hat hit, the pedal's position; for each choke, its pitch's hits."""
  file = midi_file.read(path)
  pedal, hats, struck, chokes = None, [], {}, []
  for track in file.tracks:
    for event in track:
      if event.is_drum(midi_file.CONTROLLER):
        pedal = event.data[2]
      elif event.is_drum(midi_file.KEY_PRESSURE):
        chokes.append((event.data[1], struck.get(event.data[1], 0)))
      elif event.is_hit:
        struck[event.data[1]] = struck.get(event.data[1], 0) + 1
        if event.data[1] in drum_maps.HI_HATS:
          hats.append((event.data[1], pedal))
  return hats, chokes


@pytest.mark.parametrize('before,after', [(0, 5), (5, 5), (2, 60), (30, 110)])
def test_pedal_and_chokes_stay_with_their_hits(tmp_path, before, after):
  """The pedal some ticks before each hi-hat hit, a choke after each crash."""
  events = []
  for i, step in enumerate(range(1, 64)):
    tick = 120 * step
    events += [(tick - before, bytes([0xb9, 4, 2 * i % 128])),
               (tick, bytes([0x99, (42, 46)[i % 2], 90])),
               (tick, bytes([0x99, 49, 90])),
               (tick + after, bytes([0xa9, 49, 127])),
               (tick + after, bytes([0x89, 49, 0]))]
  path = write(tmp_path / 'in.mid', events)
  expected, others = pedals(path), [
      (e.tick, e.data) for t in midi_file.read(path).tracks for e in t
      if not e.is_drum(midi_file.NOTE_ON, midi_file.NOTE_OFF)]
  starts = played(path)
  humanize_file.humanize_file(path, path, Pushes())
  assert pedals(path) == expected
  assert played(path) != starts
  if before:  # What is not at the tick of a hit stays where it is.
    assert others == [
        (e.tick, e.data) for t in midi_file.read(path).tracks for e in t
        if not e.is_drum(midi_file.NOTE_ON, midi_file.NOTE_OFF)]


def sounds(path):
  """For each hit, by track and pitch: all that was sent before it, read by mido."""
  import mido
  events = []
  for t, track in enumerate(mido.MidiFile(path).tracks):
    tick = 0
    for i, message in enumerate(track):
      tick += message.time
      events.append((tick, t, i, message))
  now, found = {}, {}
  for _, t, _, message in sorted(events, key=lambda event: event[:3]):
    if message.type == 'note_on':
      heard = dict(now)
      if message.note not in drum_maps.HI_HATS:
        heard.pop(('control_change', midi_file.FOOT_CONTROLLER), None)
      found.setdefault((t, message.note), []).append(heard)
    elif message.type == 'sysex':
      now['sysex'] = message.data
    elif getattr(message, 'channel', None) == 9 and message.type != 'note_off':
      now[message.type, getattr(message, 'control', None)] = str(message.copy(time=0))
  return found


@pytest.mark.parametrize('seed', [0, 1, 2, 162, 179, 223])
def test_every_hit_sounds_as_it_did(tmp_path, seed):
  """Kit, bank, place, volume, bend ... sent between, at and after hits; any track."""
  rng = np.random.RandomState(seed)
  tracks = [[], [], []]
  for step in range(64):
    for pitch in (KICK, SNARE, HIHAT, 46):
      tick = 120 * step + rng.choice([0, 0, 0, rng.randint(-50, 50)])
      if tick >= 0 and rng.rand() < 0.6:
        track = tracks[rng.randint(3)]
        if pitch in drum_maps.HI_HATS:
          track = tracks[1]
          track.append((tick, bytes([0xb9, 4, rng.randint(128)])))
        track.append((tick, bytes([0x99, pitch, 90])))
    for _ in range(rng.randint(3)):
      tick, value = 120 * step + rng.choice([0, 0, 3, 40]), rng.randint(3)
      tracks[rng.randint(3)].insert(0, (tick, [
          bytes([0xc9, value]), bytes([0xb9, rng.choice([0, 7, 10, 32, 121]), value]),
          bytes([0xe9, 0, value]), bytes([0xd9, value]), bytes([0xb8, 7, value]),
          bytes([0xf0, 3, 1, value, 0xf7])][rng.randint(6)]))
  for track in tracks:  # What is at one tick comes in any order.
    for tick in {tick for tick, _ in track}:
      rows = [i for i, event in enumerate(track) if event[0] == tick]
      events = [track[i] for i in rng.permutation(rows)]
      for i, event in zip(rows, events):
        track[i] = event
  path = write(tmp_path / 'in.mid', *tracks)
  before, starts = sounds(path), played(path)
  humanize_file.humanize_file(path, path, Pushes())
  assert sounds(path) == before
  assert np.mean([a[0] != b[0] for a, b in zip(starts, played(path))]) > 0.2


def test_a_repeated_controller_holds_no_hit(tmp_path):
  """Nor goes with one; nor another channel's. A program holds it, of any bank."""
  def moved(message, pitch=KICK):
    path = write(tmp_path / 'in.mid', [(0, message)] + [
        event for step in range(1, 64) for event in (
            (120 * step - 5, message), (120 * step, message),
            (120 * step, bytes([0x99, pitch, 90])))])
    def others():
      return [(event.tick, event.data) for track in midi_file.read(path).tracks
              for event in track if not event.is_hit]
    before = others()
    humanize_file.humanize_file(path, path, Pushes())
    assert others() == before
    return {round(start % 1, 2) for start, _, _ in played(path)} != {0}
  assert moved(bytes([0xb9, 10, 64])) and moved(bytes([0xc8, 5]))
  assert moved(bytes([0xb9, 4, 64]), HIHAT)
  assert not moved(bytes([0xc9, 5]))


def test_type_2_is_pattern_by_pattern(tmp_path):
  path = write(tmp_path / 'in.mid', notes(groove()), notes(groove()), kind=2)
  player = Pushes()
  humanize_file.humanize_file(path, path, player)
  assert player.slices == 2
  hits = [midi_file.find_hits([track]) for track in midi_file.read(path).tracks]
  assert [h.on.tick for h in hits[0]] == [h.on.tick for h in hits[1]]


def test_names_that_are_not_utf_8(tmp_path):
  path = os.path.join(os.fsencode(tmp_path), '드럼'.encode('cp949') + b'.mid')
  write(tmp_path / 'in.mid', notes(groove()))
  os.rename(tmp_path / 'in.mid', path)
  result = conftest.script('humanize.py', os.fsdecode(path), tmp_path / 'o.mid')
  assert result.returncode == 0, result.stderr[-2000:]
  result = conftest.script(
      'sample.py', '--mode=interpolate', f'--input_midi_1={os.fsdecode(path)}',
      f'--input_midi_2={os.fsdecode(path)}', '--num_outputs=2',
      f'--output_dir={tmp_path}/out')
  assert result.returncode == 0, result.stderr[-2000:]
  entry = gallery.read_entries(tmp_path / 'out' / 'index.html')[0][0]
  assert entry['inputs'] == ['드럼.mid'] * 2
