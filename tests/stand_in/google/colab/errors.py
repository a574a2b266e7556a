"""Stands in for google.colab.errors."""


class MessageError(Exception):
  """What the page answered is an error."""
