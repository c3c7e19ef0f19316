"""Colours of the pictures. The HTML page exchanges the first three in its dark theme."""

INK, PAPER, RULE = "#111213", "#fdfdfe", "#c9cbd1"
"""Words, ground and lines."""

COLOURS = ("#2a6fdb", "#c2410c", "#0d7f5f", "#9333ae", "#8a6d00")
"""Dark enough on light ground, light enough on dark ground: at least 3 : 1 on both."""
