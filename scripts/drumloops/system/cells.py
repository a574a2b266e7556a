"""The notebook's cells, read from its file: their titles, fields and commands.

So a sentence can name the cell and the field that it is about, wherever they are.
"""
import ast
import functools
import json
import os
import re
import sys
from typing import NamedTuple

from drumloops import ROOT

NOTEBOOK = ROOT / 'MusicVAE_Drum_Sampling_4bars.ipynb'
# Says to a command that a cell runs it, and which: the cell's title.
IN_NOTEBOOK = 'MUSICVAE_DRUMS_IN_NOTEBOOK'


class Cell(NamedTuple):
  """A cell of code.

  title: What its form shows.
  source: Its code.
  fields: {what a function calls a field: what the form calls it}.
  """
  title: str
  source: str
  fields: dict[str, str]


def read_cell(source: str) -> Cell:
  """Returns the Cell of some code.

  A form's field is a name with #@param. It has another name, too, if the value of a
  keyword or of a variable in a tuple is made of that field alone.
  """
  title = re.search(r'(?m)^#@title (.*)$', source)
  form = re.findall(r'(?m)^(\w+) = .*#@param', source)
  fields = {}
  def note(name: str, value: ast.AST) -> None:
    used = {n.id for n in ast.walk(value) if isinstance(n, ast.Name)} & set(form)
    if len(used) == 1:
      fields.setdefault(name, *used)
  for node in ast.walk(ast.parse(source)):
    if isinstance(node, ast.keyword) and node.arg:
      note(node.arg, node.value)
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Tuple) and (
        isinstance(node.value, ast.Tuple)):
      for target, value in zip(node.targets[0].elts, node.value.elts):
        note(target.id, value)
  return Cell(title[1] if title else '', source, {
      **fields, **{name: name for name in form}})


@functools.cache
def read_cells() -> tuple[Cell, ...]:
  """Returns the notebook's cells of code, from the top."""
  cells = json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']
  return tuple(read_cell(''.join(cell['source'])) for cell in cells
               if cell['cell_type'] == 'code')


def shell() -> object:
  """Returns the shell of the kernel that this runs in, None if it is no kernel."""
  ipython = sys.modules.get('IPython')
  return ipython and ipython.get_ipython()


def current_title() -> str:
  """Returns the title of the cell that runs, '' if there is none."""
  source = shell().user_ns.get('In', [''])[-1] if shell() else ''
  title = re.search(r'(?m)^#@title (.*)$', source)
  return title[1] if title else os.environ.get(IN_NOTEBOOK, '')


def in_cells(kind: str, name: str) -> str:
  """Returns the words of a mark for who reads the notebook: see `errors.speak_as`."""
  current = current_title()
  cells = sorted(read_cells(), key=lambda cell: cell.title != current)
  if kind == 'again':
    return 'this cell'
  if kind == 'stage':
    called = re.escape(name.removesuffix('.py'))
    found = [cell.title for cell in cells if re.search(
        rf'\.{called}\(', cell.source) or all(
            f'"{part}"' in cell.source for part in name.split())]
    return f'cell "{found[0]}"' if found else name
  name, _, value = name.partition('=')
  found = [cell for cell in cells if name in cell.fields]
  said = f'{found[0].fields[name] if found else name}' + {
      '': '', 'True': ' ticked', 'False': ' not ticked'}.get(value, f' = {value}')
  return f'{said} in cell "{found[0].title}"' if found else said
