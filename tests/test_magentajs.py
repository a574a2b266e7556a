"""Checkpoints in magenta.js itself: decoded and encoded as by TensorFlow."""
import contextlib
import copy
import functools
import http.server
import json
import shutil
import tarfile
import threading

import conftest
from drumloops.errors import UserError
from drumloops.data import patterns
from drumloops.export import magentajs
from drumloops.midi import drum_maps
from drumloops.models import variation
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
import numpy as np
import oracle
import pytest

# Its own README loads these two files; the newest TensorFlow.js that it allows.
PACKAGES = {'@magenta/music@1.23.1': 'es6/music_vae.js',
            '@tensorflow/tfjs@2.8.6': 'dist/tf.min.js'}
COUNT = 4  # Latents.
NARROW = 'z_size=8,dec_rnn_size=[16],enc_rnn_size='
# case: (config, hparams; '' is the weights in weights/, whether it encodes).
CASES = {'hierdec': ('hierdec-drums_4bar', '', False),
         'echo': ('hier-drums_4bar_echo', '', True),
         'hier': ('hier-drums_4bar', NARROW + '[16]', True),
         'flat': ('flat-drums_4bar', NARROW + '[16]', True),
         'flat, 2 layers': ('flat-drums_4bar', NARROW + '[16,16]', False)}
# Writes, for each {url, z, rolls}: {classes: of latents, mu: of rolls, or error, notes:
# of the first latent, [[step, pitch]], roll: of these notes}.
SCRIPT = r'''
console.warn = () => {};
globalThis.self = globalThis;
globalThis.tf = require('./tf.min.js');
const source = require('fs').readFileSync('./music_vae.js', 'utf8');
require('vm').runInThisContext(source);

async function play({url, z, rolls}) {
  const model = new music_vae.MusicVAE(url);
  await model.initialize();
  const steps = await model.decodeTensors(tf.tensor2d(z));
  const sequence = await model.dataConverter.toNoteSequence(
    tf.unstack(steps)[0], 4, 120);
  const result = {
    classes: steps.argMax(2).arraySync(),
    notes: sequence.notes.map(note => [note.quantizedStartStep, note.pitch]),
    roll: model.dataConverter.toTensor(sequence).arraySync()};
  try {
    result.mu = (await model.encodeTensors(tf.tensor3d(rolls))).arraySync();
  } catch (e) {
    result.error = e.message;
  }
  return result;
}

(async () => {
  const results = [];
  for (const request of require('./requests.json')) results.push(await play(request));
  require('fs').writeFileSync('results.json', JSON.stringify(results));
})();
'''


@pytest.fixture(scope='module', autouse=True)
def magenta():
  magenta_setup.music_vae()


@pytest.fixture(scope='module')
def scripts(tmp_path_factory):
  """A folder with magenta.js's MusicVAE and TensorFlow.js, from npm's registry."""
  folder = tmp_path_factory.mktemp('npm')
  if not shutil.which('node') or not shutil.which('npm'):
    pytest.skip('there is no Node.js with npm here')
  for package, script in PACKAGES.items():
    result = conftest.run('npm', 'pack', '--silent', package, cwd=folder)
    if result.returncode:
      pytest.skip(f'npm has no {package} here: {result.stderr.strip()[-300:]}')
    with tarfile.open(folder / result.stdout.split()[-1]) as tar:
      (folder / script.split('/')[1]).write_bytes(
          tar.extractfile(f'package/{script}').read())
  return folder


@contextlib.contextmanager
def served(folder):
  """Serves a folder; gives its URL."""
  class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
      pass
  with http.server.ThreadingHTTPServer(
      ('127.0.0.1', 0), functools.partial(Handler, directory=folder)) as server:
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()


def random_checkpoint(config, prefix):
  """Saves random weights, large enough that no two classes are equally likely."""
  import tensorflow.compat.v1 as tf
  with tf.Graph().as_default(), tf.Session() as sess:
    oracle.build(copy.deepcopy(config), 2)
    oracle.load_random_weights(sess, 1., 0.1)
    return tf.train.Saver().save(sess, str(prefix))


@pytest.fixture(scope='module')
def found(scripts, tmp_path_factory):
  """{case: (config, TensorFlow's classes, its mu of them, what magenta.js gives)}."""
  folder = tmp_path_factory.mktemp('served')
  ours, requests = [], []
  with served(folder) as url:
    for i, (name, hparams, _) in enumerate(CASES.values()):
      config = magenta_setup.get_config(name, hparams)
      checkpoint = (random_checkpoint(config, folder / f'model.ckpt-{i}') if hparams
                    else checkpoint_files.find_checkpoint(config_name=name))
      magentajs.write(config, name, checkpoint, folder / str(i))
      varier = variation.Varier(config, checkpoint, COUNT)
      z = np.random.RandomState(i).standard_normal((COUNT, config.hparams.z_size))
      classes = varier.play(z, np.zeros([COUNT, 64, 512]), 1.)  # The likeliest ones.
      hits = patterns.bits(classes)
      rolls = np.append(hits, ~hits.any(axis=-1, keepdims=True), axis=-1)
      ours.append((config, classes, varier.encode(classes)[0]))
      requests.append({'url': f'{url}/{i}', 'z': z.tolist(),
                       'rolls': rolls.astype(int).tolist()})
    (scripts / 'requests.json').write_text(json.dumps(requests))
    (scripts / 'play.js').write_text(SCRIPT)
    result = conftest.run('node', 'play.js', cwd=scripts)
  assert result.returncode == 0, result.stderr
  theirs = json.loads((scripts / 'results.json').read_text())
  return {case: (*x, y) for case, x, y in zip(CASES, ours, theirs)}


@pytest.mark.parametrize('case', CASES)
def test_decodes_as_tensorflow(case, found):
  from magenta.models.music_vae import upstream
  config, classes, _, theirs = found[case]
  assert len(np.unique(classes)) > 8
  np.testing.assert_array_equal(theirs['classes'], classes)
  pitches = [own[0] for own in upstream.pitch_classes(config.data_converter)]
  hits = patterns.bits(classes[0])
  assert theirs['notes'] == [[step, pitches[drum]] for step, drum in np.argwhere(hits)]
  np.testing.assert_array_equal(np.array(theirs['roll'])[:, :-1], hits)


@pytest.mark.parametrize('case', CASES)
def test_encodes_as_tensorflow_or_not_at_all(case, found):
  *_, mu, theirs = found[case]
  if CASES[case][2]:
    assert mu.std() > 0.1
    np.testing.assert_allclose(theirs['mu'], mu, rtol=0, atol=1e-4)
  else:
    assert 'mu' not in theirs and 'shape' in theirs['error']


def test_a_second_layer_of_an_encoder_is_not_passed_over():
  names = magentajs.encoder_variables(4)
  assert len(names) == 8
  tensors = {name: np.ones(1) for name in names}
  assert magentajs.choose(tensors, 4) == (tensors, True)
  second = {name.replace('/cell_0/bi', '/cell_1/bi'): np.ones(1) for name in names}
  chosen, encodes = magentajs.choose({**tensors, **second}, 4)
  assert set(chosen) == names and not encodes
  assert not any(tensor.any() for tensor in chosen.values())


def test_pitches_are_those_that_files_are_read_by():
  from magenta.models.music_vae import upstream
  for name in ('hierdec-drums_4bar', 'flat-drums_4bar'):
    converter = magenta_setup.get_config(name).data_converter
    drum_of = drum_maps.drum_map(upstream.pitch_classes(converter))
    found = {p: drum for drum, pitches in enumerate(magentajs.pitch_classes(converter))
             for p in pitches}
    assert found == {p: drum_of(p) for p in range(128) if drum_of(p) is not None}


@pytest.mark.parametrize('name, checkpoint, words', [
    ('groovae_4bar_strokes', None, 'none of them'),
    ('hierdec-drums_4bar', 'hier-drums_4bar_echo', 'does not fit')])
def test_what_it_does_not_write(name, checkpoint, words, tmp_path):
  with pytest.raises(UserError, match=words):
    magentajs.write(
        magenta_setup.get_config(name), name, checkpoint_files.find_checkpoint(
            config_name=checkpoint or name), tmp_path / 'out')
  assert not (tmp_path / 'out').exists()
