"""A board as Markdown, CSV or JSON."""
