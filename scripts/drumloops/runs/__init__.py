"""What a training run keeps, and where."""
