"""Headless Chromium for the tests, driven by its DevTools protocol.

The protocol goes through a pipe, so that nothing but Chromium is needed and no
port is open. Audio plays (silently) where there is no sound card as well.
"""
import base64
import fcntl
import functools
import json
import os
import pathlib
import select
import shutil
import socket
import subprocess
import tempfile
import time

import conftest
import pytest

# Chromium brings no fonts; Nanum has Korean.
PACKAGES = ('chromium', 'fonts-dejavu-core', 'fonts-nanum')
FLAGS = '''--headless --remote-debugging-pipe --mute-audio --hide-scrollbars
    --lang=en-US --no-first-run --disable-gpu --disable-dev-shm-usage
    --disable-background-networking --disable-component-update'''.split()
KEYS = {'Backspace': 8, 'Tab': 9, 'Enter': 13, 'Escape': 27, 'Space': 32,
        'PageUp': 33, 'PageDown': 34, 'End': 35, 'Home': 36, 'ArrowLeft': 37,
        'ArrowUp': 38, 'ArrowRight': 39, 'ArrowDown': 40}
MODIFIERS = {'Alt': 1, 'Control': 2, 'Meta': 4, 'Shift': 8}


@functools.cache
def install():
  """Returns the path of Chromium, installed with apt if it may be, or None."""
  with open(conftest.ROOT / '.venv-chromium.lock', 'w') as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)  # Tests run in several processes.
    for attempt in range(2):
      for name in ('chromium', 'chromium-browser', 'google-chrome'):
        path = shutil.which(name)
        if path and conftest.run(path, '--version').returncode == 0:
          return path
      if attempt == 0 and shutil.which('apt-get') and os.geteuid() == 0:
        conftest.run('apt-get', 'update')
        conftest.run('apt-get', 'install', '-y', '--no-install-recommends',
                     *PACKAGES, env={'DEBIAN_FRONTEND': 'noninteractive'})


class Chromium:
  """The Chromium of all pages of a process of tests, which ends with that."""

  def __init__(self, autoplay):
    chromium = install() or pytest.skip('there is no Chromium here')
    self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    commands, self.commands = os.pipe()
    self.replies, replies = os.pipe()
    flags = [*FLAGS, f'--user-data-dir={self.profile.name}',
             *['--no-sandbox'] * (os.geteuid() == 0),
             *['--autoplay-policy=no-user-gesture-required'] * autoplay]
    self.process = subprocess.Popen(
        ['bash', '-c', f'exec "$0" "$@" 3<&{commands} 4>&{replies}', chromium,
         *flags], pass_fds=(commands, replies), stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.close(commands)
    os.close(replies)
    self.last_id, self.buffer, self.pages = 0, b'', {}
    conftest.at_end.callback(self.close)

  def close(self):
    os.close(self.commands)  # Chromium ends.
    try:
      self.process.wait(10)
    except subprocess.TimeoutExpired:
      self.process.kill()
      self.process.wait()
    os.close(self.replies)
    self.profile.cleanup()

  def receive(self, deadline):
    """Returns the next message; its page notes it."""
    while b'\0' not in self.buffer:
      left = max(0, deadline - time.monotonic())
      if not select.select([self.replies], [], [], left)[0]:
        raise TimeoutError('Chromium did not answer in time')
      data = os.read(self.replies, 1 << 20)
      if not data:
        raise RuntimeError('Chromium has ended')
      self.buffer += data
    line, self.buffer = self.buffer.split(b'\0', 1)
    message = json.loads(line)
    if message.get('sessionId') in self.pages:
      self.pages[message['sessionId']].note(message)
    return message

  def write(self, method, **message):
    self.last_id += 1
    data = json.dumps({'id': self.last_id, 'method': method, **message}
                      ).encode() + b'\0'
    while data:
      data = data[os.write(self.commands, data):]
    return self.last_id

  def send(self, method, timeout=60, **message):
    """Returns the result of a command of the DevTools protocol."""
    deadline, number = time.monotonic() + timeout, self.write(method, **message)
    while True:
      message = self.receive(deadline)
      if message.get('id') == number:
        if 'error' in message:
          raise RuntimeError(f'{method}: {message["error"]}')
        return message['result']


@functools.cache
def chromium(autoplay):
  return Chromium(autoplay)


class Browser:
  """One page of a new profile; the test is skipped where Chromium isn't there.

  Args:
    autoplay: Whether pages may play before a key or a click, which is not so
      in a person's browser.
  """

  def __init__(self, width=1280, height=800, autoplay=True):
    self.size, self.autoplay = (width, height), autoplay

  def __enter__(self):
    self.chromium, self.errors = chromium(self.autoplay), []
    self.profile = self.chromium.send('Target.createBrowserContext')
    target = self.chromium.send('Target.createTarget', params={
        'url': 'about:blank', **self.profile})['targetId']
    self.session = self.chromium.send('Target.attachToTarget', params={
        'targetId': target, 'flatten': True})['sessionId']
    self.chromium.pages[self.session] = self
    for domain in ('Page', 'Runtime', 'Log', 'Network'):
      self.send(f'{domain}.enable')
    self.resize(*self.size)
    return self

  def __exit__(self, *_):
    del self.chromium.pages[self.session]
    self.chromium.send('Target.disposeBrowserContext', params=self.profile)

  def note(self, message):
    """Keeps the errors of a message; answers dialogs."""
    method, params = message.get('method'), message.get('params', {})
    entry = params.get('entry', {})
    if method == 'Runtime.exceptionThrown':
      self.errors.append(describe(params['exceptionDetails']))
    elif method == 'Runtime.consoleAPICalled' and (
        params['type'] in ('error', 'assert')):
      self.errors.append(' '.join(str(a.get('value', a.get('description')))
                                  for a in params['args']))
    elif method == 'Log.entryAdded' and entry['level'] == 'error':
      self.errors.append(f'{entry["text"]} {entry.get("url", "")}')
    elif method == 'Page.javascriptDialogOpening':
      self.chromium.write('Page.handleJavaScriptDialog', sessionId=self.session,
                          params={'accept': True})

  def send(self, method, timeout=60, **params):
    """Returns the result of a command of the DevTools protocol to this page."""
    return self.chromium.send(
        method, timeout, sessionId=self.session, params=params)

  def open(self, url, timeout=60):
    """Opens a URL or a file and waits for the page's load event."""
    if isinstance(url, pathlib.Path):
      url = url.resolve().as_uri()
    self.send('Page.navigate', url='about:blank')
    self.errors.clear()
    result = self.send('Page.navigate', url=url, timeout=timeout)
    if 'errorText' in result:
      raise RuntimeError(f'{url}: {result["errorText"]}')
    self.wait('document.readyState == "complete"', timeout)

  def run(self, javascript, timeout=60):
    """Returns the value of an expression or of statements, awaited."""
    result = self.send('Runtime.evaluate', timeout, expression=javascript,
                       replMode=True)
    if 'objectId' in result['result'] and 'exceptionDetails' not in result:
      result = self.send('Runtime.callFunctionOn', timeout, awaitPromise=True,
                         objectId=result['result']['objectId'],
                         functionDeclaration='function() { return this; }',
                         returnByValue=True)
    if 'exceptionDetails' in result:
      raise RuntimeError(describe(result['exceptionDetails']))
    return result['result'].get('value')

  def wait(self, javascript, timeout=60):
    """Waits until an expression is true, and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
      value = self.run(javascript, max(1, deadline - time.monotonic()))
      if value:
        return value
      if time.monotonic() > deadline:
        raise TimeoutError(f'not true after {timeout} s: {javascript}')
      time.sleep(.1)

  def press(self, key):
    """Presses a key: 'a', 'Space', 'ArrowLeft', 'Shift+Tab' ..."""
    *modifiers, key = key.split('+')
    text = {'Space': ' ', 'Enter': '\r'}.get(key, key if len(key) == 1 else '')
    code = (f'Key{key.upper()}' if len(key) == 1 and key.isalpha() else
            f'Digit{key}' if key.isdigit() else key)
    event = {'key': ' ' if key == 'Space' else key, 'code': code,
             'windowsVirtualKeyCode': KEYS.get(key) or ord(key.upper()),
             'modifiers': sum(MODIFIERS[m] for m in modifiers)}
    for kind in ('keyDown', 'keyUp'):
      self.send('Input.dispatchKeyEvent', type=kind,
                text=text if kind == 'keyDown' else '', **event)

  def click(self, selector):
    """Clicks in the middle of the first element, scrolled to if need be."""
    x, y = self.run(f'''{{
        const e = document.querySelector({json.dumps(selector)});
        e.scrollIntoView({{block: 'center', behavior: 'instant'}});
        const r = e.getBoundingClientRect();
        [r.x + r.width / 2, r.y + r.height / 2]}}''')
    for kind in ('mousePressed', 'mouseReleased'):
      self.send('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left',
                clickCount=1)

  def resize(self, width, height=800):
    self.send('Emulation.setDeviceMetricsOverride', width=width, height=height,
              deviceScaleFactor=1, mobile=False)

  def screenshot(self, path, width=None):
    """Writes the whole page, at this width, as a PNG."""
    if width:
      self.resize(width)
    size = self.send('Page.getLayoutMetrics')['cssContentSize']
    png = self.send('Page.captureScreenshot', captureBeyondViewport=True,
                    clip={**size, 'scale': 1})['data']
    pathlib.Path(path).write_bytes(base64.b64decode(png))

  def console_errors(self):
    """Returns console errors, exceptions and failed loads since open."""
    self.run('0')  # Reads what has come in the meantime.
    return list(self.errors)

  def set_offline(self, offline=True):
    self.send('Network.emulateNetworkConditions', offline=offline, latency=0,
              downloadThroughput=-1, uploadThroughput=-1)


def describe(details):
  return details.get('exception', {}).get('description') or details['text']


class Firefox:
  """A headless Firefox driven by Marionette; skipped where it isn't there."""

  def __enter__(self):
    path = shutil.which('firefox-esr') or shutil.which('firefox')
    if not path and shutil.which('apt-get') and os.geteuid() == 0:
      install()  # Which gets the lists of packages.
      conftest.run('apt-get', 'install', '-y', '--no-install-recommends',
                   'firefox-esr', env={'DEBIAN_FRONTEND': 'noninteractive'})
      path = shutil.which('firefox-esr')
    if not path:
      pytest.skip('there is no Firefox here')
    with socket.socket() as free:
      free.bind(('127.0.0.1', 0))
      port = free.getsockname()[1]
    self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    pathlib.Path(self.profile.name, 'user.js').write_text(
        f'user_pref("marionette.port", {port});\n')
    self.process = subprocess.Popen(
        [path, '--headless', '--marionette', '--profile', self.profile.name],
        env={**os.environ, 'HOME': self.profile.name, 'MOZ_HEADLESS': '1'},
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 90
    while True:
      try:
        self.socket = socket.create_connection(('127.0.0.1', port), 5)
        break
      except OSError:
        if time.monotonic() > deadline or self.process.poll() is not None:
          raise
        time.sleep(.3)
    self.socket.settimeout(300)
    self.file = self.socket.makefile('rb')
    self.read()  # It says hello.
    self.last_id = 0
    self.send('WebDriver:NewSession')
    return self

  def __exit__(self, *_):
    self.socket.close()
    self.process.terminate()
    self.process.wait(30)
    self.profile.cleanup()

  def read(self):
    size = b''
    while (byte := self.file.read(1)) != b':':
      size += byte
    return json.loads(self.file.read(int(size)))

  def send(self, command, **params):
    self.last_id += 1
    data = json.dumps([0, self.last_id, command, params]).encode()
    self.socket.sendall(b'%d:%s' % (len(data), data))
    _, _, error, result = self.read()
    if error:
      raise RuntimeError(f'{command}: {error}')
    return result

  wait = Browser.wait

  def open(self, path):
    self.send('WebDriver:Navigate', url=path.resolve().as_uri())

  def run(self, javascript, timeout=120):
    """Returns the value of an expression, awaited."""
    result = self.send('WebDriver:ExecuteAsyncScript', args=[], sandbox=None,
                       scriptTimeout=1000 * timeout, script=f'''
        const done = arguments[arguments.length - 1];
        (async () => ({javascript}))().then(
            value => done({{value}}), error => done({{error: String(error)}}));''')
    result = result['value']
    if 'error' in result:
      raise RuntimeError(result['error'])
    return result.get('value')
