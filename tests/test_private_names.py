"""Private names of Keras stand in graph/model alone."""

import ast
import pathlib

import pytest

PACKAGE = pathlib.Path(__file__).parents[1] / "keras_sda"
FILES = [
    path
    for path in sorted(PACKAGE.rglob("*.py"))
    if PACKAGE / "graph" / "model" not in path.parents
]
ALLOWED = {
    # keras-cv draws its random numbers in TensorFlow itself and has no other way in.
    ("data/streams/keras_cv_augmentation.py", "_random_generator"),
}


def is_private(name):
    return name.startswith("_") and not name.startswith("__")


def own_names(tree):
    """Methods and attributes that a file defines."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (
                part.id
                for line in node.body
                for part in ast.walk(line)
                if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)
            )
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            if is_own(node.value):
                yield node.attr


def is_own(value):
    """Whether a value is the object of the class at hand."""
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return value.func.id == "super"
    return is_named(value, "self", "cls")


def is_named(value, *names):
    return isinstance(value, ast.Name) and value.id in names


def private_names(source):
    """Private names of other objects, and of modules, with their lines."""
    tree = ast.parse(source)
    own = set(own_names(tree))
    inherited = own | PACKAGE_NAMES
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            of_module = node.attr == "src" and is_named(node.value, "keras")
            is_free = node.attr in (inherited if is_own(node.value) else own)
            if of_module or is_private(node.attr) and not is_free:
                yield node.lineno, node.attr
        elif isinstance(node, ast.ImportFrom):
            for name in (node.module or "", *[alias.name for alias in node.names]):
                if name.startswith("keras.src") or is_private(name):
                    yield node.lineno, name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("keras.src"):
                    yield node.lineno, alias.name
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if node.value.startswith("keras.src"):
                yield node.lineno, node.value
        elif isinstance(node, ast.Call) and len(node.args) > 1:
            name = ast.unparse(node.func)
            if name not in ("getattr", "hasattr", "setattr", "mock.patch.object"):
                continue
            text = ast.unparse(node.args[1]).lstrip("f").strip("'\"")
            if is_private(text) and not is_own(node.args[0]):
                yield node.lineno, text


PACKAGE_NAMES = {
    name
    for path in PACKAGE.rglob("*.py")
    for name in own_names(ast.parse(path.read_text()))
}


@pytest.mark.parametrize(
    "source",
    [
        "import keras.src",
        "from keras.src import backend",
        "from keras.src.utils.naming import to_snake_case",
        "backend = keras.src.backend",
        "name = 'keras.src.ops'",
        "layer._flatten_layers()",
        "self._tracker.unlock()",
        "model.optimizer._learning_rate",
        "keras.Input((2,))._keras_history",
        "getattr(layer, '_losses', None)",
        "getattr(layer, f'_{name}_dense')",
        "from package import _hidden",
    ],
)
def test_private_names_are_found(source):
    assert list(private_names(source))


def test_own_names_are_free():
    source = """
class Own:
    def __init__(self):
        super().__init__()
        self._size = type(self).__name__

    def same(self, other):
        return self._size == other._size and getattr(self, "_size")
"""
    assert not list(private_names(source))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_private_names_stay_in_graph_model(path):
    place = path.relative_to(PACKAGE).as_posix()
    found = [
        f"line {line}: {name}"
        for line, name in private_names(path.read_text())
        if (place, name) not in ALLOWED
    ]
    assert not found, f"say it in keras_sda/graph/model: {found}"


def test_what_is_allowed_is_there():
    for place, name in ALLOWED:
        assert name in (PACKAGE / place).read_text()
