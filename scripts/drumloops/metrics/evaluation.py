"""How good a checkpoint is, beside a floor and baselines."""
import os
from typing import Any

from drumloops import abilities, grid
from drumloops.errors import UserError, field
from drumloops.data import patterns, splits, styles
from drumloops.humanize import feel_model
from drumloops.models import autoencoder, latent, prior, sliders, variation
from drumloops.models import completion as completing
from drumloops.output import plots
from drumloops.metrics import completion as completion_metrics
from drumloops.metrics import discriminator, feel, reports, style_classifier
from drumloops.metrics import sliders as slider_metrics
import numpy as np

SAMPLES = 1000
MAPPED = 50  # Samples in the picture of the latent space.
TEMPERATURES = (0.5, autoencoder.DEFAULT_TEMPERATURE, 0.8, 1.0)
PAIRS = 128  # Of loops of the split; the model interpolates between the two ...
POINTS = 8  # ... by so many latents, ends included.
# Nearly the most likely loop of a latent, so that two loops differ because of their
# latents.
GREEDY = 0.01
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


def evaluate_samples(model: autoencoder.Autoencoder, config: Any,
                     latents: prior.Prior, train: np.ndarray, reference: np.ndarray,
                     seed: int = 0) -> tuple[dict[str, dict[str, float]], np.ndarray]:
  """Compares loops from the prior, a floor and baselines with `reference`.

  Args:
    model: An Autoencoder with a checkpoint loaded.
    config: Its config.
    latents: The checkpoint's Prior.
    train: The train split's loops, [loops, steps].
    reference: The evaluated split's loops.
    seed: For what is drawn.

  Returns:
    {what the loops are: SAMPLE_COLUMNS' numbers}, and the slices that were
    sampled at the default temperature.
  """
  rng = np.random.RandomState(seed)
  distance = patterns.Distance(train, reference)
  def describe(loops):
    return patterns.describe(loops, train, distance)
  rows = {'the split itself': describe(reference),
          'floor: training loops': describe(
              train[rng.choice(len(train), min(SAMPLES, len(train)), False)])}
  for t in TEMPERATURES:
    slices = latents.sample(lambda count, t=t: model.decode(
        latents.draw(count, rng), t, f'Sampling at {t}'), SAMPLES)
    if t == autoencoder.DEFAULT_TEMPERATURE:
      samples = slices = reports.deliver(config, slices)
    rows[f'samples, temperature {t}'] = describe(patterns.of_slices(slices))
  rows['baseline: bars of different loops'] = describe(
      patterns.mixed_bars(train, SAMPLES, rng))
  rows['baseline: each hit for itself'] = describe(
      patterns.marginal_loops(train, SAMPLES, rng))
  return rows, samples


def evaluate_interpolation(model: autoencoder.Autoencoder, reference: np.ndarray,
                           seed: int = 0) -> dict[str, dict[str, Any]]:
  """Compares slerp between loops' latents with mixing the loops' steps.

  Args:
    model: An Autoencoder with a checkpoint loaded.
    reference: The evaluated split's slices.
    seed: For what is drawn.

  Returns:
    {'slerp' or 'mixing': {'hits_changed': mean hits that differ between
    neighbouring points, [POINTS - 1]; 'bar_similarity': of the inner points}}.
  """
  rng = np.random.RandomState(seed)
  a, b = (reference[rng.choice(len(reference), PAIRS)] for _ in range(2))
  mu, _ = model.encode(np.concatenate([a, b]))
  a, b = map(patterns.of_slices, (a, b))
  shares = np.linspace(0, 1, POINTS)
  pairs = list(zip(mu[:PAIRS], mu[PAIRS:]))
  z = np.concatenate([[latent.slerp(p, q, t) for p, q in pairs]
                      for t in shares])
  paths = {
      'slerp': np.split(patterns.of_slices(
          model.decode(z, GREEDY, 'Interpolating')), POINTS),
      'mixing': [patterns.mix(a, b, t, rng) for t in shares]}
  return {
      name: {'hits_changed': [float(patterns.hamming(p, q).mean())
                              for p, q in zip(path, path[1:])],
             'bar_similarity': float(patterns.bar_similarity(
                 np.concatenate(path[1:-1])).mean())}
      for name, path in paths.items()}


def report(result: dict) -> str:
  """Returns the text that `evaluate` prints: each number and its meaning."""
  lines = [f'{result["checkpoint"]}: {result["reconstruction"]["examples"]} '
           f'loops of the {result["split"]} split.', '', '## Reconstruction', '']
  lines += [f'{name} {result["reconstruction"][name]:.3f}: {meaning}'
            for name, meaning in autoencoder.RECONSTRUCTION.items()]
  lines += ['', "Each drum's hits in the loops sampled from their latents:", '']
  lines += reports.table(result['reconstruction']['drums'],
                 ('precision', 'recall', 'f1'))
  lines += ['', f'## {SAMPLES} samples from the prior', '']
  lines += reports.table(result['samples'], tuple(SAMPLE_COLUMNS)) + ['']
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
  if 'sliders' in result:
    lines += slider_metrics.report(result['sliders'])
  return '\n'.join(lines + completion_metrics.report(result))


def plot(result: dict, samples: np.ndarray, reference: np.ndarray) -> Any:
  """Returns a matplotlib figure of an evaluation.

  Args:
    result: What `evaluate` returns.
    samples: Sampled loops, [loops, steps].
    reference: The evaluated split's loops.
  """
  from matplotlib.figure import Figure
  figure = Figure(figsize=(12, 7), layout='constrained')
  axes = figure.subplots(2, 3)
  _plot_frequencies(figure, axes[0, :2], {
      f'{result["split"]} split: how often drums fall': reference,
      f'samples, temperature {autoencoder.DEFAULT_TEMPERATURE}': samples})
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


def _plot_frequencies(figure, axes, loops_by_title):
  """Draws how often drums fall on each step of a bar, with one scale of colours."""
  frequencies = [patterns.hits(loops).mean(axis=(0, 1)).T
                 for loops in loops_by_title.values()]
  for axis, frequency, title in zip(axes, frequencies, loops_by_title):
    image = axis.imshow(
        frequency, cmap='cividis', origin='lower', aspect='auto', vmin=0,
        vmax=max(f.max() for f in frequencies))
    axis.set_yticks(range(grid.DRUMS), grid.DRUM_CLASSES)
    axis.set_xticks(range(0, grid.STEPS_PER_BAR, 4),
                    [f'beat {b + 1}' for b in range(4)])
    axis.set_title(title)
  figure.colorbar(image, ax=axes, label='hits a bar')


def latent_map(model: autoencoder.Autoencoder, by_style: dict[str, np.ndarray],
               loops: np.ndarray) -> Any:
  """Returns a figure of where styles and some loops lie in the latent space.

  Args:
    model: An Autoencoder with a checkpoint loaded.
    by_style: {style: slices}, as `styles.slices_by_style` returns it.
    loops: Slices of sampled (or other) loops to mark.
  """
  slices = np.concatenate([*by_style.values(), loops])
  mu, _ = model.encode(slices, 'Encoding')
  names = np.repeat(list(by_style), [len(part) for part in by_style.values()])
  return plots.plot_latents(mu[:len(names)], names, mu[len(names):])


def evaluate(config: Any, checkpoint: str, examples_path: str | None = None,
             tfds_name: str | None = None, split: str = 'validation',
             output_dir: str | None = None, completion: bool = False) -> dict:
  """Evaluates a checkpoint and prints the report; returns all numbers.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix.
    examples_path: TFRecord of the train split, or ...
    tfds_name: ... TensorFlow Datasets name.
    split: The split with which to compare.
    output_dir: Where to write evaluation.json and the figures, if anywhere.
    completion: Whether loops are completed and reconstructed from refined latents
      too, which takes some minutes more.

  Raises:
    UserError: if the config can't be evaluated, or there are too few data.
  """
  able = abilities.of(config)
  if able.can(abilities.HUMANIZE):
    if not examples_path:
      raise UserError('A config that humanizes is evaluated with '
                      f'{field("examples_path")}, not with {field("tfds_name")}.')
    return feel.evaluate(config, checkpoint, examples_path, split, output_dir)
  model = autoencoder.Autoencoder(config)
  if not able.can(abilities.SAMPLE):
    raise UserError(
        'Models of this config need to be told the hits, so nothing can be sampled; '
        f'train.py {field("mode", "eval")} says how well a checkpoint fits its data.')
  reference, train = (splits.load_split(config, examples_path, tfds_name, s)
                      for s in (split, 'train'))
  if min(len(reference), len(train)) < 2:
    raise UserError('There are too few 4-bar slices to compare; an '
                    'evaluation needs at least 2 in each split.')
  model.load(checkpoint)
  result = {'checkpoint': checkpoint, 'split': split,
            'reconstruction': model.score(reference, 'Reconstructing')}
  latents = prior.of(checkpoint, model.z_size)
  result['samples'], samples = evaluate_samples(
      model, config, latents, *map(patterns.of_slices, (train, reference)))
  result['interpolation'] = evaluate_interpolation(model, reference)
  figures = {}
  if examples_path and latents.styles:
    numbers, figures = evaluate_styles(model, config, latents, examples_path, split,
                                       samples)
    result.update(numbers)
  if os.path.exists(os.path.join(os.path.dirname(checkpoint), sliders.SLIDERS_FILE)):
    result['sliders'] = slider_metrics.evaluate(
        config, checkpoint, *map(patterns.of_slices, (train, reference)))
  if completion:
    result.update(evaluate_completion(config, checkpoint, examples_path, split,
                                      reference, samples))
  print(report(result))
  if output_dir:
    reports.write_evaluation(output_dir, result, {
        'evaluation.png': plot(
            result, *map(patterns.of_slices, (samples, reference))), **figures})
  return result


def evaluate_styles(model: autoencoder.Autoencoder, config: Any, latents: prior.Prior,
                    examples_path: str, split: str, samples: np.ndarray
                    ) -> tuple[dict, dict[str, Any]]:
  """Returns the numbers and the figure of styles; none if the data name no styles.

  Args:
    model: An Autoencoder with the checkpoint loaded.
    config: The checkpoint's config.
    latents: The checkpoint's Prior.
    examples_path: TFRecord of the train split.
    split: The split with which to compare.
    samples: Sampled slices.

  Returns:
    {'styles': what `style_classifier.evaluate_styles` returns}, and {file name:
    matplotlib figure}.
  """
  by_style, real = (styles.slices_by_style(
      splits.split_path(examples_path, s), config.data_converter)
                    for s in ('train', split))
  # A user's own MIDI has none.
  if not (set(latents.styles) <= set(by_style) and set(latents.styles) & set(real)):
    return {}, {}
  numbers = style_classifier.evaluate_styles(
      model, latents, by_style, real, autoencoder.DEFAULT_TEMPERATURE)
  return {'styles': numbers}, {
      'latents.png': latent_map(model, real, samples[:MAPPED])}


def evaluate_completion(config: Any, checkpoint: str, examples_path: str | None,
                        split: str, reference: np.ndarray, samples: np.ndarray) -> dict:
  """Returns numbers of completions and refined latents; says so if it can't.

  Args:
    config: The checkpoint's config.
    checkpoint: Its prefix.
    examples_path: TFRecord of the train split; without, nothing is completed.
    split: The split with which to compare.
    reference: Its loops, [loops, steps].
    samples: Sampled loops.

  Returns:
    What `metrics.completion.report` takes.
  """
  able = abilities.of(config)
  if not able.can(abilities.COMPLETE):
    print(able.why_not(abilities.COMPLETE))
    return {}
  result = {'latents': completion_metrics.evaluate_latents(
      config, variation.Varier(config, checkpoint, completion_metrics.BATCH_SIZE),
      reference)}
  if not examples_path:
    return result
  completer = completing.Completer(config, checkpoint)
  material = completion_metrics.Material(*(styles.performances(
      splits.split_path(examples_path, s), config.data_converter)
                                           for s in (split, 'train')))
  return {
      **result,
      'completion': completion_metrics.evaluate(config, completer, material),
      'between_drummers': discriminator.auc_of_drummers(
          completion_metrics.features(material.originals), material.names,
          list(map(feel_model.drummer_of, material.names))),
      'longer': completion_metrics.evaluate_longer(
          config, completer, samples, material)}
