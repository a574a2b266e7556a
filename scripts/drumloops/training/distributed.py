"""Training on several machines: what TF_CONFIG says, servers, sessions.

Training works as in upstream's music_vae_train: between-graph replication (Abadi et
al. 2016, arXiv 1605.08695). Parameter servers (ps) hold variables, optimizer state and
step. Every worker builds the same graph, reads its own data and adds gradients. The
chief is the worker that also saves and validates.
"""
from collections.abc import Callable, Iterable
import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, NoReturn

from drumloops.errors import UserError, field
from drumloops.system import interrupts

if TYPE_CHECKING:
  import tensorflow.compat.v1 as tf

POLL_SECONDS = 1
PATIENCE_SECONDS = 600  # With a machine that does not answer.
CHECK_SECONDS = 5  # Between two looks who is still there, and for a session to close.
SILENCE_SECONDS = 15  # Until it is said that a machine does not answer.
PS_SECONDS = 40  # Until a ps that does not answer counts as gone.
ROLES = ('chief', 'master', 'worker', 'ps')


class Ended(Exception):
  """The chief has ended training before a worker had a session."""


@dataclasses.dataclass(frozen=True)
class Cluster:
  """The machines, and which of them this one is.

  Attributes:
    jobs: {role: ['host:port', ...]}.
    role: This machine's, one of ROLES.
    index: Which of its role this machine is, from 0.
  """
  jobs: dict[str, list[str]]
  role: str
  index: int

  def __post_init__(self) -> None:
    """Checks the cluster.

    Raises:
      UserError: if it can't train, or this machine is not in it.
    """
    if 'evaluator' in (self.role, *self.jobs):
      raise UserError('TF_CONFIG names an evaluator, which is not needed: the chief '
                      'validates; take it out of the cluster.')
    if unknown := set(self.jobs) - set(ROLES):
      raise UserError(f'TF_CONFIG has the role {min(unknown)}, but those known are '
                      f'{", ".join(ROLES)}.')
    if 'ps' not in self.jobs or len(self.jobs) == 1:
      raise UserError('TF_CONFIG needs at least one ps, which holds the weights, and '
                      'a chief or worker, which trains them.')
    if any(len(self.jobs.get(role, ())) > 1 for role in ('chief', 'master')):
      raise UserError('TF_CONFIG names several chiefs; one of them can be it, the '
                      'others are workers.')
    if not 0 <= self.index < len(self.jobs.get(self.role, ())):
      raise UserError(f'TF_CONFIG says that this is {self.role} {self.index}, which '
                      'its cluster has not.')

  @property
  def chief(self) -> str:
    """The role of the chief: of older configurations 'master', or worker 0."""
    return next(role for role in ROLES if role in self.jobs)

  @property
  def chief_address(self) -> str:
    """The chief's 'host:port'."""
    return self.jobs[self.chief][0]

  @property
  def is_chief(self) -> bool:
    """Whether this machine is the chief."""
    return (self.role, self.index) == (self.chief, 0)

  @property
  def number(self) -> int:
    """Which of all that compute steps this is; the chief is 0."""
    return self.index + (self.role == 'worker' and self.chief != 'worker')

  @property
  def workers(self) -> int:
    """How many compute steps, the chief among them."""
    return sum(len(addresses) for role, addresses in self.jobs.items()
               if role != 'ps')

  @property
  def address(self) -> str:
    """This machine's 'host:port'."""
    return self.jobs[self.role][self.index]

  @property
  def device(self) -> str:
    """What TensorFlow calls this machine."""
    return f'/job:{self.role}/task:{self.index}'


def read() -> Cluster | None:
  """Returns the Cluster that TF_CONFIG describes; None if it is one machine, or unset.

  As Kubernetes' TFJob and Google's Vertex AI write it:
  {"cluster": {"chief": ["host:port"], "ps": [...], "worker": [...]},
   "task": {"type": "worker", "index": 0}}.

  Raises:
    UserError: if it is not understood, or its cluster can't train.
  """
  text = os.environ.get('TF_CONFIG')
  if not text:
    return None
  try:
    config = json.loads(text)
    jobs = {role: addresses for role, addresses in (
        config.get('cluster') or {}).items() if addresses}
    task = config.get('task') or {}
    role, index = str(task.get('type')), int(task.get('index', 0))
    if not all(isinstance(addresses, list) and all(
        re.fullmatch(r'.+:\d+', str(a)) for a in addresses)
               for addresses in jobs.values()):
      raise ValueError('its cluster has no lists of host:port')
  except (ValueError, TypeError, AttributeError) as e:
    raise UserError(
        f'TF_CONFIG was not understood ({e}); it looks like {{"cluster": {{"chief": '
        '["host:port"], "ps": ["host:port"], "worker": ["host:port"]}, "task": '
        '{"type": "worker", "index": 0}}, or unset it to train on this machine '
        'alone.') from e
  if sum(map(len, jobs.values())) < 2:
    return None
  return Cluster(jobs, role, index)


def answers(address: str) -> bool:
  """Whether anybody listens at 'host:port'."""
  host, _, port = address.rpartition(':')
  try:
    with socket.create_connection((host.strip('[]'), int(port)), POLL_SECONDS):
      return True
  except (OSError, ValueError):
    return False


def wait_for(addresses: Iterable[str], stop: interrupts.Stop) -> None:
  """Waits until somebody listens at each address, and says for whom.

  Raises:
    KeyboardInterrupt: if `stop` is asked.
    UserError: after PATIENCE_SECONDS.
  """
  for address in addresses:
    began = None
    while not answers(address):
      if stop.asked:
        raise KeyboardInterrupt
      if began is None:
        began = time.monotonic()
        print(f'Waiting for {address} ...', flush=True)
      if time.monotonic() - began > PATIENCE_SECONDS:
        raise UserError(f'{address} has not answered for '
                        f'{PATIENCE_SECONDS // 60} minutes; start the ps there, '
                        'or correct TF_CONFIG.')
      time.sleep(POLL_SECONDS)


def end_now(status: int, text: str) -> NoReturn:
  """Ends this process, whose main thread may wait in TensorFlow without end."""
  try:
    sys.stdout.flush()
    print(f'\n{text}', file=sys.stderr, flush=True)
  finally:
    os._exit(status)


def end_at_second_signal() -> None:
  """Ends this process at a second Ctrl-C.

  Python does not hear it while a session waits, so a thread does.
  """
  heard, signalled = os.pipe()
  os.set_blocking(signalled, False)
  signal.set_wakeup_fd(signalled)
  def listen():
    os.read(heard, 1)
    first = time.monotonic()
    print('\nStopping; a second Ctrl-C ends this at once, and saves nothing.',
          flush=True)
    while time.monotonic() - first < interrupts.PRESS_SECONDS:
      os.read(heard, 1)
    time.sleep(POLL_SECONDS)  # Python may notice it too, and end better.
    end_now(130, 'Stopped.')
  threading.Thread(target=listen, daemon=True).start()


class Watch:
  """Says which machine does not answer; ends this process where a ps has gone.

  A session whose ps has gone waits for it without end. If the ps is back in time, all
  go on. The chief watches all machines, others the ps and the chief.

  Attributes:
    over: Once it is set, nobody is watched.
  """

  def __init__(self, machines: Cluster):
    """Begins to watch, in a thread."""
    self.over = threading.Event()
    self._is_ps = machines.role == 'ps'
    self._roles = {address: role for role, addresses in machines.jobs.items()
                   for address in addresses if role == 'ps' or machines.is_chief}
    self._roles[machines.chief_address] = 'chief'
    self._roles.pop(machines.address, None)
    self._heard = dict.fromkeys(self._roles, time.monotonic())  # When, of each.
    self._known, self._missed = set(), set()  # Who has come; of whom it was said.
    threading.Thread(target=self._work, daemon=True).start()

  def _work(self) -> None:
    while not self.over.wait(CHECK_SECONDS):
      for address, role in self._roles.items():
        is_there = answers(address)
        if self.over.is_set():
          break
        if is_there:
          self._note_answer(address, role)
        else:
          self._note_silence(address, role)

  def _note_answer(self, address: str, role: str) -> None:
    if address in self._missed:
      print(f'\nThe {role} at {address} answers.', flush=True)
    self._heard[address] = time.monotonic()
    self._known.add(address)
    self._missed.discard(address)

  def _note_silence(self, address: str, role: str) -> None:
    name, came = f'The {role} at {address}', address in self._known
    silent = time.monotonic() - self._heard[address]
    if came and role == 'ps' and silent > PS_SECONDS:
      end_now(1, f'{name} has gone, and with it what was trained since the '
              "chief's newest checkpoint; start all machines again, training "
              'goes on from there.')
    if came and role == 'chief' and not self._is_ps and silent > PATIENCE_SECONDS:
      end_now(1, f'{name} has not answered for {PATIENCE_SECONDS // 60} minutes, '
              'so nothing is saved any more; start it again, and then this worker.')
    if silent > SILENCE_SECONDS and address not in self._missed:
      self._missed.add(address)
      lost = {
          'ps': 'this ends if it is not back in '
                f'{PS_SECONDS - SILENCE_SECONDS} seconds',
          'chief': 'what is trained until it is back is lost',
          'worker': 'it has ended or died; those that need not wait for it go on'}
      print(f'\n{name} does not answer; {lost[role]}.' if came else
            f'\n{name} has not come yet.', flush=True)


def start_server(machines: Cluster) -> tuple[str, Watch]:
  """Starts this machine's server; returns where a session reaches it, and a Watch.

  Raises:
    UserError: if its address is taken, or not this machine's.
  """
  import tensorflow.compat.v1 as tf
  try:
    # It lives as long as this process.
    target = tf.train.Server(machines.jobs, machines.role, machines.index,
                             config=session_config(machines)).target
  except tf.errors.OpError as e:
    raise UserError(
        f'No server could be started at {machines.address} '
        '(is the port taken, perhaps by this training, started twice?); free it, or '
        'correct TF_CONFIG.') from e
  print(f'This {machines.role} listens at port {machines.address.rpartition(":")[2]} '
        'on all interfaces, also where TF_CONFIG says localhost. Who reaches the port '
        'can read and write files as this user: only in a network of your own.',
        flush=True)
  end_at_second_signal()
  return target, Watch(machines)


def session_config(machines: Cluster) -> 'tf.ConfigProto':
  """Returns what a session of this machine needs.

  Workers do not wait for each other, and go on when one dies.
  """
  import tensorflow.compat.v1 as tf
  return tf.ConfigProto(device_filters=['/job:ps', machines.device],
                        operation_timeout_in_ms=PATIENCE_SECONDS * 1000,
                        allow_soft_placement=True)


def variables_on_ps(
    machines: Cluster | None) -> contextlib.AbstractContextManager:
  """Returns a context in which variables are on the ps, all else is on this machine.

  With None for `machines` it changes nothing.
  """
  import tensorflow.compat.v1 as tf
  return tf.device(machines and tf.train.replica_device_setter(
      cluster=machines.jobs, worker_device=machines.device))


def ended_queue() -> 'tf.FIFOQueue':
  """Returns the queue in which something is once the chief has ended training."""
  import tensorflow.compat.v1 as tf
  with tf.device('/job:ps/task:0'):
    return tf.FIFOQueue(100, tf.bool, shapes=[[]], shared_name='ended')


def end(machines: Cluster, stop: interrupts.Stop) -> None:
  """Tells the others, where a chief has no session, that training has ended."""
  import tensorflow.compat.v1 as tf
  began = time.monotonic()
  while not all(map(answers, machines.jobs['ps'])):
    if stop.asked or time.monotonic() - began > PS_SECONDS:
      print('There is no ps to be told that training has ended.')
      return
    time.sleep(POLL_SECONDS)
  with tf.Graph().as_default():
    enqueue, (target, watch) = ended_queue().enqueue(True), start_server(machines)
    with tf.Session(target, config=session_config(machines)) as sess:
      sess.run(enqueue)
      watch.over.set()


def serve(machines: Cluster, stop: interrupts.Stop) -> None:
  """Serves as a ps until the chief has ended training, or `stop` is asked.

  Raises:
    UserError: if the first ps has not answered for PATIENCE_SECONDS.
    KeyboardInterrupt: if `stop` was asked.
  """
  import tensorflow.compat.v1 as tf
  tf.config.set_visible_devices([], 'GPU')  # It holds weights, and computes nothing.
  target, watch = start_server(machines)
  print(f'This ps holds weights at {machines.address}.', flush=True)
  with stop.between_steps():
    _wait_for_end(machines, target, stop)
  if stop.asked:
    raise KeyboardInterrupt
  watch.over.set()
  # The others learn it from this ps, each after its step.
  for _ in range(PATIENCE_SECONDS // CHECK_SECONDS):
    time.sleep(CHECK_SECONDS)
    if not any(map(answers, machines.jobs.get('worker', ()))):
      break
  print('The chief has ended training.')


def _wait_for_end(machines: Cluster, target: str, stop: interrupts.Stop) -> None:
  """Waits until the chief has ended training, or `stop` is asked.

  Args:
    machines: The cluster.
    target: Where a session reaches this machine's server.
    stop: Ends the waiting.

  Raises:
    UserError: if the first ps has not answered for PATIENCE_SECONDS.
  """
  import tensorflow.compat.v1 as tf
  all_ps = machines.jobs['ps']
  with tf.Graph().as_default():
    size = ended_queue().size()
    wait_for(all_ps, stop)  # While it waits, a session can't be stopped.
    with tf.Session(target, config=session_config(machines)) as sess:
      heard = time.monotonic()
      while not stop.asked:
        try:
          if sess.run(size):
            return
          heard = time.monotonic()
        except tf.errors.OpError as e:
          if time.monotonic() - heard > PATIENCE_SECONDS:
            raise UserError(
                f'The first ps, {all_ps[0]}, has gone; start all machines again, the '
                'chief goes on from its newest checkpoint.') from e
        time.sleep(POLL_SECONDS)


class LocalSession:
  """A session on this machine alone."""

  def __init__(self, begin: Callable[['tf.Session'], None]):
    """Opens it.

    Args:
      begin: Gives a session the weights to begin with.
    """
    import tensorflow.compat.v1 as tf
    self._sess = tf.Session()
    self._sess.run(tf.global_variables_initializer())
    begin(self._sess)

  def run(self, fetches: object) -> object:
    """Returns what tf.Session.run does."""
    return self._sess.run(fetches)

  def with_raw(self, function: Callable[['tf.Session'], None]) -> None:
    """Calls `function` with the tf.Session."""
    function(self._sess)

  def step_after(self, step: int) -> int:
    """Returns the step after a run that trained, given the one before."""
    return step + 1

  def close(self) -> None:
    """Closes it."""
    self._sess.close()


class ClusterSession:
  """A session of a chief or worker, with what LocalSession has.

  It goes on when a ps has been away: then with what the chief begins with again.
  """

  def __init__(self, machines: Cluster, step: 'tf.Variable',
               begin: Callable[['tf.Session'], None] | None,
               hooks: list['tf.train.SessionRunHook'], stop: interrupts.Stop):
    """Waits for the ps, and a worker for the chief's first weights.

    Args:
      machines: The cluster.
      step: The global step's variable.
      begin: As of LocalSession; of the chief.
      hooks: Of the session.
      stop: Ends the waiting.

    Raises:
      UserError: if a worker's chief does not begin.
      Ended: if it has ended training instead.
    """
    import tensorflow.compat.v1 as tf
    self._step, ended = step, ended_queue()
    self._has_ended = ended.size()
    self._end = ended.enqueue(True) if machines.is_chief else None
    target, self._watch = start_server(machines)
    self._sess = tf.train.MonitoredSession(
        _SessionCreator(machines, target, begin, self._has_ended, stop), hooks,
        stop_grace_period_secs=POLL_SECONDS)

  def run(self, fetches: object) -> object:
    """Returns what tf.Session.run does."""
    return self._sess.run(fetches)

  def with_raw(self, function: Callable[['tf.Session'], None]) -> None:
    """Calls `function` with the tf.Session."""
    self._sess.run_step_fn(lambda step_context: function(step_context.session))

  def step_after(self, step: int) -> int:
    """Returns the step after a run that trained: the others train, too."""
    return int(self.run(self._step))

  def has_ended(self) -> bool:
    """Whether the chief has ended training."""
    return self.run(self._has_ended) > 0

  def close(self) -> None:
    """Closes it; the others learn from a chief that training has ended."""
    import tensorflow.compat.v1 as tf
    if self._end is not None and not self._sess.should_stop():
      with contextlib.suppress(tf.errors.OpError, UserError):
        self.run(self._end)
    self._watch.over.set()
    # What fills the queue that synchronous workers wait at ends by an exception.
    hook, threading.excepthook = threading.excepthook, lambda _: None
    # Where a ps has been away or ends meanwhile, it may never be closed.
    closing = threading.Thread(target=self._sess.close, daemon=True)
    closing.start()
    closing.join(CHECK_SECONDS)
    threading.excepthook = hook


Session = LocalSession | ClusterSession


@dataclasses.dataclass
class _SessionCreator:
  """What tf.train.MonitoredSession opens its sessions with, again and again.

  Attributes:
    machines: The cluster.
    target: Where a session reaches this machine's server.
    begin: Gives a chief's session the weights to begin with.
    has_ended: How much is in the `ended_queue`.
    stop: Ends the waiting.
  """
  machines: Cluster
  target: str
  begin: Callable[['tf.Session'], None] | None
  has_ended: 'tf.Tensor'
  stop: interrupts.Stop

  def create_session(self) -> 'tf.Session':
    """Opens a session, once the ps are there and the chief has begun."""
    import tensorflow.compat.v1 as tf
    wait_for(self.machines.jobs['ps'], self.stop)
    scaffold = tf.train.Scaffold().finalize()  # After the hooks' ops are made.
    manager = tf.train.SessionManager(
        scaffold.local_init_op, scaffold.ready_op,
        scaffold.ready_for_local_init_op, recovery_wait_secs=POLL_SECONDS)
    config = session_config(self.machines)
    if self.machines.is_chief:
      return manager.prepare_session(
          self.target, scaffold.init_op, config=config, init_fn=self.begin)
    return self._wait_for_chief(manager, config)

  def _wait_for_chief(self, manager: 'tf.train.SessionManager',
                      config: 'tf.ConfigProto') -> 'tf.Session':
    import tensorflow.compat.v1 as tf
    began = time.monotonic()
    while time.monotonic() - began < PATIENCE_SECONDS:
      with contextlib.suppress(tf.errors.DeadlineExceededError):
        return manager.wait_for_session(self.target, config, 5 * POLL_SECONDS)
      with tf.Session(self.target, config=config) as sess:
        if sess.run(self.has_ended):
          raise Ended
      if self.stop.asked:
        raise KeyboardInterrupt
    raise UserError(
        f'The chief at {self.machines.chief_address} has not begun for '
        f'{PATIENCE_SECONDS // 60} minutes; start it with the same {field("config")}.')
