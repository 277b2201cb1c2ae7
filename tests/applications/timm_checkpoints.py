"""Checkpoints as timm writes them, and what its networks compute, in plain NumPy.

Names and arithmetic follow timm's ResNet, Res2Net and squeeze-and-excitation classes;
nothing here knows the package under test.
"""

import numpy as np

RES2NET_SCALE = 4


def checkpoint(blocks, family="resnet", classes=1000, seed=0, stem_channels=3):
    """Random tensors under timm's names for a network of bottleneck blocks."""
    generator = np.random.default_rng(seed)
    tensors = {}

    def conv(name, out, into, size=1, bias=False):
        scale = (2 / (into * size * size)) ** 0.5
        tensors[f"{name}.weight"] = generator.normal(0, scale, (out, into, size, size))
        if bias:
            tensors[f"{name}.bias"] = generator.normal(0, 0.1, out)

    def norm(name, size, largest=1.0):
        tensors[f"{name}.weight"] = generator.uniform(largest / 2, largest, size)
        tensors[f"{name}.bias"] = generator.normal(0, 0.1, size)
        tensors[f"{name}.running_mean"] = generator.normal(0, 0.1, size)
        tensors[f"{name}.running_var"] = generator.uniform(0.5, 1.5, size)
        tensors[f"{name}.num_batches_tracked"] = np.array(3, "int64")

    conv("conv1", 64, stem_channels, 7)
    norm("bn1", 64)
    into = 64
    for stage, count in enumerate(blocks, 1):
        planes = 32 * 2**stage
        for number in range(count):
            name = f"layer{stage}.{number}"
            if family == "res2net":
                width = planes * 26 // 64
                conv(f"{name}.conv1", width * RES2NET_SCALE, into)
                norm(f"{name}.bn1", width * RES2NET_SCALE)
                for part in range(RES2NET_SCALE - 1):
                    conv(f"{name}.convs.{part}", width, width, 3)
                    norm(f"{name}.bns.{part}", width)
                conv(f"{name}.conv3", 4 * planes, width * RES2NET_SCALE)
            else:
                conv(f"{name}.conv1", planes, into)
                norm(f"{name}.bn1", planes)
                conv(f"{name}.conv2", planes, planes, 3)
                norm(f"{name}.bn2", planes)
                conv(f"{name}.conv3", 4 * planes, planes)
            norm(f"{name}.bn3", 4 * planes, largest=0.5)
            if family == "senet":
                conv(f"{name}.se.fc1", planes // 4, 4 * planes, bias=True)
                conv(f"{name}.se.fc2", 4 * planes, planes // 4, bias=True)
            if number == 0:
                conv(f"{name}.downsample.0", 4 * planes, into)
                norm(f"{name}.downsample.1", 4 * planes)
            into = 4 * planes
    if classes:
        tensors["fc.weight"] = generator.normal(0, into**-0.5, (classes, into))
        tensors["fc.bias"] = generator.normal(0, 0.1, classes)
    return {
        name: value if value.dtype == "int64" else value.astype("float32")
        for name, value in tensors.items()
    }


def _windows(x, size, stride, padding, fill=0.0):
    around = ((0, 0), (0, 0), (padding, padding), (padding, padding))
    x = np.pad(x, around, constant_values=fill)
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(2, 3))
    return windows[:, :, ::stride, ::stride]


def reference(tensors, images, blocks, family="resnet"):
    """Returns the last feature map `(N, C, H, W)` and the logits."""

    def conv(x, name, stride=1):
        kernel = tensors[f"{name}.weight"]
        size = kernel.shape[-1]
        windows = _windows(x, size, stride, size // 2)
        return np.einsum("ncyxij,ocij->noyx", windows, kernel, optimize=True)

    def norm(x, name):
        def at(part):
            return tensors[f"{name}.{part}"][:, None, None]

        scale = at("weight") / np.sqrt(at("running_var") + 1e-5)
        return (x - at("running_mean")) * scale + at("bias")

    def relu(x):
        return np.maximum(x, 0)

    def split_convolutions(x, name, stride, is_first):
        pieces = np.split(x, RES2NET_SCALE, axis=1)
        results = []
        for part in range(RES2NET_SCALE - 1):
            y = pieces[part]
            if part and not is_first:
                y = y + results[-1]
            y = conv(y, f"{name}.convs.{part}", stride)
            results.append(relu(norm(y, f"{name}.bns.{part}")))
        last = pieces[-1]
        if is_first:
            last = _windows(last, 3, stride, 1).mean((4, 5))
        return np.concatenate([*results, last], axis=1)

    def gate(x, name):
        hidden = x.mean((2, 3), keepdims=True)
        hidden = relu(conv(hidden, f"{name}.fc1") + bias(f"{name}.fc1"))
        hidden = conv(hidden, f"{name}.fc2") + bias(f"{name}.fc2")
        return x / (1 + np.exp(-hidden))

    def bias(name):
        return tensors[f"{name}.bias"][:, None, None]

    x = relu(norm(conv(images, "conv1", 2), "bn1"))
    x = _windows(x, 3, 2, 1, -np.inf).max((4, 5))
    for stage, count in enumerate(blocks, 1):
        for number in range(count):
            name = f"layer{stage}.{number}"
            stride = 2 if stage > 1 and number == 0 else 1
            shortcut = x
            if number == 0:
                shortcut = conv(x, f"{name}.downsample.0", stride)
                shortcut = norm(shortcut, f"{name}.downsample.1")
            y = relu(norm(conv(x, f"{name}.conv1"), f"{name}.bn1"))
            if family == "res2net":
                y = split_convolutions(y, name, stride, is_first=number == 0)
            else:
                y = relu(norm(conv(y, f"{name}.conv2", stride), f"{name}.bn2"))
            y = norm(conv(y, f"{name}.conv3"), f"{name}.bn3")
            if family == "senet":
                y = gate(y, f"{name}.se")
            x = relu(y + shortcut)
    logits = x.mean((2, 3)) @ tensors["fc.weight"].T + tensors["fc.bias"]
    return x, logits
