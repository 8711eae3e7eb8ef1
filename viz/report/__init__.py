"""One HTML file of all runs below a folder: pictures, tables, charts."""
