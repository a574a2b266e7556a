"""Stands in for google.colab.drive: a mounted Drive is an empty folder.

DRIVE_FAILS names a way in which mounting does not work: MessageError if it is
declined, ValueError if the mount fails, NotImplementedError on Colab Enterprise
and Kaggle, or nothing at all, but no Drive.
"""
import os

from google.colab import errors

WHYS = {'MessageError': 'Error: credential propagation was unsuccessful',
        'ValueError': 'mount failed', 'NotImplementedError': 'no Drive here'}


def mount(mountpoint):
  failure = os.environ.get('DRIVE_FAILS')
  if failure == 'MessageError':
    raise errors.MessageError(WHYS[failure])
  if failure == 'ValueError':
    raise ValueError(WHYS[failure])
  if failure == 'NotImplementedError':
    raise NotImplementedError(WHYS[failure])
  if not failure:
    os.makedirs(os.path.join(mountpoint, 'MyDrive'), exist_ok=True)
