"""Modules that are imported when they are first used."""
import importlib.util
import sys


def install(name):
  """Makes `import name` do nothing until something of the module is asked for."""
  spec = importlib.util.find_spec(name)
  if name in sys.modules or spec is None:
    return
  spec.loader = importlib.util.LazyLoader(spec.loader)
  module = sys.modules[name] = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
