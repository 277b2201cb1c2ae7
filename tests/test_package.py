"""What holds for the package as a whole."""

import ast
import pathlib
import re
import tomllib

import pytest

import keras_sda

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_sda"
FILES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom: a folder imports from its own level and those below.
LEVELS = {
    "utils": 0,
    "layers": 1,
    "graph": 2,
    "applications": 2,
    "depth": 3,
    "analysis": 3,
    "pruning": 4,
    "search": 5,
    "grouping": 5,
    "training": 6,
    "export": 7,
    "cli": 8,
}


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node, node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    relative = path.relative_to(PACKAGE)
    here = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    if here not in LEVELS:
        return
    tree = ast.parse(path.read_text())
    for _, module in imports(tree):
        if module.startswith("keras_sda."):
            there = module.split(".")[1]
            assert LEVELS.get(there, 0) <= LEVELS[here], f"{here} imports {module}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions(path):
    heavy = {"tensorflow", "tensorflow_datasets", "keras_cv", "matplotlib", "sklearn"}
    for node in ast.parse(path.read_text()).body:
        for _, module in imports(ast.Module([node], [])):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert module.split(".")[0] not in heavy, module


def test_works_without_tensorflow(run_python):
    """On JAX, layers, models, graph and analysis need no TensorFlow at all."""
    code = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "tensorflow_datasets", "keras_cv"):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
import numpy as np
import keras_sda
model = keras_sda.applications.SDAResNet20(classes=3)
profile = keras_sda.analysis.profile(model)
assert profile.macs > 4e7 and not profile.unknown
calls = keras_sda.graph.layer_calls(model)
assert len(calls) > 50
latency = keras_sda.analysis.measure_latency(model, num_warmup=1, num_runs=2)
assert latency.backend == "jax"
model.compile("sgd", "sparse_categorical_crossentropy")
model.fit(np.zeros((4, 32, 32, 3)), np.array([0, 1, 2, 0]), verbose=0)
assert "tensorflow" not in sys.modules
print("done")
"""
    pytest.importorskip("jax", reason="needs JAX, which the test extra installs")
    assert "done" in run_python(code, env={"KERAS_BACKEND": "jax"}).stdout


def test_import_has_no_side_effects(run_python):
    code = """
import os, keras
before = dict(os.environ), keras.config.dtype_policy().name
import keras_sda
assert before == (dict(os.environ), keras.config.dtype_policy().name)
print(keras_sda.__version__)
"""
    result = run_python(code, env={"KERAS_BACKEND": "numpy"})
    assert result.stdout.strip() == keras_sda.__version__


def test_constraints_hold_what_pyproject_asks_for():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = list(project["dependencies"])
    for name, extra in project["optional-dependencies"].items():
        wanted += [w for w in extra if not w.startswith("keras-sda")]
        assert extra, name
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {
        re.sub(r"[-_.]+", "-", line.split("==")[0]).lower()
        for line in lines
        if "==" in line
    }
    for requirement in wanted:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)[0]
        assert re.sub(r"[-_.]+", "-", name).lower() in pinned, name
    assert not any("://" in line or "@" in line for line in lines)
