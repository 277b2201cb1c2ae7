"""What can be chosen about the devices of a run that trains."""

import dataclasses

from keras_sda.training.options.checked_options import option
from keras_sda.training.options.run_options import RunOptions


@dataclasses.dataclass(frozen=True)
class DeviceOptions(RunOptions):
    """Image size, devices and repeatability, for commands that may train from scratch.

    Use it as the base of the options of such a command.

    Args:
        image_size: Height and width in pixels that a named network is built for.
        strategy: `"none"` (one device) or `"mirrored"` (all devices of this machine).
        virtual_devices: With `"mirrored"`: split the CPU into so many devices.
        deterministic: None makes training on one CPU device repeatable in every bit
            (one TensorFlow operation at a time, each on all cores). True forces
            deterministic kernels too, which a GPU needs and which may be slower.
            False does neither.

    Raises:
        InvalidInputError: A value is not usable.

    Example:

    >>> DeviceOptions(model="CIFARResNet20", strategy="mirrored").virtual_devices
    0
    """

    image_size: int | None = option(
        None,
        "Image height and width that a network is built for. Taken from the dataset if "
        "not given.",
        positive=True,
    )
    strategy: str = option(  # type: ignore[misc]
        "none",
        "none: one device. mirrored: every GPU of this machine.",
        ("none", "mirrored"),
    )
    virtual_devices: int = option(  # type: ignore[misc]
        0, "With --strategy mirrored: split the CPU into N devices, for trying it out."
    )
    deterministic: bool | None = option(  # type: ignore[misc]
        None,
        "Force repeatable results, also on a GPU, where it may be slower. If not "
        "given, runs on one CPU device are repeatable in every bit.",
    )
