"""What is known about a named network."""

import copy

from keras_sda.applications.get_model import list_models
from keras_sda.applications.presets.presets import PRESETS
from keras_sda.utils import InvalidInputError


def model_info(name: str) -> dict:
    """Returns the row of a named network: sizes, published accuracy, weights.

    Use it to choose a network or to see where its weights come from, under which
    licence and for which images; nothing is built or downloaded.

    Args:
        name: A name of `list_models()`. Upper and lower case do not matter.

    Returns:
        A dict with `name`, `family`, `form`, `stackwise_num_blocks`, `params`
        (trainable), `macs` (of one image of the default size), where there is one
        `published_top1` (percent, by the authors on ImageNet), and `weights`: a dict
        from the names that `weights=` takes to `repository` or `file`, `licence`,
        `top1`, `preprocessing` and more.

    Raises:
        InvalidInputError: There is no such network in this package.

    Example:

    >>> from keras_sda.applications import model_info
    >>> model_info("SDAResNet50")["weights"]["imagenet"]["repository"]
    'timm/resnet50.a1_in1k'
    """
    known = {network.lower(): network for network in list_models()}
    if not isinstance(name, str) or name.lower() not in known:
        raise InvalidInputError(
            f"`name` must be one of {', '.join(list_models())}. Received: {name!r}."
        )
    network = known[name.lower()]
    return copy.deepcopy({"name": network, "weights": {}, **PRESETS[network]})
