"""Training on several machines: what TF_CONFIG says, servers, sessions.

TensorFlow's own way, as upstream's music_vae_train has it (between-graph replication,
Abadi et al. 2016, arXiv 1605.08695): the variables, the optimizer's state and the step
lie on parameter servers (ps); every worker builds the same graph, reads data of its
own and adds gradients to them. The chief is the worker that also saves and validates.
"""
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

from drumloops.errors import UserError, field
from drumloops.system import interrupts

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
  """The machines, and which of them this one is."""
  jobs: dict  # {role: ['host:port', ...]}
  role: str
  index: int

  @property
  def chief(self):
    """The role of the chief: of older configurations 'master', or worker 0."""
    return next(role for role in ROLES if role in self.jobs)

  @property
  def is_chief(self):
    return (self.role, self.index) == (self.chief, 0)

  @property
  def number(self):
    """Which of all that compute steps this is; the chief is 0."""
    return self.index + (self.role == 'worker' and self.chief != 'worker')

  @property
  def workers(self):
    """How many compute steps."""
    return sum(len(addresses) for role, addresses in self.jobs.items()
               if role != 'ps')

  @property
  def address(self):
    return self.jobs[self.role][self.index]

  @property
  def device(self):
    return f'/job:{self.role}/task:{self.index}'


def read():
  """Returns the Cluster that TF_CONFIG describes; None if it is one machine, or unset.

  As Kubernetes' TFJob and Google's Vertex AI write it:
  {"cluster": {"chief": ["host:port"], "ps": [...], "worker": [...]},
   "task": {"type": "worker", "index": 0}}.

  Raises:
    UserError: if it does not say so.
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
  if 'evaluator' in (role, *jobs):
    raise UserError('TF_CONFIG names an evaluator, which is not needed: the chief '
                        'validates; take it out of the cluster.')
  if unknown := set(jobs) - set(ROLES):
    raise UserError(f'TF_CONFIG has the role {min(unknown)}, but those known are '
                        f'{", ".join(ROLES)}.')
  if 'ps' not in jobs or len(jobs) == 1:
    raise UserError('TF_CONFIG needs at least one ps, which holds the weights, and '
                        'a chief or worker, which trains them.')
  if any(len(jobs.get(role, ())) > 1 for role in ('chief', 'master')):
    raise UserError('TF_CONFIG names several chiefs; one of them can be it, the '
                        'others are workers.')
  if not 0 <= index < len(jobs.get(role, ())):
    raise UserError(f'TF_CONFIG says that this is {role} {index}, which its '
                        'cluster has not.')
  return Cluster(jobs, role, index)


def answers(address):
  """Whether anybody listens at 'host:port'."""
  host, _, port = address.rpartition(':')
  try:
    with socket.create_connection((host.strip('[]'), int(port)), POLL_SECONDS):
      return True
  except (OSError, ValueError):
    return False


def wait_for(addresses, stop):
  """Waits until somebody listens at each address, and says for whom.

  Raises:
    KeyboardInterrupt: if `stop`, a interrupts.Stop, is asked.
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


def end_now(status, text):
  """Ends this process, whose main thread may wait in TensorFlow without end."""
  try:
    sys.stdout.flush()
    print(f'\n{text}', file=sys.stderr, flush=True)
  finally:
    os._exit(status)


def end_at_second_signal():
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
    time.sleep(POLL_SECONDS)  # Where Python hears it too, it may end better.
    end_now(130, 'Stopped.')
  threading.Thread(target=listen, daemon=True).start()


def watch(machines):
  """Says from now on who does not answer, and ends this process where a ps has gone.

  A session whose ps has gone waits for it without end; if it is back in time, all go
  on. The chief watches all machines, others the ps and the chief.

  Returns:
    A threading.Event; once it is set, nobody is watched.
  """
  over = threading.Event()
  roles = {address: role for role, addresses in machines.jobs.items()
           for address in addresses if role == 'ps' or machines.is_chief}
  roles[machines.jobs[machines.chief][0]] = 'chief'
  roles.pop(machines.address, None)
  left = PS_SECONDS - SILENCE_SECONDS
  lost = {'ps': f'this ends if it is not back in {left} seconds',
          'chief': 'what is trained until it is back is lost',
          'worker': 'it has ended or died; those that need not wait for it go on'}
  def look():
    heard, known, said = dict.fromkeys(roles, time.monotonic()), set(), set()
    while not over.wait(CHECK_SECONDS):
      for address, role in roles.items():
        name, is_there = f'The {role} at {address}', answers(address)
        silent = time.monotonic() - heard[address]
        if over.is_set():
          break
        if is_there:
          if address in said:
            print(f'\n{name} answers.', flush=True)
          heard[address] = time.monotonic()
          known.add(address)
          said.discard(address)
        elif role == 'ps' and address in known and silent > PS_SECONDS:
          end_now(1, f'{name} has gone, and with it what was trained since the '
                  "chief's newest checkpoint; start all machines again, training "
                  'goes on from there.')
        elif (role == 'chief' and address in known and machines.role != 'ps' and
              silent > PATIENCE_SECONDS):
          end_now(1, f'{name} has not answered for {PATIENCE_SECONDS // 60} minutes, '
                  'so nothing is saved any more; start it again, and then this '
                  'worker.')
        elif silent > SILENCE_SECONDS and address not in said:
          said.add(address)
          print(f'\n{name} does not answer; {lost[role]}.' if address in known else
                f'\n{name} has not come yet.', flush=True)
  threading.Thread(target=look, daemon=True).start()
  return over


def start_server(machines):
  """Starts this machine's server; returns where a session reaches it, and `watch`'s.

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
  return target, watch(machines)


def session_config(machines):
  import tensorflow.compat.v1 as tf
  # Workers do not wait for each other, and go on when one dies.
  return tf.ConfigProto(device_filters=['/job:ps', machines.device],
                        operation_timeout_in_ms=PATIENCE_SECONDS * 1000,
                        allow_soft_placement=True)


def variables_on_ps(machines):
  """Returns a context in which variables are on the ps, all else is on this machine.

  With None for `machines` it changes nothing.
  """
  import tensorflow.compat.v1 as tf
  return tf.device(machines and tf.train.replica_device_setter(
      cluster=machines.jobs, worker_device=machines.device))


def ended_queue():
  """Returns the queue in which something is once the chief has ended training."""
  import tensorflow.compat.v1 as tf
  with tf.device('/job:ps/task:0'):
    return tf.FIFOQueue(100, tf.bool, shapes=[[]], shared_name='ended')


def end(machines, stop):
  """Tells the others, where a chief has no session, that training has ended."""
  import tensorflow.compat.v1 as tf
  began = time.monotonic()
  while not all(map(answers, machines.jobs['ps'])):
    if stop.asked or time.monotonic() - began > PS_SECONDS:
      print('There is no ps to be told that training has ended.')
      return
    time.sleep(POLL_SECONDS)
  with tf.Graph().as_default():
    enqueue, (target, over) = ended_queue().enqueue(True), start_server(machines)
    with tf.Session(target, config=session_config(machines)) as sess:
      sess.run(enqueue)
      over.set()


def serve(machines, stop):
  """Is a ps until the chief has ended training, or `stop` is asked.

  Raises:
    UserError: if the first ps has not answered for PATIENCE_SECONDS.
    KeyboardInterrupt: if `stop` was asked.
  """
  import tensorflow.compat.v1 as tf
  tf.config.set_visible_devices([], 'GPU')  # It holds weights, and computes nothing.
  (target, over), all_ps = start_server(machines), machines.jobs['ps']
  print(f'This ps holds weights at {machines.address}.', flush=True)
  with stop.between_steps(), tf.Graph().as_default():
    size = ended_queue().size()
    wait_for(all_ps, stop)  # While it waits, a session can't be stopped.
    with tf.Session(target, config=session_config(machines)) as sess:
      heard = time.monotonic()
      while not stop.asked:
        try:
          if sess.run(size):
            break
          heard = time.monotonic()
        except tf.errors.OpError as e:
          if time.monotonic() - heard > PATIENCE_SECONDS:
            raise UserError(
                f'The first ps, {all_ps[0]}, has gone; start all machines again, the '
                'chief goes on from its newest checkpoint.') from e
        time.sleep(POLL_SECONDS)
  if stop.asked:
    raise KeyboardInterrupt
  over.set()
  # The others learn it from this ps, each after its step.
  for _ in range(PATIENCE_SECONDS // CHECK_SECONDS):
    time.sleep(CHECK_SECONDS)
    if not any(map(answers, machines.jobs.get('worker', ()))):
      break
  print('The chief has ended training.')


class Alone:
  """A session on this machine alone."""

  def __init__(self, begin):
    """Takes a function that gives a tf.Session, its argument, the first weights."""
    import tensorflow.compat.v1 as tf
    self._sess = tf.Session()
    self._sess.run(tf.global_variables_initializer())
    begin(self._sess)

  def run(self, fetches):
    return self._sess.run(fetches)

  def with_raw(self, function):
    """Calls `function` with the tf.Session."""
    function(self._sess)

  def step_after(self, i):
    """Returns the step after a run that trained, given the one before."""
    return i + 1

  def close(self):
    self._sess.close()


class Shared:
  """A session of a chief or worker, with what Alone has.

  It goes on when a ps has been away: then with what the chief begins with again.
  """

  def __init__(self, machines, step, begin=None, hooks=(), stop=None):
    """Waits for the ps, and a worker for the chief's first weights.

    Args:
      machines: A Cluster.
      step: The global step's variable.
      begin: As of Alone; of the chief.
      hooks: tf.train.SessionRunHooks.
      stop: A interrupts.Stop, by which waiting ends.

    Raises:
      UserError: if a worker's chief does not begin.
      Ended: if it has ended training instead.
    """
    import tensorflow.compat.v1 as tf
    self._step, ended = step, ended_queue()
    self._has_ended = has_ended = ended.size()
    self._end = ended.enqueue(True) if machines.is_chief else None
    target, self._over = start_server(machines)
    config = session_config(machines)
    class Creator(tf.train.SessionCreator):
      def create_session(self):
        wait_for(machines.jobs['ps'], stop)
        scaffold = tf.train.Scaffold().finalize()  # After the hooks' ops are made.
        manager = tf.train.SessionManager(
            scaffold.local_init_op, scaffold.ready_op,
            scaffold.ready_for_local_init_op, recovery_wait_secs=POLL_SECONDS)
        if machines.is_chief:
          return manager.prepare_session(
              target, scaffold.init_op, config=config, init_fn=begin)
        began = time.monotonic()
        while time.monotonic() - began < PATIENCE_SECONDS:
          with contextlib.suppress(tf.errors.DeadlineExceededError):
            return manager.wait_for_session(target, config, 5 * POLL_SECONDS)
          with tf.Session(target, config=config) as sess:
            if sess.run(has_ended):
              raise Ended
          if stop.asked:
            raise KeyboardInterrupt
        raise UserError(
            f'The chief at {machines.jobs[machines.chief][0]} has not begun for '
            f'{PATIENCE_SECONDS // 60} minutes; start it with the same {field("config")}.')
    self._sess = tf.train.MonitoredSession(
        Creator(), hooks, stop_grace_period_secs=POLL_SECONDS)

  def run(self, fetches):
    return self._sess.run(fetches)

  def with_raw(self, function):
    self._sess.run_step_fn(lambda step_context: function(step_context.session))

  def step_after(self, i):
    return int(self.run(self._step))

  def has_ended(self):
    """Whether the chief has ended training."""
    return self.run(self._has_ended) > 0

  def close(self):
    """Closes it; the others learn from a chief that training has ended."""
    import tensorflow.compat.v1 as tf
    if self._end is not None and not self._sess.should_stop():
      with contextlib.suppress(tf.errors.OpError, UserError):
        self.run(self._end)
    self._over.set()
    # What fills the queue that synchronous workers wait at ends by an exception.
    hook, threading.excepthook = threading.excepthook, lambda _: None
    # Where a ps has been away or ends meanwhile, it may never be closed.
    closing = threading.Thread(target=self._sess.close, daemon=True)
    closing.start()
    closing.join(CHECK_SECONDS)
    threading.excepthook = hook
