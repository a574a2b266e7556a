"""What Magenta's classes keep to themselves, by names without an underscore.

Every private attribute of upstream's that this project reads is named here, and
nowhere else but in tests that run on stock Magenta too.
"""
import copy
import functools
import operator


def _private(name):
  return operator.attrgetter('_' + name)


# Of DrumsConverter and GrooveConverter.
pitch_classes = _private('pitch_classes')  # [pitches of a drum], for each drum.
steps_per_quarter = _private('steps_per_quarter')
def steps_per_bar(converter):
  return getattr(converter, '_steps_per_bar', None)  # Some do not say.

# Of DrumsConverter.
slice_steps = _private('slice_steps')  # None: whole sequences.
has_roll_input = _private('roll_input')
has_roll_output = _private('roll_output')
pads_to_total_time = _private('pad_to_total_time')
presplits_on_time_changes = _private('presplit_on_time_changes')
def extractor_settings(converter):
  return converter._drums_extractor_fn.keywords
# Of GrooveConverter.
slice_bars = _private('split_bars')
hop_size = _private('hop_size')  # Steps; None: a sequence is one slice.
drum_count = _private('num_drums')
is_humanizing = _private('humanize')
tells_hits = _private('hits_as_controls')
def changes_hits(converter):
  """Whether the encoder hears something else than the hits as they are played."""
  return any(getattr(converter, '_' + name) for name in (
      'split_instruments', 'categorical_outputs', 'tapify', 'add_instruments',
      'note_dropout', 'fixed_velocities'))

# Of encoders and decoders.
is_training = _private('is_training')
scope = _private('name_or_scope')
level_lengths = _private('level_lengths')
total_length = _private('total_length')
level_encoders = _private('hierarchical_encoders')  # [(segments, encoder)].
core_decoder = _private('core_decoder')
level_cells = _private('hier_cells')
re_encoder = _private('hierarchical_encoder')
levels_without_feedback = _private('disable_autoregression')
cell = _private('dec_cell')
output_depth = _private('output_depth')
sampling_probability = _private('sampling_probability')
def flat_loss(decoder, targets, outputs):
  return decoder._flat_reconstruction_loss(targets, outputs)
def decode(decoder, *args, **kwargs):
  return decoder._decode(*args, **kwargs)


def changed(converter, **settings):
  """Returns a copy of a converter with other settings, by their private names.

  Raises:
    AttributeError: if it has no such setting.
  """
  converter = copy.copy(converter)
  for name, value in settings.items():
    getattr(converter, '_' + name)
    setattr(converter, '_' + name, value)
  return converter


def wrap(cls, name, function):
  """Makes a class's method call `function(original, self, ...)` instead."""
  original = getattr(cls, name)  # Its own, or one that it inherits.
  @functools.wraps(original)
  def method(self, *args, **kwargs):
    return function(original, self, *args, **kwargs)
  setattr(cls, name, method)
