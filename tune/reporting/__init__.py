"""The report: study and finals as typed results, tables, Markdown, a page, and files for other tools."""
