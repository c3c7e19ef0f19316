"""Sets boards as Markdown, CSV, JSON, LaTeX, HTML and plots."""
