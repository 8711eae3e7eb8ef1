"""What networks see, as pictures: style inversion, figures and the report. Imports adapt only."""
