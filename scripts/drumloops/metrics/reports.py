"""Evaluations as text and files."""
import json
import os


def cell(value):
  return f'{value:.3f}' if abs(value) < 10 else f'{value:.1f}'


def table(rows, columns):
  """Returns lines of a Markdown table of {name: {column: number}}."""
  return ['| | ' + ' | '.join(columns) + ' |', '|---' * (len(columns) + 1) + '|',
          *(f'| {name} | ' + ' | '.join(cell(row[c]) for c in columns) + ' |'
            for name, row in rows.items())]


def write_evaluation(output_dir, result, figures):
  """Writes an evaluation's numbers, and {file name: matplotlib figure}."""
  os.makedirs(output_dir, exist_ok=True)
  with open(os.path.join(output_dir, 'evaluation.json'), 'w') as f:
    json.dump(result, f, indent=2)
    f.write('\n')
  for name, figure in figures.items():
    figure.savefig(os.path.join(output_dir, name), dpi=100)
