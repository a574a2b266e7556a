"""What models of a config can do, and why not."""
import dataclasses

from drumloops import grid
from drumloops.errors import UserError, field, in_words, stage

SCORE, FINISH, SAMPLE, ENCODE = 'score', 'finish', 'sample', 'encode'
COMPLETE, BE_HUMANIZED, HUMANIZE, TAKES = 'complete', 'be humanized', 'humanize', 'takes'
PAGE, MAGENTAJS = 'page', 'magenta.js'


@dataclasses.dataclass(frozen=True)
class Abilities:
  """What models of a config can do.

  Attributes:
    config_name: The config.
    bars: How many bars its loops have, None where it does not say.
    has_nine_drums: Whether they are of Magenta's nine drums.
    reasons: {what they can't do: the sentence that says why, with marks}. SCORE: be
      scored loop by loop. FINISH: be finished by export.py. SAMPLE: draw loops. ENCODE:
      take a MIDI file's. COMPLETE: complete, vary and go on with loops, and have sliders.
      BE_HUMANIZED: make loops without velocity and microtiming. HUMANIZE: give loops
      these. TAKES: do so in more than one way. PAGE, MAGENTAJS: run in a browser.
  """
  config_name: str
  bars: int | None
  has_nine_drums: bool
  reasons: dict[str, str]

  def can(self, ability: str) -> bool:
    """Whether they have an ability."""
    return ability not in self.reasons

  def why_not(self, ability: str) -> str:
    """Returns why they lack an ability, '' if they do not."""
    return in_words(self.reasons.get(ability, ''))

  def require(self, *abilities: str) -> None:
    """Raises UserError unless they have all these abilities."""
    for ability in abilities:
      if ability in self.reasons:
        raise UserError(self.reasons[ability])


def of(config: object, config_name: str = 'This config') -> Abilities:
  """Returns the Abilities of a config.

  Args:
    config: As `magenta_setup.get_config` returns it.
    config_name: What sentences call it.
  """
  from magenta.models.music_vae import (
      lstm_models, masked_sampling, packed_slices, upstream)
  converter, decoder = config.data_converter, config.model.decoder
  is_patterns = type(converter).__name__ == 'DrumsConverter'
  is_grooves = packed_slices.is_groove(converter)
  is_drums, is_told = is_patterns or is_grooves, converter.control_depth > 0
  is_slices = packed_slices.can_pack(config)
  bars = (config.hparams.max_seq_len // grid.STEPS_PER_BAR
          if upstream.steps_per_bar(converter) == grid.STEPS_PER_BAR else None)
  has_nine_drums = is_drums and len(upstream.pitch_classes(converter)) == grid.DRUMS
  humanizes = is_slices and is_grooves and (
      upstream.slice_bars(converter) == grid.BARS and upstream.tells_hits(converter) and (
          upstream.is_humanizing(converter) or packed_slices.has_strokes(converter)))
  # One class a step, which a mask of classes can constrain.
  is_classes = is_slices and is_patterns and masked_sampling.can_decode(config) and (
      converter.output_depth == 2 ** grid.DRUMS)
  runs_in_browsers = is_classes and (
      not masked_sampling.is_hierarchical(decoder) or
      len(upstream.level_lengths(decoder)) == 2)
  cans = {
      SCORE: is_slices,
      FINISH: is_slices and (humanizes or not is_told),
      SAMPLE: not is_told,
      ENCODE: is_drums and (is_patterns or is_slices),
      COMPLETE: is_classes and converter.input_depth == grid.DRUMS + 1,
      BE_HUMANIZED: is_patterns and bars is not None and has_nine_drums,
      HUMANIZE: humanizes,
      TAKES: humanizes and packed_slices.has_strokes(converter),
      PAGE: runs_in_browsers and not config.hparams.residual_encoder and (
          type(config.model.encoder) in (lstm_models.BidirectionalLstmEncoder,
                                         lstm_models.HierarchicalLstmEncoder)),
      MAGENTAJS: runs_in_browsers}
  sentences = _sentences(config_name, is_drums, is_grooves, is_slices and is_told)
  return Abilities(config_name, bars, has_nine_drums, {
      ability: sentences[ability] for ability, can in cans.items() if not can})


def _sentences(name: str, is_drums: bool, is_grooves: bool, only_trains: bool
               ) -> dict[str, str]:
  """Returns why models of a config might not do something: {ability: sentence}."""
  return {
      SCORE: (
          'This knows only drum configs whose data are slices of one length, such as '
          'hierdec-drums_4bar and groovae_4bar; for others, train.py '
          f'{field("mode", "eval")} says how well a checkpoint fits their data.'),
      FINISH: (
          f'Models of {name} are trained only; groovae_4bar_strokes humanizes.'
          if only_trains else
          'Only drum configs whose data are slices of one length, such as '
          "hierdec-drums_4bar and groovae_4bar, are finished; other configs' "
          f'checkpoints are sampled as they are, with {field("run_dir")}.'),
      SAMPLE: (
          f'Models of {name} need to be told the hits; {stage("humanize.py")} does so '
          'with those of groovae_4bar_strokes.' if is_grooves else
          f"Models of {name} need to be told the chords, which only Magenta's own code "
          "can: see TrainedModel.sample's c_input."),
      ENCODE: (
          f'What {name} encodes is not a loop as it is played (it is tapped, thinned '
          'out or told the hits); use groovae_4bar.' if is_drums else
          f'{name} is no model of drums, and the MIDI files that are read here are '
          'drums; name a drum config.'),
      COMPLETE: (
          f'{name} can neither complete, vary nor go on with a loop, nor has it sliders: '
          'that takes a config of patterns, such as hierdec-drums_4bar.'),
      BE_HUMANIZED: f'Loops of {name} are not humanized: ' + (
          'it gives them velocities and timing of its own.' if is_grooves else
          'they are no patterns of the nine drums.'),
      HUMANIZE: f'{name} does not humanize; groovae_4bar_strokes does.',
      TAKES: (
          f'{name} gives each hit the mean of what drummers play; takes, feels and '
          'ornaments are of groovae_4bar_strokes.'),
      PAGE: (f'The page plays drum patterns of hierdec-, hier- and flat- configs; '
             f'{name} is none of them.'),
      MAGENTAJS: ('magenta.js plays drum patterns of hierdec-, hier- and flat- '
                  f'configs; {name} is none of them.')}
