"""Executes the notebook with this Python's kernel, its form filled in.

    python execute_notebook.py NOTEBOOK OUTPUT FOLDER name=value ...

`FOLDER` stands for Colab's /content; the notebook starts there. Each
`name = value #@param` line whose name is given gets that value.
"""
import re
import sys

import nbformat


def fill_in(nb, folder, values):
  """Writes values into the forms of a notebook, and `folder` for /content."""
  for cell in nb.cells:
    if cell.cell_type == 'code':
      cell.source = cell.source.replace('/content', folder)
      for value in values:
        name, _, value = value.partition('=')
        cell.source = re.sub(rf'^{name} = .*(?= #@param)',
                             lambda _: f'{name} = {value}', cell.source,
                             flags=re.M)


def main(notebook, output, folder, *values):
  import nbclient
  nb = nbformat.read(notebook, as_version=4)
  fill_in(nb, folder, values)
  try:
    nbclient.NotebookClient(nb, timeout=1200, kernel_name='python3',
                            resources={'metadata': {'path': folder}}).execute()
  finally:
    nbformat.write(nb, output)


if __name__ == '__main__':
  main(*sys.argv[1:])
