"""Training on several machines, which here are processes on loopback."""
import contextlib
import json
import os
import re
import select
import signal
import socket
import time

import conftest
from drumloops.errors import UserError
from drumloops.training import distributed
import pytest
import warm

JOBS = {'chief': ['a:1'], 'ps': ['b:1'], 'worker': ['c:1', 'd:1']}


def config(jobs, role, index):
  return json.dumps({'cluster': jobs, 'task': {'type': role, 'index': index},
                     'environment': 'cloud'})


@pytest.mark.parametrize('jobs,role,index,is_chief,number', [
    (JOBS, 'chief', 0, True, 0), (JOBS, 'worker', 1, False, 2),
    # Kubernetes' older name, and TensorFlow 2's way, in which worker 0 is the chief.
    ({'master': ['a:1'], 'ps': ['b:1']}, 'master', 0, True, 0),
    ({'worker': ['a:1', 'c:1'], 'ps': ['b:1']}, 'worker', 0, True, 0),
    ({'worker': ['a:1', 'c:1'], 'ps': ['b:1']}, 'worker', 1, False, 1)])
def test_who_is_who(monkeypatch, jobs, role, index, is_chief, number):
  monkeypatch.setenv('TF_CONFIG', config(jobs, role, index))
  machines = distributed.read()
  assert (machines.is_chief, machines.number) == (is_chief, number)
  assert machines.workers == sum(map(len, jobs.values())) - 1
  assert machines.device == f'/job:{role}/task:{index}'


@pytest.mark.parametrize('text', [
    '', '{}', config({'chief': ['localhost:1']}, 'chief', 0),  # Of Vertex AI.
    config({}, 'worker', 0)])
def test_one_machine(monkeypatch, text):
  monkeypatch.setenv('TF_CONFIG', text)
  assert distributed.read() is None


@pytest.mark.parametrize('text,word', [
    ('{', 'not understood'), ('[1]', 'not understood'),
    ('{"cluster": {"ps": 1}}', 'not understood'),
    (config({'worker': ['a:1', 'b:1']}, 'worker', 0), 'at least one ps'),
    (config({'ps': ['a:1', 'b:1']}, 'ps', 0), 'chief or worker'),
    (config(JOBS, 'worker', 2), 'worker 2'), (config(JOBS, None, 0), 'None 0'),
    (config({**JOBS, 'evaluator': ['e:1']}, 'evaluator', 0), 'the chief validates'),
    (config({'ps': 'a:1', 'chief': ['b:1']}, 'ps', 0), 'lists of host:port'),
    (config({'ps': {'0': 'a:1'}, 'chief': ['b:1']}, 'ps', 0), 'lists of host:port'),
    (config({**JOBS, 'chief': ['a:1', 'b:2']}, 'chief', 1), 'several chiefs'),
    (config({**JOBS, 'head': ['e:1']}, 'worker', 0), 'role head')])
def test_what_is_refused(monkeypatch, text, word):
  monkeypatch.setenv('TF_CONFIG', text)
  with pytest.raises(UserError, match=word):
    distributed.read()


def test_more_synchronous_workers_than_there_are(tmp_path):
  conftest.check_sentence(conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={tmp_path}', '--examples_path=x',
      '--num_sync_workers=2'), 'num_sync_workers')


def test_a_worker_whose_chief_had_nothing_to_do(dataset, monkeypatch, capsys):
  """It says so."""
  from drumloops.system import interrupts, magenta_setup
  from drumloops.training import trainer
  name, hparams = (flag.split('=', 1)[1] for flag in conftest.FLAT)
  def gone(*_):
    raise distributed.Ended
  monkeypatch.setattr(distributed, 'ClusterSession', gone)
  trainer.work(
      magenta_setup.get_config(name, hparams)._replace(
          train_examples_path=str(dataset / 'drummer-test.tfrecord')),
      trainer.TrainingRequest('run', 9), distributed.Cluster(JOBS, 'worker', 0),
      interrupts.Stop())
  assert 'has taken 0 steps; the chief has ended training.' in capsys.readouterr().out


@contextlib.contextmanager
def cluster_of(command, workers):
  """Yields what starts the machines of a cluster on loopback, and its addresses."""
  with contextlib.ExitStack() as stack:
    ports = [stack.enter_context(socket.create_server(('localhost', 0)))
             for _ in range(2 + workers)]
    addresses = [f'localhost:{port.getsockname()[1]}' for port in ports]
    for port in ports:
      port.close()
    jobs = {'ps': addresses[:1], 'chief': addresses[1:2], 'worker': addresses[2:]}
    def start(role, index):
      process = warm.Process(
          conftest.starter, *command, env={'TF_CONFIG': config(jobs, role, index)})
      stack.callback(process.stdout.close)
      stack.callback(process.wait)
      stack.callback(process.kill)
      return process
    yield start, addresses


def wait_for(process, pattern):
  """Reads what it prints, up to this; or its progress would fill the pipe."""
  seen = ''
  while not re.search(pattern, seen):
    assert select.select([process.stdout], [], [], 120)[0], seen
    part = os.read(process.stdout.fileno(), 1 << 16).decode(errors='replace')
    assert part, seen
    seen += part
  return seen


# A chief or worker without a model, whose waiting takes seconds.
COUNTING = '''
import sys, time
import tensorflow.compat.v1 as tf
from drumloops.system import interrupts
from drumloops.training import distributed
distributed.CHECK_SECONDS, distributed.SILENCE_SECONDS = 1, 2
distributed.PS_SECONDS = 15
interrupts.PRESS_SECONDS = 0.5
machines = distributed.read()
with interrupts.Stop() as stop:
  if machines.role == 'ps':
    distributed.serve(machines, stop)
    sys.exit()
  if machines.is_chief and 'idle' in sys.argv:
    distributed.end(machines, stop)
    sys.exit()
  with (stop.between_steps(), tf.Graph().as_default(),
        distributed.variables_on_ps(machines)):
    step = tf.train.get_or_create_global_step()
    count = tf.assign_add(step, 1)
    sess = distributed.ClusterSession(machines, step, lambda _: None, (), stop)
    while not stop.asked:
      sess.run(count)
      print('counted', flush=True)
      time.sleep(0.1)
'''


@pytest.fixture
def counting(tmp_path):
  """A file with COUNTING."""
  (tmp_path / 'counting.py').write_text(COUNTING)
  return str(tmp_path / 'counting.py')


def test_machines_are_killed(counting):
  """A worker, the chief, the ps: the others say so, and none waits without end."""
  with cluster_of([counting], 3) as (start, (ps_at, chief_at, *_, third_at)):
    ps, chief, first, second, third = machines = [start(*task) for task in (
        ('ps', 0), ('chief', 0), ('worker', 0), ('worker', 1), ('worker', 2))]
    for process in machines:
      said = wait_for(process, 'holds weights' if process is ps else 'counted')
      assert 'on all interfaces, also where TF_CONFIG says localhost' in said
    port = int(ps_at.rpartition(':')[2])
    with socket.create_connection(('127.0.0.2', port), 5):
      pass  # It is true.
    time.sleep(3)  # Until the chief has found it there.
    third.kill()
    wait_for(chief, f'The worker at {third_at} does not answer')
    chief.kill()
    for process in (ps, first, second):
      wait_for(process, f'The chief at {chief_at} does not answer')
    ps.kill()
    for process in (first, second):
      wait_for(process, f'The ps at {ps_at} does not answer')
    second.send_signal(signal.SIGINT)
    wait_for(second, 'a second Ctrl-C ends this')
    time.sleep(1)
    second.send_signal(signal.SIGINT)
    second.communicate(timeout=8)
    assert second.returncode == 130
    assert 'start all machines again' in first.communicate(timeout=30)[0]
    assert first.returncode == 1


def test_a_chief_that_has_nothing_to_do(counting):
  """A worker that waits for it learns that there is no training."""
  with cluster_of([counting, 'idle'], 1) as (start, _):
    ps, worker = [start(role, 0) for role in ('ps', 'worker')]
    wait_for(worker, 'on all interfaces')
    chief = start('chief', 0)
    assert 'drumloops.training.distributed.Ended' in worker.communicate(timeout=120)[0]
    assert 'The chief has ended training' in ps.communicate(timeout=60)[0]
    assert not chief.wait(60)


def test_a_worker_is_killed_and_comes_back(dataset, tmp_path):
  """And the chief is stopped: all end, and one machine alone goes on."""
  with cluster_of(conftest.endless(dataset, tmp_path / 'run')[1:], 2) as (start, _):
    ps, chief, first, second = [start(*task) for task in (
        ('ps', 0), ('chief', 0), ('worker', 0), ('worker', 1))]
    wait_for(chief, 'loss=')
    wait_for(second, r'[1-9]\d*/1000000')
    second.kill()
    second.communicate()
    second = start('worker', 1)
    begun = int(re.search(r'(\d+)/1000000', wait_for(
        second, r'\d/1000000'))[1])
    assert begun > 0  # Where the others are, not where a training begins.
    chief.send_signal(signal.SIGINT)
    said = {name: process.communicate()[0] for name, process in (
        ('chief', chief), ('first', first), ('second', second), ('ps', ps))}
    assert [p.returncode for p in (chief, first, second, ps)] == [130, 0, 0, 0], said
  step = int(re.search(r'Stopped at step (\d+) and saved', said['chief'])[1])
  assert step > begun and '3 workers took' in said['chief']
  for name in ('first', 'second'):
    assert re.search(r'has taken [1-9]\d* steps; the chief has ended', said[name])
  assert 'The chief has ended training' in said['ps']
  alone = conftest.script(
      'train.py', *conftest.FLAT, f'--run_dir={tmp_path}/run',
      f'--num_steps={step + 1}', f'--examples_path={dataset}/drummer.tfrecord')
  assert alone.returncode == 0, alone.stderr
  assert f'Resumed from {tmp_path}/run/train/model.ckpt-{step}' in alone.stdout
