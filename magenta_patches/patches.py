"""The table of patches: upstream file, its sha256, the edit, why.

Every edit replaces a piece of text that occurs exactly `times` times in the
file of magenta 2.1.4 (or note-seq 0.0.5) as released on PyPI. An edit with an
empty `old` is appended to the file.
"""
import dataclasses


@dataclasses.dataclass(frozen=True)
class Edit:
  """One replacement of `old` by `new` in a file, and the reason for it."""
  why: str
  old: str
  new: str
  times: int = 1


@dataclasses.dataclass(frozen=True)
class Patch:
  """The edits to one upstream file, whose unpatched text has `sha256`."""
  path: str
  sha256: str
  edits: tuple


MUSIC_VAE = 'magenta/models/music_vae'

# Modules of ours that `apply` copies from `magenta_patches/added/` into
# `magenta/models/music_vae/`, because the edits below import them.
ADDED = ('checkpoints.py', 'drums_4bar.py', 'fast_lstm.py', 'local_beam.py',
         'packed_slices.py')

PATCHES = (
    Patch(
        'magenta/__init__.py',
        '37f581b87f0c5668b64eee2918b441b50dcd89a92c812d01b4dfe1834626286c',
        (Edit(
            'Magenta builds TF1 graphs with RNN cells that Keras 3 no longer '
            'has; tf_keras (Keras 2) still has them, if it is chosen before '
            'TensorFlow first touches Keras, whatever the environment says.',
            'import magenta.common.beam_search\n',
            'import os\n'
            "os.environ['TF_USE_LEGACY_KERAS'] = '1'\n"
            'import magenta.common.beam_search\n'),)),
    Patch(
        'magenta/contrib/rnn.py',
        'ae85bacb79339d5b952d425c846fc0190262f097645e4be285883ceda76e3deb',
        (Edit(
            'tf_slim takes a second to import (it needs scikit-learn) ...',
            'import tf_slim\n',
            ''),
         Edit(
             '... and is rarely needed.',
             '    normalized = tf_slim.layer_norm(',
             '    import tf_slim\n'
             '    normalized = tf_slim.layer_norm('),)),
    Patch(
        f'{MUSIC_VAE}/base_model.py',
        'c098615073016afedae1d581d51160640830597c9f88e027655d2c518f73332c',
        (Edit(
            'As in contrib/rnn.py: only evaluation ...',
            'import tf_slim\n',
            ''),
         Edit(
             '... needs tf_slim.',
             '    metrics_to_values, metrics_to_updates = (\n',
             '    import tf_slim\n'
             '    metrics_to_values, metrics_to_updates = (\n'),
         Edit(
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
            'drums_4bar.register(CONFIG_MAP, Config)\n'),)),
    Patch(
        f'{MUSIC_VAE}/data.py',
        '6e51caa384dc950607ae653ee63f4a687022e1d68bb3ad2bff96672c7bb77f23',
        (Edit(
            'TensorFlow Datasets is imported when it is first used: it is '
            "slow to import, and with the protobuf that Colab ships it can't "
            'be imported without the help that packed_slices gives it.',
            'import tensorflow_datasets as tfds\n',
            'from magenta.models.music_vae import packed_slices\n'
            'from magenta.models.music_vae.packed_slices import tfds\n'),
         Edit(
             'Drum slices of a fixed length are converted once, kept on disk '
             'as one integer a step, and fed without any Python.',
             "  data_converter.set_mode('train' if is_training else 'eval')\n"
             '\n'
             '  if examples_path:\n',
             "  data_converter.set_mode('train' if is_training else 'eval')\n"
             '\n'
             '  if (packed_slices.can_pack(config) and\n'
             '      tf_file_reader is tf.data.TFRecordDataset):\n'
             '    return packed_slices.get_dataset(config, is_training)\n'
             '\n'
             '  if examples_path:\n'),
         Edit(
             "The `groove` datasets are prepared from the published zip, "
             'which also works from a local copy of it and without access to '
             "TFDS's own bucket.",
             '    dataset = tfds.load(\n'
             '        config.tfds_name,\n'
             '        split=tfds.Split.TRAIN if is_training else '
             'tfds.Split.VALIDATION,\n'
             '        shuffle_files=is_training,\n'
             '        try_gcs=True)\n',
             '    dataset = packed_slices.prepared_tfds(config.tfds_name)'
             '.as_dataset(\n'
             '        split=tfds.Split.TRAIN if is_training else '
             'tfds.Split.VALIDATION,\n'
             '        shuffle_files=is_training)\n'),
         Edit(
             'The same, where examples are counted for evaluation.',
             '        tfds.load(tfds_name, split=tfds.Split.VALIDATION, '
             'try_gcs=True))\n',
             '        packed_slices.prepared_tfds(tfds_name).as_dataset(\n'
             '            split=tfds.Split.VALIDATION))\n'),
         Edit(
             "GrooveConverter raised KeyError on every pitch that its map has "
             'not; what is none of its drums is left out, as by '
             'DrumsConverter, and so are other instruments beside drums.',
             '    beat_length = 60. / quantized_sequence.tempos[0].qpm\n'
             '    step_length = beat_length / (\n'
             '        quantized_sequence.quantization_info.steps_per_quarter)\n',
             '    has_drums = any(n.is_drum for n in quantized_sequence.notes)\n'
             '    drums = [n for n in quantized_sequence.notes\n'
             '             if n.is_drum >= has_drums and\n'
             '             n.pitch in self.pitch_class_map]\n'
             '    del quantized_sequence.notes[:]\n'
             '    quantized_sequence.notes.extend(drums)\n'
             '\n'
             '    beat_length = 60. / quantized_sequence.tempos[0].qpm\n'
             '    step_length = beat_length / (\n'
             '        quantized_sequence.quantization_info.steps_per_quarter)\n'),
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
             'l))\n'),)),
    Patch(
        f'{MUSIC_VAE}/data_test.py',
        'd6d634027f33e4470f5c57beba6a2aac0cf8f0feba69da00e867075f75bc1468',
        (Edit(
            "Upstream's test uses names that NumPy has dropped: tostring, ...",
            'x.tostring()',
            'x.tobytes()'),
         Edit(
             '... np.int ...',
             '        a = a.astype(np.int)\n',
             '        a = a.astype(int)\n'),
         Edit(
             '... np.int again ...',
             '        b = b.astype(np.int)\n',
             '        b = b.astype(int)\n'),
         Edit(
             '... and stacks of generators.',
             'np.stack(np.argmax(s, axis=-1) for s in '
             'np.split(t, [90, 180], axis=-1))\n',
             'np.stack([np.argmax(s, axis=-1) for s in '
             'np.split(t, [90, 180], axis=-1)])\n',
             times=4),)),
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
             'The fast path (see fast_lstm.py): its functions ...',
             'from magenta.models.music_vae import base_model\n',
             'from magenta.models.music_vae import base_model\n'
             'from magenta.models.music_vae import fast_lstm\n'),
         Edit(
             '... need the sizes of an encoder ...',
             '    self._is_training = is_training\n'
             '    self._name_or_scope = name_or_scope\n'
             '    if hparams.use_cudnn:\n',
             '    self._is_training = is_training\n'
             '    self._name_or_scope = name_or_scope\n'
             '    self._hparams = hparams\n'
             '    if hparams.use_cudnn:\n'),
         Edit(
             '... for one BlockLSTM a layer and direction ...',
             '    cells_fw, cells_bw = self._cells\n'
             '\n'
             '    _, states_fw, states_bw',
             '    if fast_lstm.can_encode(self._hparams):\n'
             '      return fast_lstm.encode(\n'
             '          sequence, sequence_length, self._hparams, '
             'self._is_training,\n'
             '          self._name_or_scope)\n'
             '    cells_fw, cells_bw = self._cells\n'
             '\n'
             '    _, states_fw, states_bw'),
         Edit(
             "... and all segments of a hierarchical encoder's level at once, "
             'since each is encoded for itself.',
             '      split_lengths = tf.unstack(sequence_length, axis=1)\n'
             '      embeddings = [\n'
             '          h_encoder.encode(s, l) for s, l in zip(split_seqs, '
             'split_lengths)]\n'
             '      sequence = tf.stack(embeddings, axis=1)\n',
             '      embeddings = h_encoder.encode(\n'
             '          tf.concat(split_seqs, axis=0),\n'
             '          tf.reshape(tf.transpose(sequence_length), [-1]))\n'
             '      sequence = tf.stack(tf.split(embeddings, num_splits), '
             'axis=1)\n'),
         Edit(
             'The same for decoders: sizes, ...',
             '    self._is_training = is_training\n'
             '\n'
             "    tf.logging.info('\\nDecoder Cells:\\n'\n",
             '    self._is_training = is_training\n'
             '    self.hparams = hparams\n'
             '\n'
             "    tf.logging.info('\\nDecoder Cells:\\n'\n"),
         Edit(
             '... the loss of a categorical decoder, ...',
             '  def sample(self, n, max_length=None, z=None, c_input=None, '
             'temperature=None,\n',
             '  def reconstruction_loss(self, x_input, x_target, x_length, '
             'z=None,\n'
             '                          c_input=None):\n'
             '    if fast_lstm.can_decode(self, c_input):\n'
             '      return fast_lstm.reconstruction_loss(\n'
             '          self, x_input, x_target, x_length, z)\n'
             '    return super(CategoricalLstmDecoder, '
             'self).reconstruction_loss(\n'
             '        x_input, x_target, x_length, z, c_input)\n'
             '\n'
             '  def sample(self, n, max_length=None, z=None, c_input=None, '
             'temperature=None,\n'),
         Edit(
             '... its samples, ...',
             '    end_token = end_fn\n',
             '    if (fast_lstm.can_decode(self, c_input) and\n'
             '        fast_lstm.can_sample(self, end_fn)):\n'
             '      return fast_lstm.sample(\n'
             '          self, n, max_length, z, temperature, start_inputs)\n'
             '    end_token = end_fn\n'),
         Edit(
             '... the loss of a hierarchical decoder ...',
             '    if self._hierarchical_encoder and c_input is not None:\n'
             '      raise ValueError(\n'
             "          'Re-encoder mode unsupported when conditioning on "
             "controls.')\n"
             '\n'
             '    batch_size = int(x_input.shape[0])\n',
             '    if fast_lstm.can_decode_hierarchy(self, c_input):\n'
             '      return fast_lstm.hierarchical_reconstruction_loss(\n'
             '          self, x_input, x_target, x_length, z)\n'
             '    if self._hierarchical_encoder and c_input is not None:\n'
             '      raise ValueError(\n'
             "          'Re-encoder mode unsupported when conditioning on "
             "controls.')\n"
             '\n'
             '    batch_size = int(x_input.shape[0])\n'),
         Edit(
             '... and its samples.',
             '    z = tf.zeros([n, 0]) if z is None else z\n'
             '\n'
             '    if self._hierarchical_encoder',
             '    if (fast_lstm.can_decode_hierarchy(self, c_input) and\n'
             "        list(core_sampler_kwargs) == ['temperature'] and\n"
             '        fast_lstm.can_sample(self._core_decoder, None)):\n'
             '      return fast_lstm.hierarchical_sample(\n'
             '          self, n, max_length, z, **core_sampler_kwargs)\n'
             '    z = tf.zeros([n, 0]) if z is None else z\n'
             '\n'
             '    if self._hierarchical_encoder'),
         Edit(
             "The conductor's dropout stayed on in evaluation and sampling.",
             '            residual=hparams.residual_decoder)\n'
             '        # Subtract 1',
             '            residual=hparams.residual_decoder,\n'
             '            is_training=is_training)\n'
             '        # Subtract 1'),
         Edit(
             'What the fast path reads of a hierarchical decoder.',
             '    self.hparams = hparams\n'
             '    self._output_depth = output_depth\n'
             '    self._total_length = hparams.max_seq_len\n',
             '    self.hparams = hparams\n'
             '    self._is_training = is_training\n'
             '    self._output_depth = output_depth\n'
             '    self._total_length = hparams.max_seq_len\n'),)),
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
             'None\n'),)),
    Patch(
        f'{MUSIC_VAE}/trained_model.py',
        '2b4a6763f1b5f85f4d2a83c34ac3ee1c750a9278498a675b1829ebf8527a12e1',
        (Edit(
            'Finds checkpoints without trusting the `checkpoint` file.',
            'import tensorflow.compat.v1 as tf\n',
            'from magenta.models.music_vae import checkpoints\n'
            'import tensorflow.compat.v1 as tf\n'),
         Edit(
             'A `checkpoint` file that names a moved or half-written '
             'checkpoint stopped sampling (upstream issue 1664).',
             '      checkpoint_path = tf.train.latest_checkpoint('
             'checkpoint_dir_or_path)\n',
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
            'Restoring trusts the `checkpoint` file (upstream issue 1664), ...',
            'from magenta.models.music_vae import configs\n',
            'from magenta.models.music_vae import checkpoints\n'
            'from magenta.models.music_vae import configs\n'),
         Edit(
             '... so it is made to name the newest complete checkpoint first.',
             '  tf.gfile.MakeDirs(train_dir)\n',
             '  tf.gfile.MakeDirs(train_dir)\n'
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
             'Bokeh 3 calls the size of a figure `width` ...',
             '  fig.plot_width = 500\n',
             '  fig.width = 500\n'),
         Edit(
             '... and `height`.',
             '  fig.plot_height = 200\n',
             '  fig.height = 200\n'),)),
)
