"""Reports: tables (Markdown, CSV, LaTeX, JSON, terminal), comparisons and picture grids."""
