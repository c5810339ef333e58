"""A table as text: in the terminal, as Markdown, CSV and LaTeX; the registration of all formats in files.py."""
