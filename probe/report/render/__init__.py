"""A table as text: in the terminal, and as the files of out/tables. Each form tells the entries of entries.py."""
