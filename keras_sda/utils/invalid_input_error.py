"""The one error class for mistakes that a user can repair."""


class InvalidInputError(ValueError):
    """Raised when an argument, a file or a data set cannot be used as given.

    The message names the argument, what was received, what is expected and how to
    fix it. The command line prints it as one line and exits with status 2; in Python
    it is an ordinary `ValueError`.

    Example:

    >>> from keras_sda.utils import InvalidInputError
    >>> isinstance(InvalidInputError("`classes` must be positive."), ValueError)
    True
    """
