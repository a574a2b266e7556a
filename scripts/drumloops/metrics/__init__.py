"""What can be said in numbers of loops, feels, styles and checkpoints."""
