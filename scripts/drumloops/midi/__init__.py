"""MIDI files in; loops out, as MIDI and as sound."""
