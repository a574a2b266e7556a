"""Pictures, by what is drawn in them."""
from drumloops import grid
from drumloops import DrumLoop
from drumloops.midi import drum_maps
from drumloops.output import plots
from drumloops.system import magenta_setup
import note_seq
import numpy as np
import pytest


def sequence_of(hits, qpm=120.):
  """A NoteSequence of (pitch, start in steps, velocity)."""
  sequence = note_seq.NoteSequence()
  sequence.tempos.add(qpm=qpm)
  for pitch, start, velocity in hits:
    sequence.notes.add(pitch=pitch, velocity=velocity, is_drum=True,
                       start_time=start * 15 / qpm,
                       end_time=(start + 1) * 15 / qpm)
  return sequence


def hits_of(sequence):
  return DrumLoop.of_note_sequence(sequence).hits


@pytest.fixture(autouse=True)
def magenta():
  magenta_setup.music_vae()


def test_lanes():
  """Of what every config decodes to, by Roland's map or General MIDI's."""
  names = {36: 'kick', 38: 'snare', 42: 'closed hi-hat', 46: 'open hi-hat',
           43: 'low tom', 45: 'low tom', 47: 'mid tom', 48: 'mid tom',
           50: 'high tom', 49: 'crash', 51: 'ride'}
  for pitch, name in names.items():
    assert grid.DRUM_CLASSES[drum_maps.drum_of_decoded(pitch)] == name
  assert drum_maps.drum_of_decoded(0) is None


@pytest.mark.parametrize('name', [
    'hierdec-drums_4bar', 'hierdec-drums_4bar_small', 'cat-drums_2bar_small',
    'groovae_4bar'])
def test_lanes_of_decoded_loops(name):
  """One drum after the other comes back on its own row, whatever the map."""
  converter = magenta_setup.get_config(name).data_converter
  converter.set_mode('infer')
  one = np.zeros([1, 9, converter.output_depth], np.float32)
  for drum in range(9):
    one[0, drum, drum if name.startswith('groovae') else 1 << drum] = 1
  [sequence] = converter.from_tensors(one)
  assert sorted((hit.step, hit.index) for hit in hits_of(sequence)) == [
                    (drum, drum) for drum in range(9)]


def draw(hits):
  """Returns the axis, and its [(left, middle, shade)] and lines."""
  figure, axes = plots.figure_of(1)
  plots.drum_grid(axes[0, 0], hits_of(sequence_of(hits)), title='title')
  axis = axes[0, 0]
  boxes, lines = axis.collections
  return axis, [
      (path.vertices[:, 0].min(), path.vertices[:-1, 1].mean(), shade)
      for path, (*_, shade) in zip(boxes.get_paths(), boxes.get_facecolor())
  ], [segment.tolist() for segment in lines.get_segments()]


def test_grid_shows_drum_step_velocity_and_timing():
  axis, hits, lines = draw([(36, 0, 127), (38, 4, 20), (51, 62.75, 64)])
  assert [t.get_text() for t in axis.get_yticklabels()] == list(grid.DRUM_CLASSES)
  assert [t.get_text() for t in axis.get_xticklabels()] == [
      'bar 1', 'bar 2', 'bar 3', 'bar 4']
  assert [(x, round(y)) for x, y, _ in hits] == [(0, 0), (4, 1), (63, 8)]
  shades = [shade for *_, shade in hits]
  assert shades[0] == 1 and shades[0] > shades[2] > shades[1] > 0.15
  assert [[x for x, _ in line] for line in lines] == [[62.75, 62.75]]
  assert axis.get_title('right') == plots.LEGEND


def test_on_the_grid_there_are_no_lines_to_explain():
  axis, _, lines = draw([(36, 0, 127)])
  assert not lines and not axis.get_title('right')


def test_interpolation_strip():
  figure = plots.plot_interpolation(
      [hits_of(sequence_of([(36, i, 100)])) for i in range(5)], 4, 'a.mid',
      'b.mid')
  assert [a.get_ylabel() for a in figure.axes] == [
      '0%', '25%', '50%', '75%', '100%']
  assert [a.collections[0].get_paths()[0].vertices[:, 0].min()
          for a in figure.axes] == [0, 1, 2, 3, 4]


def test_a_users_words_are_drawn_as_they_are(tmp_path, capsys):
  """Dollars are no mathematics; Hangul is drawn as letters, if there is a font."""
  import warnings
  with warnings.catch_warnings():
    warnings.simplefilter('error')  # Of a letter that is not in the font.
    figure = plots.plot_interpolation(
        [hits_of(sequence_of([(36, 0, 100)]))] * 2, 4, 'Ba$$in_.mid',
        '드럼 $x^2$.mid')
    figure.savefig(tmp_path / 'strip.png')
  assert 'Ba$$in_.mid' in figure.axes[0].get_title('left')
  label = figure.axes[1].get_xlabel()
  assert '$x^2$.mid' in label
  assert ('드럼' in label) != ('fonts-nanum' in capsys.readouterr().out)


def test_training_curves_are_the_event_files(trained):
  """What TensorBoard would show, from a run of 12 steps."""
  figure = plots.plot_training(str(trained))
  train, validation = figure.axes[0].lines
  events = plots.read_events(str(trained / 'train'))
  assert list(train.get_xdata()) == [1, 11] == list(events['loss'][0])
  np.testing.assert_array_equal(train.get_ydata(), events['loss'][1])
  assert train.get_ydata()[1] < train.get_ydata()[0]
  assert list(validation.get_xdata()) == [12]


def test_training_curves_of_a_run_that_was_killed(trained, tmp_path):
  """A truncated last event is left out; no run, no picture."""
  [events] = (trained / 'train').glob('events*')
  (tmp_path / 'train').mkdir()
  (tmp_path / 'train' / events.name).write_bytes(events.read_bytes()[:-5])
  assert plots.plot_training(str(tmp_path)) is not None
  assert plots.plot_training(str(tmp_path / 'missing')) is None


def test_latent_map_keeps_neighbours_together():
  rng = np.random.RandomState(0)
  centres = {'rock': 0., 'funk': 20., 'jazz': -20.}
  latents = np.concatenate([rng.randn(40, 8) + c for c in centres.values()])
  styles = np.repeat(list(centres), 40)
  samples = rng.randn(5, 8) + 20.
  figure = plots.plot_latents(latents, styles, samples)
  drawn = {c.get_label(): c.get_offsets() for c in figure.axes[0].collections}
  assert set(drawn) == {'rock (40)', 'funk (40)', 'jazz (40)', 'samples (5)'}
  middles = {label: xy.mean(axis=0) for label, xy in drawn.items()}
  apart = np.linalg.norm(middles['samples (5)'] - middles['funk (40)'])
  for other in ('rock (40)', 'jazz (40)'):
    assert apart < np.linalg.norm(middles['samples (5)'] - middles[other]) / 3
  again = plots.plot_latents(latents, styles, samples)
  np.testing.assert_array_equal(
      again.axes[0].collections[0].get_offsets(), drawn['funk (40)'])


def test_the_last_32nd_is_drawn():
  """In the last column, with a line where it is; what is after the loop is not."""
  boxes, lines = plots.marks([grid.hit_at(0, 63.5, 100), grid.hit_at(0, 64.0, 100)], 4)
  assert [box[0][0] for box in boxes] == [63] and [x for x, *_ in lines] == [63.5]
