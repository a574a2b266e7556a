"""TensorFlow and Magenta, started quietly."""
import sys

import conftest
from drumloops.system import magenta_setup
import pytest

CHATTER = r'''
import os, sys; sys.path.insert(0, sys.argv[1])

from drumloops.system import magenta_setup
with magenta_setup.without_chatter():
  os.write(2, b'WARNING: All log messages before absl::InitializeLog() is called\n'
              b'I0000 00:00:1795619669.902401 9547 cudart_stub.cc:31] No CUDA.\n'
              b'W0000 00:00:1795619669.902401 9547 gpu.cc:31] No GPU.\n'
              b'E0000 00:00:1795619669.902401 9547 gpu.cc:31] It broke.\n')
  if sys.argv[2] == 'dies':
    os.write(2, b'F0000 00:00:1795619669.902401 9547 cpu.cc:31] No AVX.\n')
    os.abort()
os.write(2, b'I0000 00:00:1 2 later.cc:3] Later.\n')
'''


@pytest.mark.parametrize('how', ['lives', 'dies'])
def test_chatter_is_kept_back_and_nothing_else(how):
  result = conftest.run(sys.executable, '-c', CHATTER, conftest.SCRIPTS, how)
  words = [line.split('] ')[-1] for line in result.stderr.splitlines()]
  assert words == (['It broke.', 'Later.'] if how == 'lives' else
                   ['It broke.', 'No AVX.'])
  assert (result.returncode == 0) == (how == 'lives')


@pytest.mark.parametrize('capability, is_told', [
    ((7, 5), False), ((9, 0), False), ((12, 0), True)])
def test_gpu_that_tensorflow_has_no_code_for(monkeypatch, capsys, capability,
                                             is_told):
  """T4, H100, and the Blackwell GPU of Colab's G4."""
  magenta_setup.music_vae()
  import tensorflow as tf
  monkeypatch.setattr(tf.config, 'list_physical_devices', lambda kind: [kind])
  monkeypatch.setattr(
      tf.config.experimental, 'get_device_details', lambda gpu: {
          'device_name': 'NVIDIA X', 'compute_capability': capability})
  magenta_setup.warn_of_new_gpu()
  out = capsys.readouterr().out
  assert ('NVIDIA X (compute capability 12.0) is newer' in out) == is_told
  assert ('T4, L4, A100 or H100' in out) == is_told
