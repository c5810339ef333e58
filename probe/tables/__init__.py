"""Recipes, and the tables that they regenerate."""
