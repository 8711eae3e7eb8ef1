"""The page of results: tables, figures and verdicts, all computed from the committed records."""
