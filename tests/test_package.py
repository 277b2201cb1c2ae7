"""What holds for the package as a whole."""

import ast
import functools
import pathlib
import re
import tomllib

import pytest

import keras_sda

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "keras_sda"
FILES = sorted(PACKAGE.rglob("*.py"))

# Who may import whom: a room imports from the floors below its own, and no other room.
FLOORS = {
    "version": 0,
    "utils": 0,
    "layers": 1,
    "graph": 2,
    "applications": 3,
    "data": 3,
    "analysis": 4,
    "depth": 4,
    "objectives": 5,
    "runs": 4,
    "tasks": 4,
    "pruning": 5,
    "search": 6,
    "grouping": 6,
    "training": 7,
    "export": 8,
    "cli": 9,
}
# Files that a folder may hold beside its door (`__init__.py`) and its sub-folders.
MOST_FILES = 15


def imports(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node, node.module
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield node, alias.name


def room(module):
    return module.split(".")[1]


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(x for x in parts if x != "__init__")


NAMES = {module_name(x) for x in FILES}


@functools.cache
def inner_imports(path):
    """Modules of the package that a file imports, sub-modules by their own name."""
    names = set()
    for node, module in imports(ast.parse(path.read_text())):
        if module.split(".")[0] != "keras_sda":
            continue
        names.add(module)
        if isinstance(node, ast.ImportFrom):
            inside = {f"{module}.{alias.name}" for alias in node.names}
            names |= inside & NAMES
    return names - {"keras_sda"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_downwards(path):
    if path == PACKAGE / "__init__.py":
        return
    here = room(module_name(path))
    assert here in FLOORS, f"{here} has no floor: add it to FLOORS"
    for module in inner_imports(path):
        there = room(module)
        assert there == here or FLOORS[there] < FLOORS[here], f"{here} imports {module}"


def test_no_folder_imports_itself_around_a_circle():
    """Nobody enters a room by its own door, and its sub-rooms know an order."""
    folders = {module_name(p): str(p.parent.relative_to(ROOT)) for p in FILES}
    doors = {module_name(p) for p in FILES if p.name == "__init__.py"}
    arrows = {}
    for path in FILES:
        if path.name == "__init__.py":
            continue
        here = folders[module_name(path)]
        for module in inner_imports(path):
            if module in doors:
                own = module_name(path).startswith(module + ".")
                holds = any(x.startswith(module + ".") for x in inner_imports(path))
                assert not own or holds, f"{path} enters its own room by {module}"
            elif folders[module] != here:
                arrows.setdefault(here, set()).add(folders[module])
    while ends := {x for x in arrows if not arrows[x] & set(arrows)}:
        for end in ends:
            del arrows[end]
    assert not arrows, f"folders that import each other: {arrows}"


def test_no_folder_is_crowded():
    for folder in {path.parent for path in FILES}:
        files = [x for x in folder.glob("*.py") if not x.stem.startswith("__")]
        assert len(files) <= MOST_FILES, f"{folder}: {len(files)} files"


def test_tests_mirror_the_package():
    folders = {path.parent.relative_to(PACKAGE) for path in FILES}
    others = {pathlib.Path(x) for x in ("benchmarks", "fixtures", "notebooks", "tools")}
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        assert folder in folders | others, f"{path}: the package has no such folder"


# What Keras calls on layers, optimizers and callbacks: its documentation has the types.
HOOKS = {
    "build", "call", "compute_output_shape", "get_config", "from_config", "quantize",
    "convolution_op", "save_own_variables", "load_own_variables", "enable_lora",
    "update_step",
}  # fmt: skip


def public_signatures(tree, names):
    """Functions and methods of a file that users call, with what names them."""
    for node in tree.body:
        if getattr(node, "name", None) not in names:
            continue
        if isinstance(node, ast.FunctionDef):
            yield node.name, node, 0
        for method in node.body if isinstance(node, ast.ClassDef) else ():
            name = getattr(method, "name", "_")
            is_hook = name in HOOKS or name.startswith(("on_", "_"))
            if not is_hook or name == "__init__":
                is_static = any(
                    getattr(x, "id", "") == "staticmethod"
                    for x in method.decorator_list
                )
                yield f"{node.name}.{name}", method, int(not is_static)


def test_public_signatures_have_types():
    """mypy checks the types that are there, this that they are."""
    names = set()
    for door in (path for path in FILES if path.name == "__init__.py"):
        for node in ast.parse(door.read_text()).body:
            if isinstance(node, ast.Assign) and node.targets[0].id == "__all__":
                names |= {item.value for item in node.value.elts}
    missing = []
    for path in FILES:
        found = public_signatures(ast.parse(path.read_text()), names)
        for name, node, skipped in found:
            own = [*node.args.posonlyargs, *node.args.args][skipped:]
            own += node.args.kwonlyargs
            missing += [f"{name}({x.arg})" for x in own if x.annotation is None]
            if node.returns is None and node.name != "__init__":
                missing.append(f"{name} ->")
    assert not missing


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_heavy_packages_are_imported_inside_functions(path):
    heavy = {
        "huggingface_hub", "keras_cv", "matplotlib", "sklearn", "tensorboard",
        "tensorflow", "tensorflow_datasets",
    }  # fmt: skip
    for node in ast.parse(path.read_text()).body:
        for _, module in imports(ast.Module([node], [])):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                assert module.split(".")[0] not in heavy, module


def test_nothing_is_mocked_outside_of_tests():
    for path in FILES:
        for _, module in imports(ast.parse(path.read_text())):
            assert module.split(".")[0] != "unittest", path


def test_works_without_tensorflow(run_python):
    """On JAX, with what requirements/jax.txt installs and nothing else.

    All modules can be imported; layers, models, graph and analysis work, and what a
    profile counts by itself.
    """
    code = """
import importlib.metadata as metadata, pathlib, pkgutil, re, sys
def plain(name):
    return re.sub("[-_.]+", "-", re.match("[A-Za-z0-9._-]+", name)[0]).lower()
lines = pathlib.Path("requirements/jax.txt").read_text().splitlines()
wanted = [plain(line) for line in lines if line and line[0] != "#"]
allowed = {"keras-sda"}
while wanted:
    name = wanted.pop()
    if name not in allowed:
        allowed.add(name)
        try:
            needs = metadata.requires(name) or []
        except metadata.PackageNotFoundError:  # of another system
            continue
        wanted += [plain(line) for line in needs if "extra ==" not in line]
owners = metadata.packages_distributions()
class Blocker:
    def find_spec(self, name, path=None, target=None):
        own = owners.get(name.split(".")[0], ())
        if own and not allowed & {plain(x) for x in own}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
import numpy as np
import keras_sda
for module in pkgutil.walk_packages(keras_sda.__path__, "keras_sda."):
    __import__(module.name)
model = keras_sda.applications.SDAResNet20(classes=3)
profile = keras_sda.analysis.profile(model)
assert profile.macs > 4e7 and not profile.unknown
calls = keras_sda.graph.layer_calls(model)
assert len(calls) > 50
small = keras_sda.applications.SDAResNet(
    [1, 2], groups=8, base_width=8, stem_width=8, classes=3, input_shape=(32, 32, 3)
)
small.compile("sgd", "categorical_crossentropy", metrics=["accuracy"])
images = np.random.default_rng(0).normal(size=(4, 32, 32, 3)).astype("f")
history = small.fit(images, np.eye(3)[[0, 1, 2, 0]], verbose=0)
assert np.isfinite(history.history["loss"]).all()

import keras
from keras_sda.analysis import compare_latency, measure_latency, profile
x = keras.Input((None, None, 3))
y = keras.layers.Conv2D(4, 3)(x)
y = keras.layers.Lambda(lambda t: t * 2, name="scale")(y)
model = keras.Model(x, keras.ops.einsum("bhwc,bhwd->bcd", y, y))
result = profile(model, (8, 8, 3))
assert result.macs == 36 * 9 * 3 * 4 + 36 * 16, result.macs
assert result.unknown == (), result.unknown
latency = measure_latency(model, 2, (8, 8, 3), num_warmup=1, num_runs=3)
assert latency.backend == "jax" and latency.median_ms > 0
assert "jax" in latency.versions
compare_latency({"a": model, "b": model}, 2, (8, 8, 3), num_warmup=1, num_runs=3)
assert "tensorflow" not in sys.modules
print("done")
"""
    pytest.importorskip("jax", reason="needs JAX, which the test extra installs")
    assert "done" in run_python(code, env={"KERAS_BACKEND": "jax"}).stdout


def test_training_still_has_the_names_that_are_in_data_now():
    from keras_sda import data, runs, training

    both = set(data.__all__) - {"Augmentation"}  # that one was never there
    assert both <= set(training.__all__)
    assert all(getattr(training, name) is getattr(data, name) for name in both)
    assert training.EpochBackup is runs.EpochBackup


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


def test_requirements_of_jax_are_those_of_the_package_without_tensorflow():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = (ROOT / "requirements" / "jax.txt").read_text().splitlines()
    lines = {line for line in lines if not line.startswith("#")}
    base, jax = set(project["dependencies"]), project["optional-dependencies"]["jax"]
    assert lines - base == set(jax)
    assert {re.match("[a-z_-]+", line)[0] for line in base - lines} == {
        "tensorflow", "tensorflow-datasets", "importlib_resources",
    }  # fmt: skip


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
