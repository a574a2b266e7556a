"""Modules that are imported when they are first used."""
import importlib
import importlib.util
import sys
import types


def install(name):
  """Makes `import name` do nothing until something of the module is asked for.

  importlib's LazyLoader does not: its modules load at the next import statement,
  which asks for their __spec__.
  """
  if name in sys.modules:
    return
  spec = importlib.util.find_spec(name)
  if spec is None:
    return
  stub = types.ModuleType(name)
  stub.__spec__ = spec
  def load(attribute):
    if attribute.startswith('__') and attribute != '__path__':
      raise AttributeError(attribute)  # So that looking at all modules loads none.
    if sys.modules.get(name) is stub:
      del sys.modules[name]
    return getattr(importlib.import_module(name), attribute)
  stub.__getattr__ = load
  sys.modules[name] = stub
