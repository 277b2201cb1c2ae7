"""The empty picture that all drawings begin with."""

from typing import Any

from keras_sda.utils.optional_import import optional_import


def new_figure(width: float, height: float) -> Any:
    """Returns an empty figure of matplotlib that needs no display.

    Args:
        width: In inches.
        height: In inches.

    Raises:
        InvalidInputError: matplotlib is not installed.

    Example:

    >>> from keras_sda.utils.new_figure import new_figure
    >>> axes = new_figure(6, 4).subplots()
    """
    backend = optional_import("matplotlib.backends.backend_agg", "Drawing a picture")
    figure = optional_import("matplotlib.figure", "Drawing a picture").Figure(
        figsize=(width, height), layout="constrained"
    )
    backend.FigureCanvasAgg(figure)
    return figure
