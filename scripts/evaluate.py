"""Says in numbers how good a checkpoint is, beside a floor and baselines.

    python3 scripts/evaluate.py --config=hierdec-drums_4bar --run_dir=run \
        --examples_path=dataset/drummer.tfrecord --split=test

As in training, --examples_path names the train split, with which samples are
compared; the split that is evaluated lies beside it (drummer-test.tfrecord).
Prints tables; with --output_dir, also writes evaluation.json and a figure. The
samples at the default temperature are read from written MIDI files.
"""
import copy
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import common
import feel
import groove_metrics
import humanize
import make_tfrecord
import midi
import plots
import render
import styles
from absl import flags
import numpy as np
from tqdm.auto import tqdm

BATCH_SIZE = 64
VALIDATION_EXAMPLES = 512  # To score a checkpoint with, in bounded time.
SAMPLES = 1000
MAPPED = 50  # Samples in the picture of the latent space.
DEFAULT_TEMPERATURE = 0.6  # What sample.py and the notebook use.
TEMPERATURES = (0.5, DEFAULT_TEMPERATURE, 0.8, 1.0)
PAIRS = 128  # Of test loops between which is interpolated ...
POINTS = 8  # ... by so many latents, ends included.
# Nearly the most likely loop of a latent: what differs between two loops is
# then due to their latents.
GREEDY = 0.01

RECONSTRUCTION = {
    'reconstruction_loss': 'Nats a loop: what the decoder still has to be told '
                           'of a loop, given its latent and the true steps '
                           'before.',
    'kl_bits': 'Bits that the latent says about a loop.',
    'loss': 'What training minimizes: the nats, and the latent\'s cost above '
            'the free bits.',
    'teacher_forced_accuracy': 'Steps (all nine drums at once) whose most '
                               'likely class is right, given the true steps '
                               'before.',
    'sampled_accuracy': 'Steps that are right when the loop is sampled '
                        '(temperature 1) from its latent alone.',
}
SAMPLE_COLUMNS = {
    'frechet_distance': 'Frechet distance of groove features to the split: '
                        'where drums fall, density, repetition.',
    'hits_per_step': 'Drum hits a step.',
    'silent_share': 'Steps at which no drum plays.',
    'bar_similarity': 'Hits that neighbouring bars share (Jaccard).',
    'unique_share': 'Different loops, as a share of all.',
    'nearest_hits': 'Hits that differ from the nearest training loop.',
    'copied_share': 'Loops that are training loops as they are.',
}


class Evaluator:
  """The graph that scores, encodes and decodes slices with a model.

  As upstream's `MusicVAE.eval`, but with teacher forcing even where training
  uses scheduled sampling, for every example alone, and with a fixed seed.
  """

  def __init__(self, config, sample=True, seed=0):
    """Builds the graph.

    Args:
      config: A config of slices (see `packed_slices.can_pack`).
      sample: Whether to measure sampled accuracy, and to decode; not where the
        decoder has to be told the hits.
      seed: For the latents drawn from the encoder, and for sampling.

    Raises:
      common.UserError: if the config is not of drum slices.
    """
    import tensorflow.compat.v1 as tf
    import tensorflow_probability as tfp
    from magenta.models.music_vae import packed_slices
    if not packed_slices.can_pack(config):
      raise common.UserError(
          'This knows only drum configs whose data are slices of one length, '
          'such as hierdec-drums_4bar and groovae_4bar; for others, train.py '
          '--mode=eval says how well a checkpoint fits their data.')
    config = copy.deepcopy(config)
    self._config, hparams, model = config, config.hparams, config.model
    hparams.batch_size = BATCH_SIZE
    hparams.sampling_schedule, hparams.sampling_rate = 'constant', 0.
    hparams.dropout_keep_prob = 1.
    steps = hparams.max_seq_len
    with tf.Graph().as_default() as self._graph, tf.variable_scope(
        '', reuse=tf.AUTO_REUSE):  # The same decoder reconstructs and samples.
      tf.set_random_seed(seed)
      model.build(hparams, config.data_converter.output_depth,
                  is_training=False)
      is_groove = packed_slices.is_groove(config.data_converter)
      self._slices = (
          tf.placeholder(tf.float32, [
              BATCH_SIZE, steps, config.data_converter.output_depth])
          if is_groove else tf.placeholder(tf.int32, [BATCH_SIZE, steps]))
      inputs, outputs, controls, lengths = packed_slices.unpack(
          self._slices, config.data_converter)
      targets = tf.to_float(outputs)
      lengths.set_shape([BATCH_SIZE])
      is_told = config.data_converter.control_depth > 0
      controls = tf.to_float(controls) if is_told else None
      posterior = model.encode(inputs, lengths, controls)
      self._mu, self._sigma = posterior.loc, posterior.stddev()
      self._z = posterior.sample()
      loss, _, decoded = model.decoder.reconstruction_loss(
          tf.pad(targets[:, :-1], [(0, 0), (1, 0), (0, 0)]), targets, lengths,
          self._z, controls)
      kl = tfp.distributions.kl_divergence(
          posterior, tfp.distributions.MultivariateNormalDiag(
              tf.zeros([hparams.z_size]), tf.ones([hparams.z_size])))
      self._scores = {
          'reconstruction_loss': loss,
          'kl_bits': kl / np.log(2)}
      if is_groove:
        drums = groove_metrics.DRUMS
        right = tf.reduce_all(tf.equal(decoded.rnn_output[..., :drums] > 0,
                                       self._slices[..., :drums] > 0), axis=-1)
      else:
        right = tf.equal(tf.argmax(
            decoded.rnn_output, -1, output_type=tf.int32), self._slices)
      self._scores['teacher_forced_accuracy'] = tf.reduce_mean(
          tf.to_float(right), axis=1)
      self._sampled = None
      if sample and not is_told:
        self._temperature = tf.placeholder_with_default(1., [])
        samples, _ = model.sample(BATCH_SIZE, max_length=steps, z=self._z,
                                  temperature=self._temperature)
        self._sampled = samples if is_groove else tf.argmax(
            samples, -1, output_type=tf.int32)
      self._saver = tf.train.Saver()
      self._sess = tf.Session()

  def load(self, checkpoint):
    """Restores a checkpoint, which the other methods then use."""
    with self._graph.as_default():
      common.restore(self._saver, self._sess, checkpoint)

  def _run(self, fetches, feed, values, progress=None, others=()):
    """Feeds `values` in batches; returns what comes, put together again."""
    parts = []
    for i in tqdm(range(0, len(values), BATCH_SIZE), desc=progress,
                  unit='batch', disable=progress is None):
      batch = values[i:i + BATCH_SIZE]
      missing = [(0, BATCH_SIZE - len(batch))] + [(0, 0)] * (batch.ndim - 1)
      result = self._sess.run(
          fetches, {feed: np.pad(batch, missing), **dict(others)})
      parts.append({k: v[:len(batch)] for k, v in result.items()})
    return {k: np.concatenate([p[k] for p in parts]) for k in fetches}

  def score(self, slices, progress=None):
    """Returns the means of RECONSTRUCTION's numbers over slices.

    With `sample`, also precision, recall and F1 of each drum's hits in the
    sampled loops.
    """
    fetches = dict(self._scores)
    if self._sampled is not None:
      fetches['sampled'] = self._sampled
    scores = self._run(fetches, self._slices, slices, progress)
    sampled = scores.pop('sampled', None)
    hparams = self._config.hparams
    scores['loss'] = scores['reconstruction_loss'] + hparams.max_beta * (
        np.log(2) * np.maximum(scores['kl_bits'] - hparams.free_bits, 0))
    if sampled is not None:
      sampled, slices = map(groove_metrics.patterns, (sampled, slices))
      scores['sampled_accuracy'] = sampled == slices
    means = {'examples': len(slices)}
    means.update((k, float(scores[k].mean(dtype=float)))
                 for k in RECONSTRUCTION if k in scores)
    if sampled is not None:
      means['drums'] = {
          name: dict(zip(('precision', 'recall', 'f1'), map(float, column)))
          for name, column in zip(
              plots.LANES, groove_metrics.drum_scores(slices, sampled).T)}
    return means

  def encode(self, slices, progress=None):
    """Returns the latents' means and deviations: two of [loops, z_size]."""
    posterior = self._run({'mu': self._mu, 'sigma': self._sigma},
                          self._slices, slices, progress)
    return posterior['mu'], posterior['sigma']

  def decode(self, z, temperature, progress=None):
    """Returns slices, sampled from latents [loops, z_size]."""
    return self._run({'sampled': self._sampled}, self._z,
                     np.asarray(z, np.float32), progress,
                     {self._temperature: temperature})['sampled']


def deliver(config, slices):
  """Returns slices as they are in the MIDI files that sample.py would write.

  Args:
    config: A config of drum slices.
    slices: What Evaluator.decode returned.
  """
  converter = copy.copy(config.data_converter)
  converter.set_mode('infer')
  is_groove = slices.ndim == 3
  sequences = converter.from_tensors(
      slices if is_groove else np.eye(converter.output_depth)[slices])
  bars = slices.shape[1] // midi.STEPS_PER_BAR
  read = np.zeros(slices.shape[:2] + (3, groove_metrics.DRUMS))
  for i, hits in enumerate(render.deliver(
      [render.as_loop(sequence, bars=bars) for sequence in sequences])):
    for pitch, start, velocity in hits:
      step = midi.nearest_step(start)
      if step < slices.shape[1]:  # A last hit may be played after its loop.
        read[i, step, :, plots.lane_of_pitch(pitch)] = (
            1, velocity / 127, 2 * (step - start))
  read = read.reshape(slices.shape[:2] + (-1,))
  return read.astype(np.float32) if is_groove else groove_metrics.patterns(read)


def evaluate_samples(evaluator, config, train, reference, seed=0):
  """Compares loops from the prior, a floor and baselines with `reference`.

  Args:
    evaluator: An Evaluator with a checkpoint loaded.
    config: Its config.
    train: The train split's loops, [loops, steps].
    reference: The evaluated split's loops.
    seed: For what is drawn.

  Returns:
    {what the loops are: SAMPLE_COLUMNS' numbers}, and the slices that were
    sampled at the default temperature.
  """
  rng = np.random.RandomState(seed)
  distance = groove_metrics.Distance(train, reference)
  def describe(loops):
    return groove_metrics.describe(loops, train, distance)
  rows = {'the split itself': describe(reference),
          'floor: training loops': describe(
              train[rng.choice(len(train), min(SAMPLES, len(train)), False)])}
  z = rng.standard_normal((SAMPLES, config.hparams.z_size))
  for t in TEMPERATURES:
    slices = evaluator.decode(z, t, f'Sampling at {t}')
    if t == DEFAULT_TEMPERATURE:
      samples = slices = deliver(config, slices)
    rows[f'samples, temperature {t}'] = describe(groove_metrics.patterns(slices))
  rows['baseline: bars of different loops'] = describe(
      groove_metrics.mixed_bars(train, SAMPLES, rng))
  rows['baseline: each hit for itself'] = describe(
      groove_metrics.marginal_loops(train, SAMPLES, rng))
  return rows, samples


def evaluate_interpolation(evaluator, reference, seed=0):
  """Compares slerp between loops' latents with mixing the loops' steps.

  Args:
    evaluator: An Evaluator with a checkpoint loaded.
    reference: The evaluated split's slices.
    seed: For what is drawn.

  Returns:
    {'slerp' or 'mixing': {'hits_changed': mean hits that differ between
    neighbouring points, [POINTS - 1]; 'bar_similarity': of the inner points}}.
  """
  rng = np.random.RandomState(seed)
  a, b = (reference[rng.choice(len(reference), PAIRS)] for _ in range(2))
  mu, _ = evaluator.encode(np.concatenate([a, b]))
  a, b = map(groove_metrics.patterns, (a, b))
  shares = np.linspace(0, 1, POINTS)
  z = np.concatenate([[slerp(p, q, t) for p, q in zip(mu[:PAIRS], mu[PAIRS:])]
                      for t in shares])
  paths = {
      'slerp': np.split(groove_metrics.patterns(
          evaluator.decode(z, GREEDY, 'Interpolating')), POINTS),
      'mixing': [groove_metrics.mix(a, b, t, rng) for t in shares]}
  return {
      name: {'hits_changed': [float(groove_metrics.hamming(p, q).mean())
                              for p, q in zip(path, path[1:])],
             'bar_similarity': float(groove_metrics.bar_similarity(
                 np.concatenate(path[1:-1])).mean())}
      for name, path in paths.items()}


def slerp(p0, p1, t):
  """Spherical interpolation of two latents, as upstream does it."""
  omega = np.arccos(np.clip(np.dot(
      p0 / np.linalg.norm(p0), p1 / np.linalg.norm(p1)), -1, 1))
  if np.sin(omega) < 1e-6:  # The same direction: there is no arc to follow.
    return (1 - t) * p0 + t * p1
  return (np.sin((1 - t) * omega) * p0 + np.sin(t * omega) * p1) / np.sin(omega)


def report(result):
  """Returns the text that `main` prints: each number and what it says."""
  lines = [f'{result["checkpoint"]}: {result["reconstruction"]["examples"]} '
           f'loops of the {result["split"]} split.', '', '## Reconstruction', '']
  lines += [f'{name} {result["reconstruction"][name]:.3f}: {meaning}'
            for name, meaning in RECONSTRUCTION.items()]
  lines += ['', "Each drum's hits in the loops sampled from their latents:", '']
  lines += common.table(result['reconstruction']['drums'],
                 ('precision', 'recall', 'f1'))
  lines += ['', f'## {SAMPLES} samples from the prior', '']
  lines += common.table(result['samples'], tuple(SAMPLE_COLUMNS)) + ['']
  lines += [f'{name}: {meaning}' for name, meaning in SAMPLE_COLUMNS.items()]
  lines += ['', f'## Interpolation between {PAIRS} pairs of loops, {POINTS} '
            'points', '']
  for name, values in result['interpolation'].items():
    lines.append(
        f'{name}: ' + ', '.join(f'{v:.1f}' for v in values['hits_changed'])
        + ' hits change from point to point; bars share '
        f'{values["bar_similarity"]:.2f} of their hits in between.')
  if 'styles' in result:
    s = result['styles']
    lines += ['', '## Styles', '',
              'A classifier of groove features, trained on training loops, '
              f'names the style of {s["real"]:.0%} of the {result["split"]} '
              f"split's loops, of {s['styled']:.0%} of loops sampled with that "
              f'style, and of {s["unstyled"]:.0%} of loops sampled without '
              f'({s["chance"]:.0%} is chance).']
  return '\n'.join(lines)


def plot(result, samples, reference):
  """Returns a matplotlib figure of an evaluation."""
  from matplotlib.figure import Figure
  figure = Figure(figsize=(12, 7), layout='constrained')
  axes = figure.subplots(2, 3)
  frequencies = [groove_metrics.hits(loops).mean(axis=(0, 1)).T
                 for loops in (reference, samples)]
  titles = (f'{result["split"]} split: how often drums fall',
            f'samples, temperature {DEFAULT_TEMPERATURE}')
  for axis, frequency, title in zip(axes[0], frequencies, titles):
    image = axis.imshow(
        frequency, cmap='cividis', origin='lower', aspect='auto', vmin=0,
        vmax=max(f.max() for f in frequencies))
    axis.set_yticks(range(groove_metrics.DRUMS), plots.LANES)
    axis.set_xticks(range(0, groove_metrics.STEPS_PER_BAR, 4),
                    [f'beat {b + 1}' for b in range(4)])
    axis.set_title(title)
  figure.colorbar(image, ax=axes[0, :2], label='hits a bar')
  drums = result['reconstruction']['drums']
  axes[0, 2].barh(list(drums), [d['f1'] for d in drums.values()],
                  color=plots.BLUE)
  axes[0, 2].set_xlim(0, 1)
  axes[0, 2].set_title('F1 of reconstructed hits')
  rows = {k.split(': ')[-1]: v for k, v in result['samples'].items()}
  for axis, column, title in (
      (axes[1, 0], 'frechet_distance', f'Distance to the {result["split"]} split'),
      (axes[1, 1], 'bar_similarity', 'Similarity of neighbouring bars')):
    bars = axis.barh(list(rows)[::-1],
                     [row[column] for row in rows.values()][::-1],
                     color=plots.BLUE)
    axis.bar_label(bars, fmt='%.2f', padding=2)
    axis.margins(x=0.15)
    axis.set_title(title)
  for (name, values), style in zip(result['interpolation'].items(), 'os'):
    axes[1, 2].plot(range(1, POINTS), values['hits_changed'], marker=style,
                    label=name)
  axes[1, 2].set_ylim(0)
  axes[1, 2].set_xlabel('interval')
  axes[1, 2].legend()
  axes[1, 2].set_title('Hits changed, point to point')
  for axis in axes.flat:
    axis.tick_params(labelsize=8)
    axis.title.set_fontsize(10)
  return figure


def split_path(examples_path, split):
  """Returns where a split lies, given where the train split does."""
  return str(make_tfrecord.split_path(os.path.expanduser(examples_path), split))


def load_split(config, examples_path, tfds_name, split):
  """Returns a split's slices, as `packed_slices.pack` has them.

  Args:
    config: A config of drum slices.
    examples_path: TFRecord of the train split, beside which the others lie.
    tfds_name: TensorFlow Datasets name, instead of `examples_path`.
    split: 'train', 'validation' or 'test'.

  Raises:
    FileNotFoundError: if there is no such split.
    common.UserError: if it has no slice.
  """
  from magenta.models.music_vae import slice_batches
  from magenta.models.music_vae import slice_cache
  slices = slice_cache.load_slices(
      config.data_converter, examples_path and split_path(examples_path, split),
      tfds_name, split)
  if not len(slices):
    raise common.UserError(
        f'{slice_batches.NO_SLICES} This is about the {split} split.')
  return slices


def latent_map(evaluator, by_style, loops):
  """Returns a figure of where styles and some loops lie in the latent space.

  Args:
    evaluator: An Evaluator with a checkpoint loaded.
    by_style: {style: slices}, as `styles.slices_by_style` returns it.
    loops: Slices of sampled (or other) loops to mark.
  """
  slices = np.concatenate([*by_style.values(), loops])
  mu, _ = evaluator.encode(slices, 'Encoding')
  names = np.repeat(list(by_style), [len(part) for part in by_style.values()])
  return plots.plot_latents(mu[:len(names)], names, mu[len(names):])


def evenly_spaced(slices):
  """Returns VALIDATION_EXAMPLES of the slices, or all, evenly spaced."""
  count = min(len(slices), VALIDATION_EXAMPLES)
  return slices[np.linspace(0, len(slices) - 1, count).astype(int)]


def evaluate(config, checkpoint, examples_path=None, tfds_name=None,
             split='validation', output_dir=None):
  """Evaluates a checkpoint and prints the report; returns all numbers.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix.
    examples_path: TFRecord of the train split, or ...
    tfds_name: ... TensorFlow Datasets name.
    split: The split with which to compare.
    output_dir: Where to write evaluation.json and the figures, if anywhere.
  """
  if humanize.can_humanize(config):
    if not examples_path:
      raise common.UserError('A config that humanizes is evaluated with '
                             '--examples_path, not with --tfds_name.')
    return feel.evaluate(config, checkpoint, examples_path, split, output_dir)
  evaluator = Evaluator(config)
  if config.data_converter.control_depth:
    raise common.UserError('Models of this config need to be told the hits, so '
                           'nothing can be sampled; train.py --mode=eval says '
                           'how well a checkpoint fits its data.')
  reference, train = (load_split(config, examples_path, tfds_name, s)
                      for s in (split, 'train'))
  if min(len(reference), len(train)) < 2:
    raise common.UserError('There are too few 4-bar slices to compare; an '
                           'evaluation needs at least 2 in each split.')
  evaluator.load(checkpoint)
  result = {'checkpoint': checkpoint, 'split': split,
            'reconstruction': evaluator.score(reference, 'Reconstructing')}
  result['samples'], samples = evaluate_samples(
      evaluator, config, *map(groove_metrics.patterns, (train, reference)))
  result['interpolation'] = evaluate_interpolation(evaluator, reference)
  latents = None
  if examples_path and os.path.exists(os.path.join(
      os.path.dirname(checkpoint), styles.STYLES_FILE)):
    kept = styles.load(checkpoint)
    by_style, real = (styles.slices_by_style(
        split_path(examples_path, s), config.data_converter)
                      for s in ('train', split))
    # Not so with a user's own MIDI.
    if set(kept['names']) <= set(by_style) and set(kept['names']) & set(real):
      result['styles'] = styles.evaluate_styles(
          evaluator, kept, by_style, real, DEFAULT_TEMPERATURE)
      latents = latent_map(evaluator, real, samples[:MAPPED])
  print(report(result))
  if output_dir:
    common.write_evaluation(output_dir, result, {
        'evaluation.png': plot(
            result, *map(groove_metrics.patterns, (samples, reference))),
        **({'latents.png': latents} if latents else {})})
  return result


def define_flags():
  flags.DEFINE_string('config', 'hierdec-drums_4bar', 'Name of the config.')
  flags.DEFINE_string('hparams', '', 'Comma-separated name=value pairs.')
  flags.DEFINE_string('run_dir', None, 'Training run to evaluate.')
  flags.DEFINE_string('checkpoint_file', None,
                      'Checkpoint to evaluate, instead of --run_dir.')
  flags.DEFINE_string('examples_path', None,
                      'TFRecord of the train split; the others lie beside it.')
  flags.DEFINE_string('tfds_name', None,
                      'TensorFlow Datasets name, instead of --examples_path.')
  flags.DEFINE_enum('split', 'validation', ['train', 'validation', 'test'],
                    'The split to evaluate.')
  flags.DEFINE_string('output_dir', None,
                      'Where to write evaluation.json and the figures.')


def main():
  FLAGS = flags.FLAGS
  config = common.get_config(FLAGS.config, FLAGS.hparams)
  if (FLAGS.examples_path is None) == (FLAGS.tfds_name is None):
    raise common.UserError('Give either --examples_path or --tfds_name.')
  evaluate(config,
           common.find_checkpoint(FLAGS.run_dir, FLAGS.checkpoint_file),
           FLAGS.examples_path and os.path.expanduser(FLAGS.examples_path),
           FLAGS.tfds_name, FLAGS.split,
           FLAGS.output_dir and os.path.expanduser(FLAGS.output_dir))


if __name__ == '__main__':
  common.run(main, define_flags)
