"""Everything is declared in pyproject.toml; this file serves tools that call it."""

from setuptools import setup

setup()
