"""Frozen encoders: a catalogue of rows, and one adapter for each library."""
