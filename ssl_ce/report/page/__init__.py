"""The report page: one self-contained HTML file of everything that a folder of records tells."""
