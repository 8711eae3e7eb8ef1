"""Everything that a command can be told, checked as it is made. Nothing here computes."""
