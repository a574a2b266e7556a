"""Training: from the newest checkpoint on, step by step, to the step asked for.

`train` reads from top to bottom; `work` is its part on the other machines of a
cluster.
"""
from collections.abc import Callable
import contextlib
import dataclasses
import os
import random
import time
from typing import TYPE_CHECKING

from drumloops import errors
from drumloops.data import splits
from drumloops.errors import THE_SAME_COMMAND, UserError, field, hparam, in_words, stage
from drumloops.output import plots
from drumloops.runs import run_folder
from drumloops.system import interrupts
from drumloops.training import distributed, run_checkpoints, train_graph, validation
import numpy as np
from tqdm.auto import tqdm

if TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config

SUMMARY_STEPS = 10  # Steps from one summary to the next.
TOO_FEW = ('There are fewer examples than one batch; use more data or a smaller '
           f'batch ({hparam("batch_size", 16)}).')
WORKERS_SEEDS = 1_000_000  # From one worker's seed to the next one's.
FEW_BITS = 8  # In a latent that says no more, one loop is much like another.
SPEED_STEPS = 30  # After which training says how long it will take.
LONG_SECONDS = 3600


@dataclasses.dataclass(frozen=True)
class TrainingRequest:
  """What a user asks of a training.

  Attributes:
    run_dir: Folder of the run.
    num_steps: Step to stop at, counted from the run's beginning.
    checkpoints_to_keep: How many checkpoints, each with the optimizer's state,
      to keep in run_dir/train.
    seed: For the first weights, the latents and the order of the examples.
    init_from: Prefix of the checkpoint whose weights a new run begins with.
    save_seconds: How long to train between checkpoints.
    num_sync_workers: How many machines of several take each step together; 0: each
      takes its own.

  Raises:
    UserError: if the seed is not one that NumPy takes.
  """
  run_dir: str
  num_steps: int
  checkpoints_to_keep: int = 3
  seed: int = 0
  init_from: str | None = None
  save_seconds: float = 300
  num_sync_workers: int = 0

  def __post_init__(self) -> None:
    errors.check_seeds(seed=self.seed)
    object.__setattr__(self, 'run_dir', os.path.expanduser(self.run_dir))


def train(config: 'Config', request: TrainingRequest,
          on_save: Callable[[], None] | None = None,
          stop: interrupts.Stop | None = None,
          machines: distributed.Cluster | None = None,
          own_scores: dict | None = None) -> None:
  """Trains from the newest complete checkpoint on, or anew.

  Args:
    config: With train_examples_path or tfds_name set.
    request: What the user asks.
    on_save: Called whenever a checkpoint is finished.
    stop: Asks this to end after any step.
    machines: The cluster whose chief this is, if there are several machines.
    own_scores: Of `checkpoint_files.own_scores`, to compare the run with at the end.

  Raises:
    UserError: if there are fewer examples than one batch, or a checkpoint
      does not fit.
    KeyboardInterrupt: if `stop` was asked; all is saved then.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import data
  stop = stop or interrupts.Stop()
  run_dir = request.run_dir
  checkpoints = run_checkpoints.Checkpoints(run_dir)
  if checkpoints.start >= request.num_steps:
    print(in_words(f'{checkpoints.resumed} has reached step {request.num_steps}; give '
                   f'a larger {field("num_steps")} to go on.'))
    if machines:
      distributed.end(machines, stop)
    return
  if checkpoints.resumed and request.init_from:
    print(f'{run_dir} has begun already and goes on from where it is, not from '
          f'{request.init_from}.')

  slices, identity = validation.validation_slices(config), None
  if slices is not None:
    identity = run_folder.validation_id(config.train_examples_path, config.tfds_name)
  validation.set_aside_other_best(run_dir, identity)

  with tf.Graph().as_default(), distributed.variables_on_ps(machines):
    # Another order of the examples after a resume than before it.
    tf.set_random_seed(request.seed + checkpoints.start)
    # tf_keras takes the first weights' seed from it.
    random.seed(request.seed + checkpoints.start)
    print('Reading the examples ...')
    dataset = data.get_dataset(config, is_training=True)
    print('Building the graph ...')
    # After all processes have been forked, for its session may be the GPU's first.
    validator = None if slices is None else validation.Validation(
        config, run_dir, slices, identity)
    graph = train_graph.TrainGraph(
        config, dataset, machines, request.num_sync_workers)
    checkpoints.add_savers(request.checkpoints_to_keep)
    def begin(sess):
      checkpoints.restore(sess, request.init_from)
    with contextlib.closing(
        distributed.ClusterSession(machines, graph.step, begin, graph.hooks, stop)
        if machines else distributed.LocalSession(begin)) as sess:
      run = Run(request, graph, sess, checkpoints, validator, on_save)
      run.take_steps(stop)
      if machines:
        run.say_rate(machines.workers,
                     config.hparams.batch_size * max(1, request.num_sync_workers))
      run.say_result(own_scores)

  if run.is_stopped:
    raise KeyboardInterrupt
  curves = plots.plot_training(run_dir)
  if curves is not None:  # Somebody may have removed the summaries.
    curves.savefig(os.path.join(run_dir, run_folder.CURVES), dpi=100)


class Run:
  """A run in progress: its steps, summaries and checkpoints."""

  def __init__(self, request: TrainingRequest, graph: train_graph.TrainGraph,
               sess: distributed.Session,
               checkpoints: run_checkpoints.Checkpoints,
               validator: validation.Validation | None,
               on_save: Callable[[], None] | None):
    """Takes what `train` has made; the session has the weights to begin with."""
    import tensorflow.compat.v1 as tf
    self._request, self._graph, self._sess = request, graph, sess
    self._checkpoints, self._validator = checkpoints, validator
    self._on_save = on_save
    self._writer = tf.summary.FileWriter(checkpoints.folder, graph=None)
    self._step = self._saved = self._next_summary = checkpoints.start
    self._steps_per_second = 0.
    self._scores = {}  # The newest, as `say_where_it_stands` takes them.
    self._told_how_long = False

  @property
  def is_stopped(self) -> bool:
    """Whether what is saved has not reached the step that was asked for."""
    return self._saved < self._request.num_steps

  def take_steps(self, stop: interrupts.Stop) -> None:
    """Takes all steps, or those until `stop` is asked; saves by time and at the end.

    Raises:
      UserError: if there are fewer examples than one batch, or the loss is no longer
        a number.
    """
    import tensorflow.compat.v1 as tf
    start, num_steps = self._step, self._request.num_steps
    began = last_save = time.time()
    with stop.between_steps(), tqdm(initial=start, total=num_steps,
                                    desc='Training', unit='step') as bar:
      try:
        while self._step < num_steps and not stop.asked:
          self._take_step(bar)
          bar.update(min(self._step, num_steps) - bar.n)
          if self._step >= start + SPEED_STEPS:
            self._say_how_long(bar)
          if time.time() - last_save >= self._request.save_seconds:
            self._save(bar)
            last_save = time.time()
        self._steps_per_second = (self._step - start) / (time.time() - began)
        if self._global_step() > self._saved:
          self._save(bar)
      except tf.errors.OutOfRangeError as e:
        raise splits.TooFewError(TOO_FEW) from e
    self._writer.close()

  def _take_step(self, bar: tqdm) -> None:
    if self._step >= self._next_summary:
      self._take_step_with_summary(bar)
      self._next_summary = self._step - self._step % SUMMARY_STEPS + SUMMARY_STEPS
    else:
      self._sess.run(self._graph.train_op)
    self._step = self._sess.step_after(self._step)

  def _take_step_with_summary(self, bar: tqdm) -> None:
    import tensorflow.compat.v1 as tf
    began = time.time()
    _, summary = self._sess.run([self._graph.train_op, self._graph.summary_op])
    values = {v.tag: v.simple_value for v in tf.Summary.FromString(summary).value}
    if not np.isfinite(values['loss']):
      raise UserError(
          f'The loss is no longer a number at step {self._step}; the checkpoints '
          'before are kept, go on from them with a smaller '
          f'{hparam("learning_rate", 0.0003)}.')
    self._writer.add_summary(summary, self._step + 1)
    self._write({'global_step/sec': 1 / (time.time() - began)}, self._step + 1)
    bar.set_postfix(loss=f'{values["loss"]:.1f}',
                    kl_bits=f'{values["losses/kl_bits"]:.1f}')
    self._scores.update(reconstruction_loss=values['losses/r_loss'],
                        kl_bits=values['losses/kl_bits'], where='last batch')

  def _save(self, bar: tqdm) -> None:
    step = self._global_step()
    prefix = self._checkpoints.save(self._sess, step)
    if self._validator:
      scores, is_best = self._validator.check(prefix)
      self._scores.update(scores, where='validation split', is_best=is_best)
      self._write({f'validation/{name}': score for name, score in scores.items()}, step)
      bar.write(f'Step {step}: validation loss {scores["loss"]:.2f}'
                + (', the best so far.' if is_best else '.'))
    self._writer.flush()
    self._checkpoints.remove_broken()
    if self._on_save:
      self._on_save()
    self._saved = step

  def _global_step(self) -> int:
    return int(self._sess.run(self._graph.step))

  def _write(self, values: dict[str, float], step: int) -> None:
    import tensorflow.compat.v1 as tf
    self._writer.add_summary(tf.Summary(value=[
        tf.Summary.Value(tag=tag, simple_value=value)
        for tag, value in values.items()]), step)

  def _say_how_long(self, bar: tqdm) -> None:
    rate = bar.format_dict['rate']
    if rate and not self._told_how_long:
      self._told_how_long = True
      say_how_long((self._request.num_steps - self._step) / rate, bar.write)

  def say_rate(self, workers: int, batch_size: int) -> None:
    """Prints how fast several machines were together.

    Args:
      workers: How many took steps.
      batch_size: Examples in a step.
    """
    rate = self._steps_per_second
    print(f'{workers} workers took {rate:.1f} steps a second together, of '
          f'{batch_size} examples each: {rate * batch_size:.0f} examples a second.')

  def say_result(self, own_scores: dict | None) -> None:
    """Prints what step was reached, and how good the run is there.

    Args:
      own_scores: Of `checkpoint_files.own_scores`.
    """
    how = THE_SAME_COMMAND
    if self.is_stopped:
      print(in_words(f'Stopped at step {self._saved} and saved; {THE_SAME_COMMAND} '
                     'goes on from here.'))
    else:
      print(f'Trained to step {self._saved}: {self._checkpoints.folder}')
      how += f' with a larger {field("num_steps")}'
    if self._scores:
      say_where_it_stands(self._saved, self._scores, own_scores, how)


def say_how_long(seconds: float, write: Callable[[str], None]) -> None:
  """Says so if training will take hours, since it has no GPU.

  Args:
    seconds: What is left, at the speed so far.
    write: Prints a sentence.
  """
  import tensorflow as tf
  if seconds >= LONG_SECONDS and not tf.config.list_physical_devices('GPU'):
    write(f'Without a GPU this takes {seconds / 3600:.1f} hours more, at the speed '
          'so far; stop it whenever you like, it saves and can go on from there.')


def say_where_it_stands(step: int, scores: dict, own_scores: dict | None,
                        how: str) -> None:
  """Prints how good a run is, beside the project's own weights, and what to do.

  Args:
    step: The run's newest.
    scores: {'reconstruction_loss': nats a loop, 'kl_bits': bits in the latent,
      'where': of which loops, 'is_best': if that is known}.
    own_scores: Of `checkpoint_files.own_scores`.
    how: How to train on.
  """
  nats, bits = scores['reconstruction_loss'], scores['kl_bits']
  print(f'This run, step {step}: {nats:.1f} nats a loop, {bits:.3g} bits in the '
        f'latent ({scores["where"]}).')
  if own_scores:
    print(f'The project\'s weights, step {own_scores["step"]}: '
          f'{own_scores["reconstruction_loss"]:.1f} nats, '
          f'{own_scores["kl_bits"]:.3g} bits (GMD\'s {own_scores["split"]} split, '
          'finished, which takes some of the bits).')
  if bits < FEW_BITS:
    print(in_words(f'The latent carries {bits:.3g} bits, so loops will hardly depend '
                   f'on it; train on: {how}.'))
  elif not scores.get('is_best', True):
    print(in_words('On validation an earlier step was better, and is kept; finish that '
                   f'with {stage("export.py")}.'))
  elif own_scores and nats > own_scores['reconstruction_loss']:
    print(in_words(f'Training on may bring it nearer: {how}.'))
  elif own_scores:
    print(in_words(f'It can be finished: {stage("export.py")}.'))


def work(config: 'Config', request: TrainingRequest, machines: distributed.Cluster,
         stop: interrupts.Stop) -> None:
  """Takes steps of the training of a chief on another machine, until it ends.

  Args:
    config: As the chief's, with train_examples_path or tfds_name of this machine.
    request: As the chief's. No two workers share a seed; one that comes back begins
      with its own again.
    machines: The cluster.
    stop: Asks this to end after any step.

  Raises:
    UserError: if the chief does not come.
    KeyboardInterrupt: if `stop` was asked.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import data
  num_steps = request.num_steps
  with tf.Graph().as_default(), distributed.variables_on_ps(machines):
    tf.set_random_seed(request.seed + WORKERS_SEEDS * machines.number)
    print('Reading the examples ...')
    dataset = data.get_dataset(config, is_training=True)
    print('Building the graph ...')
    graph = train_graph.TrainGraph(
        config, dataset, machines, request.num_sync_workers)
    step = taken = 0
    try:
      with stop.between_steps(), contextlib.closing(distributed.ClusterSession(
          machines, graph.step, None, graph.hooks, stop)) as sess:
        step = sess.step_after(0)
        with tqdm(initial=step, total=num_steps, desc='Training', unit='step') as bar:
          while step < num_steps and not stop.asked and not sess.has_ended():
            sess.run(graph.train_op)
            taken += 1
            step = sess.step_after(step)
            bar.update(min(step, num_steps) - bar.n)
    except distributed.Ended:
      pass
    except tf.errors.OutOfRangeError as e:
      if not taken:
        raise splits.TooFewError(TOO_FEW) from e
      # Else the chief has closed what synchronous workers wait at.
  print(f'This worker has taken {taken} steps; ' + (
      f'training has come to step {step}, which the chief saves.'
      if step >= num_steps else
      'it was stopped.' if stop.asked else 'the chief has ended training.'))
  if stop.asked:
    raise KeyboardInterrupt
