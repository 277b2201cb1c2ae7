"""Pictures beside results that matter more."""

from collections.abc import Callable
from typing import Any

from keras_sda.utils.optional_import import warn_once


def draw_in_run(draw: Callable[..., Any], *arguments: Any) -> None:
    """Draws a picture of a run; a picture that cannot be drawn does not end the run.

    Use it where work of hours is written down. What is wrong is logged once.

    Args:
        draw: The function that draws.
        *arguments: Its arguments.

    Raises:
        OSError: The file cannot be written: what follows could not either.

    Example:

    ```python
    draw_in_run(draw_curves, rows, folder / "curves.png")
    ```
    """
    try:
        draw(*arguments)
    except OSError:
        raise
    except Exception as error:  # also what a broken matplotlib raises
        warn_once(f"No picture was drawn. {error}")
