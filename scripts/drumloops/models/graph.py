"""A model that does not train, in a graph of its own, with a session."""
import concurrent.futures
import copy
from typing import Any

from drumloops.runs import checkpoint_files
import numpy as np
from tqdm.auto import tqdm


class ModelGraph:
  """A config's model in a graph, and the session that runs it.

  A subclass says in `_build` what is fed and what is fetched. Nothing is dropped
  out, and a decoder that is given a loop reads the true steps of it.

  Attributes:
    config: A copy of the config, with the hyperparameters of this graph.
    model: Its model.
    batch_size: Loops that the graph takes at a time.
    steps: Steps of a loop.
    z_size: Size of the latent.
    checkpoint: The prefix of the checkpoint that is loaded; None before.
  """

  def __init__(self, config: Any, batch_size: int, checkpoint: str | None = None,
               seed: int = 0):
    """Builds the graph, and loads the checkpoint if there is one.

    Args:
      config: A config of slices (see `packed_slices.can_pack`).
      batch_size: Loops at a time.
      checkpoint: Its prefix; None if `load` follows.
      seed: The graph's.

    Raises:
      UserError: if the checkpoint is of another config.
    """
    import tensorflow.compat.v1 as tf
    self.config = copy.deepcopy(config)
    self.model, hparams = self.config.model, self.config.hparams
    self.batch_size, self.checkpoint = batch_size, None
    self.steps, self.z_size = hparams.max_seq_len, hparams.z_size
    hparams.batch_size, hparams.dropout_keep_prob = batch_size, 1.
    hparams.sampling_schedule, hparams.sampling_rate = 'constant', 0.
    with tf.Graph().as_default() as graph, tf.variable_scope(
        '', reuse=tf.AUTO_REUSE):  # The same decoder reconstructs and samples.
      # A random op's own seed is the number of those before it, so another order
      # of these gives other samples.
      tf.set_random_seed(seed)
      self.model.build(hparams, self.config.data_converter.output_depth,
                       is_training=False)
      self._build()
      self._saver = tf.train.Saver()
    self._sess = tf.Session(graph=graph)
    if checkpoint:
      self.load(checkpoint)

  def _build(self) -> None:
    """Adds placeholders and what is computed of them to the default graph."""
    raise NotImplementedError

  def _placeholder_of_slices(self) -> Any:
    """Returns a placeholder of a batch of what `packed_slices.pack` returns."""
    import tensorflow.compat.v1 as tf
    from magenta.models.music_vae import packed_slices
    converter, size = self.config.data_converter, [self.batch_size, self.steps]
    return (tf.placeholder(tf.float32, [*size, converter.output_depth])
            if packed_slices.is_groove(converter) else tf.placeholder(tf.int32, size))

  def _encode(self) -> Any:
    """Adds a placeholder, `_slices`, and returns the posterior of what it is fed."""
    import tensorflow.compat.v1 as tf
    from magenta.models.music_vae import packed_slices
    converter = self.config.data_converter
    self._slices = self._placeholder_of_slices()
    inputs, outputs, controls, self._lengths = packed_slices.unpack(
        self._slices, converter)
    self._targets = tf.to_float(outputs)
    self._lengths.set_shape([self.batch_size])
    self._controls = tf.to_float(controls) if converter.control_depth else None
    return self.model.encode(inputs, self._lengths, self._controls)

  def _reconstruct(self, z: Any) -> tuple[Any, Any]:
    """Returns how well latents say `_slices`: nats, [batch], and the outputs.

    Of a decoder that draws strokes, None in place of the outputs.

    Args:
      z: [batch, z_size].
    """
    import tensorflow.compat.v1 as tf
    before = tf.pad(self._targets[:, :-1], [(0, 0), (1, 0), (0, 0)])
    loss, _, *decoded = self.model.decoder.reconstruction_loss(
        before, self._targets, self._lengths, z, self._controls)
    return loss, decoded[0].rnn_output if decoded else None

  def load(self, checkpoint: str) -> None:
    """Restores a checkpoint, which all else then uses.

    Raises:
      UserError: if it is of another config.
    """
    with self._sess.graph.as_default():
      checkpoint_files.restore(self._saver, self._sess, checkpoint)
    self.checkpoint = checkpoint

  def reseed(self, seed: int) -> None:
    """Makes all as if the graph had just been built with this seed, and loaded."""
    self._sess = reseed_session(self._sess, seed)

  def _run(self, fetches: Any, feeds: dict, shared: dict | None = None,
           progress: str | None = None, threads: int = 1) -> Any:
    """Returns what is fetched of any number of rows, batch by batch.

    Args:
      fetches: A structure of tensors, [batch, ...].
      feeds: {tensor: values of all rows, [rows, ...]}.
      shared: {tensor: its value in every batch}.
      progress: What a progress bar says, if there shall be one.
      threads: Batches that run side by side.

    Returns:
      The same structure of arrays, [rows, ...].
    """
    import tensorflow.compat.v1 as tf
    feeds = {tensor: np.asarray(rows) for tensor, rows in feeds.items()}
    count, size = len(next(iter(feeds.values()))), self.batch_size
    def run(begin):
      return self._sess.run(fetches, {**(shared or {}), **{
          # What a last batch lacks are its own rows again.
          tensor: np.resize(rows[begin:begin + size], (size, *rows.shape[1:]))
          for tensor, rows in feeds.items()}})
    begins = range(0, count, size)
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
      batches = list(tqdm(
          (pool.map if threads > 1 else map)(run, begins), desc=progress,
          total=len(begins), unit='batch', leave=False,
          disable=progress is None or len(begins) < 2))
    return tf.nest.map_structure(
        lambda *parts: np.concatenate(parts)[:count], *batches)


def reseed_session(session: Any, seed: int) -> Any:
  """Returns a new session, as if the graph had been built with another seed.

  Its variables have the values that they have in the old session, which is closed.

  Args:
    session: A tf.Session whose graph was built with a seed.
    seed: As for `tf.set_random_seed`.
  """
  import tensorflow.compat.v1 as tf
  with session.graph.as_default() as graph:
    variables = tf.global_variables()
    values = session.run(variables)
    session.close()  # It would refuse to run a graph that has changed.
    tf.set_random_seed(seed)
    for op in graph.get_operations():
      if {'seed', 'seed2'} <= set(op.node_def.attr):
        for name, value in zip(('seed', 'seed2'), tf.get_seed(op.get_attr('seed2'))):
          op._set_attr(name, tf.AttrValue(i=value))
  # Only a new session makes the ops anew, which draw from their beginning again.
  session = tf.Session(graph=graph)
  session.run([variable.initializer for variable in variables], {
      variable.initializer.inputs[1]: value
      for variable, value in zip(variables, values)})
  return session
