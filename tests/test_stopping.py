"""The stop button, Ctrl-C and closed windows, by the signals they really send.

Each sequence is sent STOP_TRIES times (by default once) to a training, and twenty
times to what stands in for one.
"""
import contextlib
import fcntl
import os
import pty
import queue
import signal
import struct
import subprocess
import sys
import termios
import time

import conftest
from drumloops.errors import UserError
from drumloops.system import interrupts, magenta_setup
import pytest

TRIES = int(os.environ.get('STOP_TRIES', 1))
# What a training is for `stages`, without the long start: saving takes 0.4 s.
SHORT = '''
import pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from drumloops.system import interrupts
with interrupts.Stop() as stop:
  with stop.between_steps():
    while not stop.asked:
      print('loss=1', end='\\r', flush=True)
      time.sleep(0.01)
    for i in range(4):
      time.sleep(0.1)
    pathlib.Path(sys.argv[2]).write_text('saved')
  print('saved')
sys.exit(130)
'''


def signals(*steps):
  """Returns what sends these signals to a process: (seconds before, signal)."""
  def send(process):
    for seconds, number in steps:
      time.sleep(seconds)
      with contextlib.suppress(ProcessLookupError):
        process.send_signal(number)
  return send


SEQUENCES = {
    'Ctrl-C': signals((0, signal.SIGINT)),
    'Colab stops a ! line': signals((0, signal.SIGINT), (0.01, signal.SIGINT)),
    # And SIGKILL 0.3 s later, which nothing survives: so not by a ! line.
    'Jupyter stops a ! line': signals((0, signal.SIGINT), (0.2, signal.SIGHUP)),
    'impatience': signals(*[(0, signal.SIGINT), (0.1, signal.SIGINT)] * 4),
    'the machine shuts down': signals((0, signal.SIGTERM)),
}


def saved_step(run_dir):
  """Asserts that there is one whole checkpoint and no rest; returns its step."""
  magenta_setup.music_vae()
  from magenta.models.music_vae import checkpoints
  found = sorted(p.name for p in (run_dir / 'train').glob('model*'))
  assert len(found) == 2 and found[1].endswith('.index'), found
  prefix = str(run_dir / 'train' / found[1].removesuffix('.index'))
  assert checkpoints.is_complete(prefix)
  return checkpoints.step_of(prefix)


@pytest.mark.parametrize('name', SEQUENCES)
def test_signals(endless_training, tmp_path, name):
  for i in range(TRIES):
    process = endless_training(tmp_path / str(i))
    SEQUENCES[name](process)
    out = process.communicate(timeout=120)[0]
    assert process.returncode == 130 and 'Traceback' not in out, out
    step = saved_step(tmp_path / str(i))
    assert f'Stopped at step {step} and saved' in out


@pytest.mark.parametrize('name', SEQUENCES)
def test_signals_often(tmp_path, name):
  """Twenty times, sent to what stands in for a training."""
  (tmp_path / 'short.py').write_text(SHORT)
  for i in range(20):
    with subprocess.Popen(
        [sys.executable, tmp_path / 'short.py', conftest.SCRIPTS,
         tmp_path / str(i)], stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT) as process:
      conftest.read_until(process.stdout.fileno(), 'loss=')
      SEQUENCES[name](process)
      out = process.communicate(timeout=60)[0]
    assert process.returncode == 130 and b'Traceback' not in out, out
    assert (tmp_path / str(i)).read_text() == 'saved'


def test_a_terminal_that_is_closed(dataset, tmp_path):
  """The terminal goes, and with it what can be written to."""
  for i in range(TRIES):
    run_dir = tmp_path / str(i)
    pid, fd = pty.fork()
    if pid == 0:
      command = conftest.endless(dataset, run_dir)
      os.execv(command[0], command)
    # A terminal without a size has no room for a bar.
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack('HHHH', 24, 100, 0, 0))
    conftest.read_until(fd, 'loss=')
    os.close(fd)  # The system sends SIGHUP.
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    assert saved_step(run_dir) > 0


@contextlib.contextmanager
def kernel():
  """Yields a Jupyter kernel's manager and client; the kernel can run commands."""
  from jupyter_client import manager
  with manager.run_kernel(env=os.environ, kernel_name='python3') as client:
    yield client.parent, client


def execute(client, code, when, action):
  """Executes code; does something when its output has a word in it.

  Returns its output and whether it raised.
  """
  message, seen, raised = client.execute(code), '', False
  while True:
    reply = client.get_iopub_msg(timeout=120)
    if reply['parent_header'].get('msg_id') != message:
      continue
    content = reply['content']
    if reply['msg_type'] == 'stream':
      seen += content['text']
    elif reply['msg_type'] == 'error':
      raised = True
      seen += '\n'.join(content['traceback'])
    elif reply['msg_type'] == 'status' and content['execution_state'] == 'idle':
      return seen, raised
    if action and when in seen:
      action()
      action = None


def press(manager, times):
  """Presses the stop button: SIGINT for the kernel's whole process group."""
  def act():
    for _ in range(times):
      manager.interrupt_kernel()
      time.sleep(0.05)
  return act


def start_code(command):
  script, *arguments = map(str, command)
  return (f'import sys; sys.path.insert(0, {str(conftest.SCRIPTS)!r})\n'
          'from drumloops.system import interrupts\n'
          f'interrupts.run({script!r}, *{arguments!r})')


@pytest.mark.parametrize('times', [1, 3])
def test_stop_button(dataset, tmp_path, times):
  """A cell that trains, in a real kernel; then the kernel still works."""
  with kernel() as (manager, client):
    for i in range(TRIES):
      run_dir = tmp_path / str(i)
      out, raised = execute(
          client, start_code(conftest.endless(dataset, run_dir)[1:]), 'loss=',
          press(manager, times))
      assert f'Stopped at step {saved_step(run_dir)} and saved' in out
      assert raised and out.endswith('Stopped; run this cell again to go on.')
      assert 'Traceback' not in out
    assert execute(client, 'print(40 + 2)', '', None) == ('42\n', False)


@pytest.mark.parametrize('times', [1, 2, 5])
def test_stop_button_often(tmp_path, times):
  """Twenty times, of what stands in for a training."""
  (tmp_path / 'short.py').write_text(SHORT)
  with kernel() as (manager, client):
    for i in range(20):
      out, raised = execute(
          client, start_code([
              tmp_path / 'short.py', conftest.SCRIPTS, tmp_path / str(i)]),
          'loss=', press(manager, times))
      assert raised and 'saved' in out and 'Traceback' not in out, out
      assert (tmp_path / str(i)).read_text() == 'saved'


def test_a_reader_that_goes(endless_training, tmp_path):
  """As `| head` does, and a kernel that is killed."""
  for i in range(TRIES):
    process = endless_training(tmp_path / str(i))
    process.stdout.close()
    assert process.wait(timeout=60) == 130
    assert saved_step(tmp_path / str(i)) > 0


@pytest.mark.parametrize('how', ['restarted', 'killed'])
def test_a_kernel_that_goes(dataset, tmp_path, how):
  """What it has started saves and ends by itself."""
  for i in range(TRIES):
    run_dir = tmp_path / str(i)
    with kernel() as (manager, client):
      client.execute(start_code(conftest.endless(dataset, run_dir)[1:]))
      seen = ''
      while 'loss=' not in seen:
        with contextlib.suppress(queue.Empty):
          reply = client.get_iopub_msg(timeout=120)
          seen += reply['content'].get('text', '')
      if how == 'restarted':
        manager.restart_kernel(now=True)
      else:  # For want of memory.
        os.kill(manager.provisioner.pid, signal.SIGKILL)
      deadline = time.time() + 60
      while not list(run_dir.glob('train/*.index')):
        assert time.time() < deadline
        time.sleep(0.1)
    assert saved_step(run_dir) > 0


def test_what_is_run_is_quoted_and_its_failure_told(tmp_path, capsys):
  """Whatever a form says comes to the script as it is."""
  names = ['my run\'s "best"', 'take $5', '$(touch x)', '`id`', '드럼 연습', '-a;b']
  (tmp_path / 'show.py').write_text(
      'import sys; print(ascii(sys.argv[1:])); sys.exit(len(sys.argv) > 9)')
  interrupts.run(str(tmp_path / 'show.py'), *names, run_dir=names[0], style='')
  assert capsys.readouterr().out == (
      f'{ascii(names + ["--run_dir=" + names[0]])}\n')
  with pytest.raises(UserError, match='did not get through'):
    interrupts.run(str(tmp_path / 'show.py'), *'123456789')
  (tmp_path / 'die.py').write_text('import os; os.kill(os.getpid(), 9)')
  with pytest.raises(UserError, match='want of memory'):
    interrupts.run(str(tmp_path / 'die.py'))
