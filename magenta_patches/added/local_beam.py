"""The few parts of Apache Beam that `preprocess_tfrecord` uses, in memory.

The same pipeline runs on one machine, without Beam. A collection is a Python iterator,
a transform is a function from iterator to iterator. Keys are grouped in the order in
which they first appear, so the output is the same on every run.
"""
import collections
import types
from collections.abc import Callable, Iterable

import tensorflow.compat.v1 as tf
from tqdm.auto import tqdm


class Transform:
  """A named step of a pipeline: `collection | 'name' >> transform`."""

  def __init__(self, fn: Callable[[Iterable], Iterable]):
    self.fn = fn

  def __rrshift__(self, name: str) -> 'Transform':
    return self


class Collection:
  """The items between two steps of a pipeline."""

  def __init__(self, items: Iterable | None):
    self.items = items

  def __or__(self, transform: Transform) -> 'Collection':
    return Collection(transform.fn(self.items))


class Pipeline(Collection):
  """The start of a pipeline; its transforms run when they are put together."""

  def __init__(self, options: object = None):
    super().__init__(None)
    del options  # They are for Beam's runners.

  def __enter__(self) -> 'Pipeline':
    return self

  def __exit__(self, *unused_error: object) -> None:
    pass


class DoFn:
  """What ParDo applies to every item: `process` yields any number of items."""

  def __init__(self, *unused_args: object, **unused_kwargs: object):
    pass


def Create(items: Iterable) -> Transform:
  """Makes a collection of these items."""
  return Transform(lambda _: items)


def ParDo(do_fn: DoFn) -> Transform:
  """Replaces each item by what a DoFn yields for it."""
  return Transform(
      lambda items: (out for item in items for out in do_fn.process(item)))


def Map(fn: Callable) -> Transform:
  """Replaces each item by what a function returns for it."""
  return Transform(lambda items: map(fn, items))


def Reshuffle() -> Transform:
  """Changes nothing; Beam spreads items over its workers here."""
  return Transform(lambda items: items)


def GroupByKey() -> Transform:
  """Groups the values of (key, value) pairs whose keys are equal."""
  def group(items):
    groups = collections.defaultdict(list)
    for key, value in items:
      groups[key].append(value)
    return groups.items()
  return Transform(group)


class ProtoCoder:
  """From bytes to protos of a type, and back."""

  def __init__(self, proto_type: type):
    self.decode = proto_type.FromString
    self.encode = lambda proto: proto.SerializeToString(deterministic=True)


def ReadAllFromTFRecord(coder: ProtoCoder) -> Transform:
  """Reads protos from files, with a progress bar."""
  def read(paths):
    def records():
      return (r for path in paths for r in tf.python_io.tf_record_iterator(path))
    return map(coder.decode, tqdm(
        records(), total=sum(1 for _ in records()), desc='Preprocessing', unit='file'))
  return Transform(read)


def WriteToTFRecord(prefix: str, num_shards: int, coder: ProtoCoder) -> Transform:
  """Writes items in turn to files `prefix-00000-of-00032`, as Beam names them.

  The files get their names when all are complete.
  """
  def write(items):
    names = [f'{prefix}-{i:05d}-of-{num_shards:05d}' for i in range(num_shards)]
    writers = [tf.python_io.TFRecordWriter(n + '.tmp') for n in names]
    for i, item in enumerate(items):
      writers[i % num_shards].write(coder.encode(item))
    for name, writer in zip(names, writers):
      writer.close()
      tf.gfile.Rename(name + '.tmp', name, overwrite=True)
    return names
  return Transform(write)


class Metrics:
  """Beam's counters, which only Beam's runners show."""

  @staticmethod
  def counter(unused_namespace: str, unused_name: str) -> types.SimpleNamespace:
    """Returns a counter that counts nothing."""
    return types.SimpleNamespace(inc=lambda n=1: None)


io = types.SimpleNamespace(
    ReadAllFromTFRecord=ReadAllFromTFRecord, WriteToTFRecord=WriteToTFRecord)
coders = types.SimpleNamespace(ProtoCoder=ProtoCoder)
options = types.SimpleNamespace(
    pipeline_options=types.SimpleNamespace(PipelineOptions=lambda flags: flags))
typehints = types.SimpleNamespace(
    with_input_types=lambda *types_: lambda cls: cls,
    with_output_types=lambda *types_: lambda cls: cls)
