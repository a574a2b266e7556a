"""Training: steps, checkpoints, the best one on the validation split."""
import contextlib
import glob
import json
import os
import random
import time

from drumloops.errors import THE_SAME_COMMAND, UserError, field, hparam, in_words, stage
from drumloops.data import splits
from drumloops.models import autoencoder
from drumloops.output import plots
from drumloops.runs import checkpoint_files, run_folder
from drumloops.system import interrupts
from drumloops.training import distributed
import numpy as np
from tqdm.auto import tqdm

SUMMARY_STEPS = 10
TOO_FEW = ('There are fewer examples than one batch; use more data or a smaller '
           f'batch ({hparam("batch_size", 16)}).')
WORKERS_SEEDS = 1_000_000  # From one worker's seed to the next one's.
FEW_BITS = 8  # In a latent that says no more, one loop is much like another.
SPEED_STEPS = 30  # After which training says how long it will take.
LONG_SECONDS = 3600


def build_train_op(config, dataset, machines=None, num_sync_workers=0, hooks=None):
  """Returns upstream's training op, with its clipping.

  As `magenta.models.music_vae.music_vae_train.train`, which can't be called
  for it because it runs its own session.

  Args:
    config: Of what is trained.
    dataset: As data.get_dataset returns it.
    machines: A distributed.Cluster, if there are several.
    num_sync_workers: How many of them take each step together; 0: each its own.
    hooks: A list, to which the tf.train.SessionRunHook that this takes is added.
  """
  import tensorflow.compat.v1 as tf
  hparams, converter, model = (
      config.hparams, config.data_converter, config.model)
  model.build(hparams, converter.output_depth, is_training=True)
  inputs, outputs, controls, lengths = (
      tf.data.make_one_shot_iterator(dataset).get_next())
  for tensor, depth in ((inputs, converter.input_depth),
                        (outputs, converter.output_depth),
                        (controls, converter.control_depth)):
    tensor.set_shape([hparams.batch_size, None, depth])
  lengths.set_shape([hparams.batch_size] + lengths.shape[1:].as_list())
  optimizer = model.train(
      inputs, outputs, lengths, controls if converter.control_depth else None)
  if num_sync_workers:
    # Every worker gets a token a step, also those whose gradients came too late.
    optimizer = tf.train.SyncReplicasOptimizer(
        optimizer, num_sync_workers, machines.workers)
    hooks.append(optimizer.make_session_run_hook(machines.is_chief))
  gradients, variables = zip(*optimizer.compute_gradients(model.loss))
  norm = tf.global_norm(gradients)
  tf.summary.scalar('global_norm', norm)
  if hparams.clip_mode == 'value':
    clipped = [tf.clip_by_value(g, -hparams.grad_clip, hparams.grad_clip)
               for g in gradients]
  elif hparams.clip_mode == 'global_norm':
    clipped = tf.cond(
        norm < hparams.grad_norm_clip_to_zero,
        lambda: tf.clip_by_global_norm(
            gradients, hparams.grad_clip, use_norm=norm)[0],
        lambda: [tf.zeros(tf.shape(g)) for g in gradients])
  else:
    raise UserError(f'There is no clip_mode {hparams.clip_mode!r}; the '
                        'known ones are value and global_norm.')
  return optimizer.apply_gradients(
      zip(clipped, variables), global_step=model.global_step,
      name='train_step')


class Validation:
  """Keeps the best checkpoint on the validation split in run_dir/best."""

  def __init__(self, config, run_dir, slices, identity):
    self._slices = splits.evenly_spaced(slices)
    self._evaluator = autoencoder.Autoencoder(config, sample=False)
    self._run_dir = run_dir
    self._identity = identity  # What run_folder.validation_id says of the slices.

  def check(self, prefix):
    """Scores a checkpoint; returns its loss and whether it is the best yet."""
    from magenta.models.music_vae import checkpoints
    self._evaluator.load(prefix)
    scores = self._evaluator.score(self._slices)
    best = run_folder.read_best(self._run_dir).get('loss', float('inf'))
    if not scores['loss'] < best:
      return scores, False
    name = os.path.basename(prefix)
    new_prefix = os.path.join(self._run_dir, run_folder.BEST, name)
    checkpoints.save_slim(prefix, new_prefix)
    run_folder.write_best(self._run_dir, {'checkpoint': name, **scores,
                                    'validation_id': self._identity})
    checkpoints.remove_others(new_prefix)
    return scores, True


def validation_slices(config):
  """Returns the validation split's slices; None if there are none, and says why.

  Raises:
    UserError: if it is damaged.
  """
  from magenta.models.music_vae import packed_slices
  try:
    if packed_slices.can_pack(config):
      return splits.load_split(config, config.train_examples_path,
                                    config.tfds_name, 'validation')
    why = 'The data of this config are no drum slices of one length'
  except FileNotFoundError:
    why = 'There is no validation split beside the examples'
  except splits.TooFewError:
    why = 'The validation split gives no slices'
  print(f'{why}, so no best checkpoint is kept.')
  return None


def resume(saver, sess, checkpoint, train_dir):
  """Restores a checkpoint of this run, with the optimizer's state.

  Raises:
    UserError: if it is of another config, or has weights only.
  """
  from magenta.models.music_vae import checkpoints
  try:
    checkpoint_files.restore(saver, sess, checkpoint)
  except UserError as e:
    if not fits(checkpoint):
      raise
    raise UserError(
        f'{checkpoint} has weights only, without the state of the optimizer, so '
        'it cannot be gone on from as if it had not stopped; to fine-tune it, '
        f'name a new {field("run_dir")}, and it with {field("init_from")}.') from e
  saver.recover_last_checkpoints(list(map(
      checkpoints.plain, checkpoint_paths(train_dir))))


def checkpoint_paths(train_dir):
  """Returns the prefixes of a folder's finished checkpoints, oldest first."""
  import tensorflow.compat.v1 as tf
  state = tf.train.get_checkpoint_state(train_dir)
  return [os.path.join(train_dir, os.path.basename(p))
          for p in (state.all_model_checkpoint_paths if state else ())]


def fits(checkpoint):
  """Whether a checkpoint has all weights of the model that is built."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  shapes = tf.train.load_checkpoint(
      checkpoints.plain(checkpoint)).get_variable_to_shape_map()
  return all(shapes.get(v.op.name) == v.shape.as_list()
             for v in tf.trainable_variables())


def begin_from(saver, sess, checkpoint):
  """Gives the model the weights of a checkpoint; nothing else is taken from it.

  Args:
    saver: A tf.train.Saver of the weights.
    sess: The tf.Session.
    checkpoint: The checkpoint's prefix.

  Raises:
    UserError: if it is of another config.
  """
  if not fits(checkpoint):
    raise UserError(checkpoint_files.does_not_fit(checkpoint))
  checkpoint_files.restore(saver, sess, checkpoint)


def remove_unusable(train_dir, prefixes):
  """Removes what is there of checkpoints that cannot be restored, and says so."""
  for prefix in prefixes:
    for path in glob.glob(glob.escape(os.path.join(train_dir, prefix)) + '.*'):
      os.remove(path)
    print(f'Removed the broken checkpoint {os.path.join(train_dir, prefix)}.')


def say_how_long(seconds, write):
  """Says so if training will take hours, since it has no GPU.

  Args:
    seconds: What is left, at the speed so far.
    write: Prints a sentence.
  """
  import tensorflow as tf
  if seconds >= LONG_SECONDS and not tf.config.list_physical_devices('GPU'):
    write(f'Without a GPU this takes {seconds / 3600:.1f} hours more, at the speed '
          'so far; stop it whenever you like, it saves and can go on from there.')


def say_where_it_stands(step, scores, own, how):
  """Prints how good a run is, beside the project's own weights, and what to do.

  Args:
    step: The run's newest.
    scores: {'reconstruction_loss', 'kl_bits', 'where': of which loops; 'is_best': if
      that is known}.
    own: Of `checkpoint_files.own_scores`.
    how: How to train on.
  """
  nats, bits = scores['reconstruction_loss'], scores['kl_bits']
  print(f'This run, step {step}: {nats:.1f} nats a loop, {bits:.3g} bits in the '
        f'latent ({scores["where"]}).')
  if own:
    print(f'The project\'s weights, step {own["step"]}: '
          f'{own["reconstruction_loss"]:.1f} nats, {own["kl_bits"]:.3g} bits (GMD\'s '
          f'{own["split"]} split, finished, which takes some of the bits).')
  if bits < FEW_BITS:
    print(in_words(f'The latent carries {bits:.3g} bits, so loops will hardly depend '
                    f'on it; train on: {how}.'))
  elif not scores.get('is_best', True):
    print(in_words('On validation an earlier step was better, and is kept; finish that '
                    f'with {stage("export.py")}.'))
  elif own and nats > own['reconstruction_loss']:
    print(in_words(f'Training on may bring it nearer: {how}.'))
  elif own:
    print(in_words(f'It can be finished: {stage("export.py")}.'))


def train(config, run_dir, num_steps, checkpoints_to_keep=3, seed=0,
          on_save=None, init_from=None, save_seconds=300, stop=None, machines=None,
          num_sync_workers=0, own=None):
  """Trains until step `num_steps`, from the newest complete checkpoint on.

  Args:
    config: With train_examples_path or tfds_name set.
    run_dir: Folder of the run.
    num_steps: Step to stop at.
    checkpoints_to_keep: How many checkpoints, each with the optimizer's state,
      to keep in run_dir/train.
    seed: For the first weights, the latents and the order of the examples.
    on_save: Called without arguments whenever a checkpoint is finished.
    init_from: Checkpoint whose weights a new run begins with.
    save_seconds: How long to train between checkpoints.
    stop: A interrupts.Stop, which can end this after any step.
    machines: A distributed.Cluster whose chief this is, if there are several.
    num_sync_workers: Of `build_train_op`.
    own: Of `say_where_it_stands`, which ends this.

  Raises:
    UserError: if there are fewer examples than one batch, or a checkpoint
      does not fit.
    KeyboardInterrupt: if `stop` was asked; all is saved then.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import data
  run_dir = os.path.expanduser(run_dir)
  train_dir = os.path.join(run_dir, run_folder.TRAIN)
  os.makedirs(train_dir, exist_ok=True)
  for leftover in glob.glob(os.path.join(
      glob.escape(train_dir), '*.tempstate*')):
    os.remove(leftover)  # Of a save that was killed.
  resumed = checkpoints.repair(train_dir)
  start = checkpoints.step_of(resumed) if resumed else 0
  def whole():
    return {os.path.basename(p) for p in checkpoint_paths(train_dir)}
  unusable = {m[0] for m in map(run_folder.CHECKPOINT.match, os.listdir(train_dir))
              if m} - whole()

  def saved():
    # Only now: what seems broken may be a disk that could not be read. One of
    # these steps may just have been saved.
    remove_unusable(train_dir, sorted(unusable - whole()))
    unusable.clear()
    if on_save:
      on_save()

  if start >= num_steps:
    print(in_words(f'{resumed} has reached step {num_steps}; give a larger '
                    f'{field("num_steps")} to go on.'))
    if machines:
      distributed.end(machines, stop)
    return
  if resumed and init_from:
    print(f'{run_dir} has begun already and goes on from where it is, not from '
          f'{init_from}.')
  validation, identity = None, None
  slices = validation_slices(config)
  if slices is not None:
    identity = run_folder.validation_id(config.train_examples_path, config.tfds_name)
  if run_folder.is_best_damaged(run_dir):
    run_folder.set_aside_best(run_dir, f'{run_folder.BEST_JSON} is damaged')
  if run_folder.is_best_of_other_data(run_dir, identity):
    run_folder.set_aside_best(run_dir, 'The best checkpoint so far was chosen on other '
                        'data')

  stop = stop or interrupts.Stop()
  with tf.Graph().as_default(), distributed.variables_on_ps(machines):
    # Another order of the examples after a resume than before it.
    tf.set_random_seed(seed + start)
    random.seed(seed + start)  # tf_keras takes the first weights' seed from it.
    print('Reading the examples ...')
    dataset = data.get_dataset(config, is_training=True)
    print('Building the graph ...')
    # After all processes have been forked, for its session may be the GPU's first.
    if slices is not None:
      validation = Validation(config, run_dir, slices, identity)
    step = tf.train.get_or_create_global_step()
    hooks = []
    train_op = build_train_op(config, dataset, machines, num_sync_workers, hooks)
    summary_op = tf.summary.merge_all()
    saver = tf.train.Saver(max_to_keep=checkpoints_to_keep,
                           save_relative_paths=True)
    weights_saver = tf.train.Saver(tf.trainable_variables())
    def begin(sess):
      # Called once more if a ps has lost what it held; then some may be saved.
      newest = next(reversed(saver.last_checkpoints), resumed)
      if newest:
        resume(saver, sess, newest, train_dir)
        print(f'Resumed from {newest}.')
      elif init_from:
        begin_from(weights_saver, sess, init_from)
        print(f'Begins with the weights of {init_from}.')
    with contextlib.closing(
        distributed.Shared(machines, step, begin, hooks, stop) if machines else
        distributed.Alone(begin)) as sess:
      writer = tf.summary.FileWriter(train_dir, graph=None)
      _loop(sess, step, train_op, summary_op, saver, writer, validation,
            train_dir, start, num_steps, saved, save_seconds, stop, machines and (
                f'{machines.workers} workers', config.hparams.batch_size * max(
                    1, num_sync_workers)), own)
  curves = plots.plot_training(run_dir)
  if curves is not None:  # Somebody may have removed the summaries.
    curves.savefig(os.path.join(run_dir, run_folder.CURVES), dpi=100)


def _loop(sess, step, train_op, summary_op, saver, writer, validation,
          train_dir, start, num_steps, on_save, save_seconds, stop, workers, own):
  """Runs the steps from `start` to `num_steps`; saves by time and at the end.

  Args as of `train`; `workers` says of several machines, which take the steps
  together, how many they are and how many examples a step has.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  newest = {}  # The run's numbers.

  def save():
    i = int(sess.run(step))
    os.makedirs(train_dir, exist_ok=True)  # Somebody may have tidied up.
    sess.with_raw(lambda raw: saver.save(
        raw, checkpoints.plain(os.path.join(train_dir, 'model.ckpt')),
        global_step=i, write_meta_graph=False))
    prefix = os.path.join(train_dir, f'model.ckpt-{i}')
    if validation:
      scores, is_best = validation.check(prefix)
      newest.update(scores, where='validation split', is_best=is_best)
      writer.add_summary(tf.Summary(value=[
          tf.Summary.Value(tag=f'validation/{k}', simple_value=v)
          for k, v in scores.items()]), i)
      bar.write(f'Step {i}: validation loss {scores["loss"]:.2f}'
                + (', the best so far.' if is_best else '.'))
    writer.flush()
    on_save()
    return i

  def run_with_summary(i):
    began = time.time()
    _, summary = sess.run([train_op, summary_op])
    values = {v.tag: v.simple_value
              for v in tf.Summary.FromString(summary).value}
    if not np.isfinite(values['loss']):
      raise UserError(
          f'The loss is no longer a number at step {i}; the checkpoints before '
          'are kept, go on from them with a smaller '
          f'{hparam("learning_rate", 0.0003)}.')
    writer.add_summary(summary, i + 1)
    writer.add_summary(tf.Summary(value=[tf.Summary.Value(
        tag='global_step/sec', simple_value=1 / (time.time() - began))]), i + 1)
    bar.set_postfix(loss=f'{values["loss"]:.1f}',
                    kl_bits=f'{values["losses/kl_bits"]:.1f}')
    newest.update(reconstruction_loss=values['losses/r_loss'],
                  kl_bits=values['losses/kl_bits'], where='last batch')

  began = last_save = time.time()
  i = saved = next_summary = start
  is_told = False
  with stop.between_steps(), tqdm(initial=start, total=num_steps,
                                  desc='Training', unit='step') as bar:
    try:
      while i < num_steps and not stop.asked:
        if i >= next_summary:
          run_with_summary(i)
          next_summary = i - i % SUMMARY_STEPS + SUMMARY_STEPS
        else:
          sess.run(train_op)
        i = sess.step_after(i)
        bar.update(min(i, num_steps) - bar.n)
        if not is_told and i >= start + SPEED_STEPS and bar.format_dict['rate']:
          is_told = True
          say_how_long((num_steps - i) / bar.format_dict['rate'], bar.write)
        if time.time() - last_save >= save_seconds:
          saved, last_save = save(), time.time()
      rate = (i - start) / (time.time() - began)
      if int(sess.run(step)) > saved:
        saved = save()
    except tf.errors.OutOfRangeError as e:
      raise splits.TooFewError(TOO_FEW) from e
  writer.close()
  if workers:
    print(f'{workers[0]} took {rate:.1f} steps a second together, of {workers[1]} '
          f'examples each: {rate * workers[1]:.0f} examples a second.')
  is_stopped = saved < num_steps
  print(in_words(f'Stopped at step {saved} and saved; {THE_SAME_COMMAND} goes on from '
                  'here.') if is_stopped else f'Trained to step {saved}: {train_dir}')
  if newest:
    say_where_it_stands(saved, newest, own, THE_SAME_COMMAND + (
        '' if is_stopped else f' with a larger {field("num_steps")}'))
  if is_stopped:
    raise KeyboardInterrupt


def work(config, num_steps, seed, machines, num_sync_workers, stop):
  """Takes steps of the training of a chief on another machine, until it ends.

  Args:
    config: As the chief's, with train_examples_path or tfds_name of this machine.
    num_steps: Step to stop at.
    seed: For the latents and the order of the examples, which no two workers share;
      one that comes back begins with its own again.
    machines: A distributed.Cluster.
    num_sync_workers: Of `build_train_op`; as the chief's.
    stop: A interrupts.Stop, which can end this after any step.

  Raises:
    UserError: if the chief does not come.
    KeyboardInterrupt: if `stop` was asked.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import data
  with tf.Graph().as_default(), distributed.variables_on_ps(machines):
    tf.set_random_seed(seed + WORKERS_SEEDS * machines.number)
    print('Reading the examples ...')
    dataset = data.get_dataset(config, is_training=True)
    print('Building the graph ...')
    step = tf.train.get_or_create_global_step()
    hooks = []
    train_op = build_train_op(config, dataset, machines, num_sync_workers, hooks)
    i = own = 0
    try:
      with stop.between_steps(), contextlib.closing(
          distributed.Shared(machines, step, None, hooks, stop)) as sess:
        i = sess.step_after(0)
        with tqdm(initial=i, total=num_steps, desc='Training', unit='step') as bar:
          while i < num_steps and not stop.asked and not sess.has_ended():
            sess.run(train_op)
            own += 1
            i = sess.step_after(i)
            bar.update(min(i, num_steps) - bar.n)
    except distributed.Ended:
      pass
    except tf.errors.OutOfRangeError as e:
      if not own:
        raise splits.TooFewError(TOO_FEW) from e
      # Else the chief has closed what synchronous workers wait at.
  print(f'This worker has taken {own} steps; ' + (
      f'training has come to step {i}, which the chief saves.' if i >= num_steps else
      'it was stopped.' if stop.asked else 'the chief has ended training.'))
  if stop.asked:
    raise KeyboardInterrupt


def readable(config, examples_path):
  """Returns a path or pattern as the input pipeline of a config takes it.

  Raises:
    FileNotFoundError: if there are no such files.
  """
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import packed_slices
  from magenta.models.music_vae import slice_cache
  if not examples_path or packed_slices.can_pack(config):
    return examples_path
  return [checkpoints.plain(p) for p in slice_cache.find_files(examples_path)]


def evaluate_as_upstream(config, prefix):
  """Evaluates a checkpoint on whole batches, as Magenta's own command does.

  Where the config's training uses scheduled sampling, all steps are sampled.

  Args:
    config: With eval_examples_path or tfds_name set.
    prefix: The checkpoint's.

  Returns:
    {metric: its mean over the batches}, and the number of examples in these.

  Raises:
    UserError: if there is not even one batch.
  """
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import data
  path, converter = config.eval_examples_path, config.data_converter
  batch_size = config.hparams.batch_size
  with tf.Graph().as_default():
    tf.set_random_seed(0)
    print('Reading the examples ...')
    dataset = data.get_dataset(config, is_training=False, cache_dataset=False)
    examples = data.count_examples(path, config.tfds_name, converter)
    if examples < batch_size:
      raise UserError(
          f'There are {examples} examples, but a batch takes {batch_size}; use '
          f'more data or a smaller batch '
          f'({hparam("batch_size", max(1, min(64, examples)))}).')
    batches = examples // batch_size
    print('Building the graph ...')
    config.model.build(config.hparams, converter.output_depth,
                       is_training=False)
    inputs, outputs, controls, lengths = tf.data.make_one_shot_iterator(
        dataset.take(batches)).get_next()
    updates = config.model.eval(inputs, outputs, lengths,
                                controls if converter.control_depth else None)
    summary_op = tf.summary.merge_all()
    with tf.Session() as sess:
      sess.run(tf.local_variables_initializer())
      checkpoint_files.restore(tf.train.Saver(), sess, prefix)
      for _ in tqdm(range(batches), desc='Evaluating', unit='batch'):
        sess.run(updates)
      summary = tf.Summary.FromString(sess.run(summary_op))
  return {'examples': batches * batch_size,
          **{v.tag: v.simple_value for v in summary.value}}


def evaluate_once(config, run_dir, examples_path, tfds_name):
  """Evaluates the newest checkpoint and writes summaries to run_dir/eval."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  from magenta.models.music_vae import packed_slices
  prefix = checkpoint_files.find_checkpoint(run_dir)
  if packed_slices.can_pack(config):
    evaluator = autoencoder.Autoencoder(config)
    # As upstream: what --examples_path names, whichever split that is.
    slices = splits.load_split(config, examples_path, tfds_name,
                                    'validation' if tfds_name else 'train')
    evaluator.load(prefix)
    scores = evaluator.score(slices, 'Evaluating')
    tags = {'loss': 'loss', 'losses/r_loss': 'reconstruction_loss',
            'losses/kl_bits': 'kl_bits',
            'metrics/accuracy': 'teacher_forced_accuracy',
            'metrics/sampled_accuracy': 'sampled_accuracy'}
  else:
    scores = evaluate_as_upstream(config._replace(
        eval_examples_path=readable(config, examples_path),
        tfds_name=tfds_name), prefix)
    tags = {name: name for name in scores if name != 'examples'}
  with tf.Graph().as_default():
    writer = tf.summary.FileWriter(
        os.path.join(os.path.expanduser(run_dir), 'eval'))
    writer.add_summary(tf.Summary(value=[
        tf.Summary.Value(tag=tag, simple_value=scores[name])
        for tag, name in tags.items() if name in scores]),
                       checkpoints.step_of(prefix))
    writer.close()
  print(json.dumps({'checkpoint': prefix, **scores}, indent=2))
