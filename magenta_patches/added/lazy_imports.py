"""Modules that are imported when they are first used."""
import importlib
import sys
import types


def install(name):
  """Makes `import name` do nothing until something of the module is asked for.

  importlib's LazyLoader does not: its modules load at the next import statement,
  which asks for their __spec__.
  """
  if name in sys.modules:
    return
  stub = types.ModuleType(name)
  def load(attribute):
    if attribute.startswith('__') and attribute != '__path__':
      raise AttributeError(attribute)  # So that looking at all modules loads none.
    if sys.modules.get(name) is stub:
      del sys.modules[name]
    return getattr(importlib.import_module(name), attribute)
  stub.__getattr__ = load
  sys.modules[name] = stub
