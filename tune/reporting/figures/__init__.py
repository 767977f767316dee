"""The figures of the report, drawn by Plotly for the page and by Matplotlib for Markdown."""
