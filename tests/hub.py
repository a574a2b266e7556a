"""A local stand-in for the Hub, for scripts/share.py and hf://.

It has the endpoints that huggingface_hub calls, and of the real Hub's answers the parts
that huggingface_hub reads.
"""
import base64
import contextlib
import hashlib
import http.server
import json
import pathlib
import re
import struct
import tempfile
import threading
import typing

LICENSES = 'apache-2.0', 'mit', 'cc-by-4.0'  # Of those that the real one knows.


def reversed_words(hash_):
  """Xet writes a hash's words of 8 bytes the other way round."""
  return b''.join(hash_[i:i + 8][::-1] for i in range(0, 32, 8)).hex()


def xet_hashes(storage):
  """Returns {sha256: Xet's own hash} of the files that Xet has put into a folder.

  They are listed in its shards: after a head of 48 bytes, for each file a hash, flags,
  a number of segments, these, as many checks if one flag is set, and with another
  the sha256, all in pieces of 48 bytes.
  """
  found = {}
  for path in pathlib.Path(storage, 'xet/xorbs/shards').glob('*.mdb'):
    data, i = path.read_bytes(), 48
    while data[i:i + 32] != b'\xff' * 32:
      flags, segments = struct.unpack('<II', data[i + 32:i + 40])
      own = data[i:i + 32]
      i += 48 * (1 + segments * (1 + (flags >> 31)))
      if flags >> 30 & 1:
        found[reversed_words(data[i:i + 32])] = reversed_words(own)
        i += 48
  return found


class Xet(typing.NamedTuple):
  """A file that the client has sent by Xet."""
  sha256: str
  hash: str
  size: int


class Hub(http.server.ThreadingHTTPServer):
  """Repositories in memory: {repo: [(sha, {path: bytes})]}, oldest first."""

  def __init__(self, token):
    super().__init__(('127.0.0.1', 0), Handler)
    self.token, self.repos, self.objects, self.private = token, {}, {}, set()
    # Where the client puts what it sends by Xet, whose own server this is not.
    self.storage = tempfile.TemporaryDirectory()
    self.requests = []  # (method, path) of each.
    self.url = f'http://127.0.0.1:{self.server_port}'

  def commit(self, repo, files):
    sha = hashlib.sha1(f'{repo}{len(self.repos[repo])}'.encode()).hexdigest()
    self.repos[repo].append((sha, files))
    return sha

  def find(self, repo, revision):
    """Returns (sha, files) of a revision, None if there is none."""
    for sha, files in reversed(self.repos.get(repo, ())):
      if revision in ('main', sha):
        return sha, files
    return None


class Handler(http.server.BaseHTTPRequestHandler):
  """Answers one request."""
  protocol_version = 'HTTP/1.1'

  def log_message(self, *_):
    pass

  def reply(self, content=b'', status=200, **headers):
    if not isinstance(content, bytes):
      content = json.dumps(content).encode()
    self.send_response(status)
    for name, value in {'Content-Length': len(content), **headers}.items():
      self.send_header(name.replace('_', '-'), str(value))
    self.end_headers()
    if self.command != 'HEAD':
      self.wfile.write(content)

  def fail(self, status, code):
    self.reply({'error': code}, status, X_Error_Code=code)

  def handle_any(self):
    """Answers a request by the first of ROUTES that its path is of."""
    path = self.path.partition('?')[0]
    self.body = self.rfile.read(int(self.headers.get('Content-Length') or 0))
    self.server.requests.append((self.command, path))
    if self.command not in ('GET', 'HEAD') and not path.startswith(
        ('/objects/', '/api/validate-yaml')) and self.headers.get(
            'Authorization') != f'Bearer {self.server.token}':
      return self.fail(401, 'Unauthorized')
    for route, answer in ROUTES.items():
      if match := re.fullmatch(route, path):
        return answer(self, *match.groups())
    return self.fail(404, 'NotFound')

  def create(self):
    hub, asked = self.server, json.loads(self.body)
    repo = '/'.join(filter(None, (asked.get('organization'), asked['name'])))
    if repo not in hub.repos:
      hub.repos[repo] = []
      if asked.get('private') or asked.get('visibility') == 'private':
        hub.private.add(repo)
      hub.commit(repo, {'.gitattributes': b''})
    self.reply({'url': f'{hub.url}/{repo}', 'name': repo, 'id': repo})

  def validate(self):
    named = re.search('^license: (.*)$', json.loads(self.body)['content'], re.M)
    if named and named[1] not in LICENSES:
      return self.reply({'errors': [
          {'message': f'"license" must be one of {LICENSES}'}], 'warnings': []}, 400)
    self.reply({'errors': [], 'warnings': []})

  def xet_token(self):
    url = f'local://{self.server.storage.name}'
    self.reply(
        {'accessToken': 'xet', 'exp': 1 << 33, 'casUrl': url}, X_Xet_Cas_Url=url,
        X_Xet_Access_Token='xet', X_Xet_Token_Expiration=1 << 33)

  def upload(self, oid):
    self.server.objects[oid] = self.body
    self.reply()

  def batch(self):
    self.reply({'transfer': 'basic', 'objects': [
        {'oid': o['oid'], 'size': o['size'], 'actions': {'upload': {
            'href': f'{self.server.url}/objects/{o["oid"]}'}}}
        for o in json.loads(self.body)['objects']]},
               Content_Type='application/vnd.git-lfs+json')

  def preupload(self):
    self.reply({'files': [
        {'path': f['path'], 'shouldIgnore': False, 'uploadMode':
         'lfs' if f['size'] > 10**6 else 'regular'}
        for f in json.loads(self.body)['files']]})

  def commit(self, repo):
    hub = self.server
    files = dict(hub.find(repo, 'main')[1])
    for line in map(json.loads, self.body.splitlines()):
      value = line['value']
      if line['key'] == 'file':
        files[value['path']] = base64.b64decode(value['content'])
      elif line['key'] == 'lfsFile':
        if value['oid'] in hub.objects:
          data = hub.objects[value['oid']]
          assert hashlib.sha256(data).hexdigest() == value['oid']
        else:
          data = Xet(value['oid'], xet_hashes(hub.storage.name)[value['oid']],
                     value['size'])
        files[value['path']] = data
      elif line['key'] == 'deletedFile':
        files.pop(value['path'])
    sha = hub.commit(repo, files)
    self.reply({'success': True, 'commitOid': sha, 'commitUrl':
                f'{hub.url}/{repo}/commit/{sha}', 'hookOutput': ''})

  def model(self, repo, kind, revision):
    hub = self.server
    if repo not in hub.repos:
      return self.fail(404, 'RepoNotFound')
    found = hub.find(repo, revision or 'main')
    if not found:
      return self.fail(404, 'RevisionNotFound')
    sha, files = found
    if kind == 'tree':
      return self.reply([
          {'type': 'file', 'path': name, 'size': data.size, 'oid': data.sha256[:40],
           'lfs': {'oid': data.sha256, 'size': data.size, 'pointerSize': 1},
           'xetHash': data.hash} if isinstance(data, Xet) else
          {'type': 'file', 'path': name, 'size': len(data),
           'oid': hashlib.sha1(data).hexdigest()} for name, data in files.items()])
    self.reply({'id': repo, 'sha': sha, 'private': repo in hub.private,
                'siblings': [{'rfilename': name} for name in files]})

  def resolve(self, repo, revision, name):
    sha, files = self.server.find(repo, revision)
    if name not in files:
      return self.fail(404, 'EntryNotFound')
    data = files[name]
    if isinstance(data, Xet):
      return self.reply(
          X_Repo_Commit=sha, ETag=f'"{data.sha256}"', X_Linked_Size=data.size,
          X_Xet_Hash=data.hash, X_Xet_Refresh_Route=(
              f'{self.server.url}/api/models/{repo}/xet-read-token/{sha}'))
    self.reply(data, X_Repo_Commit=sha, ETag='"%s"' % hashlib.sha1(data).hexdigest())

  do_GET = do_POST = do_PUT = do_HEAD = handle_any


REPO = '([^/]+/[^/]+)'
ROUTES = {  # {path: what answers it}, the first that fits.
    '/api/repos/create': Handler.create,
    '/api/validate-yaml': Handler.validate,
    r'/api/models/[^/]+/[^/]+/xet-(?:read|write)-token/\w+': Handler.xet_token,
    r'/objects/(\w+)': Handler.upload,
    r'/.+\.git/info/lfs/objects/batch': Handler.batch,
    r'/api/models/[^/]+/[^/]+/preupload/\w+': Handler.preupload,
    f'/api/models/{REPO}/commit/main': Handler.commit,
    f'/api/models/{REPO}(?:/(revision|tree)/([^/]+))?': Handler.model,
    f'/{REPO}/resolve/([^/]+)/(.+)': Handler.resolve}


@contextlib.contextmanager
def running(token):
  """Yields a Hub that answers."""
  with Hub(token) as hub:
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
      yield hub
    finally:
      hub.shutdown()
      thread.join()
