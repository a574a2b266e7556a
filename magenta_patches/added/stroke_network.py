"""The network that says how each hit is played, and how it is drawn from.

It is told the hits of a loop and its tempo, as GrooVAE's decoders are (Gillick et al.
2019, arXiv 1905.06118). These give the mean of what drummers play. This one gives
distributions: of a hit's number of strokes, then of its velocity, then of its offset. A
hit is drawn given the latent, the hits around it, and what was drawn before it. That is
what was drawn in the last 3 bars, and of the drums before it at its step.

Distributions are over bins. A bin's logit is an output of a network, plus curves, for
drummers come back to what they played. Curves lie around the bins of the same drum in
the steps AGAIN before, and around that of its mean. One lies where it would be if it
changed since the bar before as the hits before it did. One lies where the drums before
it at its step say, by how the two differed up to there. The network says how high each
is. Offsets have curves around those of the drums before at the same step, too.

`Network` computes by TensorFlow's functions, which train it, or by NumPy's, which draw.
Hit by hit, TensorFlow takes longer to call its functions than to compute them.
Slices are those of StrokeConverter. `known` are 36 numbers of a step: hits, velocities,
offsets, and where the velocity was 127, of each drum.
"""
import types
from collections.abc import Callable

from magenta.models.music_vae.drum_classes import DRUM_CLASSES, STEPS_PER_BAR
import numpy as np

DRUMS = len(DRUM_CLASSES)
STROKES = 3  # Of a drum at a step, at most.
DEPTH = DRUMS * (1 + 2 * STROKES) + 1  # Numbers of a step of a slice.
VELOCITY_BINS = 64  # Of two velocities each, but the last: 127 is struck most often.
OFFSET_BINS = 64  # Of a step.
BEFORE, AFTER = 16, 8  # Steps around a hit whose hits it depends on.
PLAYED = 16  # Steps before a hit of which all that was drawn counts ...
MEMORY = 48  # ... and of the same drum.
LAGS = (1, 2, 3, 4, 6, 8, 12, 16, 32, 48)  # Steps before; what the same drum did there.
AGAIN = (2, 4, 8, 16, 32, 48)  # Those of them that have curves.
RECENT = 8  # Steps before a hit that say what changed since the bar before.
WIDTHS = (1., 3., 9.)  # Of the curves, in bins.
UNITS_OF_MORE = 128  # Of the layers of the second and third stroke.
CHANCE = 2 + 2 * STROKES  # Uniform numbers a hit: strokes; values of each; in bins.
MEAN = -1.  # In their place, for the mean of each distribution.


def _curves(bins):
  """Returns curves of all widths around each bin: float32 [widths, bins, bins]."""
  distance = np.subtract.outer(np.arange(bins), np.arange(bins))
  return np.exp(-.5 * (distance / np.reshape(WIDTHS, [-1, 1, 1])) ** 2).astype(
      np.float32)


CURVES = {bins: _curves(bins) for bins in (VELOCITY_BINS, OFFSET_BINS)}


def _products(x, y, width):
  x, y = (np.lib.stride_tricks.sliding_window_view(part[:, :-1], width, axis=1)
          for part in (x, y))
  return x @ y.swapaxes(-1, -2)


def _convolve(x, kernel, width):
  windows = np.lib.stride_tricks.sliding_window_view(x, width, axis=1)
  windows = windows.swapaxes(2, 3)  # [batch, steps, width, depth].
  return windows.reshape(*windows.shape[:2], -1) @ kernel


# What Network computes with: those of NumPy. TensorFlow's are in stroke_decoder.
NUMPY = types.SimpleNamespace(
    concat=lambda parts: np.concatenate(parts, axis=-1), stack=np.stack,
    repeat=np.repeat, dot=np.matmul, embed=lambda rows, values: rows[values],
    convolve=_convolve, products=_products, hidden=lambda x: np.maximum(x, 0), sum=np.sum,
    maximum=np.maximum, minimum=np.minimum, sqrt=np.sqrt, tanh=np.tanh, argmax=np.argmax,
    einsum=np.einsum, floor=lambda x: np.floor(x).astype(np.int32),
    number=lambda x: x.astype(np.float32), swap=lambda x: np.swapaxes(x, -1, -2),
    pad=lambda x, before, after: np.pad(x, [(0, 0), (before, after), (0, 0)]))


class Network:
  """The distributions of hits. Rows are hits.

  Attributes:
    ops: NUMPY, or the like.
  """

  def __init__(self, ops: types.SimpleNamespace, weights: Callable, units: int):
    """Sets it up.

    Args:
      ops: What it computes with.
      weights: Returns the variable of a name and shape.
      units: Of a layer.
    """
    self.ops, self._weights, self._units = ops, weights, units

  def velocity_bin(self, velocities: object) -> object:
    """Returns the bins of velocities from 1 / 127 to 1."""
    ops = self.ops  # By .499, means of several velocities lie at no bin's edge.
    return ops.maximum(ops.minimum(
        ops.floor((velocities * 127 - .499) / 2), VELOCITY_BINS - 1), 0)

  def offset_bin(self, offsets: object) -> object:
    """Returns the bins of offsets from -1 to 1."""
    ops = self.ops
    return ops.maximum(ops.minimum(
        ops.floor((offsets + 1) / 2 * OFFSET_BINS), OFFSET_BINS - 1), 0)

  def known(self, hits: object, velocities: object, offsets: object) -> object:
    """Returns what is remembered of hits: [..., 36] of three of [..., 9]."""
    return self.ops.concat(
        [hits, velocities, offsets, self.ops.number(velocities > 126.5 / 127)])

  def plan(self, controls: object, z: object, steps: object) -> object:
    """Returns what is known before anything is drawn: [batch, steps, units].

    Args:
      controls: Hits and tempo, [batch, steps, 10].
      z: Latents, [batch, z_size].
      steps: 0, 1, 2 ...
    """
    bars = self.ops.minimum(steps // STEPS_PER_BAR, MEMORY // STEPS_PER_BAR)
    return (self._convolved(self.ops.pad(controls[..., :DRUMS], BEFORE, AFTER),
                            'pattern', BEFORE + AFTER + 1) +
            self._embedded('step', STEPS_PER_BAR, steps % STEPS_PER_BAR) +
            self._embedded('bar', 1 + MEMORY // STEPS_PER_BAR, bars) +
            self._dense(controls[..., DRUMS:], 'tempo') +
            self._dense(z, 'latent')[:, np.newaxis])

  def memory(self, known: object) -> tuple[object, object, object, object]:
    """Returns what hits depend on of what was drawn before them.

    Args:
      known: [batch, MEMORY + steps, 36].

    Returns:
      Of each step, [batch, steps, units]; of its hits, [batch, steps, drums, numbers];
      where curves may lie, [batch, steps, drums, 3, places]: whether there is one,
      velocity and offset; and how each drum differs from each other, [batch, steps,
      drums, 3, drums]: how often both were hit, and how much more the first had, in
      velocity and offset.
    """
    ops, steps = self.ops, int(known.shape[1]) - MEMORY
    context = self._convolved(known[:, MEMORY - PLAYED:-1], 'played', PLAYED)
    def parts(known):
      return [known[..., i:i + DRUMS] for i in range(0, 4 * DRUMS, DRUMS)]
    lags = {lag: parts(known[:, MEMORY - lag:MEMORY - lag + steps]) for lag in LAGS}
    hits, velocities, offsets, loudest = parts(known)
    # Sums of what drums (first) had where drums (second) were hit.
    sums = ops.products(ops.concat([
        hits, velocities, offsets, velocities * velocities, offsets * offsets, loudest]),
                        hits, MEMORY)
    sums = [sums[..., i:i + DRUMS, :] for i in range(0, 6 * DRUMS, DRUMS)]
    count, *means = (ops.einsum('...dd->...d', x) for x in sums)
    some, of_all = ops.maximum(count, 1), ops.maximum(
        ops.sum(count, axis=-1, keepdims=True), 1)
    level = [ops.repeat(ops.sum(x, axis=-1, keepdims=True) / of_all, DRUMS, axis=-1)
             for x in means[:2]]
    means = [x / some for x in means]
    deviations = [ops.sqrt(ops.maximum(squares - mean * mean, 0))
                  for squares, mean in zip(means[2:4], means)]
    changes = self._changes(hits, velocities, offsets, steps)
    own = [*(x for lag in LAGS for x in lags[lag]), *means[:2], *deviations, means[4],
           ops.tanh(count / 8), *level, *changes]
    found = ops.minimum(count, 1)
    places = [ops.stack([*(lags[lag][i] for lag in AGAIN), mean, changed], axis=-1)
              for i, (mean, changed) in enumerate((
                  (found, lags[STEPS_PER_BAR][0]),
                  *((mean, lags[STEPS_PER_BAR][i] + change)
                    for i, (mean, change) in enumerate(zip(means, changes), 1))))]
    # A difference of means counts as much as that of one step with both.
    def differences(x):
      return x[..., np.newaxis] - x[..., np.newaxis, :]
    both = found[..., np.newaxis] * found[..., np.newaxis, :]
    weight = sums[0] + both
    pairs = [weight, *(
        (x - ops.swap(x) + both * differences(mean)) / ops.maximum(weight, 1)
        for x, mean in zip(sums[1:3], means))]
    return (context, ops.stack(own, axis=-1), ops.stack(places, axis=-2),
            ops.stack(pairs, axis=-2))

  def _changes(self, hits, velocities, offsets, steps):
    """Returns how hits of the RECENT steps differ from a bar ago: 2 of memory's."""
    ops, bar = self.ops, STEPS_PER_BAR
    again = hits[:, bar:] * hits[:, :-bar]
    x = ops.stack([ops.sum(again * change, axis=-1) for change in (
        1., velocities[:, bar:] - velocities[:, :-bar],
        offsets[:, bar:] - offsets[:, :-bar])], axis=-1)[:, -steps - RECENT:]
    sums = ops.products(x, np.ones([1, steps + RECENT, 1], np.float32), RECENT)[..., 0]
    count = ops.maximum(sums[..., :1], 1)
    return [ops.repeat(sums[..., i:i + 1] / count, DRUMS, axis=-1) for i in (1, 2)]

  def beside(self, now: object, pairs: object) -> object:
    """Returns what the drums before a hit at its step say of it: [rows, 3, 10].

    That is of each drum, and of all: whether it says anything; velocity and offset.

    Args:
      now: What is known of these drums, [rows, 36].
      pairs: What `memory` returns of the hits, [rows, 3, drums].
    """
    ops = self.ops
    weight = now[:, :DRUMS] * pairs[:, 0]
    there, total = ops.minimum(weight, 1), ops.sum(weight, axis=-1, keepdims=True)
    said = [there * (now[:, i * DRUMS:(i + 1) * DRUMS] + pairs[:, i]) for i in (1, 2)]
    return ops.stack([
        ops.concat([there, ops.minimum(total, 1)]),
        *(ops.concat([x, ops.sum(weight * x, axis=-1, keepdims=True) /
                      ops.maximum(total, 1)]) for x in said)], axis=-2)

  def features(self, context: object, own: object, drum: object, now: object,
               beside: object) -> object:
    """Returns what all distributions of hits depend on: [rows, units].

    Args:
      context: What `plan` and `memory` return of their steps, [rows, units].
      own: What `memory` returns of them.
      drum: Their drums, [rows].
      now: What is known of the drums before them at their step, [rows, 36].
      beside: What `beside` returns.
    """
    which = self.ops.embed(np.eye(DRUMS, dtype=np.float32), drum)
    hidden = self.ops.hidden(context * self._embedded('gain', DRUMS, drum) + self._dense(
        self.ops.concat([own, now, which, *(beside[:, i] for i in range(3))]), 'hit'))
    return self.ops.hidden(self._dense(hidden, 'features'))

  def count(self, features: object) -> object:
    """Returns logits of how many strokes more than one: [rows, STROKES]."""
    return self._dense(features, 'strokes', STROKES)

  def velocity(self, features: object, count: object, again: object,
               beside: object) -> object:
    """Returns logits of the loudest strokes' velocities: [rows, VELOCITY_BINS]."""
    hidden = self.ops.hidden(self._dense(features, 'velocity/hidden') + self._embedded(
        'velocity/strokes', STROKES, count))
    there, velocities = (
        self.ops.concat([again[:, i], beside[:, i, -1:]]) for i in range(2))
    return self._logits(hidden, 'velocity', VELOCITY_BINS, there,
                        self.velocity_bin(velocities))

  def offset(self, features: object, count: object, velocity: object, again: object,
             beside: object, now: object) -> object:
    """Returns logits of their offsets: [rows, OFFSET_BINS]."""
    ops = self.ops
    hidden = ops.hidden(
        self._dense(features, 'offset/hidden') +
        self._embedded('offset/strokes', STROKES, count) +
        self._embedded('offset/velocity', VELOCITY_BINS, velocity))
    hits, at = now[:, :DRUMS], now[:, 2 * DRUMS:3 * DRUMS]
    count = ops.sum(hits, axis=-1, keepdims=True)
    there = ops.minimum(count, 1)
    last = ops.embed(np.eye(DRUMS, dtype=np.float32), ops.argmax(
        hits * np.arange(1, DRUMS + 1, dtype=np.float32), axis=-1))
    offsets = ops.concat([again[:, 2], beside[:, 2, -1:],
                          ops.sum(last * at, axis=-1, keepdims=True),
                          ops.sum(at, axis=-1, keepdims=True) / ops.maximum(count, 1)])
    return self._logits(hidden, 'offset', OFFSET_BINS,
                        ops.concat([again[:, 0], beside[:, 0, -1:], there, there]),
                        self.offset_bin(offsets))

  def _logits(self, hidden, name, bins, there, again):
    """Returns logits: of a layer, and curves around the bins `again`, if `there`."""
    ops, count = self.ops, again.shape[1]
    heights = self._dense(hidden, f'{name}/heights', len(WIDTHS) * count)
    return sum((ops.einsum(
        'nk,nkb->nb', there * heights[:, i * count:(i + 1) * count],
        ops.embed(curve, again)) for i, curve in enumerate(CURVES[bins])),
               self._dense(hidden, f'{name}/logits', bins))

  def more(self, i: int, features: object, count: object, velocity: object,
           offset: object, last_velocity: object, last_offset: object) -> object:
    """Returns a layer of rows' stroke i after the first: [rows, UNITS_OF_MORE].

    Args:
      i: From 0 on.
      features: What `features` returns.
      count: How many strokes more than one.
      velocity: The loudest stroke's bin.
      offset: The same of its offset.
      last_velocity: The bin of the stroke before this in loudness.
      last_offset: The same of its offset.
    """
    def embedded(name, bins, values):
      return self._embedded('more/' + name, bins, values, UNITS_OF_MORE)
    return self.ops.hidden(
        self._dense(features, 'more/hidden', UNITS_OF_MORE) +
        embedded('strokes', STROKES ** 2, i * STROKES + count) +
        embedded('velocity', VELOCITY_BINS, velocity) +
        embedded('offset', OFFSET_BINS, offset) +
        embedded('last_velocity', VELOCITY_BINS, last_velocity) +
        embedded('last_offset', OFFSET_BINS, last_offset))

  def more_velocity(self, hidden: object) -> object:
    """Returns logits of velocities, of what `more` returned."""
    return self._dense(hidden, 'more/velocity_logits', VELOCITY_BINS)

  def more_offset(self, hidden: object, velocity: object) -> object:
    """Returns logits of offsets, of what `more` returned and velocities' bins."""
    return self._dense(self.ops.hidden(
        self._dense(hidden, 'more/offset_hidden', UNITS_OF_MORE) + self._embedded(
            'more/own_velocity', VELOCITY_BINS, velocity, UNITS_OF_MORE)),
                       'more/offset_logits', OFFSET_BINS)

  def _dense(self, x, name, units=None):
    units = units or self._units
    return self.ops.dot(x, self._weights(f'{name}/kernel', [x.shape[-1], units])) + (
        self._weights(f'{name}/bias', [units]))

  def _convolved(self, x, name, width):
    """Returns [batch, steps, units] of [batch, steps + width - 1, depth]."""
    kernel = self._weights(f'{name}/kernel', [width * x.shape[-1], self._units])
    return self.ops.convolve(x, kernel, width) + self._weights(
        f'{name}/bias', [self._units])

  def _embedded(self, name, count, values, units=None):
    """Returns a row for each value from 0 to count - 1."""
    return self.ops.embed(
        self._weights(name, [count, units or self._units]), values)


def shapes(units: int, z_size: int) -> dict[str, list[int]]:
  """Returns the shapes of all weights, {name: shape}."""
  found = {}
  def empty(name: str, shape: list[int]) -> np.ndarray:
    found[name] = list(shape)
    return np.zeros(shape, np.float32)
  controls = np.ones([1, 1, DRUMS + 1])
  _draw(Network(NUMPY, empty, units), controls, np.zeros([1, z_size]),
        np.ones([1, 1, DRUMS, CHANCE]), 1., (1., 1.))
  return found


def draw(weights: dict[str, np.ndarray], controls: np.ndarray, z: np.ndarray,
         chance: np.ndarray, ornaments: float = 1.,
         temperatures: tuple[float, float] = (1., 1.)) -> np.ndarray:
  """Returns how hits are played: slices, float32 [batch, steps, 64].

  Args:
    weights: {name: values} of the decoder's variables.
    controls: Hits and tempo, [batch, steps, 10], of any number of steps.
    z: Latents, [batch, z_size].
    chance: Uniform numbers, [batch, steps, drums, CHANCE], or MEAN in their place.
    ornaments: How likely a hit has several strokes, as a share of how likely
      drummers' hits have.
    temperatures: How random velocities are, and offsets.
  """
  return _draw(Network(NUMPY, lambda name, _: weights[name], weights['latent/bias'].size),
               controls, z, chance, ornaments, temperatures)


def _draw(network, controls, z, chance, ornaments, temperatures):
  controls, z = np.asarray(controls, np.float32), np.asarray(z, np.float32)
  batch, steps, _ = controls.shape
  plan = network.plan(controls, z, np.arange(steps))
  known = np.zeros([batch, MEMORY + steps, 4 * DRUMS], np.float32)
  strokes = np.zeros([batch, steps, 2 * STROKES, DRUMS], np.float32)
  hits = controls[..., :DRUMS] > 0
  for t in range(steps):
    any_hit = np.flatnonzero(hits[:, t].any(axis=1))
    if not len(any_hit):
      continue
    context, own, again, pairs = (x[:, 0] for x in network.memory(
        known[any_hit, t:t + MEMORY + 1]))
    context = context + plan[any_hit, t]
    now = np.zeros([len(any_hit), 4 * DRUMS], np.float32)
    for drum in np.flatnonzero(hits[:, t].any(axis=0)):
      at = np.flatnonzero(hits[any_hit, t, drum])
      rows = any_hit[at]
      strokes[rows, t, :, drum] = found = _draw_hit(
          network, ornaments, temperatures, context[at], own[at, drum], again[at, drum],
          pairs[at, drum], np.full(len(at), drum), now[at], chance[rows, t, drum]).T
      now[at, drum::DRUMS] = np.stack(
          [np.ones(len(at)), *found.T[:2], found[:, 0] > 126.5 / 127], axis=1)
    known[any_hit, MEMORY + t] = now
  return np.concatenate([
      controls[..., :DRUMS], strokes.reshape(batch, steps, -1), controls[..., DRUMS:]],
                        axis=-1)


def _draw_hit(network, ornaments, temperatures, context, own, again, pairs, drum, now,
              chance):
  """Returns velocities and offsets of all strokes of rows: [2 * STROKES, rows]."""
  beside = network.beside(now, pairs)
  features = network.features(context, own, drum, now, beside)
  shares = _softmax(network.count(features)) * ornaments
  shares[:, 0] += 1 - ornaments
  count = _bins(shares, chance[:, 0])
  drawn = np.zeros([2 * STROKES, len(drum)], np.float32)
  def velocities(logits, chance):
    return _values(logits / temperatures[0], velocity_in, chance)
  def offsets(logits, chance):
    return _values(logits / temperatures[1], offset_in, chance)
  drawn[0] = velocities(network.velocity(features, count, again, beside), chance[:, 1:])
  first = [network.velocity_bin(drawn[0])]
  drawn[1] = offsets(
      network.offset(features, count, *first, again, beside, now), chance[:, 2:])
  first.append(network.offset_bin(drawn[1]))
  last = first
  for i in range(1, STROKES):
    rows = np.flatnonzero(count >= i)
    if not len(rows):
      break
    hidden = network.more(i - 1, *(x[rows] for x in (features, count, *first, *last)))
    own_chance = chance[rows, 1 + 2 * i:]
    # Strokes in one bin lie apart in it.
    own_chance[:, -1] = (own_chance[:, -1] + i / STROKES) % 1
    drawn[2 * i, rows] = velocities(network.more_velocity(hidden), own_chance)
    last = [network.velocity_bin(drawn[2 * i])]
    drawn[2 * i + 1, rows] = offsets(
        network.more_offset(hidden, last[0][rows]), own_chance[:, 1:])
    last.append(network.offset_bin(drawn[2 * i + 1]))
  return drawn


def velocity_in(bins: np.ndarray, share: np.ndarray | float) -> np.ndarray:
  """Returns the velocities, 1 / 127 to 1, that lie at a share, 0 to 1, of bins."""
  return np.minimum(2 * bins + 1 + np.floor(2 * share), 127) / 127


def offset_in(bins: np.ndarray, share: np.ndarray | float) -> np.ndarray:
  """Returns the offsets, -1 to 1, that lie at a share, 0 to 1, of bins."""
  return (bins + share) / OFFSET_BINS * 2 - 1


def _values(logits, value_in, chance):
  """Returns what is drawn by the first of `chance`, and in its bin by the last."""
  shares, first = _softmax(logits), chance[:, 0]
  mean = shares @ value_in(np.arange(shares.shape[1]), .5)
  return np.where(first < 0, mean, value_in(_bins(shares, first), chance[:, -1]))


def _softmax(logits):
  shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
  return shares / shares.sum(axis=-1, keepdims=True)


def _bins(shares, chance):
  """Returns bins, [rows], drawn by uniform numbers, [rows], MEAN for the first."""
  below = np.cumsum(shares, axis=-1) < chance[:, np.newaxis]
  return np.minimum(below.sum(axis=-1), shares.shape[-1] - 1)
