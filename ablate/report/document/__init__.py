"""Documents: blocks of text, tables and figures, and their forms: one HTML page, Markdown, LaTeX."""
