"""The private attributes of Magenta's classes, by names without an underscore.

Every private attribute of upstream's that this project reads is named here, and
nowhere else but in tests that run on stock Magenta too.
"""
import copy
import operator
from collections.abc import Callable


def _private(name: str) -> operator.attrgetter:
  return operator.attrgetter('_' + name)


# Of DrumsConverter and GrooveConverter.
pitch_classes = _private('pitch_classes')  # For each drum, the list of its pitches.
steps_per_quarter = _private('steps_per_quarter')

# Of DrumsConverter.
slice_steps = _private('slice_steps')  # Length of a slice; None: whole sequences.
has_roll_input = _private('roll_input')  # Whether the encoder reads a piano roll.
has_roll_output = _private('roll_output')  # Whether the decoder writes a piano roll.
pads_to_total_time = _private('pad_to_total_time')
presplits_on_time_changes = _private('presplit_on_time_changes')

# Of GrooveConverter.
slice_bars = _private('split_bars')  # Length of a slice; None: whole sequences.
hop_size = _private('hop_size')  # Steps between slices; None: a sequence is one slice.
drum_count = _private('num_drums')
is_humanizing = _private('humanize')  # Whether the encoder reads the hits alone.
tells_hits = _private('hits_as_controls')  # Whether the decoder is told all hits.

# Of encoders and decoders.
is_training = _private('is_training')
scope = _private('name_or_scope')  # Variable scope of an encoder.
# Parts a level; those of the lowest are steps. A decoder begins at the top, an encoder
# at the bottom.
level_lengths = _private('level_lengths')
total_length = _private('total_length')  # Steps.
level_encoders = _private('hierarchical_encoders')  # [(segments, encoder)].
core_decoder = _private('core_decoder')  # Decodes the segments of a hierarchy.
level_cells = _private('hier_cells')  # The conductor's, one a level.
re_encoder = _private('hierarchical_encoder')  # Feeds segments back; None: nothing is.
levels_without_feedback = _private('disable_autoregression')
cell = _private('dec_cell')
output_depth = _private('output_depth')
sampling_probability = _private('sampling_probability')  # Of scheduled sampling.


def steps_per_bar(converter: object) -> int | None:
  """Returns the steps of a bar; some of upstream's converters do not know them."""
  return getattr(converter, '_steps_per_bar', None)


def extractor_settings(converter: object) -> dict:
  """Returns the arguments of the function that reads drums from NoteSequences."""
  return converter._drums_extractor_fn.keywords


def changes_hits(converter: object) -> bool:
  """Whether slices are not just the hits, velocities and offsets that were played."""
  return any(getattr(converter, '_' + name) for name in (
      'split_instruments', 'categorical_outputs', 'tapify', 'add_instruments',
      'note_dropout', 'fixed_velocities'))


def flat_loss(decoder: object, targets: object, outputs: object) -> tuple:
  """Returns the loss of each step, [steps], and streaming metrics by name.

  Args:
    decoder: An LSTM decoder that has been built.
    targets: [steps, depth], those of a whole batch in a row.
    outputs: As the decoder projects them, [steps, depth].
  """
  return decoder._flat_reconstruction_loss(targets, outputs)


def decode(decoder: object, *args: object, **kwargs: object) -> tuple:
  """Returns what BaseLstmDecoder._decode does with these arguments."""
  return decoder._decode(*args, **kwargs)


def changed(converter: object, **settings: object) -> object:
  """Returns a copy of a converter with other settings, by their private names.

  Raises:
    AttributeError: if the converter has no such setting.
  """
  converter = copy.copy(converter)
  for name, value in settings.items():
    getattr(converter, '_' + name)
    setattr(converter, '_' + name, value)
  return converter


def change_session(trained_model: object, change: Callable[[object], object]) -> None:
  """Gives a TrainedModel the session that `change` returns of its own."""
  trained_model._sess = change(trained_model._sess)
