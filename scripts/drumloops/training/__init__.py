"""Training, on one machine or several."""
