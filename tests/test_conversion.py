"""From the zip to the tensors that training reads."""
import functools
import http.server
import os
import signal
import subprocess
import threading
import unicodedata
import zipfile

import conftest
import download_groove
from drumloops import notebook
from drumloops.errors import UserError
from drumloops.data import splits, tfrecord
from drumloops.midi import midi_file
from drumloops.system import cli, magenta_setup
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
  with pytest.raises(UserError, match='with zip'):
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
  with pytest.raises(UserError, match='evil.txt'):
    download_groove.extract(path, target)
  assert not list(target.iterdir())
  assert not (tmp_path / 'evil.txt').exists()


# MIDI to NoteSequences.


def test_official_split(groove_zip, dataset):
  for split, count in FILES.items():
    path = splits.split_path(dataset / 'drummer.tfrecord', split)
    found = sequences(path)
    assert len(found) == count
    info = splits.read_splits(
        dataset / 'groove', [ns.filename for ns in found])
    assert len(info) == count and set(info.values()) == {split}


def test_note_sequences_are_stocks_byte_for_byte(dataset, stock_python):
  midi = dataset / ('groove' if (dataset / 'groove').exists() else 'own')
  def make(folder):
    result = conftest.run(
        stock_python, '-m', 'magenta.scripts.convert_dir_to_note_sequences',
        f'--input_dir={midi}/', f'--output_file={folder}/stock.tfrecord', '--recursive')
    assert result.returncode == 0, result.stderr[-3000:]
  folder = conftest.made_by_stock(
      stock_python, 'sequences', sorted(midi.rglob('*.mid')), make)
  ours = [r for split in FILES for r in records(
      splits.split_path(dataset / 'drummer.tfrecord', split))]
  assert sorted(ours) == sorted(records(folder / 'stock.tfrecord'))


def meta(kind, *content):
  return bytes([midi_file.META, kind, len(content), *content])


FOUR_FOUR = meta(midi_file.TIME_SIGNATURE, 4, 2, 24, 8)
TEMPO_MAP = [(1920 * bar, meta(midi_file.TEMPO, 9, 39 + bar, 192))
             for bar in range(4)]


def beat(bars=4, channel=9, pitch=36, length=60, head=((0, FOUR_FOUR),),
         kind=1):
  """The bytes of a MIDI file: a hit on each quarter, of 480 ticks.

  Args:
    bars: How many; or the numbers of those in which there are hits.
    channel: Of the hits, counted from 0.
    pitch: Theirs.
    length: In ticks until a note_off, None for no note_off.
    head: [(tick, event)] of the first track; the hits are in the second.
    kind: Of the file.
  """
  notes = []
  for bar in range(bars) if isinstance(bars, int) else bars:
    for tick in range(1920 * bar, 1920 * (bar + 1), 480):
      notes.append(midi_file.Event(tick, bytes([0x90 | channel, pitch, 100])))
      if length is not None:
        notes.append(midi_file.Event(
            tick + length, bytes([0x80 | channel, pitch, 0])))
  tracks = [[midi_file.Event(*event) for event in head], notes]
  for track in tracks:
    tick = max([event.tick for event in track], default=0)
    track.append(midi_file.Event(tick, meta(midi_file.END_OF_TRACK)))
  return midi_file.to_bytes(midi_file.Midi(kind, 480, tracks))


def write(folder, **files):
  """Writes files NAME.mid into a folder, which is returned."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, data in files.items():
    (folder / f'{name}.mid').write_bytes(data)
  return folder


def convert(folder, capsys=None, **kwargs):
  """Returns {file name: NoteSequence}, and what was said, of a folder."""
  output = folder.parent / 'out' / 'x.tfrecord'
  tfrecord.make_tfrecord(str(folder), str(output), **kwargs)
  found = {ns.filename: ns for ns in sequences(output)}
  return found, capsys and capsys.readouterr().out


def hits(sequence):
  """Returns [(quarter, pitch, velocity)] of a NoteSequence's notes."""
  return sorted((round(note.start_time * sequence.tempos[0].qpm / 60, 6),
                 note.pitch, note.velocity) for note in sequence.notes)


EIGHT_BEATS = [(quarter, 36, 100) for quarter in range(8)]


def test_corrupt_midi_is_skipped_counted_and_named(tmp_path):
  folder = tmp_path / 'midi'
  magenta_setup.music_vae()
  conftest.own_loops.write_own_loops(folder, count=2)
  (folder / 'bad.mid').write_bytes(b'MThd, not really')
  (folder / 'empty.MID').write_bytes(b'')
  result = conftest.script('make_tfrecord.py', f'--input_dir={folder}',
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
                          'bad.mid', 'valid MIDI')
  conftest.check_sentence(make('--input_dir=missing'), 'missing')
  assert not (tmp_path / 'x.tfrecord').exists()
  with pytest.raises(UserError, match='is a folder'):
    tfrecord.make_tfrecord(str(tmp_path / 'sub'), str(tmp_path))


def test_what_would_take_gigabytes_is_skipped(tmp_path, capsys, monkeypatch):
  """Before note_seq reads it, whose array has 8 bytes for each tick."""
  late = meta(0x06, 65)  # A marker.
  monkeypatch.setattr(tfrecord, 'MOST_BYTES', 10_000)
  seen = []
  to_sequence = tfrecord.to_sequence
  monkeypatch.setattr(tfrecord, 'to_sequence',
                      lambda data: seen.append(data) or to_sequence(data))
  good = beat()
  # After the end of a track only Magenta reads on.
  cut = good.replace(b'MTrk\0\0\0\x0c', b'MTrk\0\0\0\x18', 1).replace(
      meta(midi_file.END_OF_TRACK), meta(midi_file.END_OF_TRACK) +
      midi_file.write_number(2 ** 28 - 1) + late + b'\0' + meta(1), 1)
  found, said = convert(write(
      tmp_path / 'midi', good=good, cut=cut,
      ticks=beat(head=[(2 ** 28 - 1, late)]),
      bars=beat(head=[(10_000 * 1920, late)]),
      size=good + bytes(10_000)), capsys)
  assert set(found) == {'good.mid', 'cut.mid'}
  assert hits(found['cut.mid']) == hits(found['good.mid'])
  assert max(midi_file.parse(data).last_tick for data in seen) < 4 * 1920
  assert 'Skipped 3 of 5 files' in said
  assert 'ticks.mid is damaged: its last event is in bar 139811' in said
  assert 'size.mid has more than' in said


def test_what_every_daw_opens_is_read(tmp_path, capsys):
  odd = {
      'key': meta(0x59, 0, 255), 'short': meta(midi_file.TIME_SIGNATURE, 4, 2),
      'meter': meta(midi_file.TIME_SIGNATURE, 4, 200, 24, 8),
      'smpte': meta(0x54, 0xe0, 0, 0, 0, 0), 'tempo': meta(midi_file.TEMPO, 0, 0, 0),
      'controller': bytes([0xb9, 7, 255]), 'system': bytes([0xf4])}
  files = {name: beat(2, head=[(0, event)]) for name, event in odd.items()}
  good = beat(2)
  i = good.rindex(b'MTrk')
  files['chunk'] = good[:i] + b'XFIH\0\0\0\x04abcd' + good[i:]
  files['riff'] = b'RIFF' + bytes(4) + b'RMIDdata' + bytes(4) + good
  # Of a drum's pitch 255 nothing is known but that it is none of the others.
  files['pitch'] = beat(2).replace(bytes([0x89, 36, 0]), bytes([0x89, 255, 0]))
  found, said = convert(write(tmp_path / 'midi', good=good, **files), capsys)
  for name in files:
    assert hits(found[f'{name}.mid']) == EIGHT_BEATS, name
  assert f'In {len(files)} files there is something that Magenta can' in said
  assert {ns.collection_name for ns in found.values()} == {'midi'}
  assert len({ns.id for ns in found.values()}) == len(found)


@pytest.mark.parametrize('head,kind', [
    (TEMPO_MAP, 1), (TEMPO_MAP, 0), (TEMPO_MAP[1:], 1),
])
def test_tempo_map_is_taken_by_the_beat(tmp_path, capsys, head, kind):
  magenta_setup.music_vae()
  from magenta.models.music_vae import packed_slices
  head = [(0, FOUR_FOUR), *head]
  found, said = convert(write(
      tmp_path / 'midi', plain=beat(6), mapped=beat(6, head=head, kind=kind)),
                        capsys)
  mapped, plain = found['mapped.mid'], found['plain.mid']
  assert hits(mapped) == hits(plain)
  assert len(mapped.tempos) == 1
  converter = magenta_setup.get_config(conftest.TINY).data_converter
  assert len(packed_slices.pack(mapped, converter))
  assert said.splitlines()[-1] == (
      'In 1 file the tempo changes: the hits were taken by the beat, at the '
      'first tempo.')


def test_hits_that_magenta_would_lose(tmp_path, capsys):
  unknown = midi_file.parse(beat(2))
  unknown.tracks[1].insert(2, midi_file.Event(300, meta(0x60)))
  files = {
      'unended': beat(2, length=None), 'no_time': beat(2, length=0),
      # mido loses the time before what it does not know.
      'unknown': midi_file.to_bytes(unknown),
      # The header says that there is one track only.
      'tracks': beat(2).replace(b'\0\2\1\xe0', b'\0\1\1\xe0')}
  found, said = convert(write(tmp_path / 'midi', **files), capsys)
  for name in files:
    assert hits(found[f'{name}.mid']) == EIGHT_BEATS, name
  assert 'In 4 files Magenta would lose or move most hits of a drum' in said


def test_an_end_at_the_tick_of_another_hit():
  """The first hit has no end, so that each end belongs to the hit before."""
  events = [midi_file.Event(0, bytes([0x99, 36, 100]))]
  for tick in (480, 960, 2000, 2400):
    events += [midi_file.Event(tick, bytes([0x99, 36, 100])),
               midi_file.Event(tick, bytes([0x89, 36, 0]))]
  events.insert(7, midi_file.Event(1500, bytes([0x89, 36, 0])))
  events.append(midi_file.Event(2400, meta(midi_file.END_OF_TRACK)))
  flat = midi_file.flatten(midi_file.Midi(0, 480, [events]))
  magenta_setup.music_vae()
  assert len(tfrecord.to_sequence(midi_file.to_bytes(flat)).notes) == 5


def test_odd_hits_are_left_to_magenta(tmp_path, capsys):
  """As in GMD, whose NoteSequences are stock's."""
  magenta_setup.music_vae()
  from magenta.scripts import convert_dir_to_note_sequences as upstream
  # The last hit ends when it begins.
  data = beat().replace(midi_file.write_number(60) + bytes([0x89, 36, 0]) +
                        bytes([0, *meta(midi_file.END_OF_TRACK)]),
                        bytes([0, 0x89, 36, 0, 0, *meta(midi_file.END_OF_TRACK)]))
  folder = write(tmp_path / 'midi', a=data)
  found, said = convert(folder, capsys)
  assert len(found['a.mid'].notes) == 15
  assert found['a.mid'] == upstream.convert_midi(
      str(folder), '', str(folder / 'a.mid'))
  assert '1 of 16 hits are left out, as Magenta does' in said


def test_names_that_are_not_utf8(tmp_path, capsys):
  name = os.fsdecode('드럼'.encode('cp949'))
  folder = write(tmp_path / name / 'sub' / name, **{name: beat(), 'a': beat()})
  (folder / (os.fsdecode(b'\xff\xfe') + '.mid')).write_bytes(b'')
  (tmp_path / name / 'info.csv').write_text(
      'midi_filename,split\nsub/드럼/드럼.mid,train\nsub/드럼/a.mid,train\n'
      'sub/드럼/\ufffd\ufffd.mid,test\n')
  found, said = convert(tmp_path / name, capsys, recursive=True)
  assert set(found) == {'sub/드럼/드럼.mid', 'sub/드럼/a.mid'}
  assert {ns.collection_name for ns in found.values()} == {'드럼'}
  said.encode()
  tfrecord.make_tfrecord(str(folder), str(folder / 'out' / 'x.tfrecord'))
  assert (folder / 'out' / 'x.tfrecord').exists()
  with pytest.raises(UserError, match='no folder 드럼'):
    tfrecord.make_tfrecord(name, str(tmp_path / 'x'))


def test_home_and_brackets_in_names(tmp_path, monkeypatch):
  write(tmp_path / '[a] *?{b}', **{'[1] {x,y}*': beat()})
  monkeypatch.setenv('HOME', str(tmp_path))
  assert tfrecord.make_tfrecord('~/[a] *?{b}', '~/[c]/x.tfrecord') == {
      'train': 1}
  assert len(records(tmp_path / '[c]' / 'x.tfrecord')) == 1


def test_splits_of_other_data_are_removed(tmp_path, capsys):
  folder = write(tmp_path / 'midi', a=beat(), b=beat(), c=beat())
  (folder / 'info.csv').write_text(
      'midi_filename,split\na.mid,train\nb.mid,validation\nc.mid,test\n')
  _, said = convert(folder, capsys)
  assert 'Removed' not in said
  names = ['x-test.tfrecord', 'x-validation.tfrecord', 'x.tfrecord']
  output = tmp_path / 'out'
  assert sorted(p.name for p in output.iterdir()) == names
  with pytest.raises(UserError):  # Not before the new ones are whole.
    convert(write(tmp_path / 'bad', a=b''))
  assert sorted(p.name for p in output.iterdir()) == names
  _, said = convert(write(tmp_path / 'own', a=beat()), capsys)
  assert [p.name for p in output.iterdir()] == ['x.tfrecord']
  [line] = [line for line in said.splitlines() if 'Removed' in line]
  assert 'x-validation.tfrecord and ' in line and 'x-test.tfrecord' in line


def test_two_conversions_at_once(tmp_path, monkeypatch):
  folder = write(tmp_path / 'midi', a=beat())
  to_sequence = tfrecord.to_sequence
  def other_process(data):
    monkeypatch.setattr(tfrecord, 'to_sequence', to_sequence)
    monkeypatch.setattr(os, 'getpid', lambda: 1)
    convert(folder)
    return to_sequence(data)
  monkeypatch.setattr(tfrecord, 'to_sequence', other_process)
  found, _ = convert(folder)
  assert len(found) == 1
  assert [p.name for p in (tmp_path / 'out').iterdir()] == ['x.tfrecord']


def test_interrupted_while_magenta_reads(tmp_path, monkeypatch):
  """note_seq takes Ctrl-C for a damaged file."""
  import pretty_midi
  def interrupt(*_):
    raise KeyboardInterrupt
  monkeypatch.setattr(pretty_midi.PrettyMIDI, '__init__', interrupt)
  with pytest.raises(KeyboardInterrupt):
    convert(write(tmp_path / 'midi', a=beat()))
  assert not list((tmp_path / 'out').iterdir())


# info.csv.


INFO = ('drummer,style,bpm,midi_filename,duration,split\n'
        'drummer1,funk,100,드/1.mid,9.6,train\n'
        'drummer1,rock,101,드/2.mid,9.6,validation\n'
        'drummer2,"soul, slow",102,드/3.mid,9.6,test\n')
OFFICIAL = {'드/1.mid': 'train', '드/2.mid': 'validation', '드/3.mid': 'test'}


def read_splits(folder, info, names=tuple(OFFICIAL)):
  (folder / 'info.csv').write_bytes(
      info if isinstance(info, bytes) else info.encode())
  return splits.read_splits(folder, names)


def test_info_cut_off_anywhere(tmp_path):
  info = INFO.encode()
  for length in range(len(info) - 1):
    with pytest.raises(UserError):
      read_splits(tmp_path, info[:length])
  assert read_splits(tmp_path, info[:-1]) == OFFICIAL


@pytest.mark.parametrize('info,words', [
    ('', 'no column midi_filename and no column split'),
    (INFO.splitlines()[0], 'does not list 3 of the 3 MIDI files'),
    (INFO.replace('split', 'part'), 'no column split'),
    (INFO.replace('test', 'trai'), "the split 'trai' of 드/3.mid"),
    (INFO.replace('test', ''), "the split '' of 드/3.mid"),
    (INFO + 'a,b,1,드/3.mid,1,train\n', 'both in the test and in the train'),
    (INFO.replace('2.mid', '4.mid'), 'does not list 1 of the 3 MIDI files'),
    (INFO.replace(',test', ''), 'breaks off in its row 3'),
    (INFO.replace('"', ''), 'the split'),
    (INFO.replace('slow"', 'slow'), 'breaks off'),
    (INFO.replace('funk', 'x' * 200_000), 'is damaged'),
    (INFO.encode('utf-16-le'), 'no column'),
    (b'\xff\xfe' + INFO.encode('utf-16-le')[:-41], 'breaks off'),
    (INFO[:90] + '\0' * 90, 'breaks off in its row 2'),
    ('name,bytes\na.mid,1\n', 'rename it'),
])
def test_damaged_info(tmp_path, info, words):
  with pytest.raises(UserError, match=words) as e:
    read_splits(tmp_path, info)
  assert 'scripts/download_groove.py' in str(e.value)


@pytest.mark.parametrize('info', [
    INFO.encode('utf-8-sig'), INFO.encode('utf-16'), INFO.encode('cp949'),
    INFO.replace('soul, ', 'soul ').replace(',', ';'), INFO.replace(',', '\t'),
    INFO.replace('\n', '\r\n'), INFO.replace('\n', '\r'),
    INFO + ',,,,,\n\n', INFO + INFO.splitlines()[1], INFO.replace('/', '\\'),
    unicodedata.normalize('NFD', INFO), INFO.replace('드/', './드//'),
    INFO + 'drummer2,funk,100,removed.mid,9.6,test\n',
])
def test_info_of_other_programs(tmp_path, info):
  assert read_splits(tmp_path, info) == OFFICIAL
  decomposed = unicodedata.normalize('NFD', '드/3.mid')
  assert read_splits(tmp_path, info, [decomposed]) == {decomposed: 'test'}


def test_damaged_info_converts_nothing(tmp_path):
  folder = write(tmp_path / 'midi', a=beat())
  (folder / 'info.csv').write_text('midi_filename,split\n')
  conftest.check_sentence(conftest.script(
      'make_tfrecord.py', f'--input_dir={folder}',
      f'--output_file={tmp_path}/out/x.tfrecord'), 'info.csv', 'a.mid')
  assert not (tmp_path / 'out').exists()


def test_info_of_the_folder_around(tmp_path):
  """The folder above GMD's, in which it was unpacked, keeps GMD's split."""
  (tmp_path / 'groove').mkdir()
  (tmp_path / 'groove' / 'info.csv').write_text(INFO)
  names = ['own/1.mid', *(f'groove/{name}' for name in OFFICIAL)]
  assert splits.read_splits(tmp_path, names) == {
      f'groove/{name}': split for name, split in OFFICIAL.items()}


def test_look_at_a_damaged_info(tmp_path):
  info = tmp_path / 'info.csv'
  info.write_text(INFO, encoding='utf-8-sig')
  assert [row['bpm'] for row in notebook.read_performances(tmp_path)] == [
      100, 101, 102]
  for damaged, words in ((INFO.replace('bpm', 'qpm'), 'no column bpm'),
                         (INFO.replace('101', ''), "'' as a bpm"),
                         (INFO.replace('9.6', '9.6s'), "'9.6s' as a duration"),
                         (INFO[:70], 'breaks off')):
    info.write_text(damaged)
    with pytest.raises(UserError, match=words):
      notebook.read_performances(tmp_path)


# Files of which no loop comes.


@pytest.mark.parametrize('files,words', [
    ({'a': beat(channel=0), 'b': beat(channel=2)},
     '2 of 2 files give no 4-bar loops: 2 with no drums (notes are on MIDI '
     'channel 1, 3, drums are read from channel 10).'),
    ({'a': beat(2), 'b': beat(3), 'c': beat(4)},
     '2 of 3 files give no 4-bar loops: 2 without 4 bars of drums in a row.'),
    # Two silent bars between; a bar that is far on.
    ({'a': beat([0, 1, 4, 5]), 'b': beat([7])},
     '2 of 2 files give no 4-bar loops: 2 without 4 bars of drums in a row.'),
    ({'a': beat(8, head=[(0, meta(midi_file.TIME_SIGNATURE, 3, 2, 24, 8))]),
      'b': beat(0), 'c': beat(pitch=1), 'd': beat(2), 'e': beat(2)},
     '5 of 5 files give no 4-bar loops: 2 without 4 bars of drums in a row, 1 '
     'not in 4/4, 1 without notes, 1 with none of the nine drums on MIDI '
     'channel 10.'),
    ({'a': beat(5, head=[(0, meta(midi_file.TIME_SIGNATURE, 3, 2, 24, 8)),
                         (1440, FOUR_FOUR)]), 'b': beat([1, 2, 3, 4])}, None),
])
def test_files_without_loops(tmp_path, capsys, files, words):
  magenta_setup.music_vae()
  from magenta.models.music_vae import packed_slices
  found, said = convert(write(tmp_path / 'midi', **files), capsys)
  *_, last = lines = [
      line for line in said.splitlines() if 'is normal' not in line]
  # Where other files give some.
  assert (len(lines) < len(said.splitlines())) == (
      '4 bars of drums' in (words or '') and not words.startswith(f'{len(files)} of'))
  converter = magenta_setup.get_config(conftest.TINY).data_converter
  without = sum(not len(packed_slices.pack(ns, converter))
                for ns in found.values())
  if words is None:
    assert 'NoteSequences' in last and not without
  else:
    assert last == words
    assert last.startswith(f'{without} of ')


def test_drums_of_another_channel(tmp_path, capsys):
  """As on channel 10, where files without notes on it are read from."""
  def together(channel, **kwargs):  # A kick and a hi-hat.
    parts = [midi_file.parse(beat(channel=channel, pitch=pitch, **kwargs))
             for pitch in (36, 42)]
    tracks = sum((p.tracks for p in parts), [])
    return midi_file.to_bytes(midi_file.Midi(1, 480, tracks))
  wanted, _ = convert(write(tmp_path / 'ten', a=together(9)), capsys)
  folder = write(tmp_path / 'one', a=together(0), b=together(9), c=together(0, bars=2))
  found, said = convert(folder, capsys, drum_channel=1)
  assert len(hits(wanted['a.mid'])) == 32
  assert all(note.is_drum for note in found['a.mid'].notes)
  assert hits(found['a.mid']) == hits(found['b.mid']) == hits(wanted['a.mid'])
  assert '1 of 3 files have no notes on MIDI channel 1, so their drums were' in said
  _, said = convert(folder, capsys)
  assert ('2 with no drums (notes are on MIDI channel 1, drums are read from channel '
          '10; the notes of channel 1 look like drums, which drum_channel=1 '
          'reads)') in said


# NoteSequences to slices.


@pytest.mark.parametrize('split', SLICES)
def test_known_numbers_of_slices(groove_zip, dataset, split):
  magenta_setup.music_vae()
  from magenta.models.music_vae import slice_cache
  path = splits.split_path(dataset / 'drummer.tfrecord', split)
  counts = tuple(len(slice_cache.load_slices(
      magenta_setup.get_config(name).data_converter, str(path)))
                 for name in ('hierdec-drums_4bar_small', 'hierdec-drums_4bar'))
  assert counts == SLICES[split]


def test_packed_dataset_is_upstreams(dataset):
  """The same examples, as the same four tensors, as upstream's get_dataset."""
  import tensorflow.compat.v1 as tf
  magenta_setup.music_vae()
  from magenta.models.music_vae import data
  from magenta.models.music_vae import slice_batches
  path = str(dataset / 'drummer-test.tfrecord')
  config = magenta_setup.get_config(conftest.TINY, 'batch_size=1')._replace(
      eval_examples_path=path)
  packed = list(slice_batches.get_dataset(config, False).as_numpy_iterator())
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
  magenta_setup.music_vae()
  from magenta.models.music_vae import packed_slices
  converter = magenta_setup.get_config(conftest.TINY).data_converter
  found = sequences(dataset / 'drummer-validation.tfrecord')
  assert len(found) > 10
  packed = []
  for cores in (2, 1):
    monkeypatch.setattr('os.cpu_count', lambda: cores)
    packed.append(list(packed_slices.pack_each(
        found, lambda sequence: sequence, converter, len(found))))
  assert [len(p) for p in packed[0]] == [len(p) for p in packed[1]]
  np.testing.assert_array_equal(*map(np.concatenate, packed))
  # As upstream's converter has them, which also makes the encoder's rolls.
  outputs = [converter.to_tensors(sequence).outputs for sequence in found]
  np.testing.assert_array_equal(np.concatenate(packed[0]), np.concatenate([
      np.unique(np.argmax(o, axis=-1), axis=0) for o in outputs if o]))


def test_packing_reads_no_further_than_it_works(monkeypatch):
  """So that memory does not grow with the data."""
  magenta_setup.music_vae()
  import note_seq
  from magenta.models.music_vae import packed_slices
  monkeypatch.setattr('os.cpu_count', lambda: 2)
  read = []
  def records():
    for i in range(50):
      read.append(i)
      yield i
  packed = packed_slices.pack_each(
      records(), lambda _: note_seq.NoteSequence(),
      magenta_setup.get_config(conftest.TINY).data_converter, 50)
  for done, slices in enumerate(packed):
    assert not len(slices) and len(read) <= done + 2 * packed_slices.AHEAD + 1
  assert done == 49


def test_packing_ends_whatever_signals_mean_here(dataset):
  """Training has SIGTERM raise, and what raises at a bad moment may be lost."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import packed_slices
  converter = magenta_setup.get_config(conftest.TINY).data_converter
  found = sequences(dataset / 'drummer-validation.tfrecord')[:4]
  def stop(*_):
    raise KeyboardInterrupt
  def parse(sequence):
    if sequence is None:
      raise ValueError
    return sequence
  before = signal.signal(signal.SIGTERM, stop)
  try:
    for _ in range(20):
      assert len(list(packed_slices.pack_each(found, parse, converter, 4))) == 4
      with pytest.raises(ValueError):
        list(packed_slices.pack_each([None] + found, parse, converter, 5))
  finally:
    signal.signal(signal.SIGTERM, before)


ORPHANS = '''
import sys, time; sys.path.insert(0, sys.argv[1])
from drumloops.system import magenta_setup; magenta_setup.music_vae()
from magenta.models.music_vae import packed_slices
def parse(record):
  print('reads', flush=True)
  time.sleep(600)
list(packed_slices.pack_each(
    range(9), parse, magenta_setup.get_config('hierdec-drums_4bar_tiny').data_converter,
    9))
'''


def test_converters_end_with_the_process_that_is_killed():
  """Else they would hold its output open, and the notebook wait for it."""
  with subprocess.Popen([conftest.sys.executable, '-c', ORPHANS,
                         conftest.SCRIPTS], stdout=subprocess.PIPE) as process:
    conftest.read_until(process.stdout.fileno(), 'reads\nreads')
    process.kill()
    process.stdout.read()  # Until nobody has it open any more.


def test_a_converter_that_is_killed(monkeypatch):
  magenta_setup.music_vae()
  from magenta.models.music_vae import packed_slices
  def die(record):
    os.kill(os.getpid(), signal.SIGKILL)
  monkeypatch.setattr('os.cpu_count', lambda: 2)
  with pytest.raises(Exception) as raised:
    list(packed_slices.pack_each(
        range(4), die, magenta_setup.get_config(conftest.TINY).data_converter, 4))
  assert 'want of memory' in cli.sentence(raised.value)


def test_cache_follows_content_and_converter(dataset, tmp_path, capsys):
  magenta_setup.music_vae()
  from magenta.models.music_vae import slice_cache
  path = tmp_path / 'x.tfrecord'
  path.write_bytes((dataset / 'drummer-test.tfrecord').read_bytes())
  roland = magenta_setup.get_config('hierdec-drums_4bar').data_converter
  gm = magenta_setup.get_config('hierdec-drums_4bar_small').data_converter
  def caches():
    return sorted(tmp_path.glob('*.slices'))
  slices = np.array(slice_cache.load_slices(roland, str(path)))  # It is damaged below.
  assert len(caches()) == 1
  slice_cache.load_slices(gm, str(path))
  assert len(caches()) == 2
  stamp = {p: p.stat().st_mtime_ns for p in caches()}
  np.testing.assert_array_equal(
      slice_cache.load_slices(roland, str(path)), slices)
  assert {p: p.stat().st_mtime_ns for p in caches()} == stamp
  path.write_bytes((dataset / 'drummer-validation.tfrecord').read_bytes())
  slice_cache.load_slices(roland, str(path))
  assert len(caches()) == 3
  path.write_bytes((dataset / 'drummer-test.tfrecord').read_bytes())
  for cache in caches():
    cache.write_bytes(cache.read_bytes()[:-1] + b'x')
  np.testing.assert_array_equal(
      slice_cache.load_slices(roland, str(path)), slices)
  assert 'damaged or older cache' in capsys.readouterr().err


def test_cache_that_can_not_be_written(dataset, tmp_path, capsys, monkeypatch):
  magenta_setup.music_vae()
  from magenta.models.music_vae import slice_cache
  path = tmp_path / 'x.tfrecord'
  path.write_bytes((dataset / 'drummer-test.tfrecord').read_bytes())
  def full(*_, **__):
    raise OSError(28, 'No space left on device')
  replace = os.replace
  monkeypatch.setattr(slice_cache.os, 'replace', lambda old, new: (
      full() if new.startswith(str(tmp_path)) else replace(old, new)))
  assert len(slice_cache.load_slices(
      magenta_setup.get_config(conftest.TINY).data_converter, str(path)))
  assert 'No space left' in capsys.readouterr().err
  assert [p.name for p in tmp_path.iterdir()] == ['x.tfrecord']


@pytest.mark.parametrize('name', [conftest.TINY, 'groovae_4bar_strokes'])
def test_slices_stay_on_disk(dataset, tmp_path, name):
  """Rows are read as they are needed, even if somebody tidies up meanwhile."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import slice_batches
  from magenta.models.music_vae import slice_cache
  path = tmp_path / 'x.tfrecord'
  path.write_bytes((dataset / 'drummer-test.tfrecord').read_bytes())
  config = magenta_setup.get_config(name, 'batch_size=8')
  slices = slice_cache.load_slices(config.data_converter, str(path))
  assert isinstance(slices, np.memmap) and len(slices) > 16
  def read(slices):
    return [outputs for _, outputs, _, _ in slice_batches.batches(
        slices, config.data_converter, 8, False).as_numpy_iterator()]
  expected, batches = read(np.array(slices)), slice_batches.batches(
      slices, config.data_converter, 8, False)
  for cache in tmp_path.glob('*.slices*'):
    cache.unlink()
  np.testing.assert_array_equal(
      [outputs for _, outputs, _, _ in batches.as_numpy_iterator()], expected)


# preprocess_tfrecord.


def preprocess(examples_path, output, python=None):
  """The examples without their ids, and the ids, in a definite order."""
  result = conftest.script(
      'preprocess_tfrecord.py', '--config=hierdec-drums_4bar', python=python,
      *(f'--input_tfrecord={examples_path}',
        f'--output_tfrecord={output}', '--output_shards=3'))
  assert result.returncode == 0, result.stderr[-3000:]
  examples = []
  for shard in range(3):
    for ns in sequences(f'{output}-{shard:05d}-of-00003'):
      ids, ns.id = ns.id.split(','), ''
      assert ids == sorted(ids)  # Whatever order a runner has them in.
      examples.append((ns.SerializeToString(deterministic=True), ids))
  return sorted(examples)


def test_preprocess_has_no_cap_and_agrees_with_beam(
    dataset, beam_python, tmp_path):
  import importlib.util
  assert importlib.util.find_spec('apache_beam') is None
  assert conftest.run(beam_python, '-c', 'import apache_beam').returncode == 0
  import tensorflow as tf
  path = dataset / 'drummer-validation.tfrecord'
  every = preprocess(path, tmp_path / 'every')
  if (dataset / 'groove').exists():
    assert len(every) == SLICES['validation'][1]
  for i in range(2):  # Two files, a part of it.
    with tf.io.TFRecordWriter(f'{tmp_path}/some-{i}.tfrecord') as writer:
      for record in records(path)[i:40:2]:
        writer.write(record)
  ours, beams = (preprocess(tmp_path / 'some-*.tfrecord', tmp_path / name, python)
                 for name, python in (('ours', None), ('beam', beam_python)))
  assert len(ours) > 10 and ours == beams


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
  magenta_setup.music_vae()
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import drum_classes as dc
  from magenta.models.music_vae import slice_batches
  loops = np.random.RandomState(0).randint(0, 512, [400, 64])
  def augmented(probability):
    tf.random.set_random_seed(1)
    return slice_batches.augment(tf.constant(loops, tf.int32), probability).numpy()
  np.testing.assert_array_equal(augmented(0.), loops)
  changed = augmented(1.)
  def rolls(x):
    return (x[..., None] >> np.arange(9)) & 1
  before, after = rolls(loops), rolls(changed)
  # The crash is gone, the ride and the hi-hat have swapped, and the toms have
  # gone round: low to high, mid to low, high to mid; the bars have too.
  order = [dc.KICK, dc.SNARE, dc.RIDE, dc.OPEN_HIHAT, dc.MID_TOM, dc.HIGH_TOM,
           dc.LOW_TOM, dc.CRASH, dc.CLOSED_HIHAT]
  expected = before[:, :, order] * (np.arange(9) != dc.CRASH)
  shifts = [[bars for bars in range(4) if np.array_equal(
      np.roll(e, -16 * bars, axis=0), a)] for e, a in zip(expected, after)]
  assert all(len(s) == 1 for s in shifts)
  assert {s[0] for s in shifts} == {0, 1, 2, 3}
  tenth = (augmented(0.1) != loops).any(axis=1).mean()
  # Five changes, of which the bars' does nothing in one of four cases.
  assert tenth == pytest.approx(1 - 0.9 ** 4 * 0.925, abs=0.08)


def test_a_drummers_folder_keeps_the_split(dataset, groove_zip, tmp_path):
  """The info.csv is in the folder above it."""
  counts = tfrecord.make_tfrecord(
      str(dataset / 'groove' / 'drummer5'), str(tmp_path / 'x.tfrecord'), True)
  assert set(counts) > {'train'}
