"""Measures a saved classifier on a test set."""

import os

from keras_sda.data.images.load_image_dataset import load_image_dataset
from keras_sda.tasks import Classification
from keras_sda.utils import InvalidInputError, load_model


def evaluate_classifier(
    model_path: str | os.PathLike,
    dataset: str = "digits",
    data_dir: str | os.PathLike | None = None,
    batch_size: int = 128,
    download: bool = False,
    strict: bool = False,
    activation: str | None = None,
    split: str = "per_class",
) -> dict:
    """Evaluates a `.keras` file on the test part of a dataset.

    Use it for `keras-sda evaluate MODEL.keras --dataset NAME`. Images are resized to
    the input size of the model by the rule that training and export use. One sigmoid
    unit (or its logit) stands for two classes.

    Args:
        model_path: A `.keras` file that `train_classifier` wrote, or any Keras
            classifier that takes pixels from 0 to 255.
        dataset: Dataset name or folder, as in `load_image_dataset`.
        data_dir: Folder of the prepared datasets.
        batch_size: Images per step. Defaults to 128.
        download: Whether an absent dataset may be downloaded.
        strict: Whether a damaged image file is an error.
        activation: What turns the outputs into probabilities, where the model does not
            show it: `"softmax"`, `"sigmoid"` or `"none"`. Defaults to None.
        split: As in `load_image_dataset`; `"by_name"` for models that version 0.1
            trained on a folder without a test part. Defaults to `"per_class"`.

    Returns:
        `accuracy`, `top_5_accuracy` (with more than five classes), `loss` and
        `num_images`.

    Raises:
        InvalidInputError: The file is no Keras model, its input or classes do not fit
            the dataset, what its outputs mean cannot be known, or the dataset cannot
            be read.

    Example:

    ```python
    evaluate_classifier("runs/digits/model.keras", "digits")["accuracy"]
    ```
    """
    if batch_size < 1:
        raise InvalidInputError(
            f"`batch_size` must be positive. Received: batch_size={batch_size!r}."
        )
    model = load_model(model_path)
    data = load_image_dataset(
        dataset, data_dir, download=download, strict=strict, split=split
    )
    image_size = Classification.check_model(model, model_path, data)
    task = Classification.of(model, activation)
    results = task.evaluate(model, data, image_size, batch_size, full=True)
    return {"num_images": data.num_test, **dict(sorted(results.items()))}
