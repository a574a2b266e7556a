"""The table of patches: upstream file, its sha256, the edit, why.

Every edit replaces a piece of text that occurs exactly once in the file of magenta
2.1.4 (or note-seq 0.0.5) as released on PyPI. An edit with an empty `old` is
appended to the file.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Edit:
  """A replacement of `old` by `new` in a file, and the reason for it."""
  why: str
  old: str  # Occurs once in the file; empty: `new` is appended.
  new: str


@dataclasses.dataclass(frozen=True)
class Patch:
  """The edits to one upstream file, whose unpatched text has `sha256`."""
  path: str
  sha256: str
  edits: tuple[Edit, ...]


MUSIC_VAE = 'magenta/models/music_vae'

# Modules of ours that `apply` copies from `magenta_patches/added/`, because the
# edits below, or each other, import them.
ADDED = ('magenta/lazy_imports.py',) + tuple(f'{MUSIC_VAE}/{name}.py' for name in (
    'checkpoints', 'drum_classes', 'drums_4bar', 'fast_lstm_decoders',
    'fast_lstm_encoders', 'fast_lstm_hooks', 'fast_lstm_layers', 'groove_tfds', 'hooks',
    'local_beam', 'masked_sampling', 'packed_slices', 'slice_batches', 'slice_cache',
    'stroke_converter', 'stroke_decoder', 'stroke_network', 'upstream'))
# Modules that older versions of this table added, which `apply` and `revert` remove.
ADDED_BEFORE = (f'{MUSIC_VAE}/fast_lstm.py',)

PATCHES = (
    Patch(
        'magenta/__init__.py',
        '37f581b87f0c5668b64eee2918b441b50dcd89a92c812d01b4dfe1834626286c',
        (Edit(
            'Magenta builds TF1 graphs with RNN cells that Keras 3 no longer '
            'has; tf_keras (Keras 2) still has them, if it is chosen before '
            'TensorFlow first touches Keras, whatever the environment says. tf_slim '
            'takes a second to import (it needs scikit-learn) and is rarely needed.',
            'import magenta.common.beam_search\n',
            'import os\n'
            "os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
            'from magenta import lazy_imports\n'
            "lazy_imports.install('tf_slim')\n"
            'import magenta.common.beam_search\n'),)),
    Patch(
        f'{MUSIC_VAE}/base_model.py',
        'c098615073016afedae1d581d51160640830597c9f88e027655d2c518f73332c',
        (Edit(
            'On small data Adam as upstream sets it diverges after some '
            'thousand steps, whatever the clipping; a shorter memory of '
            'squared gradients, a larger epsilon and a warm-up prevent it. '
            'Unless a config asks for them, all is as upstream has it.',
            '    optimizer = tf.train.AdamOptimizer(lr)\n',
            '    lr *= tf.minimum(1., (tf.to_float(self.global_step) + 1.) /\n'
            "                     max(1., hparams.get('warmup_steps', 0)))\n"
            '    optimizer = tf.train.AdamOptimizer(\n'
            "        lr, beta2=hparams.get('adam_beta2', 0.999),\n"
            "        epsilon=hparams.get('adam_epsilon', 1e-8))\n"),)),
    Patch(
        f'{MUSIC_VAE}/configs.py',
        '3a3920f330cc04ce5677ab905f3a06452f1bd68b81c766c7c86f26b891a4dcce',
        (Edit(
            'Registers the 4-bar drum configs.',
            '',
            '\n'
            'from magenta.models.music_vae import drums_4bar\n'
            'drums_4bar.register(CONFIG_MAP, Config)\n'
            'from magenta.models.music_vae import stroke_decoder\n'
            'stroke_decoder.register(CONFIG_MAP)\n'),)),
    Patch(
        f'{MUSIC_VAE}/data.py',
        '6e51caa384dc950607ae653ee63f4a687022e1d68bb3ad2bff96672c7bb77f23',
        (Edit(
            'TensorFlow Datasets is slow to import, with the protobuf that Colab '
            "ships it can't be imported without help, and upstream asks its bucket "
            'for data that need not come from there.',
            'import tensorflow_datasets as tfds\n',
            'from magenta.models.music_vae.groove_tfds import tfds\n'),
         Edit(
             "tf.data's unbatch() crashes (SIGSEGV, seen on TF 2.18 to 2.21) "
             'on slices without elements, which is what controls of depth 0 '
             'are: they are left out of it and put back after it.',
             '  dataset = dataset.unbatch()\n',
             '  if data_converter.control_depth:\n'
             '    dataset = dataset.unbatch()\n'
             '  else:\n'
             '    dataset = dataset.map(lambda i, o, c, l: (i, o, l))'
             '.unbatch().map(\n'
             '        lambda i, o, l: (i, o, tf.zeros(\n'
             '            [tf.shape(i)[0], 0], data_converter.control_dtype), '
             'l))\n'),
         Edit(
             'Drum slices of a fixed length are converted once, kept on disk as '
             'one integer a step, and fed without any Python; GrooveConverter '
             'leaves out what is none of its drums.',
             '',
             '\n'
             'import sys\n'
             'from magenta.models.music_vae import slice_batches\n'
             'slice_batches.install(sys.modules[__name__])\n'),)),
    Patch(
        f'{MUSIC_VAE}/data_hierarchical.py',
        '9843e9eadbc8ecc8ce4f03b2171c7aa177ed7f09a877fd578e7bada78a530f85',
        (Edit(
            'NumPy 2 refuses to take the size of a ragged list of arrays; '
            'the question is only whether there are any controls.',
            '    if np.size(control):\n',
            '    if any(np.size(c) for c in tf.nest.flatten(control)):\n'),)),
    Patch(
        f'{MUSIC_VAE}/lstm_models.py',
        '1093435f73a2ff837eeb48d999ceb80206bab3dbea9eac47824f2e895e3ecdf7',
        (Edit(
            'The random numbers of a step do not depend on the step before, '
            'so steps that run in parallel drew them in any order, and a seed '
            'did not make sampling and scheduled sampling repeatable.',
            '        maximum_iterations=max_length,\n',
            '        maximum_iterations=max_length,\n'
            '        parallel_iterations=1,\n'),
         Edit(
             "The conductor's dropout stayed on in evaluation and sampling.",
             '            residual=hparams.residual_decoder)\n'
             '        # Subtract 1',
             '            residual=hparams.residual_decoder,\n'
             '            is_training=is_training)\n'
             '        # Subtract 1'),
         Edit(
             'The same numbers, computed in about half of the time.',
             '',
             '\n'
             'import sys\n'
             'from magenta.models.music_vae import fast_lstm_hooks\n'
             'fast_lstm_hooks.install(sys.modules[__name__])\n'),)),
    Patch(
        f'{MUSIC_VAE}/preprocess_tfrecord.py',
        '08ee872f7caf526e64f577f50008a5d18194b52c0e6d160511deebd043abc37d',
        (Edit(
            "Apache Beam can't be installed on Colab without changing what "
            'Colab ships; local_beam runs the same pipeline without it.',
            'import apache_beam as beam\n'
            'from apache_beam import typehints\n'
            'from apache_beam.metrics import Metrics as beam_metrics\n',
            'try:\n'
            '  import apache_beam as beam\n'
            '  from apache_beam import typehints\n'
            '  from apache_beam.metrics import Metrics as beam_metrics\n'
            'except ImportError:\n'
            '  from magenta.models.music_vae import local_beam as beam\n'
            '  from magenta.models.music_vae.local_beam import typehints\n'
            '  from magenta.models.music_vae.local_beam import Metrics as '
            'beam_metrics\n'),
         Edit(
             'Drums only: notes of other instruments do not count ...',
             "    'is_drum', None,\n",
             "    'is_drum', True,\n"),
         Edit(
             '... and sequences with other instruments are skipped.',
             "    'drums_only', False,\n",
             "    'drums_only', True,\n"),
         Edit(
             'The converter has no `max_outputs_per_notesequence` any more, '
             'so its cap of 5 slices a file stayed on.',
             '    self._config.data_converter.max_outputs_per_notesequence = '
             'None\n',
             '    self._config.data_converter.max_tensors_per_notesequence = '
             'None\n'),
         Edit(
             'Not every Beam runner can compare NoteSequences, so they are grouped '
             'by their bytes, ...',
             'typing.Tuple[note_seq.NoteSequence, str]',
             'typing.Tuple[bytes, str]'),
         Edit(
             '... the same for the same NoteSequence ...',
             '      yield example_ns, ns.id\n',
             '      yield example_ns.SerializeToString(deterministic=True), ns.id\n'),
         Edit(
             '... and their ids are in an order that no runner decides.',
             '  ns, ids = ns_ids\n',
             '  ns, ids = note_seq.NoteSequence.FromString(ns_ids[0]), '
             'sorted(ns_ids[1])\n'),
         Edit(
             'Nor can every runner read a source; all can transform a collection '
             'of file names, ...',
             "        | 'read_input' >> beam.io.ReadFromTFRecord(\n"
             '            input_tfrecord, '
             'coder=beam.coders.ProtoCoder(note_seq.NoteSequence))\n',
             "        | 'input' >> beam.Create(paths)\n"
             "        | 'read_input' >> beam.io.ReadAllFromTFRecord(\n"
             '            coder=beam.coders.ProtoCoder(note_seq.NoteSequence))\n'),
         Edit(
             '... each of which then can be read by another worker.',
             '  with beam.Pipeline(options=pipeline_options) as p:\n',
             '  import tensorflow as tf\n'
             '  paths = sorted(tf.io.gfile.glob(input_tfrecord))\n'
             '  if not paths:\n'
             "    raise FileNotFoundError(f'No files match {input_tfrecord}.')\n"
             '  with beam.Pipeline(options=pipeline_options) as p:\n'),)),
    Patch(
        f'{MUSIC_VAE}/trained_model.py',
        '2b4a6763f1b5f85f4d2a83c34ac3ee1c750a9278498a675b1829ebf8527a12e1',
        (Edit(
            'A `checkpoint` file that names a moved or half-written '
            'checkpoint stopped sampling (upstream issue 1664).',
            '      checkpoint_path = tf.train.latest_checkpoint('
            'checkpoint_dir_or_path)\n',
            '      from magenta.models.music_vae import checkpoints\n'
            '      checkpoint_path = checkpoints.newest_complete('
            'checkpoint_dir_or_path)\n'),
         Edit(
             "The model's own graph takes the caller's graph-level seed, so "
             'that tf.set_random_seed() makes sampling repeatable.',
             '    with tf.Graph().as_default():\n'
             '      model = self._config.model\n',
             '    seed, _ = tf.random.get_seed(None)\n'
             '    with tf.Graph().as_default():\n'
             '      tf.set_random_seed(seed)\n'
             '      model = self._config.model\n'),)),
    Patch(
        f'{MUSIC_VAE}/music_vae_train.py',
        '26bef8f660fb31f3321a4c1cf01a82e49b01412efbc6239ac6b74cb0c1b1a3a1',
        (Edit(
            'Restoring trusts the `checkpoint` file (upstream issue 1664), so it '
            'is made to name the newest complete checkpoint first.',
            '  tf.gfile.MakeDirs(train_dir)\n',
            '  tf.gfile.MakeDirs(train_dir)\n'
            '  from magenta.models.music_vae import checkpoints\n'
            '  checkpoints.repair(train_dir)\n'),)),
    Patch(
        'note_seq/notebook_utils.py',
        '7ad1603151c635f6335cca102dadaf8b279a9f510e57422f0688b3699edd491f',
        (Edit(
            'Bokeh takes half a second to import ...',
            'import bokeh\nimport bokeh.plotting\n',
            ''),
         Edit(
             '... and only this function needs it.',
             '  fig = bokeh.plotting.figure(\n',
             '  import bokeh.plotting\n'
             '  fig = bokeh.plotting.figure(\n'),
         Edit(
             'Bokeh 3 calls the size of a figure `width` and `height`.',
             '  fig.plot_width = 500\n'
             '  fig.plot_height = 200\n',
             '  fig.width = 500\n'
             '  fig.height = 200\n'),)),
)
