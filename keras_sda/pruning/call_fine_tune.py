"""Call the training function of the user."""

import inspect
from collections.abc import Callable

import keras

from keras_sda.utils import InvalidInputError


def call_fine_tune(
    model: keras.Model, fine_tune: Callable[..., keras.Model | None], name: str
) -> keras.Model:
    """The model that a function has trained, in place or as another one.

    Args:
        model: The model.
        fine_tune: See `prune`.
        name: Name of the step, for functions that need two arguments.

    Raises:
        InvalidInputError: It returned something else.
    """
    result = fine_tune(model, name) if _needs_two(fine_tune) else fine_tune(model)
    if result is None:
        return model
    if not isinstance(result, keras.Model):
        raise InvalidInputError(
            "`fine_tune` must train the model in place and return None, or return a "
            f"model. It returned: {type(result).__name__}."
        )
    return result


def _needs_two(function) -> bool:
    """Whether a function cannot be called with one argument, and can with two."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [x for x in parameters if x.default is x.empty and x.kind in kinds]
    return len(needed) == 2
