"""The page's modules, and its models beside TensorFlow's, in Node.js and browsers."""
import base64
import graphlib
import io
import json
import os
import shutil
import struct
import subprocess

import browser
import conftest
from drumloops import DrumLoop, UserError, grid
from drumloops.data import patterns, styles
from drumloops.export import web_app
from drumloops.humanize import feel_model, humanizer
from drumloops.humanize.take import MEAN_TAKE, Section, Take
from drumloops.midi import midi_file
from drumloops.models import autoencoder, groove_model, prior, sliders, variation
from drumloops.output import web_files
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
import numpy as np
import pytest
import soundfile
import test_midi

STEPS = 64
LOOPS = 4
SMALL = 'enc_rnn_size=[24,16],dec_rnn_size=[20,12],z_size=8'
MODULES = 'shared/base64.js', 'app/numbers.js', 'app/engine.js'


@pytest.fixture(autouse=True, scope='module')
def magenta():
  magenta_setup.music_vae()


@pytest.fixture(scope='module')
def node(tmp_path_factory):
  """Runs statements with a page's `bytes`; returns what they return.

  Without a page there is a spec without models. `web` has what MODULES export, and
  other modules are imported by their names: `app('link')`.
  """
  if not shutil.which('node'):
    pytest.skip('there is no Node.js here')
  folder = tmp_path_factory.mktemp('node')
  without_models = web_app.constants(
      magenta_setup.get_config(magenta_setup.DEFAULT_CONFIG)), b''
  def run(page, statements, folder_of_modules=web_files.WEB, **given):
    spec, weights = page or without_models
    (folder / 'spec.json').write_text(json.dumps(spec))
    (folder / 'given.json').write_text(json.dumps(given))
    (folder / 'weights').write_bytes(weights)
    (folder / 'run.mjs').write_text(f'''
        import fs from 'fs';
        const read = name => fs.readFileSync('{folder}/' + name);
        globalThis.document = {{  // As far as shared/spec.js needs it.
          getElementById: () => ({{textContent: read('spec.json')}})}};
        const web = {{}}, root = '{folder_of_modules.as_uri()}/';
        const app = name => import(root + 'app/' + name + '.js');
        for (const name of {json.dumps(MODULES)}) {{
          Object.assign(web, await import(root + name));
        }}
        const bytes = new Uint8Array(read('weights')).buffer;
        const given = JSON.parse(read('given.json'));
        const result = await (async () => {{ {statements} }})();
        fs.writeFileSync('{folder}/result.json', JSON.stringify(result));''')
    result = subprocess.run(['node', folder / 'run.mjs'], capture_output=True,
                            text=True, timeout=600)
    assert not result.returncode, result.stderr
    return json.loads((folder / 'result.json').read_text())
  return run


def save_dequantized(checkpoint, path):
  from magenta.models.music_vae import checkpoints
  checkpoints.save({**web_app.dequantized(web_app.read_tensors(checkpoint)),
                    'global_step': np.int64(1)}, path)
  return path


def random_weights(config, path, seed=0):
  """Writes a checkpoint of a config that has learned nothing."""
  import copy
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  hparams = copy.deepcopy(config.hparams)
  hparams.batch_size = 1
  rng = np.random.RandomState(seed)
  with tf.Graph().as_default():
    model = copy.deepcopy(config.model)
    model.build(hparams, config.data_converter.output_depth, is_training=False)
    model.encode(tf.zeros([1, STEPS, config.data_converter.input_depth]),
                 tf.constant([STEPS]))
    model.decoder.reconstruction_loss(
        tf.zeros([1, STEPS, 512]), tf.zeros([1, STEPS, 512]), tf.constant([STEPS]),
        tf.zeros([1, hparams.z_size]))
    checkpoints.save({**{v.op.name: rng.normal(0, .4, v.shape.as_list()).astype('f')
                         for v in tf.trainable_variables()},
                      'global_step': np.int64(1)}, path)
  return path


@pytest.fixture(scope='module', params=[
    ('hierdec-drums_4bar', ''), ('hier-drums_4bar_echo', ''),
    ('flat-drums_4bar', SMALL), ('hierdec-drums_4bar_small', SMALL)])
def model(request, tmp_path_factory):
  """A config, a checkpoint, and the same as a page has it."""
  name, hparams = request.param
  folder = tmp_path_factory.mktemp('web')
  config = magenta_setup.get_config(name, hparams)
  checkpoint = (random_weights(config, f'{folder}/model.ckpt-0') if hparams else
                checkpoint_files.find_checkpoint(config_name=name))
  return config, save_dequantized(checkpoint, f'{folder}/model.ckpt-1'), (
      web_app.spec_and_weights(name, config, checkpoint, humanize=not hparams))


class Steady:
  """Random numbers under which noise tells the logits.

  Of Gumbel noise, a step's maximum is low and all others are 0, so the noise of each
  class but the played one is the maximum less the class's logit.
  """

  MAXIMUM = -50

  def gumbel(self, size):
    return np.full(size, self.MAXIMUM if size[-1] == 1 else 0.)


def test_the_prior_is_pythons(node):
  """Latents of every Gaussian, how often a style has each, and what a copy is."""
  config = magenta_setup.get_config('hierdec-drums_4bar')
  checkpoint = checkpoint_files.find_checkpoint(config_name='hierdec-drums_4bar')
  page = web_app.spec_and_weights('hierdec-drums_4bar', config, checkpoint, False)
  kept = prior.load(checkpoint)
  count = len(kept['weights'])
  rng = np.random.RandomState(0)
  z = np.float32(rng.standard_normal((count, config.hparams.z_size)))
  loop = rng.randint(512, size=64)
  mu, sigma = rng.standard_normal(z.shape[1]), rng.uniform(0.5, 1, z.shape[1])
  found = node(page, """
      const {sampler: {prior}} = await web.Engine.open(bytes);
      const [mu, sigma] = [given.mu, given.sigma].map(x => Float32Array.from(x));
      const latents = ['', 'funk'].map(style => prior.given(
        mu, sigma, 4000, new web.Random(1), style).map(z => [...z.slice(0, 128)]));
      prior.hashes = new Set([given.hash]);
      return {z: given.z.map((x, i) => [...prior.place(Float32Array.from(x), i)]),
              latents, weights: prior.weights('funk'),
              copies: [given.loop, given.loop.slice().reverse()].map(
                x => prior.isCopy(Uint16Array.from(x)))};
      """, z=z.tolist(), mu=mu.tolist(), sigma=sigma.tolist(),
      loop=loop.tolist(), hash=int(prior.hashes([loop])[0]))
  own = prior.Prior(z.shape[1], kept)
  np.testing.assert_allclose(found['z'], own.place(z, np.arange(count)), atol=1e-4)
  weights = np.array(found['weights'])
  np.testing.assert_allclose(weights / weights.sum(), own.weights('funk'))
  for style, latents in zip(('', 'funk'), found['latents']):
    expected = own.given(mu, sigma, 4000, rng, style)
    np.testing.assert_allclose(
        np.mean(latents, axis=0), expected.mean(axis=0), atol=0.1)
    np.testing.assert_allclose(
        np.std(latents, axis=0), expected.std(axis=0), atol=0.1)
  assert found['copies'] == [True, False]


def test_patterns_are_tensorflows(model, node):
  config, checkpoint, page = model
  varier = variation.Varier(config, checkpoint, LOOPS)
  rng = np.random.RandomState(0)
  z = rng.standard_normal((LOOPS, config.hparams.z_size)).astype(np.float32)
  noise = np.float32(rng.gumbel(size=(LOOPS, STEPS, 512)))
  for scale in (0, 1):  # The most likely classes, and sampled ones.
    loops = varier.play(z, scale * noise, 0.8)
    own_noise = np.float32(varier.noise(loops, z, 1., Steady()))
    mu, sigma = varier.encode(loops)
    for is_plain in (False, True):
      found = node(page, '''
          const {sampler} = await web.Engine.open(bytes, given.isPlain);
          const floats = text => new Float32Array(
            web.fromBase64(text).buffer), z = given.z.map(x => Float32Array.from(x));
          const all = floats(given.noise), size = all.length / z.length;
          const loops = await sampler.play(
            z, z.map((_, i) => all.slice(i * size, (i + 1) * size)), 0.8);
          const {mu, sigma} = sampler.encode(loops), own = floats(given.own_noise);
          let away = 0, drawn = 0;
          const steady = {gumbel: () => drawn++ % 513 ? 0 : given.maximum};
          sampler.ownNoise(z, loops, 1, steady).forEach((part, i) => part.forEach(
            (x, k) => { away = Math.max(away, Math.abs(x - own[i * size + k])); }));
          return {loops: loops.map(x => [...x]), away, mu: [...mu], sigma: [...sigma]};
          ''', isPlain=is_plain, z=z.tolist(),
          noise=base64.b64encode(np.float32(scale * noise).tobytes()).decode(),
          maximum=Steady.MAXIMUM,
          own_noise=base64.b64encode(own_noise.tobytes()).decode())
      np.testing.assert_array_equal(found['loops'], loops)
      assert found['away'] < 1e-4
      np.testing.assert_allclose(found['mu'], mu.ravel(), atol=1e-4)
      np.testing.assert_allclose(found['sigma'], sigma.ravel(), atol=1e-4)


def test_sliders_are_pythons(tmp_path_factory, shipped, node):
  """What attributes patterns have, and the loops of moved latents."""
  config = magenta_setup.get_config(magenta_setup.DEFAULT_CONFIG)
  checkpoint = checkpoint_files.find_checkpoint(
      config_name=magenta_setup.DEFAULT_CONFIG)
  varier = variation.Varier(config, save_dequantized(
      checkpoint, f'{tmp_path_factory.mktemp("sliders")}/model.ckpt-1'), LOOPS)
  rng = np.random.RandomState(0)
  z = np.float32(rng.standard_normal((LOOPS, config.hparams.z_size)))
  noise = np.float32(rng.gumbel(size=(LOOPS, STEPS, 512)))
  kept, own = sliders.load(checkpoint), varier.play(z[:1], noise[:1], 0.8)[0]
  asked = {'density': -1.5, 'fills': 2}
  loops = {name: sliders.steer(varier, kept, sliders.Sliders(**asked), has, z, noise,
                               0.8)[0]
           for name, has in (('sampled', None), ('varied', sliders.measure([own])[0]))}
  found = node(shipped, '''
      const {measure, slidersOf} = await app('sliders');
      const {sampler} = await web.Engine.open(bytes);
      const all = new Float32Array(web.fromBase64(given.noise).buffer);
      const size = all.length / given.z.length;
      const noises = given.z.map((_, i) => all.slice(i * size, (i + 1) * size));
      const asked = slidersOf(given.asked), own = Uint16Array.from(given.own);
      const steered = async from => (await sampler.steer(
        asked, from, given.z.map(x => Float32Array.from(x)), noises, 0.8)).map(
        pattern => [...pattern]);
      return {sampled: await steered(null), varied: await steered(own),
              has: measure(own)};
      ''', asked={'syncopation': 0, **asked}, own=own.tolist(), z=z.tolist(),
      noise=base64.b64encode(noise.tobytes()).decode())
  np.testing.assert_allclose(found['has'], sliders.measure(own[np.newaxis])[0])
  for name, wanted in loops.items():
    np.testing.assert_array_equal(found[name], wanted)


@pytest.fixture(scope='module')
def shipped():
  config = magenta_setup.get_config(magenta_setup.DEFAULT_CONFIG)
  return web_app.spec_and_weights(
      magenta_setup.DEFAULT_CONFIG, config, checkpoint_files.find_checkpoint(
          config_name=magenta_setup.DEFAULT_CONFIG))


@pytest.fixture(scope='module')
def drawn():
  rng = np.random.RandomState(0)
  return (rng.randint(512, size=(LOOPS, STEPS)) *
          (rng.random_sample((LOOPS, STEPS)) < 0.6))


@pytest.fixture(scope='module')
def performer(tmp_path_factory):
  """Python's model, with the weights of the page."""
  import tensorflow.compat.v1 as tf
  from magenta.models.music_vae import checkpoints
  path = f'{tmp_path_factory.mktemp("groove")}/model.ckpt-1'
  own = checkpoint_files.find_checkpoint(config_name=humanizer.CONFIG)
  reader = tf.train.load_checkpoint(own)
  tensors = {name: reader.get_tensor(name)
             for name in reader.get_variable_to_shape_map()}
  for name in 'velocity', 'offset':  # The page has one stroke's in a bias.
    tensors[f'decoder/{name}/strokes'] *= 0
  checkpoints.save({
      **tensors, **web_app.dequantized(web_app.read_groove(own))}, path)
  return groove_model.load(magenta_setup.get_config(humanizer.CONFIG), path)


@pytest.fixture(scope='module')
def feels():
  return feel_model.load(checkpoint_files.find_checkpoint(config_name=humanizer.CONFIG))


HUMANIZE = '''
    const engine = await web.Engine.open(bytes), found = [];
    for (const {patterns, ...how} of given.calls) {
      found.push((await engine.humanize(
        patterns.map(x => Uint16Array.from(x)), how)).map(
        x => [[...x.velocity], [...x.offset]]));
    }
    return found;'''


def humanized(node, page, *calls):
  """Returns what Humanizer.humanize does, call by call: arrays of [2, steps, 9].

  Args:
    node: The fixture.
    page: The page's data.
    calls: Dicts of patterns, and of how they are played.
  """
  return [[np.reshape(part, (2, -1, grid.DRUMS)) for part in played]
          for played in node(page, HUMANIZE, calls=[
              {**call, 'patterns': [list(map(int, x)) for x in call['patterns']]}
              for call in calls])]


def test_hits_are_drawn_as_pythons(shipped, performer, feels, node):
  """By the same numbers and latents; also 8 bars at once, and bars that end early."""
  from magenta.models.music_vae import stroke_network
  rng = np.random.RandomState(0)
  lengths = [64, 128, 40, 16, 64, 64, 128, 64, 100, 64]
  loops = [rng.randint(512, size=size) * (rng.random_sample(size) < 0.6)
           for size in lengths]
  hits, qpm = list(map(patterns.bits, loops)), rng.uniform(60, 200, len(loops))
  z = rng.standard_normal((len(loops), feels['mean'].size)).astype('f')
  # As float32 less than 1, too.
  chance = [rng.randint(1 << 24, size=(*own.shape, stroke_network.CHANCE)) / (1 << 24)
            for own in hits]
  found = node(shipped, '''
      const {humanizer} = await web.Engine.open(bytes), found = [];
      for (let i = 0; i < given.parts.length; i += 4) {
        const parts = given.parts.slice(i, i + 4).map(part => {
          const numbers = part.chance.values();
          return {...part, pattern: Uint16Array.from(part.pattern),
                  chance: () => numbers.next().value};
        });
        found.push(...(await humanizer.decode(parts)).map(({known}) => [...known]));
      }
      return found;''', parts=[
          {'pattern': loop.tolist(), 'tempo': tempo, 'z': latent.tolist(),
           # The first is of strokes; the last is of values in bins.
           'chance': numbers[own][:, [1, 2, -1]].ravel().tolist()}
          for loop, tempo, latent, own, numbers in zip(loops, qpm, z, hits, chance)])
  known = [np.reshape(part, (-1, 4 * grid.DRUMS))[stroke_network.MEMORY:, :27]
           for part in found]
  same = [np.abs(mine - theirs[:, :27]).max() < 1e-5 for mine, theirs in zip(
      known, performer.play(hits, qpm, z, chance))]
  # A number at the edge of two bins may change all that follows.
  assert sum(same) >= len(loops) - 1


@pytest.mark.parametrize('drummer', [0, 5])
def test_the_mean_take_is_pythons(shipped, drawn, performer, feels, node, drummer):
  loops = [*drawn, np.concatenate(drawn)]
  hits = [loop > 0 for loop in map(patterns.bits, loops)]
  want = Take(performer, feels, MEAN_TAKE, feel_model.gaussian(
      feels, f'drummer{drummer}') if drummer else None)(
          [Section(own, i, 90.) for i, own in enumerate(hits)])
  [found] = humanized(
      node, shipped, {'patterns': loops, 'take': 0, 'drummer': drummer, 'tempo': 90})
  away = np.concatenate([
      np.abs(mine - np.clip(theirs[0], [[[0]], [[-0.49]]], [[[1]], [[0.49]]]))[:, own].T
      for mine, theirs, own in zip(found, want, hits)])
  # A mean at the edge of two bins has another curve.
  assert (away < 1e-3).all(axis=1).mean() > 0.999 and away.max() < 0.02
  assert all((mine[:, ~own] == 0).all() for mine, own in zip(found, hits))


def test_takes_are_spread_as_pythons(shipped, feels, dataset, node):
  """Of the same hits: velocities' and timing's distributions, drum by drum."""
  from scipy import stats
  config = magenta_setup.get_config(humanizer.CONFIG)
  slices = np.concatenate([own for _, own in styles.performances(
      str(dataset / 'drummer-test.tfrecord'), config.data_converter)])
  # Each pattern has a feel of its own, so there are many, of most of the slices' hits.
  hits = np.resize(slices[..., :grid.DRUMS], (256, STEPS, grid.DRUMS)) > 0
  hits &= np.random.RandomState(0).random_sample(hits.shape) < 0.9
  model = groove_model.load(
      config, checkpoint_files.find_checkpoint(config_name=humanizer.CONFIG))
  first, second = (np.array(Take(model, feels, take)([
      Section(own, i, 100.) for i, own in enumerate(hits)]))[:, 0] for take in (1, 2))
  [found] = humanized(node, shipped, {
      'patterns': (hits << np.arange(grid.DRUMS)).sum(axis=-1), 'take': 1,
      'tempo': 100})
  played = [drum for drum in range(grid.DRUMS) if hits[..., drum].any()]
  assert len(played) > 4
  for part, unit in ((0, 1), (1, 2)):
    theirs, others, mine = (
        [x[:, part, :, drum][hits[..., drum]] for drum in played]
        for x in (first, second, np.array(found)))
    away, floor = (np.average(
        list(map(stats.wasserstein_distance, theirs, x)), weights=list(map(len, x)))
                   for x in (mine, others))
    assert away < 2 * floor + 0.01 * unit
    # 256 patterns' means by chance: 0.015.
    np.testing.assert_allclose(*([x.mean() for x in values] for values in (
        mine, theirs)), atol=0.06)
    assert np.concatenate(mine).std() == pytest.approx(
        np.concatenate(theirs).std(), rel=0.05)


def test_a_take_of_a_pattern_is_the_same_in_any_call(shipped, drawn, node):
  how = {'take': 1, 'tempo': 100}
  together, alone, other, slow = humanized(
      node, shipped, {**how, 'patterns': [*drawn, np.tile(drawn[0], 2), drawn[0][:40]]},
      *({**changed, 'patterns': drawn[2:3]}
        for changed in (how, {**how, 'take': 2}, {**how, 'tempo': 60})))
  np.testing.assert_array_equal(together[2], alone[0])
  hits = patterns.bits(drawn[2])
  for changed, least in ((other, 0.04), (slow, 0.01)):
    assert np.abs(changed[0] - alone[0])[:, hits].mean() > least


def test_the_same_hits_have_the_same_random_numbers(shipped, node):
  """Other hits have others, each file its own."""
  rng = np.random.RandomState(0)
  hats = np.tile([4, 0], 32)  # They are in every file.
  files = [hats + (rng.random_sample(STEPS) < 0.2) for _ in range(20)]
  played = np.array(humanized(node, shipped, *(
      {'patterns': [file], 'take': take, 'tempo': 100}
      for file in files + files[:1] for take in (1, 0))))
  played = played.reshape(len(files) + 1, 2, 2, STEPS, grid.DRUMS)
  assert (played[0] == played[-1]).all()
  played = played[:-1, ..., ::2, 2]
  for strayed in np.moveaxis(played[:, 0] - played[:, 1], 1, 0):
    strayed -= strayed.mean(axis=1, keepdims=True)
    correlations = np.corrcoef(strayed)[np.triu_indices(len(files), 1)]
    assert correlations.mean() < 0.3  # Drummers have 0.29 and 0.01.


REQUEST = '''
    const engine = await web.Engine.open(bytes);
    const how = {seed: 5, temperature: 0.7};
    const [a, b] = await engine.sample({...how, count: 2, style: 'funk'});
    const kept = {keptDrums: Array.from({length: 9}, (_, d) => d < 2),
                  keptBars: [true, false, false, false]};
    const patterns = [a, b, await engine.complete(a, kept, {...how, particles: 8}),
      ...await engine.vary(a, {...how, amount: 0.3, count: 2}),
      await engine.interpolate(a, b, 0.4, how), await engine.extend(a, 6, {
        ...how, particles: 8})];
    const played = await engine.humanize(
      patterns, {take: 3, drummer: 5, tempo: 100});
    return [patterns.map(x => [...x]), played.map(
      x => [...x.velocity.map(Math.fround), ...x.offset])];'''


@pytest.mark.parametrize('kind', [browser.Browser, browser.Firefox])
def test_every_browser_makes_the_same(shipped, node, tmp_path, kind):
  """To the last bit, whatever its mathematics are."""
  spec, weights = shipped
  page = tmp_path / 'page.html'
  page.write_text(f'''<!DOCTYPE html><meta charset="utf-8">
      <script type="application/json" id="spec">{web_files.to_json(spec)}</script>
      <script type="module">
      {web_files.join_modules(*MODULES)}
      const web = {{Engine}};
      const bytes = fromBase64({json.dumps(base64.b64encode(weights).decode())}).buffer;
      window.answer = async () => {{ {REQUEST} }};</script>''')
  with kind() as window:
    window.open(page)
    assert window.run('answer()') == node(shipped, REQUEST)


@pytest.fixture(scope='module')
def tiny(tmp_path_factory):
  """A page's models that have learned nothing, without humanizer."""
  folder = tmp_path_factory.mktemp('tiny')
  config = magenta_setup.get_config('hierdec-drums_4bar_tiny')
  return web_app.spec_and_weights(
      'tiny', config, random_weights(config, f'{folder}/model.ckpt-1'), False)


def test_loops_that_go_on_together_are_as_those_that_do_so_alone(shipped, node):
  """And where nothing is kept any more, one particle of each goes on."""
  together, alone, rows = node(shipped, """
      const engine = await web.Engine.open(bytes), how = {seed: 3, temperature: 0.7};
      const list = patterns => patterns.map(x => [...x]), rows = [];
      const {sampler} = engine, {decoder} = sampler;
      const together = await engine.sample({...how, bars: 10, count: 3});
      const alone = [];
      for (let index = 0; index < 3; index++) {
        alone.push(...await engine.sample({...how, bars: 10, index}));
      }
      sampler.decoder = function(batch) {
        const found = decoder.call(this, batch), {step} = Object.getPrototypeOf(found);
        found.step = function(...now) {
          rows.push(batch);
          return step.apply(this, now);
        };
        return found;
      };
      await engine.extend(together[0].slice(0, 64), 6, how);
      return [list(together), list(alone), rows];""")
  assert together == alone and {len(x) for x in together} == {160}
  assert len({tuple(x[64:]) for x in together}) == 3
  assert rows == 32 * [web_app.GOING_ON] + 32 * [1]


def test_a_worker_answers_as_the_engine_does(tiny, node):
  """It says how far it is, and stops where nobody waits."""
  assert node(tiny, """
      const {Remote} = await app('remote'), {serve} = await app('worker');
      const {Cancelled} = await app('ticks');
      const {port1, port2} = new MessageChannel(), engine = await web.Engine.open(bytes);
      serve(port2);
      const remote = new Remote(port1), found = {}, shares = [];
      const {steps, canEncode} = await remote.openModels(given.weights);
      found.abilities = steps === 64 && canEncode;
      const how = {seed: 1, count: 2, temperature: 1, bars: 16};
      const list = patterns => JSON.stringify(patterns.map(x => [...x]));
      const want = list(await engine.sample(how));
      const sample = tick => remote.sample({...how, tick});
      found.same = want === list(await sample(share => shares.push(share)));
      found.ascending = shares.length > 2 && shares.at(-1) === 1 && shares.every(
        (share, i) => share >= (shares[i - 1] ?? 0));
      let ticks = 0;
      const cancelled = sample(() => {
        if (++ticks === 2) throw new Cancelled();
      }).catch(error => error instanceof Cancelled);
      found.next = want === list((await Promise.all([cancelled, cancelled.then(
        () => sample(() => {}))]))[1]);
      found.cancelled = await cancelled && ticks === 2;
      found.failed = await remote.complete(null, {}, how).catch(error => error.name);
      port1.close();
      return found;""", weights=base64.b64encode(tiny[1]).decode()) == {
          'abilities': True, 'same': True, 'ascending': True, 'next': True,
          'cancelled': True, 'failed': 'TypeError'}


def test_every_module_is_imported_alone(node):
  """Without a document, but for main.js, which begins the page."""
  names = sorted(path.stem for path in (web_files.WEB / 'app').glob('*.js'))
  assert {'state', 'jobs', 'cards', 'settings'} <= set(names)
  for name in names:
    if name != 'main':
      assert node(None, f'return Object.keys(await app("{name}")).length')


def test_modules_that_import_each_other_are_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(web_files, 'WEB', tmp_path)
  for name, other in ('ab', 'ba'):
    (tmp_path / f'{name}.js').write_text(f"import {{{other}}} from './{other}.js';\n")
  with pytest.raises(graphlib.CycleError):
    web_files.join_modules('a.js')


def test_jobs_change_the_state(tiny, node):
  """What the buttons do, without a document."""
  assert node(tiny, '''
      const state = await app('state'), jobs = await app('jobs');
      const {page} = state, said = [], found = {};
      page.engine = await web.Engine.open(bytes);
      state.watch({said: () => said.push(page.said.replace(/ \\(.*/, ''))});
      const names = () => page.loops.map(({name}) => name);
      await jobs.makeLoops();
      found.new = names();
      const [loop] = page.loops, before = loop.pattern;
      jobs.complete(loop);  // Of which nothing is kept yet.
      state.toggleKept(loop, 'keptBars', 1);
      await jobs.complete(loop);
      found.completed = loop.pattern !== before && loop.pattern.slice(16, 32).every(
        (k, t) => k === before[16 + t]);
      await jobs.vary(loop);
      found.varied = names().slice(0, 3);
      await jobs.extend(loop);
      found.steps = loop.pattern.length;
      while (state.undo());
      found.undone = names().concat(page.loops[0].pattern.length);
      found.same = page.loops[0].pattern.every((k, t) => k === before[t]);
      state.mark(page.loops[0], 'a');
      state.mark(page.loops[1], 'b');
      jobs.showMorph();
      await jobs.humanizeAll();
      found.morph = page.morph.name;
      page.settings.seed = 2 ** 32 - 1;
      await jobs.makeLoops();
      await jobs.makeLoops();
      found.seed = page.settings.seed;
      found.tempos = [1, 99, 1000].map(state.possibleTempo);
      found.said = ['4 new loops.', 'loop-1 is ready.'].every(
        text => said.includes(text)) && said.some(
        text => text.includes('what to keep'));
      return found;''') == {
          'new': [f'loop-{i}' for i in (1, 2, 3, 4)], 'completed': True,
          'varied': ['loop-1', 'loop-5', 'loop-6'], 'steps': 128,
          'undone': [f'loop-{i}' for i in (1, 2, 3, 4)] + [64], 'same': True,
          'morph': 'loop-1-50-loop-2', 'seed': 0, 'tempos': [30, 99, 300],
          'said': True}


def test_what_is_cancelled_changes_nothing(tiny, node):
  """At any of its ticks; the next job is as if it had not been."""
  assert node(tiny, """
      const state = await app('state'), jobs = await app('jobs');
      const {page} = state, wrong = [];
      page.engine = await web.Engine.open(bytes);
      await jobs.makeLoops();
      const [loop] = page.loops;
      state.toggleKept(loop, 'keptBars', 1);
      const before = () => JSON.stringify([page.loops.map(({name, pattern}) => [
        name, [...pattern]]), state.canRedo(), page.settings]);
      let share = 2;
      state.watch({job: () => { if (page.job?.share >= share) jobs.cancel(); }});
      for (const job of ['makeLoops', 'complete', 'vary', 'extend']) {
        for (share of [0.01, 0.3, 0.5]) {
          const was = before();
          await jobs[job](loop);
          if (before() !== was || page.said !== 'Cancelled.') wrong.push([job, share]);
        }
      }
      share = 2;
      await jobs.extend(loop);
      return [wrong, loop.pattern.length, page.said.startsWith('loop-1 is ready.')];
      """) == [[], 128, True]


def test_every_change_is_undone_and_done_again(tiny, node):
  """One by one, in the loops that are there; one slider's are one step."""
  assert node(tiny, """
      const state = await app('state'), jobs = await app('jobs');
      const {page} = state, cards = new Set();
      page.engine = await web.Engine.open(bytes);
      await jobs.makeLoops();
      page.loops.forEach(loop => cards.add(loop));
      const steps = [
        () => state.toggleHit(page.loops[1], 3, 2),
        () => state.toggleKept(page.loops[1], 'keptDrums', 4),
        () => state.mark(page.loops[0], 'a'), () => state.mark(page.loops[1], 'b'),
        () => {
          for (const tempo of [101, 102, 103]) {
            state.remember('tempo');
            page.settings.tempo = tempo;
          }
        },
        () => { state.remember(); page.muted[3] = true; },
        () => jobs.extend(page.loops[1]), () => jobs.vary(page.loops[1]),
        () => jobs.makeLoops(),
        () => {
          state.remember();
          state.setLoops(page.loops.filter((_, i) => i !== 2));
        }];
      const counts = ['made', 'tries', 'likes', 'current'];  // They only go up.
      const now = () => JSON.stringify(JSON.parse(state.snapshot(), (key, value) => (
        counts.includes(key) ? 0 : value?.constructor === Object ? Object.fromEntries(
          Object.entries(value).sort(([a], [b]) => a < b ? -1 : 1)) : value)));
      const states = [now()];
      for (const step of steps) {
        await step();
        states.push(now());
      }
      const wrong = [];
      const check = i => { if (now() !== states[i]) wrong.push(i); };
      for (let i = steps.length - 1; i >= 0; i--) {
        wrong.push(...state.undo() ? [] : ['undo']);
        check(i);
      }
      const isSame = page.loops.every(loop => cards.has(loop));
      for (let i = 1; i <= steps.length; i++) {
        wrong.push(...state.redo() ? [] : ['redo']);
        check(i);
      }
      const names = page.loops.map(({name}) => name);
      state.undo();
      await jobs.makeLoops();  // Which no longer is what it was.
      const later = page.loops.slice(0, 4).map(({name}) => name);
      return [wrong, isSame, state.canRedo(), new Set(states).size,
              new Set([...names, ...later]).size === names.length + 4];
      """) == [[], True, False, 11, True]


def test_what_is_locked_is_kept(tiny, node):
  """In 1,000 requests; and what is between two loops begins and ends with them."""
  assert node(tiny, '''
      const engine = await web.Engine.open(bytes), random = new web.Random(1);
      const whole = n => Math.floor(n * random.uniform());
      let wrong = 0, changed = 0;
      for (let i = 0; i < 1000; i++) {
        const bars = 4 + 2 * (i % 50 === 0), drums = Array.from(
          {length: 9}, () => whole(2) > 0);
        const lockedBars = Array.from({length: bars}, () => whole(3) === 0);
        const given = Uint16Array.from(
          {length: 16 * bars}, () => whole(2) * whole(512));
        const found = await engine.complete(
          given, {keptDrums: drums, keptBars: lockedBars},
          {seed: i, temperature: 1, particles: 2});
        const mask = drums.reduce((sum, is, d) => sum + is * 2 ** d, 0);
        found.forEach((k, t) => {
          const kept = lockedBars[t >> 4] ? 511 : mask;
          wrong += (k & kept) !== (given[t] & kept);
          changed += k !== given[t];
        });
        wrong += found.length !== given.length;
      }
      return [wrong, changed > 10000];''') == [0, True]


def test_links_are_read_as_they_were_written(node):
  """With any number of loops, and of what was done to them."""
  assert node(None, '''
      const {readLink, writeLink, writeState} = await app('link');
      const no = Array(9).fill(false), most = Number.MAX_SAFE_INTEGER, wrong = [];
      for (const count of [0, 64, 65, 1000]) {
        for (const times of [0, 1e9, most, most + 1]) {
          const text = writeLink(writeState({
            title: '', muted: no, solo: no, made: times, share: 0.5, a: null, b: null,
            current: null, settings: {
              style: '', seed: 0, temperature: 0.6, tempo: 100, bars: 4, feel: 1,
              take: 1, drummer: 0, change: 0.5},
            loops: Array.from({length: count}, (_, i) => ({
              name: String(i), pattern: new Uint16Array(64).fill(i % 512), seed: times,
              origin: null, tries: times, likes: times, keptDrums: no,
              keptBars: no.slice(0, 4)}))}));
          const {made, loops} = readLink(text);
          const isRight = made === times && loops.length === count && loops.every(
            (loop, i) => loop.likes === times && loop.pattern[63] === i % 512);
          if (!isRight) wrong.push([count, times]);
        }
      }
      return wrong;''') == []


def test_links_have_sliders_or_are_older(node):
  assert node(None, '''
      const {LinkError, readLink, writeLink, writeState} = await app('link');
      const no = Array(9).fill(false), read = more => {
        const settings = {
          style: '', seed: 0, temperature: 0.6, tempo: 100, bars: 4, feel: 1, take: 1,
          drummer: 0, change: 0.5, ...more};
        try {
          const {density, fills} = readLink(writeLink(writeState({
            title: '', muted: no, solo: no, made: 0, share: 0.5, a: null, b: null,
            current: null, settings, loops: []}))).settings;
          return [density, fills];
        } catch (error) {
          return error instanceof LinkError;
        }
      };
      return [read({}), read({density: -1.5, fills: 2}), read({density: 3})];
      ''') == [[0, 0], [-1.5, 2], True]


def test_links_without_settings_are_damaged(node):
  assert node(None, '''
      const {LinkError, readLink} = await app('link');
      const said = content => {
        try {
          readLink(btoa(JSON.stringify(content)));
        } catch (error) {
          return error instanceof LinkError;
        }
      };
      return [null, undefined, 3, []].map(
        settings => said({version: 1, settings, loops: []}));''') == [True] * 4


def written(path, *tracks, **kwargs):
  """Returns the bytes of a file of tracks of [(tick, message)]."""
  test_midi.write(path, *tracks, **kwargs)
  return path.read_bytes()


def with_length(data, more):
  """Returns a file whose last track says that it has so many bytes more."""
  at = data.rindex(b'MTrk') + 4
  size, = struct.unpack('>I', data[at:at + 4])
  return data[:at] + struct.pack('>I', size + more) + data[at + 4:]


def odd_files(tmp_path):
  """Returns files that players open, all of them with one groove: {name: bytes}."""
  path, hits = tmp_path / 'in.mid', test_midi.notes(test_midi.groove())
  signature, meta = midi_file.TIME_SIGNATURE, test_midi.meta
  plain = written(path, [(0, test_midi.tempo(72))], hits)
  second = plain.index(b'MTrk', 20)
  riff = b'RIFF' + struct.pack('<I', 12 + len(plain)) + b'RMIDdata' + struct.pack(
      '<I', len(plain)) + plain
  info = b'LIST' + struct.pack('<I', 16) + b'INFOINAM' + struct.pack('<I', 4) + b'beat'
  running, before = b'\0\x99\0\0', 0
  for step, pitch in test_midi.groove():
    running += midi_file.write_number(120 * step - before) + bytes([pitch, 100])
    running, before = running + b'\0\xff\x01\x01x\0\xf0\x01\xf7', 120 * step
  one = written(path, [])
  return {
      'plain': plain, 'type 0': written(path, hits, kind=0),
      'type 2': written(path, hits, kind=2),
      'riff': riff, 'an INFO after it': riff + info, 'padded': riff + b'\0' + info,
      'a text after it': plain + b'made by a trial version\r\n',
      'two bytes after it': plain + b'\0\0', 'bytes after it': plain + b'\xff' * 36,
      'length too long': with_length(plain, 4),
      'length much too long': with_length(plain, 1 << 31),
      'length too long, bytes after it': with_length(plain, 4) + bytes(4),
      'vendor chunk': plain[:second] + b'XFIH\0\0\0\3abc' + plain[second:],
      'vendor chunk that breaks off': plain + b'XFIH\0\0\0\7abc',
      'long header': plain[:7] + b'\x08' + plain[8:14] + b'ab' + plain[14:],
      'other number of tracks': plain[:10] + b'\0\7' + plain[12:],
      'running status': with_length(
          one[:-4] + running + one[-4:], len(running)),
      'no end of track': with_length(plain[:-4], -4),
      'events after the end': with_length(plain + b'\0\x99\x24\x64', 4),
      'tempo of two bytes': written(
          path, [(0, meta(midi_file.TEMPO, b'\xea\x60'))], hits),
      'time signatures that are none': written(path, [
          (0, meta(signature, content)) for content in (
              b'\3', b'\0\2\x18\x08', b'\3\xc8\x18\x08', b'\xff\0\x18\x08')] + hits),
      'a last note that rings': written(path, test_midi.notes(
          test_midi.groove()[:-1]) + test_midi.notes(
              test_midi.groove()[-1:], length=900)),
      'a pickup in which nothing plays': written(path, [
          (tick, test_midi.time_signature(4, 2)) for tick in (0, 480)] +
          test_midi.notes([(s + 4, p) for s, p in test_midi.groove()])),
      'messages of no file': written(
          path, [(0, b'\xf2\1\2'), (3, b'\xf8'), (3, b'\xf4')] + hits),
      **{name: written(path, events + hits)
         for name, events in test_midi.odd_files().items()}}


READ = '''
    const {parseMidi, readMidi} = await app('midi');
    const how = {least: 4, most: 4, ...given.how};
    return given.files.map(file => {
      try {
        const bytes = web.fromBase64(file);
        if (!given.isParsed) return readMidi(bytes, how);
        return parseMidi(bytes).tracks.map(({events, end}) => [...events.filter(
          ({status, kind}) => status < 0xf0 || kind !== null).map(
          ({tick, status, kind, data}) => [
            tick, status, ...kind === null ? [] : [kind], ...data]), end]);
      } catch (error) {
        return error.message;
      }
    });'''


def read_in_page(node, files, **given):
  return node(None, READ, files=[
      base64.b64encode(data).decode() for data in files], **given)


def test_the_page_reads_what_the_commands_read(node, tmp_path):
  files = odd_files(tmp_path)
  for (name, data), found in zip(files.items(), read_in_page(
      node, files.values(), how={'most': 5})):
    path = tmp_path / 'in.mid'
    path.write_bytes(data)
    loop = DrumLoop.read(str(path), 5)
    assert loop.bars == grid.BARS, name
    assert sorted(test_midi.cells_of(loop.hits)) == test_midi.groove(), name
    assert list(found['pattern'].values()) == loop.pattern().tolist(), name
    assert found['tempo'] == pytest.approx(loop.qpm) and not found['notes'], name


def test_the_page_refuses_bars_that_are_cut_off(node, tmp_path):
  """By a time signature of 4/4 in the middle of them, as the commands do."""
  path, signature = tmp_path / 'in.mid', test_midi.time_signature(4, 2)
  hits = test_midi.notes([(0, 38)] + [(s + 4, p) for s, p in test_midi.groove()])
  files = [written(path, [(tick, signature) for tick in ticks] + hits)
           for ticks in ([0, 480], [480], [1920, 4800])]
  for data, found in zip(files, read_in_page(node, files)):
    path.write_bytes(data)
    with pytest.raises(UserError, match='not in 4/4 throughout') as error:
      DrumLoop.read(str(path))
    assert str(error.value).startswith(f'{path} {found[:-1]}; first_bar')


def test_the_page_parses_as_the_commands(node, tmp_path):
  """What is damaged too, and what is said of that."""
  def parsed(data):
    try:
      return [[[event.tick, *event.data[:1], *(
          [event.meta[0], *event.meta[1]] if event.meta else event.data[1:])]
               for event in track[:-1]
               if event.data[0] < 0xf0 or event.meta] + [track[-1].tick]
              for track in midi_file.parse(data).tracks]
    except midi_file.DamagedError as e:
      return f'{e}.'
  rng, odd = np.random.RandomState(0), list(odd_files(tmp_path).values())
  plain, files = odd[0], [b'', b'not MIDI at all, but long enough', *odd]
  files += [plain[:size] for size in range(0, len(plain), 5)]
  files += [plain[:12] + division + plain[14:] for division in (b'\xe2\x50', b'\0\0')]
  for i in range(1000):
    data, at = bytearray(odd[i % len(odd)]), rng.randint(200)
    data[at:at + rng.randint(4)] = rng.bytes(rng.randint(4))
    files.append(bytes(data))
  found = read_in_page(node, files, isParsed=True)
  wrong = [(i, data) for i, data in enumerate(files) if found[i] != parsed(data)]
  assert not wrong
  assert 200 < sum(isinstance(one, str) for one in found) < 1000


def test_a_file_is_as_long_as_its_tracks(node, tmp_path):
  """In the page: a rest at the end, 1 to 64 bars, a hit after the last sixteenth."""
  def file(bars, *steps, ring=0):
    return written(tmp_path / 'in.mid', test_midi.notes([(s, 36) for s in steps]) + [
        (1920 * bars + ring, test_midi.meta(1, b'end'))])
  def bars_with_hits(found):
    loop = np.array(list(found['pattern'].values()))
    assert len(loop) % 16 == 0
    return ''.join('x' if bar.any() else '.' for bar in loop.reshape(-1, 16))
  cases = [  # A file, in which of its bars in the page there are hits, what is said.
      (file(4, 0), 'x...', ''), (file(5, 0, 64), 'x...x', ''),
      (file(1, 0), 'xxxx', 'fill 4 bars'), (file(2, 0, 16), 'xxxx', 'fill 4 bars'),
      (file(3, 0, 32), 'x.xx.x', 'fill 6 bars'), (file(4, 0, 63.75), 'x..x', ''),
      (file(4, 0, ring=300), 'x...', ''), (file(6, 32), 'x...', ''),
      (file(64, 0, 16, 1000), 'xx' + 14 * '.', 'the 1 hits after')]
  found = read_in_page(node, [data for data, *_ in cases], how={'most': 16})
  for one, (_, bars, words) in zip(found, cases):
    assert bars_with_hits(one) == bars
    assert len(one['notes']) == bool(words) and words in ''.join(one['notes'])


def test_loops_are_distributed_as_pythons(shipped, dataset, node):
  """By the distance to the training loops: 1,000 of the page's, and of Python's."""
  from magenta.models.music_vae import slice_cache
  config = magenta_setup.get_config(magenta_setup.DEFAULT_CONFIG)
  train = slice_cache.load_slices(
      config.data_converter, str(dataset / 'drummer.tfrecord'))
  distance = patterns.Distance(train, train)
  evaluator = autoencoder.Autoencoder(config)
  evaluator.load(checkpoint_files.find_checkpoint(
      config_name=magenta_setup.DEFAULT_CONFIG))
  pythons = evaluator.decode(prior.of(evaluator.checkpoint, evaluator.z_size).draw(
      1000, np.random.RandomState(0)), 0.65)
  ours = node(shipped, '''
      const engine = await web.Engine.open(bytes), found = [];
      for (let i = 0; i < 1000; i += 20) {
        found.push(...await engine.sample({
          seed: 1, index: i, count: 20, temperature: 0.65}));
      }
      return found.map(x => [...x]);''')
  assert distance(np.array(ours)) == pytest.approx(distance(pythons), rel=0.1)


def test_a_loop_keeps_its_feel_at_another_tempo(shipped, node):
  """All are drawn as at one tempo, so that a link has the feels that were heard."""
  assert node(shipped, '''
      const {page} = await app('state'), jobs = await app('jobs');
      page.engine = await web.Engine.open(bytes);
      const feels = () => page.loops.map(({feel}) => [...feel.velocity, ...feel.offset]);
      page.settings.tempo = 90;
      await jobs.makeLoops();
      const before = feels();
      page.settings.tempo = 180;
      for (const loop of page.loops) loop.felt = '';
      await jobs.humanizeAll();
      return JSON.stringify(before) === JSON.stringify(feels()) &&
        before[0].some(x => x);''')


def test_a_page_with_a_soundfont_and_without_humanizer(tmp_path):
  import pretty_midi
  font = os.path.join(os.path.dirname(pretty_midi.__file__), 'TimGM6mb.sf2')
  result = conftest.script('web.py', '--nohumanize', f'--soundfont={font}',
                           f'--output={tmp_path}/a.html')
  assert not result.returncode, result.stderr
  with browser.Browser() as window:
    window.open(tmp_path / 'a.html')
    window.wait('document.querySelectorAll("#loops .loop").length === 4')
    kit = json.loads(window.run('document.getElementById("spec").textContent'))['kit']
    assert window.run('document.getElementById("feel-fields").hidden')
    assert not window.console_errors()
  layers, waves = kit['layers'], soundfile.read(
      io.BytesIO(base64.b64decode(kit['data'])))[0]
  assert [(layer['drum'], layer['velocity']) for layer in layers[:4]] == [
      (0, 40), (0, 80), (0, 120), (1, 40)] and len(layers) == 27
  loudness = [np.abs(waves[at:at + samples]).max()
              for layer in layers for at, samples in layer['bodies']]
  assert 0.01 < loudness[0] < loudness[1] < loudness[2]
  assert sum(loudness[2::3]) == pytest.approx(web_app.SAMPLED_PEAK, rel=0.01)


def test_a_page_that_would_be_too_large_is_a_sentence(tmp_path, monkeypatch):
  monkeypatch.setattr(web_app, 'MAX_MB', 2)
  with pytest.raises(UserError, match='7 MB'):
    web_app.write(f'{tmp_path}/a.html', magenta_setup.DEFAULT_CONFIG)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('config,words', [
    ('cat-mel_2bar_big', 'hierdec-'), ('groovae_4bar', 'hierdec-'),
    (humanizer.CONFIG, 'hierdec-')])
def test_what_no_page_plays_is_a_sentence(tmp_path, config, words):
  conftest.check_sentence(conftest.script(
      'web.py', f'--config={config}', f'--output={tmp_path}/a.html'), words)
  assert not list(tmp_path.iterdir())
