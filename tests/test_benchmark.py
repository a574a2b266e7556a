"""scripts/benchmark.py."""
import sys

import benchmark
import conftest
from drumloops.system import magenta_setup


def test_quick_prints_both_sides_and_their_ratio(tmp_path):
  result = conftest.script('benchmark.py', '--quick', f'--report={tmp_path}/x.md',
                           python=sys.executable)  # It starts processes of its own.
  assert result.returncode == 0, result.stderr
  assert (tmp_path / 'x.md').read_text() == result.stdout
  assert 'no GPU' in result.stdout.splitlines()[0]
  rows = [[cell.strip() for cell in line.split('|')[1:-1]]
          for line in result.stdout.splitlines() if line.startswith('|')]
  assert [row[1] for row in rows] == ['', '---', 'stock', 'ours', '**ratio**']
  stock, ours, ratio = rows[2:]
  assert stock[0] == ours[0] != ''
  steps = [float(row[4]) for row in (stock, ours)]
  assert abs(steps[1] / steps[0] - float(ratio[4].strip('*'))) < 0.1


def test_operations_counted():
  # One layer each: encoder [2], decoder [3], z 5, for 2 examples of 4 drums'
  # roll and silence; 512 classes, 16 segments, 64 steps.
  shapes = {
      'encoder/fw/lstm_cell/kernel': [5 + 2, 8],
      'encoder/mu/kernel': [2, 5],
      'decoder/hierarchical_level_0/initial_state/kernel': [5, 6],
      'decoder/hierarchical_level_0/cell_0/lstm_cell/kernel': [1 + 3, 12],
      'core_decoder/decoder/z_to_initial_state/kernel': [3, 6],
      'core_decoder/decoder/multi_rnn_cell/cell_0/lstm_cell/kernel':
          [512 + 3 + 3, 12],
      'core_decoder/decoder/output_projection/kernel': [3, 512],
      'core_decoder/decoder/output_projection/bias': [512]}
  forward = (64 * 7 * 8 + 2 * 5 + 5 * 6 + 16 * 4 * 12 + 16 * 3 * 6 +
             16 * 3 * 12 + 64 * 3 * 12 + 64 * 3 * 512)
  hparams = magenta_setup.get_config(
      'hierdec-drums_4bar_tiny', 'batch_size=2,dec_rnn_size=[3]').hparams
  assert benchmark.flops(hparams, shapes) == 3 * 2 * 2 * forward
