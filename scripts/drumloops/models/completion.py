"""Loops around what a musician gives: some drums, some bars, a rhythm.

What is given is said by a mask: which of the classes (one bit a drum) each step may
have. The encoder hears it with what is hidden at one half, between a drum that plays
and one that does not; the decoder samples by it, in masked_sampling.
"""
import copy
import dataclasses
import re

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.data import patterns, styles
from drumloops.runs import checkpoint_files
from magenta_patches.added.drum_classes import (
    CLOSED_HIHAT, CRASH, HIGH_TOM, LOW_TOM, MID_TOM, OPEN_HIHAT, RIDE)
import numpy as np
from tqdm.auto import tqdm

CLASSES = 2 ** grid.DRUMS
# Latents that try to play a loop, of which one does, and the share of them that come
# from the encoder, not from the prior: chosen on validation.
PARTICLES, OWN_SHARE = 256, 0.9
LOOPS = 4  # At a time.


def read_drums(text, flag=field("keep")):
  """Returns the drum classes of names such as 'kick,closed-hi-hat,toms'.

  hi-hat, toms and cymbals are all drums of that kind.

  Raises:
    UserError: if there is no such drum.
  """
  names = {re.sub('[^a-z]', '', name): (drum,)
           for drum, name in enumerate(grid.DRUM_CLASSES)}
  names.update(hihat=(CLOSED_HIHAT, OPEN_HIHAT), toms=(LOW_TOM, MID_TOM, HIGH_TOM),
               cymbals=(CLOSED_HIHAT, OPEN_HIHAT, CRASH, RIDE))
  found = set()
  for name in filter(None, map(str.strip, text.split(','))):
    drums = names.get(re.sub('[^a-z]', '', name.lower()))
    if drums is None:
      raise UserError(
          f'{flag} knows no drum {name!r}, but {", ".join(grid.DRUM_CLASSES)}; '
          'hi-hat, toms and cymbals are all of their kind.')
    found.update(drums)
  return tuple(sorted(found))


def read_bars(text):
  """Returns bars, from 0, of their numbers such as '1,2' or '1-3'.

  Raises:
    UserError: if it is something else.
  """
  found = set()
  for part in filter(None, map(str.strip, text.split(','))):
    match = re.fullmatch(r'([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?', part)
    if not match:
      raise UserError(f'{field("keep_bars")} takes numbers of bars from 1 on, such as '
                          f'1,2 or 1-3, not {part!r}.')
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
      raise UserError(f'{field("keep_bars")} takes {last}-{first}, not {part}.')
    found.update(range(first - 1, last))
  return tuple(sorted(found))


@dataclasses.dataclass(frozen=True)
class Constraints:
  """What of a loop is kept.

  drums: Drum classes whose hits are kept, and to which none is added.
  bars: Bars (from 0) that are kept as they are.
  rhythm: Whether drums play at just the steps at which any does in the loop.
  without: Drum classes that do not play, but in kept bars.
  """
  drums: tuple = ()
  bars: tuple = ()
  rhythm: bool = False
  without: tuple = ()

  @property
  def keeps_anything(self):
    """Whether there is anything that is kept."""
    return bool(self.drums or self.bars or self.rhythm)

  def allowed(self, loop):
    """Returns which classes each step may have: bool, [steps, CLASSES].

    Args:
      loop: What is given, classes, [steps].

    Raises:
      UserError: if there is a step that may have none.
    """
    loop, every = np.asarray(loop)[:, np.newaxis], np.arange(CLASSES)
    kept, missing = (sum(1 << drum for drum in drums)
                     for drums in (self.drums, self.without))
    allowed = (every & kept == loop & kept) & (every & missing == 0)
    if self.rhythm:
      allowed &= (every > 0) == (loop > 0)
    for bar in self.bars:
      steps = slice(bar * grid.STEPS_PER_BAR, (bar + 1) * grid.STEPS_PER_BAR)
      allowed[steps] = every == loop[steps]
    if not allowed.any(axis=1).all():
      bar, step = divmod(int(np.argmin(allowed.any(axis=1))), grid.STEPS_PER_BAR)
      raise UserError(
          f'In bar {bar + 1}, at its sixteenth {step + 1}, the rhythm wants a hit, '
          'but no drum is left to play it; keep or leave out fewer drums.')
    return allowed

  def kept(self, loop):
    """Returns which hits of a loop are kept: bool, [steps, drums]."""
    kept = np.zeros([len(loop), grid.DRUMS], bool)
    kept[:, list(self.drums)] = True
    for bar in self.bars:
      kept[bar * grid.STEPS_PER_BAR:(bar + 1) * grid.STEPS_PER_BAR] = True
    return kept & patterns.bits(loop)

  @classmethod
  def of_flags(cls, flags):
    """Returns the Constraints of absl's flags."""
    return read_constraints(flags.keep, flags.keep_bars, flags.rhythm, flags.without)

  def __str__(self):
    """Says what is kept: 'kick, snare and bars 1, 2 kept, without crash'."""
    kept = [', '.join(grid.DRUM_CLASSES[d] for d in self.drums),
            self.bars and 'bars ' + ', '.join(str(bar + 1) for bar in self.bars),
            self.rhythm and 'the rhythm']
    text = ' and '.join(filter(None, kept))
    missing = ', '.join(grid.DRUM_CLASSES[d] for d in self.without)
    return ', '.join(filter(None, [text and text + ' kept',
                                   missing and 'without ' + missing]))


def define_flags():
  """Defines the flags of Constraints."""
  from absl import flags
  flags.DEFINE_string('keep', '', 'To complete: drums whose hits are kept, such as '
                      'kick,snare.')
  flags.DEFINE_string('keep_bars', '',
                      'To complete: bars that are kept, such as 1,2.')
  flags.DEFINE_bool('rhythm', False, 'To complete: whether drums play at just the '
                    'sixteenths at which the MIDI file has any hit.')
  flags.DEFINE_string('without', '', 'To complete: drums that do not play.')


def read_constraints(keep='', keep_bars='', rhythm=False, without=''):
  """Returns the Constraints of what a user typed, or of lists of the same."""
  keep, keep_bars, without = (
      given if isinstance(given, str) else ','.join(map(str, given))
      for given in (keep, keep_bars, without))
  constraints = Constraints(read_drums(keep), read_bars(keep_bars), rhythm,
              read_drums(without, field("without")))
  if both := set(constraints.drums) & set(constraints.without):
    raise UserError(
        f'The {grid.DRUM_CLASSES[min(both)]} is both in {field("keep")} and in {field("without")}; '
        'leave it in one of them.')
  return constraints


def roll(allowed):
  """Returns the encoder's input: float32, [..., steps, drums + 1].

  1 where all allowed classes have it, 0 where none has, else a half. The last says
  that no drum plays.
  """
  has = patterns.bits(np.arange(CLASSES))
  has = np.append(has, ~has.any(axis=1, keepdims=True), axis=1)
  having = allowed @ has.astype(np.float32)
  return ((having == allowed.sum(axis=-1, keepdims=True)).astype(np.float32) +
          (having > 0)) / 2


class Completer:
  """The graph that plays what is not given."""

  def __init__(self, config, checkpoint, seed=0):
    """Builds the graph and loads a checkpoint.

    Raises:
      UserError: if it is not of the config.
    """
    import tensorflow.compat.v1 as tf
    import tensorflow_probability as tfp
    from magenta.models.music_vae import masked_sampling
    hparams, model = copy.deepcopy(config.hparams), copy.deepcopy(config.model)
    hparams.batch_size, hparams.dropout_keep_prob = LOOPS, 1.
    self._steps, size = hparams.max_seq_len, hparams.z_size
    self._checkpoint = checkpoint
    with tf.Graph().as_default(), tf.variable_scope('', reuse=tf.AUTO_REUSE):
      tf.set_random_seed(seed)
      model.build(hparams, config.data_converter.output_depth, is_training=False)
      self._allowed = tf.placeholder(tf.bool, [LOOPS, self._steps, CLASSES])
      self._heard = tf.placeholder(
          tf.float32, [LOOPS, self._steps, config.data_converter.input_depth])
      self._temperature = tf.placeholder(tf.float32, [])
      self._mean = tf.placeholder_with_default(tf.zeros([size]), [size])
      self._deviation = tf.placeholder_with_default(tf.ones([size]), [size])
      prior = tfp.distributions.MultivariateNormalDiag(
          tf.tile(self._mean[tf.newaxis], [LOOPS, 1]), self._deviation)
      own = model.encode(self._heard, tf.fill([LOOPS], self._steps))
      self._own_share = tf.placeholder_with_default(OWN_SHARE, [])
      is_own = tf.random.uniform([PARTICLES, LOOPS, 1]) < self._own_share
      z = tf.where_v2(is_own, own.sample(PARTICLES), prior.sample(PARTICLES))
      self._completed = masked_sampling.sample(
          model.decoder, tf.reshape(tf.transpose(z, [1, 0, 2]), [-1, size]),
          self._allowed, self._temperature)
      self._sess = tf.Session()
      checkpoint_files.restore(tf.train.Saver(), self._sess, checkpoint)

  def _prior(self, style):
    if not style:
      return {}
    mean, deviation = styles.gaussian(styles.load(self._checkpoint), style)
    # All are the style's, or what the encoder hears would decide it.
    return {self._mean: mean, self._deviation: deviation, self._own_share: 0.}

  def complete(self, allowed, temperature, style=None):
    """Returns loops, int [loops, steps], of allowed classes, with a progress bar.

    Those that are longer than the model's are played from the beginning on: each
    next bars by what is allowed there and by the bars before them.

    Args:
      allowed: bool, [loops, steps, CLASSES].
      temperature: Of the softmax each step is sampled from.
      style: A style of GMD's that the weights know, if any.
    """
    loops = np.argmax(allowed, axis=-1)
    prior = self._prior(style)
    windows = list(self._windows(allowed.shape[1]))
    for i, (begin, known) in tqdm(
        [(i, window) for i in range(0, len(loops), LOOPS) for window in windows],
        desc='Completing', unit='part', leave=False):
      part = allowed[i:i + LOOPS, begin:begin + self._steps].copy()
      part[:, :known] = np.eye(CLASSES, dtype=bool)[
          loops[i:i + LOOPS, begin:begin + known]]
      if (part.sum(axis=-1) == 1).all():
        continue  # All of it is given.
      part = np.resize(part, (LOOPS,) + part.shape[1:])  # Again from the first.
      done = self._sess.run(self._completed, {
          self._allowed: part, self._heard: roll(part),
          self._temperature: temperature, **prior})
      loops[i:i + LOOPS, begin:begin + self._steps] = done[:len(loops) - i]
    return loops

  def _windows(self, steps):
    """Yields where each part begins, and how many of its steps are known then."""
    begin = known = 0
    while True:
      yield begin, known
      left = steps - begin - self._steps
      if left <= 0:
        return
      new = min(left, self._steps // 2)
      begin, known = begin + new, self._steps - new

  def go_on(self, loops, bars, temperature, style=None):
    """Returns loops, int [loops, steps], with more bars after their own."""
    steps = bars * grid.STEPS_PER_BAR
    allowed = np.ones((len(loops), steps, CLASSES), bool)
    allowed[:, :loops.shape[1]] = np.eye(CLASSES, dtype=bool)[loops]
    return self.complete(allowed, temperature, style)
