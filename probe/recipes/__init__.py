"""Recipes: their schema, their rows, what the command line changes, and what the papers printed."""
