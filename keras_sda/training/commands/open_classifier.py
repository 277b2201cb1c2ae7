"""The classifier that a command works on: a file, or a network by name."""

import keras

from keras_sda.data.images.image_dataset import ImageDataset
from keras_sda.graph import all_layers
from keras_sda.tasks import Classification
from keras_sda.training.commands.build_classifier import build_classifier
from keras_sda.training.strategies.make_strategy import Strategy
from keras_sda.utils import InvalidInputError, load_model
from keras_sda.utils.files.load_model import is_model_file


def open_classifier(
    model: str,
    dataset: ImageDataset | None,
    strategy: Strategy,
    image_size: int | None = None,
) -> tuple[keras.Model, int]:
    """Loads a saved classifier, or builds a network for a dataset.

    On several devices BatchNormalization counts over all of them.

    Args:
        model: A `.keras` or `.h5` file, or a name as in `keras-sda list`.
        dataset: The images, or None.
        strategy: The devices; call this in its scope.
        image_size: Height and width for a network. Defaults to those of the images.

    Returns:
        The model, and the height and width that it takes (0 without a dataset).

    Raises:
        InvalidInputError: There is no such model, it does not fit the dataset, or a
            network has no dataset to be built for.

    Example:

    ```python
    data = load_image_dataset("digits")
    model, size = open_classifier("CIFARResNet20", data, make_strategy())
    ```
    """
    if is_model_file(model):
        loaded = load_model(model)
        if strategy.num_devices > 1 and keras.backend.backend() == "tensorflow":
            for layer in all_layers(loaded):
                if isinstance(layer, keras.layers.BatchNormalization):
                    layer.synchronized = True
        if dataset is None:
            return loaded, 0
        return loaded, Classification.check_model(loaded, model, dataset)
    from keras_sda.applications import get_model

    constructor = get_model(model)
    if dataset is None:
        raise InvalidInputError(
            f"`model` {model!r} is a network without weights: name the `dataset` "
            "(--dataset) to train it on, or a .keras file."
        )
    size = image_size or dataset.default_size
    built = build_classifier(
        constructor,
        size,
        dataset.channels,
        len(dataset.class_names),
        synchronized=strategy.num_devices > 1,
    )
    return built, size
