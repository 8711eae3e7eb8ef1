"""A grid of trainings and evaluations as cells, each done once."""
