"""A whole export: every file accounted for, tables, volumes and the page about them."""
