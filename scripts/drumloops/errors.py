"""What to tell a user, in one sentence that knows the fields it is about.

A sentence names a field by `field`, a command by `stage`. The words depend on the
reader: Python says qpm, the command line --qpm, the notebook the cell's title and its
field (`speak_as`).
"""
import re
import sys
from typing import Callable

MOST_SEED = 2 ** 32 - 1
# Marks in a sentence. These are private characters of Unicode, which no text has.
_BEGIN, _END = '\ue000\ue001'
_MARK = re.compile(f'{_BEGIN}([a-z]+):([^{_END}]*){_END}')
THE_SAME_COMMAND = f'{_BEGIN}again:the same command{_END}'


def field(name: str, value: object = '') -> str:
  """Returns the mark of a field, and of the value that a sentence gives it."""
  return f'{_BEGIN}field:{name}{f"={value}" if value != "" else ""}{_END}'


def hparam(name: str, value: object = '') -> str:
  """Returns the mark of a hyperparameter, as `field` does."""
  return field(name, value).replace('field:', 'hparam:')


def stage(command: str) -> str:
  """Returns the mark of a command: 'train.py', or '-m module' and arguments."""
  return f'{_BEGIN}stage:{command}{_END}'


def in_python(kind: str, name: str) -> str:
  """Returns the words of a mark for who calls functions."""
  if kind == 'stage':
    return f'`{sys.executable} {name}`' if name.startswith('-m ') else f'scripts/{name}'
  return name


_words_of = in_python


def speak_as(words_of: Callable[[str, str], str]) -> None:
  """Sets who reads the sentences of this process.

  Args:
    words_of: Returns the words for a kind of mark ('field', 'hparam', 'stage' or
      'again') and what it names ('qpm=100', 'train.py').
  """
  global _words_of
  _words_of = words_of


def in_words(text: str) -> str:
  """Returns a sentence in the words of who reads it."""
  return _MARK.sub(lambda match: _words_of(*match.groups()), text)


class UserError(Exception):
  """One clear sentence that says what is wrong and what to do.

  Attributes:
    fields: The names of the fields that it is about.
  """

  def __init__(self, text: str):
    """Takes the sentence, with the marks of fields and commands."""
    super().__init__(text)
    self.fields = tuple(name.partition('=')[0] for kind, name in _MARK.findall(text)
                        if kind in ('field', 'hparam'))

  def __str__(self) -> str:
    return in_words(self.args[0])

  def _render_traceback_(self) -> list[str]:
    """What IPython shows in a notebook instead of a traceback."""
    return [str(self)]


def check_seeds(**seeds: int) -> None:
  """Raises UserError unless all, such as seed=0, are seeds that NumPy takes."""
  for name, value in seeds.items():
    if not 0 <= value <= MOST_SEED:
      raise UserError(
          f'{field(name)} must be from 0 to {MOST_SEED}, not {value}.')
