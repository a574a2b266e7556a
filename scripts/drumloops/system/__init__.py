"""How commands start, stop, write files and find Magenta."""
