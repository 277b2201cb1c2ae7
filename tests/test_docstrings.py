"""The examples in the docstrings run as they stand."""

import doctest
import importlib
import pkgutil

import pytest

import keras_sda

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(keras_sda.__path__, "keras_sda.")
    if not module.ispkg
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert failed == 0
