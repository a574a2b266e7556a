"""Graphs of a checkpoint: encode, decode, complete, vary."""
