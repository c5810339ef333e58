"""Figures of the papers from finished runs, as SVG and PNG; one file a kind."""
