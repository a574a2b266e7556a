"""Pages in one file, of the HTML, CSS and JavaScript in scripts/web.

app/ is the page that plays, gallery/ the page of written loops; shared/ is part of
both.
"""
import graphlib
import json
import posixpath
import re
from collections.abc import Iterator, Mapping

from drumloops import ROOT

WEB = ROOT / 'scripts' / 'web'
_IMPORT = re.compile(r"^import [^;]* from '([^']*)';\n", re.M)


def read(name: str) -> str:
  """Returns the text of a file in scripts/web."""
  return (WEB / name).read_text(encoding='utf-8')


def join_modules(*names: str) -> str:
  """Returns one script of modules and of all that they import, in one scope.

  So no two of these modules may give the same name to something of their own.

  Args:
    *names: Of the modules, such as 'app/main.js'.

  Raises:
    graphlib.CycleError: if modules import each other.
  """
  def imports(name: str) -> Iterator[str]:
    for path in _IMPORT.findall(read(name)):
      yield posixpath.normpath(posixpath.join(posixpath.dirname(name), path))
  graph, left = {}, list(names)
  while left:
    name = left.pop()
    if name not in graph:
      graph[name] = list(imports(name))
      left += graph[name]
  return '\n'.join(
      re.sub('^export ', '', _IMPORT.sub('', read(name)), flags=re.M)
      for name in graphlib.TopologicalSorter(graph).static_order())


def to_json(value: object) -> str:
  """Returns JSON that may stand in a <script> of a page."""
  return json.dumps(value, separators=(',', ':')).replace('<', '\\u003c')


def fill(name: str, parts: Mapping[str, object]) -> str:
  """Returns a page.

  Args:
    name: Of its HTML file, such as 'app/page.html'.
    parts: {KEY: what stands there for {{KEY}}}.
  """
  return re.sub(r'\{\{([A-Z]+)\}\}', lambda match: str(parts[match[1]]), read(name))
