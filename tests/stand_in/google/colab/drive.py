"""Stands in for google.colab.drive: a mounted Drive is an empty folder."""
import os


def mount(mountpoint):
  os.makedirs(os.path.join(mountpoint, 'MyDrive'), exist_ok=True)
