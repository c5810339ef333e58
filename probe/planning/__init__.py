"""What a recipe has on this machine, what is missing or stale, and how long the rest takes."""
