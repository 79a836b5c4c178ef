"""Self-contained HTML pages of reports: what a page holds, its plots, and how it is written."""
