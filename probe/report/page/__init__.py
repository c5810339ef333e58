"""The report as a web page, a table as one, and what is in them: grid, gallery, provenance."""
