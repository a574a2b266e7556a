"""What train.py does with --mode=eval: it scores the newest checkpoint once."""
import json
import os
from typing import TYPE_CHECKING

from drumloops.data import splits
from drumloops.errors import UserError, hparam
from drumloops.models import autoencoder
from drumloops.runs import checkpoint_files
from tqdm.auto import tqdm

if TYPE_CHECKING:
  from magenta.models.music_vae.configs import Config

# Upstream's names of the summaries, and those of the scores.
TAGS = {'loss': 'loss', 'losses/r_loss': 'reconstruction_loss',
        'losses/kl_bits': 'kl_bits', 'metrics/accuracy': 'teacher_forced_accuracy',
        'metrics/sampled_accuracy': 'sampled_accuracy'}


def evaluate_once(config: 'Config', run_dir: str, examples_path: str | None,
                  tfds_name: str | None) -> None:
  """Scores a run's newest checkpoint; prints that and writes it to run_dir/eval.

  Args:
    config: Of the run.
    run_dir: Folder of the run.
    examples_path: TFRecord of what to score it on, whichever split that is.
    tfds_name: TensorFlow Datasets name, instead; its validation split counts.

  Raises:
    UserError: if there is no checkpoint that fits, or no example.
  """
  from magenta.models.music_vae import packed_slices
  prefix = checkpoint_files.find_checkpoint(run_dir)
  if packed_slices.can_pack(config):
    evaluator = autoencoder.Autoencoder(config)
    slices = splits.load_split(config, examples_path, tfds_name,
                               'validation' if tfds_name else 'train')
    evaluator.load(prefix)
    scores = evaluator.score(slices, 'Evaluating')
    tags = TAGS
  else:
    scores = evaluate_as_upstream(config._replace(
        eval_examples_path=splits.pipeline_path(config, examples_path),
        tfds_name=tfds_name), prefix)
    tags = {name: name for name in scores if name != 'examples'}
  write_summary(os.path.join(os.path.expanduser(run_dir), 'eval'), prefix,
                {tag: scores[name] for tag, name in tags.items() if name in scores})
  print(json.dumps({'checkpoint': prefix, **scores}, indent=2))


def write_summary(folder: str, prefix: str, values: dict[str, float]) -> None:
  """Writes {tag: value} of a checkpoint to a folder, for TensorBoard."""
  from magenta.models.music_vae import checkpoints
  import tensorflow.compat.v1 as tf
  with tf.Graph().as_default():
    writer = tf.summary.FileWriter(folder)
    writer.add_summary(tf.Summary(value=[
        tf.Summary.Value(tag=tag, simple_value=value)
        for tag, value in values.items()]), checkpoints.step_of(prefix))
    writer.close()


def evaluate_as_upstream(config: 'Config', prefix: str) -> dict[str, float]:
  """Evaluates a checkpoint on whole batches, as Magenta's own command does.

  Where the config's training uses scheduled sampling, all steps are sampled.

  Args:
    config: With eval_examples_path or tfds_name set.
    prefix: The checkpoint's.

  Returns:
    {metric: its mean over the batches}, and the number of 'examples' in these.

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
          'more data or a smaller batch '
          f'({hparam("batch_size", max(1, min(64, examples)))}).')
    batches = examples // batch_size
    print('Building the graph ...')
    config.model.build(config.hparams, converter.output_depth, is_training=False)
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
