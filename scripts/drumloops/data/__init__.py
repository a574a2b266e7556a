"""Data sets: splits, TFRecords, patterns, styles."""
