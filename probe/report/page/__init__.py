"""The report: one HTML file with tables, figures, runs and a gallery of queries."""
