"""The graph of a training step: upstream's model, optimizer and clipping."""
from typing import TYPE_CHECKING

from drumloops.errors import UserError
from drumloops.training import distributed

if TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config
  import tensorflow.compat.v1 as tf


class TrainGraph:
  """What takes a training step, built into the default graph.

  As `magenta.models.music_vae.music_vae_train.train` builds it, which can't be
  called for it because it runs its own session.

  Attributes:
    step: The global step's variable.
    train_op: Takes a step.
    summary_op: Gives the summaries of a step.
    hooks: The tf.train.SessionRunHooks that the session needs.
  """

  def __init__(self, config: 'Config', dataset: 'tf.data.Dataset',
               machines: distributed.Cluster | None = None,
               num_sync_workers: int = 0):
    """Builds it.

    Args:
      config: Of what is trained.
      dataset: Batches, as data.get_dataset returns them.
      machines: The cluster, if there are several machines.
      num_sync_workers: How many of them take each step together; 0: each its own.

    Raises:
      UserError: if the config clips gradients in no known way.
    """
    import tensorflow.compat.v1 as tf
    self.step = tf.train.get_or_create_global_step()
    self.hooks = []
    optimizer = build_optimizer(config, dataset)
    if num_sync_workers:
      # Every worker gets a token a step, also those whose gradients came too late.
      optimizer = tf.train.SyncReplicasOptimizer(
          optimizer, num_sync_workers, machines.workers)
      self.hooks.append(optimizer.make_session_run_hook(machines.is_chief))
    self.train_op = build_train_op(config, optimizer)
    self.summary_op = tf.summary.merge_all()


def build_optimizer(config: 'Config',
                    dataset: 'tf.data.Dataset') -> 'tf.train.Optimizer':
  """Builds the model's loss on a data set's batches; returns its optimizer."""
  import tensorflow.compat.v1 as tf
  hparams, converter, model = config.hparams, config.data_converter, config.model
  model.build(hparams, converter.output_depth, is_training=True)
  inputs, outputs, controls, lengths = (
      tf.data.make_one_shot_iterator(dataset).get_next())
  for tensor, depth in ((inputs, converter.input_depth),
                        (outputs, converter.output_depth),
                        (controls, converter.control_depth)):
    tensor.set_shape([hparams.batch_size, None, depth])
  lengths.set_shape([hparams.batch_size] + lengths.shape[1:].as_list())
  return model.train(
      inputs, outputs, lengths, controls if converter.control_depth else None)


def build_train_op(config: 'Config',
                   optimizer: 'tf.train.Optimizer') -> 'tf.Operation':
  """Returns the op that applies the clipped gradients of the model's loss.

  Raises:
    UserError: if the config's clip_mode is unknown.
  """
  import tensorflow.compat.v1 as tf
  hparams, model = config.hparams, config.model
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
      zip(clipped, variables), global_step=model.global_step, name='train_step')
