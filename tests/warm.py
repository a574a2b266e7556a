"""Runs the project's commands, each in a process of its own, without their long start.

The processes are forked from this one, which has imported TensorFlow and what else
takes seconds. A line of stdin is a request, as JSON: what to run, or a process to wait
for and os.waitpid's options. The answer on stdout is the process, or its exit status.
"""
import gc
import json
import os
import pathlib
import runpy
import select
import signal
import subprocess
import sys
import tempfile
import time

SCRIPTS = pathlib.Path(__file__).resolve().parent.parent / 'scripts'


class Starter:
  """Has such a process from the first command on, until it is closed."""

  def __init__(self):
    self._process = None

  def ask(self, *request):
    """Returns the answer to a request."""
    if self._process is None:
      self._process = subprocess.Popen(
          [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
          stderr=subprocess.DEVNULL, text=True)
    print(json.dumps(request), file=self._process.stdin, flush=True)
    return json.loads(self._process.stdout.readline())

  def close(self):
    if self._process is not None:
      self._process.communicate()


class Process:
  """What tests need of subprocess.Popen, of a forked process.

  Its stdout has its stderr, too.

  Args:
    starter: A Starter.
    script: A file of Python, or its name in scripts/.
    *arguments: Its command line.
    env: What its environment has besides.
    timeout: In seconds; then SIGALRM ends it.
  """

  def __init__(self, starter, script, *arguments, env=(), timeout=900):
    self._starter, self.returncode = starter, None
    with tempfile.TemporaryDirectory() as folder:
      pipe = os.path.join(folder, 'pipe')
      os.mkfifo(pipe)
      self.pid = starter.ask(str(script), arguments, os.getcwd(),
                             {**os.environ, **dict(env)}, pipe, None, timeout)
      self.stdout = open(pipe, 'rb', buffering=0)

  def send_signal(self, number):
    if self.poll() is None:
      os.kill(self.pid, number)

  def terminate(self):
    self.send_signal(signal.SIGTERM)

  def kill(self):
    self.send_signal(signal.SIGKILL)

  def poll(self):
    if self.returncode is None:
      self.returncode = self._starter.ask(self.pid, os.WNOHANG)
    return self.returncode

  def wait(self, timeout=900):
    deadline = time.monotonic() + timeout
    while self.poll() is None:
      assert time.monotonic() < deadline
      time.sleep(0.02)
    return self.returncode

  def communicate(self, timeout=900):
    """Returns what it still prints until it has ended, and None."""
    said, deadline = b'', time.monotonic() + timeout
    while select.select([self.stdout], [], [], deadline - time.monotonic())[0]:
      part = self.stdout.read(1 << 16)
      if not part:
        break
      said += part
    self.wait(deadline - time.monotonic())
    return said.decode(), None


def become(script, arguments, cwd, env, output, errors, timeout):
  """Makes this process the one that runs the script.

  Args:
    script: A file of Python, or its name in scripts/.
    arguments: Its command line.
    cwd: Its working directory.
    env: Its whole environment.
    output: The path of the file that gets its stdout.
    errors: The path of the file that gets its stderr; None: that of its stdout.
    timeout: In seconds; then SIGALRM ends it.
  """
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.dup2(os.open(output, os.O_WRONLY), 1)
  os.dup2(os.open(errors, os.O_WRONLY) if errors else 1, 2)
  os.chdir(cwd)
  os.environ.clear()
  os.environ.update(env)
  del sys.modules['drumloops']  # It looks at the command and at the environment.
  sys.argv = [str(SCRIPTS / script), *arguments]
  signal.alarm(timeout)
  runpy.run_path(sys.argv[0], run_name='__main__')


def main():
  answers = os.fdopen(os.dup(1), 'w')
  os.dup2(2, 1)  # pyfluidsynth, for one, prints when it is imported.
  sys.path[0] = str(SCRIPTS)
  import drumloops  # Sets what TensorFlow reads when it is imported.
  import tensorflow_probability
  import tensorflow  # But no session, whose threads no forked process would have.
  from magenta.models.music_vae import configs
  import matplotlib.figure, PIL.ImageDraw, scipy.stats, sklearn.ensemble, soundfile
  gc.freeze()
  for line in sys.stdin:
    request = json.loads(line)
    if isinstance(request[0], int):
      pid, status = os.waitpid(*request)
      answer = os.waitstatus_to_exitcode(status) if pid else None
    else:
      answer = os.fork()
      if not answer:
        answers.close()
        become(*request)
        return
    print(json.dumps(answer), file=answers, flush=True)


if __name__ == '__main__':
  main()
