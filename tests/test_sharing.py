"""share.py and hf://, against a local stand-in for the Hub.

The real Hub was not tried: there is no network here.
"""
import json
import shutil

import conftest
import hub
import pytest
import yaml

TOKEN = 'hf_of-the-tests'
REPO = 'someone/my-drummer'
WEIGHTS = conftest.ROOT / 'weights' / 'hierdec-drums_4bar'


@pytest.fixture
def server():
  with hub.running(TOKEN) as running:
    yield running


@pytest.fixture
def env(server, tmp_path):
  return {'HF_ENDPOINT': server.url, 'HF_HOME': str(tmp_path / 'cache'),
          'HF_TOKEN': TOKEN, 'HF_HUB_DISABLE_XET': '1',
          'HF_HUB_DISABLE_TELEMETRY': '1', 'HF_HUB_ETAG_TIMEOUT': '5'}


def share(env, *flags):
  return conftest.script('share.py', f'--repo={REPO}', *flags, env=env)


def sample(env, address, output_dir, *flags):
  return conftest.script('sample.py', f'--checkpoint_file={address}', *flags,
                         f'--output_dir={output_dir}', '--num_outputs=1', env=env)


def test_shared_and_taken(server, env, tmp_path):
  """What one uploads, another samples: the same bytes, from the cache too."""
  result = share(env, f'--checkpoint_file={WEIGHTS}')
  assert result.returncode == 0, result.stderr
  assert f'hf://{REPO}' in result.stdout
  _, files = server.find(REPO, 'main')
  for path in WEIGHTS.glob('model*'):
    assert files[path.name] == path.read_bytes()
  assert files['styles.npz'] == (WEIGHTS / 'styles.npz').read_bytes()
  for kind in ('mid', 'wav', 'png'):
    assert sum(name.startswith('loops/') and name.endswith(kind)
               for name in files) == 4
  _, front, text = files['README.md'].decode().split('---\n', 2)
  data = yaml.safe_load(front)
  assert data['license'] == 'apache-2.0' and 'musicvae' in data['tags']
  metrics = {m['type']: m['value']
             for m in data['model-index'][0]['results'][0]['metrics']} | {
                 r['metrics'][0]['type']: r['metrics'][0]['value']
                 for r in data['model-index'][0]['results']}
  reported = json.loads((WEIGHTS / 'evaluation.json').read_text())
  assert metrics['Sampled accuracy'] == round(
      reported['reconstruction']['sampled_accuracy'], 4)
  assert f'--checkpoint_file=hf://{REPO}' in text and 'CC BY 4.0' in text
  assert any('/lfs/' in path for _, path in server.requests)

  first, _ = server.find(REPO, 'main')
  offline = {**env, 'HF_ENDPOINT': 'http://127.0.0.1:9'}
  for name, address, where in (
      ('local', WEIGHTS, env), ('hub', f'hf://{REPO}', env),
      ('pinned', f'hf://{REPO}@{first}', offline)):
    result = sample(where, address, tmp_path / name, '--style=funk')
    assert result.returncode == 0, result.stderr
  assert len({(tmp_path / name / 'funk-1.mid').read_bytes()
              for name in ('local', 'hub', 'pinned')}) == 1

  other = tmp_path / 'other' / 'weights'  # Finished again, at a later step.
  shutil.copytree(WEIGHTS, other)
  for path in other.glob('model*'):
    path.rename(path.with_name(path.name.replace('8405', '9000')))
  for name in ('styles.npz', 'evaluation.json'):
    (other / name).unlink()
  result = share(env, f'--checkpoint_file={other}')
  assert result.returncode == 0, result.stderr
  _, files = server.find(REPO, 'main')
  assert sorted(n for n in files if '.' in n and 'loops/' not in n) == [
      '.gitattributes', 'README.md', 'model.ckpt-9000.data-00000-of-00001',
      'model.ckpt-9000.index']


CALLS = '''
import os, sys; sys.path.insert(0, sys.argv[1])

from drumloops import backend, checkpoint_files, cli, sharing
backend.music_vae()
for call in sys.argv[2:]:
  try:
    eval(call)
  except cli.UserError as e:
    print('SENTENCE', e)
'''


def sentences(env, *calls):
  """Returns what each of these calls says that it can't do."""
  result = conftest.run(conftest.sys.executable, '-c', CALLS, conftest.SCRIPTS,
                        *calls, env=env)
  assert result.returncode == 0, result.stderr
  found = [line.removeprefix('SENTENCE ') for line in result.stdout.splitlines()
           if line.startswith('SENTENCE')]
  assert len(found) == len(calls) and all(s.endswith('.') for s in found), found
  return found


def test_what_goes_wrong_is_a_sentence(server, env):
  server.repos[REPO] = []
  server.commit(REPO, {'README.md': b'nothing'})
  share = f'sharing.share("{{}}", "hierdec-drums_4bar", "{WEIGHTS}")'
  find = 'checkpoint_files.find_checkpoint(checkpoint_file="hf://{}")'
  *names, nobody, nothing, revision, refused, no_token = sentences(
      env, share.format('a/b/c'), share.format('my-drummer'),
      find.format('nobody'), find.format('no/body'), find.format(REPO),
      find.format(f'{REPO}@abc'),
      f'os.environ.update(HF_TOKEN="hf_wrong"), {share.format(REPO)}',
      f'os.environ.pop("HF_TOKEN"), {share.format(REPO)}')
  assert all('user/name' in sentence for sentence in names[:2])
  assert 'no/body' in nobody and 'Hub' in nobody
  assert 'no complete checkpoint' in nothing and 'no such revision' in revision
  assert 'status 401' in refused and 'HF_TOKEN' in refused
  assert 'settings/tokens' in no_token
  for sentence in sentences({**env, 'HF_ENDPOINT': 'http://127.0.0.1:9'},
                            share.format(REPO), find.format('no/body')):
    assert 'could not be reached' in sentence


def test_a_connection_that_breaks(server, env, monkeypatch):
  """While the weights go up."""
  monkeypatch.setattr(hub.Handler, 'do_PUT', lambda self: self.connection.close())
  [sentence] = sentences(env, f'sharing.share("{REPO}", "hierdec-drums_4bar", '
                         f'"{WEIGHTS}")')
  assert REPO in sentence and 'try' in sentence
