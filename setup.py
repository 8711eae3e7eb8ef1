"""The wheel's packages, the one thing that pyproject.toml cannot say: configs/ stands on top in a
checkout and is adapt.configs in the wheel."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["adapt*", "transforms*", "viz*"]), "adapt.configs"],
    package_dir={"adapt.configs": "configs"},
)
