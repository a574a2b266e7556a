"""A notebook in JupyterLab, in headless Chromium, run as a person runs it."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

import browser
import pytest

SETTINGS = {
    '@jupyterlab/notebook-extension/tracker': {'windowingMode': 'none'},
    '@jupyterlab/apputils-extension/notification': {
        'fetchNews': 'false', 'checkForUpdates': False}}
PANEL = 'jupyterapp.shell.currentWidget'
READY = f'''window.jupyterapp && {PANEL}?.context?.isReady &&
    {PANEL}.sessionContext.session?.kernel?.status == "idle" ||
    document.querySelector(".jp-Dialog")?.innerText'''


@contextlib.contextmanager
def opened(notebook, python=sys.executable):
  """Yields a Browser with the notebook open in JupyterLab, its kernel idle.

  The notebook's folder is the kernel's and gets what it writes: give a copy.

  Args:
    notebook: The file.
    python: The kernel's Python. JupyterLab itself is this Python's.
  """
  pytest.importorskip('jupyterlab')
  with socket.socket() as s, tempfile.TemporaryDirectory(
      ignore_cleanup_errors=True) as home, contextlib.ExitStack() as stack:
    s.bind(('127.0.0.1', 0))
    url = f'http://127.0.0.1:{s.getsockname()[1]}/lab'
    s.close()
    write(f'{home}/kernels/python3/kernel.json', {
        'argv': [str(python), '-m', 'ipykernel_launcher', '-f',
                 '{connection_file}'],
        'display_name': 'Python 3', 'language': 'python'})
    for name, settings in SETTINGS.items():
      write(f'{home}/lab/user-settings/{name}.jupyterlab-settings', settings)
    log = stack.enter_context(open(f'{home}/log', 'w'))
    server = subprocess.Popen(
        [sys.executable, '-m', 'jupyterlab', '--no-browser', '--allow-root',
         f'--ServerApp.port={urllib.parse.urlparse(url).port}',
         '--ServerApp.port_retries=0',
         f'--ServerApp.root_dir={notebook.parent}',
         '--IdentityProvider.token=', '--PasswordIdentityProvider.password=',
         '--LabApp.expose_app_in_browser=True'],
        stdout=log, stderr=log, env={
            **os.environ, 'JUPYTER_CONFIG_DIR': home, 'JUPYTER_PATH': home,
            'JUPYTER_RUNTIME_DIR': home, 'IPYTHONDIR': home})
    stack.callback(server.wait)
    stack.callback(server.terminate)  # Ends its kernels, too.
    while True:
      try:
        urllib.request.urlopen(url, timeout=60).close()
        break
      except OSError:
        assert server.poll() is None, pathlib.Path(home, 'log').read_text()
        time.sleep(.2)
    page = stack.enter_context(browser.Browser(1100))
    page.open(f'{url}/tree/{urllib.parse.quote(notebook.name)}')
    dialog = page.wait(READY, 120)
    assert dialog is True, dialog  # 'Select Kernel', without a kernelspec.
    yield page


def write(path, value):
  path = pathlib.Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text(json.dumps(value))


def run_all(page, timeout=1200):
  """Run > Run All Cells; saves, and returns what went wrong, as texts.

  These are the cells' exceptions and the cells not run after those.
  """
  page.run('jupyterapp.commands.execute("runmenu:run-all").then(() => 0)',
           timeout)
  page.wait(f'''{PANEL}.sessionContext.session.kernel.status == "idle" &&
      ![...{PANEL}.node.querySelectorAll(".jp-InputPrompt")].some(
          e => e.textContent.includes("*"))''', timeout)
  page.run('jupyterapp.commands.execute("docmanager:save").then(() => 0)')
  wrong = []
  for cell in page.run(f'{PANEL}.content.model.toJSON()')['cells']:
    if cell['cell_type'] == 'code' and ''.join(cell['source']).strip():
      for output in cell['outputs']:
        if output['output_type'] == 'error':
          wrong.append(f'{output["ename"]}: {output["evalue"]}')
      if cell['execution_count'] is None:
        wrong.append(f'not run: {"".join(cell["source"])[:60]}')
  return wrong


def screenshot(page, path, width=1100):
  """Writes the whole notebook as a PNG, the window made as high as it is."""
  page.run('jupyterapp.shell.collapseLeft()')
  page.resize(width)
  page.wait(f'{PANEL}.node.clientWidth > {width} * .8')
  page.resize(width, page.run(
      f'''innerHeight - {PANEL}.content.outerNode.clientHeight +
          {PANEL}.content.outerNode.scrollHeight'''))
  page.run(f'{PANEL}.content.outerNode.scrollTop = 0')
  time.sleep(1)
  page.screenshot(path)
