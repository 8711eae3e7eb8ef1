"""Trainings and evaluations as cells, each done once."""

from adapt.settings.study import StudyConfig
from adapt.study.fine_tuning import FineTuning
from adapt.study.grid import Study


def study_of(config: StudyConfig) -> Study | FineTuning:
    """The study that a configuration describes."""
    return FineTuning(config) if config.tunes else Study(config)
