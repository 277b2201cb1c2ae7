"""Networks whose plans are kept in fixtures/pruning_plans.json.

Run as a program it writes the file anew: `python tests/pruning/saved_plans.py`. The
plans were made before criteria were objects; they must stay as they are.
"""

import json
import pathlib

import keras
import numpy as np

from keras_sda.pruning import make_plan

PATH = pathlib.Path(__file__).parents[1] / "fixtures" / "pruning_plans.json"
CRITERIA = {
    "l1": {},
    "l2": {},
    "bn_scale": {},
    "geometric_median": {},
    "random": {},
    "activation": {"data"},
    "taylor": {"data", "loss"},
}
TARGETS = {
    "macs": {"macs": 0.6},
    "layer": {"params": 0.7, "scope": "layer", "round_to": 2},
    "both": {"macs": 0.8, "params": 0.75, "min_channels": 3},
}


def network():
    """A residual sum, a flattened map, weights and images out of one generator."""
    layers = keras.layers
    x = keras.Input((6, 6, 3), name="x")
    y = stem = layers.Conv2D(10, 3, padding="same", name="stem")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="norm")(y))
    y = layers.Conv2D(8, 3, padding="same", activation="relu", name="wide")(y)
    y = layers.Add()([stem, layers.Conv2D(10, 1, name="narrow")(y)])
    y = layers.Dense(9, activation="tanh", name="hidden")(layers.Flatten()(y))
    outputs = layers.Dense(4, activation="softmax", name="classes")(y)
    model = keras.Model(x, outputs, name="saved_plans")
    generator = np.random.default_rng(0)
    for variable in model.weights:
        value = generator.normal(0.1, 0.4, variable.shape)
        variable.assign(np.abs(value) + 0.2 if "variance" in variable.name else value)
    images = generator.normal(size=(40, 6, 6, 3)).astype("float32")
    return model, (images, generator.integers(0, 4, 40))


def plans():
    """All plans by criterion and target, as they are saved."""
    model, data = network()
    found = {}
    for importance, needs in CRITERIA.items():
        options = {"data": data, "loss": "sparse_categorical_crossentropy"}
        options = {name: options[name] for name in needs}
        for name, target in TARGETS.items():
            plan = make_plan(model, importance=importance, seed=3, **target, **options)
            content = json.loads(plan.to_json())
            for key in ("loss_before", "loss", "loss_chance"):
                content["expected"].pop(key, None)  # measured, in the last bits anew
            found[f"{importance} {name}"] = content
    return found


if __name__ == "__main__":
    PATH.write_text(json.dumps(plans(), indent=None, sort_keys=True) + "\n")
