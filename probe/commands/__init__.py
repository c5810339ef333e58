"""The groups of commands: `probe cache`, `probe data`. Parse, call, print."""
