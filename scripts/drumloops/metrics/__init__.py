"""Numbers of loops, feels, styles and checkpoints: what evaluate.py prints."""
