"""Scores and predictions: protocols, whole data sets, metrics, restyled images, rows of results."""
