"""Modules that are imported when they are first used."""
import importlib
import importlib.util
import sys
import types


def install(name: str) -> None:
  """Makes `import name` load the module only when an attribute of it is read.

  importlib's LazyLoader loads at the next import statement, which reads __spec__.
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
      raise AttributeError(attribute)  # A search through sys.modules loads nothing.
    if sys.modules.get(name) is stub:
      del sys.modules[name]
    return getattr(importlib.import_module(name), attribute)
  stub.__getattr__ = load
  sys.modules[name] = stub
