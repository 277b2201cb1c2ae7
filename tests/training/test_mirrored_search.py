"""A whole search on two devices against one, in a process of its own."""

import pathlib

import pytest

PROGRAM = """
import contextlib, sys
sys.path.insert(0, {folder!r})
import keras
import numpy as np
from keras_sda.search import ChannelSearch, add_channel_gates
from keras_sda.search.masks.derive import derive_masks
from keras_sda.training import make_strategy
from training.tiny_search_run import tiny_classifier

strategy = make_strategy("mirrored", virtual_devices=2)
print("strategy", strategy.description)
generator = np.random.default_rng(0)
labels = generator.integers(0, 10, 192)
images = generator.uniform(0, 90, (192, 32, 32, 1)).astype("float32")
for image, label in zip(images, labels):
    image[3 * label : 3 * label + 3] += 150

def search(scope):
    keras.utils.set_random_seed(3)
    with scope:
        inputs = keras.Input((32, 32, 1))
        scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
        # Replicas would draw their own dropout.
        model = tiny_classifier(scaled, synchronized=True, dropout=0.0)
        gated = add_channel_gates(model)
    found = ChannelSearch(gated)
    found.fit(
        (images, labels), 3, 2, 4, target_macs=0.6, batch_size=32, verbose=0,
        architecture={{"learning_rate": 0.05}},
    )
    return found

def masks(found):
    return {{
        gate.name: np.isin(range(gate.channels), found.result.kept[gate.name])
        for gate in found.gates
    }}

two, one = search(strategy.scope()), search(contextlib.nullcontext())
print("replicas", two.result.model.distribute_strategy.num_replicas_in_sync)
kept = [np.concatenate(list(masks(found).values())) for found in (two, one)]
print("channels", len(kept[0]), kept[0].sum(), (kept[0] != kept[1]).sum())
with strategy.scope():
    small = derive_masks(two.gated, masks(two)).model
    for gate in two.gates:
        gate.mask.assign(masks(two)[gate.name].astype("float32"))
        gate.set_mode("binary")
print("worst", np.abs(np.array(small(images)) - np.array(two.gated(images))).max())
for name, found in (("two", two), ("one", one)):
    answers = np.array(found.result.model(images)).argmax(-1)
    print(name, (answers == labels).mean())
"""


@pytest.mark.large
def test_two_devices_find_the_network_of_one(run_python):
    folder = str(pathlib.Path(__file__).parents[1])
    output = run_python(PROGRAM.format(folder=folder)).stdout
    lines = dict(line.split(" ", 1) for line in output.splitlines() if " " in line)
    assert "on 2 device(s)" in lines["strategy"] and lines["replicas"] == "2"
    total, kept, different = map(int, lines["channels"].split())
    assert 0 < kept < total and different <= 2
    assert float(lines["worst"]) < 1e-5
    two, one = float(lines["two"]), float(lines["one"])
    assert min(one, two) > 0.2 and abs(one - two) < 0.1
