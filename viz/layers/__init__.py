"""A network's layers as a table, and how alike the maps along it are."""
