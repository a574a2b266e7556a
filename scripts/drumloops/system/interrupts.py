"""Starts stages from the notebook, and stops them so that nothing is lost.

Both sides of a stop: `run`, which the notebook's cells call instead of `!`, and
`Stop`, by which training learns of it. IPython's `!` kills what has not ended
0.3 s after the stop button, and on Colab its program gets the signal twice.
"""
import codecs
import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import TextIO

from drumloops import ROOT
from drumloops.errors import UserError
from drumloops.system import cells

# One press of a button can send several signals; later ones are another press.
PRESS_SECONDS = 3
STOPPED = (130, -signal.SIGINT, -signal.SIGTERM)


class Stopped(UserError):
  """A stage was stopped by hand; what it had finished is kept."""


def run(*command: str, **flags: object) -> None:
  """Runs one of the scripts, and shows what it prints as it comes.

  It runs in a session of its own, so that it gets no signal that is meant for the
  kernel; the stop button's is passed on, and what the script then does is waited
  for. If the kernel is killed, a training learns of it by `Watched`.

  Args:
    *command: 'train.py', or what follows `python`; then arguments.
    **flags: The script's flags; None and '' are left out.

  Raises:
    Stopped: if it was stopped.
    UserError: if it failed; it has said why.
  """
  script, *arguments = command
  if script.endswith('.py'):
    command = (str(ROOT / 'scripts' / script), *arguments)
  process = subprocess.Popen(
      [sys.executable, *command, *(f'--{name}={value}' for name, value in
                                   flags.items() if value not in (None, ''))],
      cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, start_new_session=True,
      env={**os.environ, 'PYTHONUNBUFFERED': '1', 'PYTHONSAFEPATH': '',
           cells.IN_NOTEBOOK: cells.current_title()})
  decoder = codecs.getincrementaldecoder('utf-8')('replace')
  pressed = status = None
  while status is None:
    try:
      # Bytes as they come: a progress bar's lines have no end.
      part = os.read(process.stdout.fileno(), 1 << 16)
      print(decoder.decode(part), end='', flush=True)
      if not part:
        status = process.wait()
    except KeyboardInterrupt:
      if pressed is None or time.monotonic() - pressed > PRESS_SECONDS:
        pressed = time.monotonic()
        # As Ctrl-C in a terminal: what it has started (pip, apt) gets it too.
        with contextlib.suppress(ProcessLookupError):
          os.killpg(process.pid, signal.SIGINT)
  process.stdout.close()
  if status in STOPPED or pressed and not status:
    raise Stopped('Stopped; run this cell again to go on.')
  if status:
    raise UserError('This cell did not get through: what it said last is '
                        'why.' if status > 0 else
                        f'This cell was killed by signal {-status}'
                        + (', most likely for want of memory.'
                           if status == -signal.SIGKILL else '.'))


class Watched:
  """A stream of text that tells when nobody reads it any more."""

  def __init__(self, stream: TextIO, on_gone: Callable[[], object]):
    self._stream, self._on_gone = stream, on_gone

  def __getattr__(self, name: str) -> object:
    return getattr(self._stream, name)

  def write(self, text: str) -> int | None:
    """Writes as the stream does."""
    return self._try(self._stream.write, text)

  def flush(self) -> None:
    """Flushes as the stream does."""
    return self._try(self._stream.flush)

  def _try(self, method, *args):
    try:
      return method(*args)
    except OSError as e:
      if e.errno not in (errno.EPIPE, errno.EIO):
        raise
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, self._stream.fileno())  # What is still in its buffer too.
    os.close(null)
    self._on_gone()


class Stop:
  """Turns the first signal that asks to end into a stop between two steps.

      with Stop() as stop:
        ...                     # Here a signal raises KeyboardInterrupt.
        with stop.between_steps():
          ...                   # Here it only sets stop.asked.

  SIGINT is Ctrl-C and the stop button, SIGTERM a machine that shuts down, SIGHUP
  a terminal that is closed. When the reader of what this prints has gone, a killed
  kernel for example, that is such a sign too. What else comes in PRESS_SECONDS
  belongs to the first one.
  """
  SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

  def __init__(self) -> None:
    self.asked = None  # When, by time.monotonic.
    self._waits = False

  def __enter__(self) -> 'Stop':
    for number in self.SIGNALS:
      if signal.getsignal(number) != signal.SIG_IGN:  # As nohup has SIGHUP.
        signal.signal(number, self._note)
    sys.stdout, sys.stderr = (Watched(stream, self._note)
                              for stream in (sys.stdout, sys.stderr))
    return self

  def __exit__(self, *_: object) -> None:
    # The program ends; it need not end by a signal that comes late.
    for number in self.SIGNALS:
      if signal.getsignal(number) == self._note:
        signal.signal(number, signal.SIG_IGN)

  @contextlib.contextmanager
  def between_steps(self) -> Iterator[None]:
    """Where a signal waits for the step, or the save, to end."""
    self._waits = True
    try:
      yield
    finally:
      self._waits = False

  def _note(self, *_):
    first = self.asked is None
    if first:
      self.asked = time.monotonic()
    if not self._waits and (
        first or time.monotonic() - self.asked > PRESS_SECONDS):
      raise KeyboardInterrupt
