"""The examples in the docstrings run as they stand."""

import doctest
import importlib
import inspect
import pkgutil

import pytest

import keras_sda
from keras_sda.applications.presets.presets import PRESETS

MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(keras_sda.__path__, "keras_sda.")
    if not module.ispkg
)
# Constructors that one function makes from the presets share the text of their
# example, which builds the whole network: these stand for the others.
QUICK = ("SDAResNet20", "SDASENet50", "CIFARResNet20", "LeNet")
WHOLE = sorted(set(PRESETS) - set(QUICK))


def run_examples(found):
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in found:
        runner.run(test)
    assert runner.failures == 0
    return runner.tries


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    module = importlib.import_module(name)
    found = doctest.DocTestFinder().find(module)
    run_examples(x for x in found if x.name.split(".")[-1] not in WHOLE)


@pytest.mark.large
@pytest.mark.parametrize("name", WHOLE)
def test_examples_of_whole_networks(name):
    constructor = getattr(keras_sda.applications, name)
    assert run_examples(doctest.DocTestFinder().find(constructor, name)) > 0


@pytest.mark.parametrize("name", MODULES)
def test_own_methods_say_what_they_do(name):
    """Those that replace a method of Keras do what Keras documents."""
    module = importlib.import_module(name)
    silent = []
    for kind in vars(module).values():
        if not inspect.isclass(kind) or kind.__module__ != name:
            continue
        if kind.__name__.startswith("_"):
            continue
        for method, value in vars(kind).items():
            value = getattr(value, "__func__", getattr(value, "fget", value))
            if method.startswith("_") or not inspect.isfunction(value):
                continue
            if value.__module__ != name or value.__doc__:
                continue
            if not any(hasattr(base, method) for base in kind.__mro__[1:]):
                silent.append(f"{kind.__name__}.{method}")
    assert not silent
