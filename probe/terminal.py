"""Standard output: what a command answers with, tables above all. Everything else goes to standard error.

printer().print(table)
"""

from rich.console import Console

WIDE = 500  # a table takes what it needs of it


def printer() -> Console:
    """Standard output; as wide as the table where it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDE)
