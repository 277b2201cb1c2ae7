"""Stages read from the graph of networks that others made."""

import keras
import pytest
from keras import layers

from keras_sda.applications import SDAResNet20
from keras_sda.depth import find_stages

APPLICATIONS = keras.applications

# Blocks per usable stage, by what the architecture says.
ROWS = {
    "ResNet50": [3, 4, 6, 3],
    "ResNet101": [3, 4, 23, 3],
    # Keras puts the stride on the last block of a stage, which then stands alone.
    "ResNet50V2": [2, 3, 5, 3],
    "MobileNetV2": [2, 3, 4, 3, 3],
    "MobileNetV3Small": [2, 3, 2, 3],
    "MobileNetV3Large": [2, 3, 4, 2, 3],
    "EfficientNetB0": [2, 2, 3, 3, 4],
    "EfficientNetV2B0": [2, 2, 3, 5, 8],
    "EfficientNetV2B1": [2, 3, 3, 4, 6, 9],
    "EfficientNetV2S": [2, 4, 4, 6, 9, 15],
    "ConvNeXtTiny": [3, 3, 9, 3],
    "Xception": [9],
    "DenseNet121": [],
    "VGG16": [],
    "InceptionV3": [],
    "InceptionResNetV2": [],
    "MobileNet": [],
}


# One per family, and one where there is nothing to find.
QUICK = ("ResNet50", "ResNet50V2", "MobileNetV3Small", "EfficientNetB0", "VGG16")


@pytest.mark.parametrize(
    "name",
    [
        name if name in QUICK else pytest.param(name, marks=pytest.mark.large)
        for name in ROWS
    ],
)
def test_stages_of_keras_applications(name):
    size = 96 if name.startswith(("Inception", "Xception")) else 32
    model = getattr(APPLICATIONS, name)(weights=None, input_shape=(size, size, 3))
    usable = [stage for stage in find_stages(model) if not stage.reason]
    assert [len(stage.blocks) for stage in usable] == ROWS[name]
    for stage in usable:
        for block in stage.blocks:
            operation = next(op for op in model.operations if op.name == block)
            assert tuple(operation.output.shape[1:]) == stage.shape


def test_root_is_a_block_where_a_block_made_it():
    model = APPLICATIONS.MobileNetV2(weights=None, input_shape=(32, 32, 3))
    assert find_stages(model)[0].blocks == ("block_1_project_BN", "block_2_add")
    # The one convolution between two stages of ConvNeXt, or the stem, is no block.
    model = APPLICATIONS.ConvNeXtTiny(weights=None, input_shape=(32, 32, 3))
    assert all(
        type(operation).__name__ == "Add"
        for stage in find_stages(model)
        for operation in model.operations
        if operation.name in stage.blocks
    )


def test_a_single_block_and_existing_attention_are_reasons():
    model = APPLICATIONS.MobileNetV3Large(weights=None, input_shape=(32, 32, 3))
    assert "one block" in find_stages(model)[0].reason
    stages = find_stages(SDAResNet20())
    assert len(stages) == 3
    assert all("already" in stage.reason for stage in stages)


def test_a_branching_chain_is_no_stage():
    x = keras.Input((8, 8, 4))
    a = layers.Add(name="a")([layers.Conv2D(4, 3, padding="same")(x), x])
    b = layers.Add(name="b")([layers.Conv2D(4, 3, padding="same")(a), a])
    c = layers.Add(name="c")([layers.Conv2D(4, 3, padding="same")(a), a])
    stages = find_stages(keras.Model(x, [b, c]))
    assert stages[0].blocks == ("a",)
    assert "both continue 'a'" in stages[0].reason


def test_activation_between_blocks_is_not_collected():
    x = keras.Input((8, 8, 4))
    y = x
    for number in range(3):
        z = layers.Conv2D(4, 3, padding="same")(y)
        z = layers.Add(name=f"add{number}")([y, z])
        y = layers.ReLU()(z)
    (stage,) = find_stages(keras.Model(x, y))
    assert stage.blocks == ("add0", "add1", "add2")


def test_unknown_image_size():
    model = APPLICATIONS.ResNet50(weights=None, include_top=False)
    stages = find_stages(model)
    assert [len(stage.blocks) for stage in stages] == [3, 4, 6, 3]
    assert stages[0].shape == (None, None, 256)
