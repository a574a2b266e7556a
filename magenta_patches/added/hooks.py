"""Hooks: functions of this project's that upstream's functions and methods call.

    HOOKS = [hooks.Hook('BidirectionalLstmEncoder.encode', faster_encode)]
    hooks.attach(lstm_models, HOOKS)
    hooks.detach(lstm_models, HOOKS)  # All is upstream's again.
"""
import functools
import types
from collections.abc import Callable, Iterable
from typing import NamedTuple


class Hook(NamedTuple):
  """What an upstream function calls instead of running itself.

  The contract: `function(original, *args, **kwargs)` takes what upstream's takes, with
  the same defaults (a method's first argument is its object), and returns what
  upstream's returns. `original` is upstream's, which it calls for all that it does not
  cover.
  """
  name: str  # 'function' or 'Class.method' of an upstream module.
  function: Callable


def attach(module: types.ModuleType, hooks: Iterable[Hook]) -> None:
  """Makes functions of an upstream module call their hooks."""
  for hook in hooks:
    owner, name = _find(module, hook)
    setattr(owner, name, _hooked(
        getattr(owner, name), hook.function, name not in vars(owner)))


def detach(module: types.ModuleType, hooks: Iterable[Hook]) -> None:
  """Undoes `attach`: the functions are the same objects as before."""
  for hook in hooks:
    owner, name = _find(module, hook)
    hooked = vars(owner)[name]
    if hooked.is_inherited:
      delattr(owner, name)
    else:
      setattr(owner, name, hooked.__wrapped__)


def _find(module, hook):
  """Returns the class or module that has the function, and the function's name."""
  cls, _, name = hook.name.rpartition('.')
  return getattr(module, cls) if cls else module, name


def _hooked(original, function, is_inherited):
  @functools.wraps(original)  # Which sets __wrapped__.
  def hooked(*args, **kwargs):
    return function(original, *args, **kwargs)
  hooked.is_inherited = is_inherited
  return hooked
