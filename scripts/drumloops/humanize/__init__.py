"""Velocity and microtiming for hits: feels, takes, Humanizer."""
