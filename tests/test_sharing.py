"""share.py and hf://, against a local stand-in for the Hub.

The real Hub was not tried: there is no network here.
"""
import hashlib
import json
import shutil

import conftest
from drumloops.errors import UserError
from drumloops.runs import checkpoint_files
import hub
import pytest
import yaml

TOKEN = 'hf_of-the-tests'
REPO = 'someone/my-drummer'
WEIGHTS = conftest.ROOT / 'weights' / 'hierdec-drums_4bar'
WITHOUT_XET = {'HF_HUB_DISABLE_XET': '1'}  # Which is the client's default.


@pytest.fixture
def server():
  with hub.running(TOKEN) as running:
    yield running


@pytest.fixture
def env(server, tmp_path):
  return {'HF_ENDPOINT': server.url, 'HF_HOME': str(tmp_path / 'cache'),
          'HF_TOKEN': TOKEN, 'HF_HUB_DISABLE_XET': '',
          'HF_HUB_DISABLE_TELEMETRY': '1', 'HF_HUB_ETAG_TIMEOUT': '5'}


def share(env, *flags):
  return conftest.script('share.py', f'--repo={REPO}', *flags, env=env)


def sample(env, address, output_dir, *flags):
  return conftest.script('sample.py', f'--checkpoint_file={address}', *flags,
                         f'--output_dir={output_dir}', '--num_outputs=1', env=env)


def test_shared_and_taken(server, env, tmp_path):
  """What one uploads, another samples: the same bytes, from the cache too.

  Only the owner sees it, and without a licence, unless something else is said.
  """
  pytest.importorskip('hf_xet')
  result = share(env, f'--checkpoint_file={WEIGHTS}')
  assert result.returncode == 0, result.stderr
  assert f'hf://{REPO}' in result.stdout and 'no licence' in result.stdout
  assert 'Only you see it' in result.stdout and server.private == {REPO}
  _, files = server.find(REPO, 'main')
  for path in WEIGHTS.glob('model*'):
    data = files[path.name]
    assert (data.sha256 if isinstance(data, hub.Xet) else hashlib.sha256(
        data).hexdigest()) == hashlib.sha256(path.read_bytes()).hexdigest()
  for name in ('prior.npz', 'sliders.npz', 'fills.npz'):
    assert files[name] == (WEIGHTS / name).read_bytes()
  for kind in ('mid', 'wav', 'png'):
    assert sum(name.startswith('loops/') and name.endswith(kind)
               for name in files) == 4
  _, front, text = files['README.md'].decode().split('---\n', 2)
  data = yaml.safe_load(front)
  assert 'license' not in data and 'musicvae' in data['tags']
  metrics = {m['type']: m['value']
             for m in data['model-index'][0]['results'][0]['metrics']} | {
                 r['metrics'][0]['type']: r['metrics'][0]['value']
                 for r in data['model-index'][0]['results']}
  reported = json.loads((WEIGHTS / 'evaluation.json').read_text())
  assert metrics['Sampled accuracy'] == round(
      reported['reconstruction']['sampled_accuracy'], 4)
  assert f'--checkpoint_file=hf://{REPO}' in text and 'CC BY 4.0' in text
  assert any('/xet-write-token/' in path for _, path in server.requests)

  first, _ = server.find(REPO, 'main')
  offline = {**env, 'HF_ENDPOINT': 'http://127.0.0.1:9'}
  for name, address, where in (
      ('local', WEIGHTS, env),
      ('hub', f'https://huggingface.co/{REPO}/tree/main', env),
      ('pinned', f'hf://{REPO}@{first}', offline)):
    result = sample(where, address, tmp_path / name, '--style=funk')
    assert result.returncode == 0, result.stderr
  assert len({(tmp_path / name / 'funk-1.mid').read_bytes()
              for name in ('local', 'hub', 'pinned')}) == 1

  other = tmp_path / 'other' / 'weights'  # Finished again, at a later step.
  shutil.copytree(WEIGHTS, other)
  for path in other.glob('model*'):
    path.rename(path.with_name(path.name.replace('8405', '9000')))
  for name in ('prior.npz', 'sliders.npz', 'fills.npz', 'evaluation.json'):
    (other / name).unlink()
  result = share(env | WITHOUT_XET, f'--checkpoint_file={other}',
                 '--license=apache-2.0')
  assert result.returncode == 0, result.stderr
  assert 'licence is apache-2.0' in result.stdout
  assert any('/lfs/' in path for _, path in server.requests)
  _, files = server.find(REPO, 'main')
  assert sorted(n for n in files if '.' in n and 'loops/' not in n) == [
      '.gitattributes', 'README.md', 'model.ckpt-9000.data-00000-of-00001',
      'model.ckpt-9000.index']
  assert b'\nlicense: apache-2.0\n' in files['README.md']
  result = sample(env | WITHOUT_XET, f'hf://{REPO}', tmp_path / 'other')
  assert result.returncode == 0 and 'model.ckpt-9000' in result.stdout


CALLS = '''
import os, shutil, sys
from drumloops.errors import UserError
from drumloops.export import hub
from drumloops.runs import checkpoint_files
from drumloops.system import magenta_setup
magenta_setup.music_vae()
for call in sys.argv[1:]:
  try:
    eval(call)
  except UserError as e:
    print('SENTENCE', e)
'''


def sentences(env, *calls):
  """Returns what each of these calls says that it can't do."""
  result = conftest.code(CALLS, *calls, env=env)
  assert result.returncode == 0, result.stderr
  found = [line.removeprefix('SENTENCE ') for line in result.stdout.splitlines()
           if line.startswith('SENTENCE')]
  assert len(found) == len(calls) and all(s.endswith('.') for s in found), found
  return found


SHARE = f'hub.share("{REPO}", "hierdec-drums_4bar", "{WEIGHTS}")'
# In the place of what makes loops, which takes its time.
GATHER = (f'setattr(hub, "gather", lambda *args: shutil.copytree("{WEIGHTS}", '
          'args[-1], dirs_exist_ok=True))')


def test_what_goes_wrong_is_a_sentence(server, env):
  server.repos[REPO] = []
  server.commit(REPO, {'README.md': b'nothing'})
  share = f'hub.share("{{}}", "hierdec-drums_4bar", "{WEIGHTS}")'
  find = 'checkpoint_files.find_checkpoint(checkpoint_file="hf://{}")'
  *names, nobody, nothing, revision, refused, no_token = sentences(
      env, share.format('a/b/c'), share.format('my-drummer'),
      find.format('nobody'), find.format('no/body'), find.format(REPO),
      find.format(f'{REPO}@abc'),
      'os.environ.update(HF_TOKEN="hf_wrong"), '
      f'{share.format(REPO)[:-1]}, private=False)',
      f'os.environ.pop("HF_TOKEN"), {share.format(REPO)}')
  assert all('user/name' in sentence for sentence in names[:2])
  assert 'no/body' in nobody and 'Hub' in nobody
  assert 'no complete checkpoint' in nothing and 'no such revision' in revision
  assert 'status 401' in refused and 'HF_TOKEN' in refused
  assert 'settings/tokens' in no_token
  for sentence in sentences({**env, 'HF_ENDPOINT': 'http://127.0.0.1:9'},
                            share.format(REPO), find.format('no/body')):
    assert 'could not be reached' in sentence


@pytest.mark.parametrize('broken,what', [
    ('/xet-write-token/', 'none of the files is in it'),
    ('/objects/', 'none of the files is in it'),
    ('/commit/', 'all files have arrived'), ('', 'is not known')])
def test_an_upload_that_breaks_off(server, env, monkeypatch, broken, what):
  """Says what has arrived; then it goes on."""
  if broken == '/xet-write-token/':
    pytest.importorskip('hf_xet')
  else:
    env = env | WITHOUT_XET
  answer = hub.Handler.handle_any
  def fails(self):
    uploading = any('preupload' in path for _, path in server.requests)
    if not (uploading and broken in self.path):
      return answer(self)
    if broken != '/commit/' and self.command != 'GET' or 'token' in self.path:
      self.rfile.read(int(self.headers.get('Content-Length') or 0))
      return self.fail(403, 'Forbidden')
    if self.command != 'GET':
      self.reply = lambda *_, **__: None
      answer(self)
    self.close_connection = True  # Without an answer.
  with monkeypatch.context() as patch:
    for method in ('do_GET', 'do_POST', 'do_PUT'):
      patch.setattr(hub.Handler, method, fails)
    [sentence] = sentences(env, f'{GATHER}, {SHARE}')
  assert f'{REPO} is there, and ' in sentence and what in sentence
  assert 'the same command goes on' in sentence
  _, files = server.find(REPO, 'main')
  assert ('prior.npz' in files) == (broken == '/commit/')
  result = conftest.code(CALLS, f'{GATHER}, {SHARE}', env=env)
  assert 'Shared as' in result.stdout, result.stderr
  assert 'prior.npz' in server.find(REPO, 'main')[1]


def test_public_only_if_it_is_said(server, env):
  server.repos[REPO] = []
  before = server.commit(REPO, {})
  unknown, public, revision = sentences(
      env, f'{SHARE[:-1]}, license="Apache 2")', f'{GATHER}, {SHARE}',
      SHARE.replace(REPO, f'{REPO}@old'))
  assert 'public already' in public and 'private=False' in public
  assert 'Apache 2' in unknown and 'another license' in unknown
  assert 'without old' in revision
  assert server.find(REPO, 'main')[0] == before
  result = conftest.code(
      CALLS, f'{GATHER}, {SHARE[:-1]}, private=False)',
      f'{SHARE.replace(REPO, "other/one")[:-1]}, private=False)', env=env)
  assert result.stdout.count('Everybody sees it') == 2, result.stdout + result.stderr
  assert server.find(REPO, 'main')[0] != before and not server.private


@pytest.mark.parametrize('address,repo,revision', [
    ('you/name', 'you/name', None), ('hf://you/name', 'you/name', None),
    ('hf://you/name@v1', 'you/name', 'v1'), ('hf://you/name/', 'you/name', None),
    ('https://huggingface.co/you/name', 'you/name', None),
    ('https://huggingface.co/you/name/tree/main', 'you/name', 'main'),
    ('hf://https://huggingface.co/you/name/tree/main/', 'you/name', 'main'),
    ('http://www.huggingface.co/you/name?library=x#files', 'you/name', None),
    ('huggingface.co/you/name/tree/refs%2Fpr%2F1', 'you/name', 'refs/pr/1'),
    ('https://hf.co/you/name/commit/abc ', 'you/name', 'abc'),
    *((wrong, None, None) for wrong in (
        'hf://', 'hf://name', 'hf://a/b/c', 'https://huggingface.co/you',
        'https://huggingface.co/datasets/you/name', 'https://github.com/you/name',
        'https://github.com/you', 'https://huggingface.co/you/name/blob/main/x'))])
def test_addresses(address, repo, revision):
  if repo:
    assert checkpoint_files.parse_address(address) == (repo, revision)
  else:
    with pytest.raises(UserError, match='hf://user/name'):
      checkpoint_files.parse_address(address)
