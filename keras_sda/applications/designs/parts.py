"""The layers that the blocks of all classifiers are made of."""

import dataclasses

import keras

from keras_sda.layers import GroupedConv2D, batch_normalization


@dataclasses.dataclass(frozen=True)
class Parts:
    """The building parts of a family's blocks, set up once per model."""

    synchronized: bool = False

    @property
    def axis(self) -> int:
        """Axis of the channels, as Keras is set."""
        return -1 if keras.config.image_data_format() == "channels_last" else 1

    def conv(self, x, filters, kernel_size, strides=1, groups=1, *, name):
        """Convolution without bias, padded alike on all sides (as PyTorch pads)."""
        x, padding = _padded(x, kernel_size, strides, name)
        arguments = {
            "strides": strides,
            "padding": padding,
            "use_bias": False,
            "kernel_initializer": keras.initializers.VarianceScaling(
                2.0, "fan_out", "untruncated_normal"
            ),
            "name": name,
        }
        if groups > 1:
            return GroupedConv2D(filters, kernel_size, groups=groups, **arguments)(x)
        return keras.layers.Conv2D(filters, kernel_size, **arguments)(x)

    def depthwise(self, x, kernel_size, strides=1, *, name):
        """The same within each channel."""
        x, padding = _padded(x, kernel_size, strides, name)
        return keras.layers.DepthwiseConv2D(
            kernel_size,
            strides=strides,
            padding=padding,
            use_bias=False,
            # For Keras the channels of a depthwise kernel are inputs: this is the
            # start of the other convolutions, by kernel size and number of filters.
            depthwise_initializer=keras.initializers.VarianceScaling(
                2.0, "fan_in", "untruncated_normal"
            ),
            name=name,
        )(x)

    def norm(self, x, *, name):
        """Batch normalisation, between devices where the model asks for it."""
        return batch_normalization(self.axis, self.synchronized, name=name)(x)

    def relu(self, x, *, name):
        """ReLU as a layer of its own."""
        return keras.layers.Activation("relu", name=name)(x)

    def conv_norm_relu(self, x, filters, kernel_size, strides=1, groups=1, *, name, n):
        """Convolution `{name}_conv{n}`, normalisation `_bn{n}` and ReLU `_relu{n}`."""
        x = self.conv(x, filters, kernel_size, strides, groups, name=f"{name}_conv{n}")
        return self.relu(self.norm(x, name=f"{name}_bn{n}"), name=f"{name}_relu{n}")

    def bottleneck(
        self, x, stage, strides, *, name, middle=None, after=None, shortcut=None
    ):
        """1x1, `middle` (default: 3x3), 1x1 to four times the width, plus the shortcut.

        `middle(x)` takes the place of the 3x3 convolution, `after(x)` comes before the
        sum, `shortcut` is the input of the shortcut where that is not `x`.
        """
        filters = stage.filters
        shortcut_strides = strides if shortcut is None else 1
        shortcut = self.shortcut(
            x if shortcut is None else shortcut,
            4 * filters,
            shortcut_strides,
            name=name,
        )
        x = self.conv_norm_relu(x, filters, 1, name=name, n=1)
        if middle is None:
            groups = stage.groups[0]
            x = self.conv(x, filters, 3, strides, groups, name=f"{name}_conv2")
        else:
            x = middle(x)
        x = self.relu(self.norm(x, name=f"{name}_bn2"), name=f"{name}_relu2")
        return self.project(x, shortcut, filters, name=name, after=after)

    def project(self, x, shortcut, filters, *, name, after=None):
        """The last 1x1 convolution of a bottleneck block and the sum."""
        x = self.conv(x, 4 * filters, 1, name=f"{name}_conv3")
        x = self.norm(x, name=f"{name}_bn3")
        if after is not None:
            x = after(x)
        return keras.layers.Add(name=f"{name}_add")([x, shortcut])

    def shortcut(self, x, filters, strides, *, name):
        """Identity where shapes agree, else a strided 1x1 convolution with norm."""
        if strides == 1 and x.shape[self.axis] == filters:
            return x
        x = self.conv(x, filters, 1, strides, name=f"{name}_shortcut_conv")
        return self.norm(x, name=f"{name}_shortcut_bn")


def _padded(x, kernel_size, strides, name):
    """The input of a convolution, and the padding that is left to do."""
    if strides == 1 or kernel_size == 1:
        return x, "same"
    # "same" with a stride pads the right and the bottom only.
    return keras.layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_pad")(x), "valid"
