"""What models of a config can do, and in a sentence why not."""
import dataclasses

from drumloops import grid
from drumloops.errors import UserError, stage

SAMPLE, ENCODE, COMPLETE = 'sample', 'encode', 'complete'
BE_HUMANIZED, HUMANIZE, TAKES = 'be humanized', 'humanize', 'takes'


@dataclasses.dataclass(frozen=True)
class Abilities:
  """What models of a config can do.

  Attributes:
    config_name: The config.
    bars: How many bars its loops have, None where it does not say.
    has_nine_drums: Whether they are of Magenta's nine drums.
    why_not: {what they can't do: the sentence that says why}. SAMPLE: draw loops.
      ENCODE: take a MIDI file's. COMPLETE: complete, vary and go on with loops.
      BE_HUMANIZED: make loops without velocity and microtiming. HUMANIZE: give loops
      these. TAKES: do so in more than one way.
  """
  config_name: str
  bars: int | None
  has_nine_drums: bool
  why_not: dict[str, str]

  def can(self, ability: str) -> bool:
    """Whether they have an ability."""
    return ability not in self.why_not

  def require(self, *abilities: str) -> None:
    """Raises UserError unless they have all these abilities."""
    for ability in abilities:
      if ability in self.why_not:
        raise UserError(self.why_not[ability])


def of(config_name: str, config: object) -> Abilities:
  """Returns the Abilities of a config.

  Args:
    config_name: Its name.
    config: As `magenta_setup.get_config` returns it.
  """
  from magenta.models.music_vae import masked_sampling, packed_slices, upstream
  converter = config.data_converter
  is_patterns, is_grooves = (type(converter).__name__ == name for name in (
      'DrumsConverter', 'GrooveConverter'))
  is_drums = is_patterns or is_grooves
  can_pack = packed_slices.can_pack(config)
  is_told = converter.control_depth > 0
  bars = (config.hparams.max_seq_len // grid.STEPS_PER_BAR
          if upstream.steps_per_bar(converter) == grid.STEPS_PER_BAR else None)
  has_nine_drums = is_drums and len(upstream.pitch_classes(converter)) == grid.DRUMS
  humanizes = can_pack and is_grooves and (
      upstream.slice_bars(converter) == grid.BARS and upstream.tells_hits(converter))
  why_not = {}
  if is_told and is_grooves:
    why_not[SAMPLE] = (f'Models of {config_name} need to be told the hits; see '
                       f'{stage("humanize.py")}.')
  elif is_told:
    why_not[SAMPLE] = (
        f'Models of {config_name} need to be told the chords, which only Magenta\'s own '
        'code can: see TrainedModel.sample\'s c_input.')
  if not is_drums:
    why_not[ENCODE] = (f'{config_name} is no model of drums, and the MIDI files that '
                       'are read here are drums; name a drum config.')
  elif is_grooves and not can_pack:
    why_not[ENCODE] = (
        f'What {config_name} encodes is not a loop as it is played (it is tapped, '
        'thinned out or told the hits); use groovae_4bar.')
  if not (can_pack and converter.output_depth == 2 ** grid.DRUMS and
          converter.input_depth == grid.DRUMS + 1 and
          masked_sampling.can_decode(config)):
    why_not[COMPLETE] = (
        f'{config_name} can neither complete, vary nor go on with a loop: that takes a '
        'config of patterns, such as hierdec-drums_4bar.')
  if not (is_patterns and bars and has_nine_drums):
    why_not[BE_HUMANIZED] = (
        f'Loops of {config_name} are not humanized: '
        + ('it gives them velocities and timing of its own.' if is_grooves else
           'they are no patterns of the nine drums.'))
  if not humanizes:
    why_not[HUMANIZE] = f'{config_name} does not humanize; groovae_4bar_hits_control does.'
  if not humanizes or upstream.is_humanizing(converter):
    why_not[TAKES] = (
        f'The encoder of {config_name} is given no feel, so there is none to take from '
        'anybody; groovae_4bar_hits_control does.')
  return Abilities(config_name, bars, has_nine_drums, why_not)
