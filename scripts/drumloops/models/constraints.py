"""What of a loop a completion keeps: some drums, some bars, its rhythm.

Constraints become a mask: the classes (one bit a drum) that each step may have. The
encoder's input says of each drum and step 1, 0 or, if the mask leaves it open, a half.
"""
import dataclasses
import re
from collections.abc import Iterable
from typing import Any

from drumloops import grid
from drumloops.errors import UserError, field
from drumloops.data import patterns
from magenta_patches.added.drum_classes import (
    CLOSED_HIHAT, CRASH, HIGH_TOM, LOW_TOM, MID_TOM, OPEN_HIHAT, RIDE)
import numpy as np

CLASSES = 2 ** grid.DRUMS


def _parts(value: str | Iterable) -> list[str]:
  """Returns the parts of 'a, b', of ['a', 'b'], or of one number."""
  if value is None or isinstance(value, int):
    value = [] if value is None else [value]
  parts = value.split(',') if isinstance(value, str) else map(str, value)
  return list(filter(None, map(str.strip, parts)))


def read_drums(value: str | Iterable[str], name: str) -> tuple[int, ...]:
  """Returns the drums that 'kick,closed-hi-hat,toms' names, or a list of names.

  hi-hat, toms and cymbals are all drums of that kind.

  Args:
    value: What a user typed.
    name: The name of its field.

  Raises:
    UserError: if there is no such drum.
  """
  names = {re.sub('[^a-z]', '', drum_name): (drum,)
           for drum, drum_name in enumerate(grid.DRUM_CLASSES)}
  names.update(hihat=(CLOSED_HIHAT, OPEN_HIHAT), toms=(LOW_TOM, MID_TOM, HIGH_TOM),
               cymbals=(CLOSED_HIHAT, OPEN_HIHAT, CRASH, RIDE))
  found = set()
  for part in _parts(value):
    drums = names.get(re.sub('[^a-z]', '', part.lower()))
    if drums is None:
      raise UserError(
          f'{field(name)} knows no drum {part!r}, but {", ".join(grid.DRUM_CLASSES)}; '
          'hi-hat, toms and cymbals are all of their kind.')
    found.update(drums)
  return tuple(sorted(found))


def read_bars(value: str | Iterable[int], name: str) -> tuple[int, ...]:
  """Returns bars, counted from 0, of their numbers such as '1,2', '1-3' or [1, 2].

  Args:
    value: What a user typed.
    name: The name of its field.

  Raises:
    UserError: if it is something else.
  """
  found = set()
  for part in _parts(value):
    match = re.fullmatch(r'([1-9]\d{0,3})(?:-([1-9]\d{0,3}))?', part)
    if not match:
      raise UserError(f'{field(name)} takes numbers of bars from 1 on, such as '
                      f'1,2 or 1-3, not {part!r}.')
    first, last = int(match[1]), int(match[2] or match[1])
    if last < first:
      raise UserError(f'{field(name)} takes {last}-{first}, not {part}.')
    found.update(range(first - 1, last))
  return tuple(sorted(found))


def _constraint(default: Any, read: Any, about: str) -> Any:
  """Returns a field of Constraints.

  Args:
    default: Its value where nothing is asked for.
    read: From what a user typed, and the field's name, to its value.
    about: What the flag's help says.
  """
  return dataclasses.field(default=default, metadata={'read': read, 'about': about})


@dataclasses.dataclass(frozen=True)
class Constraints:
  """What of a loop is kept. Another constraint is another field.

  Attributes:
    keep: Drums whose hits are kept, and to which none is added.
    keep_bars: Bars, counted from 0, that are kept as they are.
    rhythm: Whether drums are hit at just the steps at which the loop has any hit.
    without: Drums that are not hit, except in kept bars.
  """
  keep: tuple[int, ...] = _constraint(
      (), read_drums, 'drums whose hits are kept, such as kick,snare.')
  keep_bars: tuple[int, ...] = _constraint(
      (), read_bars, 'bars that are kept, such as 1,2.')
  rhythm: bool = _constraint(
      False, lambda value, name: bool(value), 'whether drums play at just the '
      'sixteenths at which the MIDI file has any hit.')
  without: tuple[int, ...] = _constraint((), read_drums, 'drums that do not play.')

  @classmethod
  def read(cls, **typed: Any) -> 'Constraints':
    """Returns the Constraints of what a user typed: keep='kick,snare', rhythm=True.

    Raises:
      UserError: if a value is not understood, or two are at odds.
    """
    readers = {constraint.name: constraint.metadata['read']
               for constraint in dataclasses.fields(cls)}
    if unknown := set(typed) - set(readers):
      raise UserError(f'There is no constraint {min(unknown)}; there are '
                      f'{", ".join(map(field, readers))}.')
    read = cls(**{name: readers[name](value, name) for name, value in typed.items()})
    if both := set(read.keep) & set(read.without):
      raise UserError(
          f'The {grid.DRUM_CLASSES[min(both)]} is both in {field("keep")} and in '
          f'{field("without")}; leave it in one of them.')
    return read

  @classmethod
  def of_flags(cls, flags: Any) -> 'Constraints':
    """Returns the Constraints of absl's flags, as `define_flags` defines them."""
    return cls.read(**{constraint.name: getattr(flags, constraint.name)
                       for constraint in dataclasses.fields(cls)})

  @property
  def keeps_anything(self) -> bool:
    """Whether there is anything that is kept."""
    return bool(self.keep or self.keep_bars or self.rhythm)

  def allowed(self, loop: np.ndarray) -> np.ndarray:
    """Returns which classes each step may have: bool, [steps, CLASSES].

    Args:
      loop: The musician's, classes, [steps].

    Raises:
      UserError: if there is a step that may have none.
    """
    loop, every = np.asarray(loop)[:, np.newaxis], np.arange(CLASSES)
    kept, missing = (sum(1 << drum for drum in drums)
                     for drums in (self.keep, self.without))
    allowed = (every & kept == loop & kept) & (every & missing == 0)
    if self.rhythm:
      allowed &= (every > 0) == (loop > 0)
    for bar in self.keep_bars:
      steps = slice(bar * grid.STEPS_PER_BAR, (bar + 1) * grid.STEPS_PER_BAR)
      allowed[steps] = every == loop[steps]
    if not allowed.any(axis=1).all():
      bar, step = divmod(int(np.argmin(allowed.any(axis=1))), grid.STEPS_PER_BAR)
      raise UserError(
          f'In bar {bar + 1}, at its sixteenth {step + 1}, the rhythm wants a hit, '
          'but no drum is left to play it; keep or leave out fewer drums.')
    return allowed

  def kept(self, loop: np.ndarray) -> np.ndarray:
    """Returns which hits of a loop, classes [steps], are kept: bool, [steps, drums]."""
    kept = np.zeros([len(loop), grid.DRUMS], bool)
    kept[:, list(self.keep)] = True
    for bar in self.keep_bars:
      kept[bar * grid.STEPS_PER_BAR:(bar + 1) * grid.STEPS_PER_BAR] = True
    return kept & patterns.bits(loop)

  def __str__(self) -> str:
    """Returns what is kept: 'kick, snare and bars 1, 2 kept, without crash'."""
    kept = [', '.join(grid.DRUM_CLASSES[d] for d in self.keep),
            self.keep_bars and 'bars ' + ', '.join(
                str(bar + 1) for bar in self.keep_bars),
            self.rhythm and 'the rhythm']
    text = ' and '.join(filter(None, kept))
    missing = ', '.join(grid.DRUM_CLASSES[d] for d in self.without)
    return ', '.join(filter(None, [text and text + ' kept',
                                   missing and 'without ' + missing]))


def define_flags() -> None:
  """Defines a flag for each constraint."""
  from absl import flags
  for constraint in dataclasses.fields(Constraints):
    about = 'To complete: ' + constraint.metadata['about']
    if constraint.default is False:
      flags.DEFINE_bool(constraint.name, False, about)
    else:
      flags.DEFINE_string(constraint.name, '', about)


def roll(allowed: np.ndarray) -> np.ndarray:
  """Returns the encoder's input for a mask: float32, [..., steps, drums + 1].

  1 where all allowed classes have the drum, 0 where none has, else a half. The last
  column is of the class without drums.

  Args:
    allowed: bool, [..., steps, CLASSES].
  """
  has = patterns.bits(np.arange(CLASSES))
  has = np.append(has, ~has.any(axis=1, keepdims=True), axis=1)
  having = allowed @ has.astype(np.float32)
  return ((having == allowed.sum(axis=-1, keepdims=True)).astype(np.float32) +
          (having > 0)) / 2
