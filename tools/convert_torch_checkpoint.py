"""Turns a PyTorch state dict into a .safetensors file that keras_sda reads.

    python tools/convert_torch_checkpoint.py in.pth out.safetensors
    python tools/convert_torch_checkpoint.py in.pth out.safetensors --model SDASENet86
    python tools/convert_torch_checkpoint.py in.pth out.safetensors \\
        --model SDASENet86 --torch_model models.sda_senet:se_resnet_50

Use it for the checkpoints of the authors' networks; then
`SDASENet86(weights="out.safetensors")` takes the file. Needs PyTorch beside keras_sda
(`pip install torch`).

Only tensors are read: `torch.load(..., weights_only=True)`. A file that holds a whole
pickled model is refused, because reading it runs code from the file.

With --model the file must fit that network, tensor by tensor, or nothing is written.
With --torch_model the named function is imported and called, the state dict is loaded
into the PyTorch network that it returns, and the outputs of both networks for one
random image are compared; this runs the code of that module, so name one you trust.

Exit status: 0, or 2 with one line on standard error and no file written.
"""

import argparse
import dataclasses
import importlib
import math
import pathlib
import pickle
import re
import sys
import warnings
from collections.abc import Mapping

import keras
import numpy as np

from keras_sda.applications import get_model, load_weights
from keras_sda.applications.checkpoints.network_signature import NetworkSignature
from keras_sda.applications.checkpoints.torch_entries import torch_entries
from keras_sda.utils import InvalidInputError, atomic_write

_WRAPPERS = ("state_dict", "model")
_COUNTER = "num_batches_tracked"
_TOLERANCE = 1e-3
_SHOWN = 12


def import_torch():
    """Returns the module torch, or says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise InvalidInputError(
            "Reading a PyTorch file needs PyTorch, which cannot be imported "
            f"({error}). Install it with `pip install torch`."
        ) from error
    return torch


def read_state_dict(path) -> tuple[dict[str, np.ndarray], int]:
    """Reads the tensors of a state dict without running anything from the file.

    The dict may sit under the key "state_dict" or "model" of another one, and the
    names may start with "module.". Returns name to array (floating point as float32)
    and how many counters of seen batches were left out.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise InvalidInputError(f"`input` is not a file: {str(path)!r}.")
    content = _unwrap(_load(path), path)
    if not content:
        raise InvalidInputError(f"`input` {str(path)!r} holds an empty state dict.")
    tensors, counters, twice, wrong, not_finite = {}, 0, [], [], []
    torch = import_torch()
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            wrong.append(f"{key} ({type(value).__name__})")
            continue
        name = key.removeprefix("module.")
        if name in tensors:
            twice.append(name)
        elif name.rpartition(".")[2] == _COUNTER:
            counters += 1
        else:
            array = _to_array(torch, value)
            if array is None:
                wrong.append(f"{key} ({value.layout}, {value.dtype})")
                continue
            if not np.isfinite(array).all():
                not_finite.append(name)
            tensors[name] = array
    for names, problem in (
        (wrong, "entries that are no plain tensors. Save `model.state_dict()` alone"),
        (twice, 'names that are there twice, with and without "module." in front'),
        (not_finite, "tensors with NaN or infinity. Take another checkpoint"),
    ):
        if names:
            raise InvalidInputError(
                f"`input` {str(path)!r} holds {problem}: {_listed(names)}."
            )
    return tensors, counters


def _load(path):
    torch = import_torch()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # The argument is what keeps the file from running code; never change it.
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found is None:
            raise _unreadable(path, "it is no PyTorch file, or damaged") from error
        raise InvalidInputError(
            f"`input` {str(path)!r} is no state dict: it holds Python objects (it asks "
            f"for {found[1]}), such as a whole pickled model. Reading them runs code "
            "from the file, so it is refused, and nothing was run. In the environment "
            "of its authors, and only if you trust the file, do: `import torch; "
            f"model = torch.load('{path.name}', map_location='cpu', "
            "weights_only=False); torch.save(model.state_dict(), 'state_dict.pth')`. "
            "Then convert state_dict.pth."
        ) from error
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        text = str(error)
        if "TorchScript" in text:
            text = "it is a TorchScript archive, which holds code"
        raise _unreadable(path, text.splitlines()[0] if text else "cut") from error


def _unreadable(path, reason):
    hint = ""
    if path.suffix == ".safetensors":
        hint = " A .safetensors file needs no conversion: pass it as `weights`."
    return InvalidInputError(
        f"`input` {str(path)!r} cannot be read: {reason}. Give a file that "
        f"`torch.save(model.state_dict(), path)` wrote.{hint}"
    )


def _unwrap(content, path):
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            return content[key]
    if not isinstance(content, Mapping):
        raise InvalidInputError(
            f"`input` {str(path)!r} holds no state dict but one "
            f"{type(content).__name__}. Save `model.state_dict()`."
        )
    return content


def _to_array(torch, value):
    if value.layout != torch.strided or value.is_quantized or value.is_complex():
        return None
    if value.is_floating_point():
        value = value.to(torch.float32)
    return np.ascontiguousarray(value.detach().numpy())


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Names of the tensors of a file and of a network, side by side."""

    mapped: list[str]
    left_over: list[str]
    missing: list[str]
    misshapen: list[str]

    @property
    def fits(self) -> bool:
        return not (self.left_over or self.missing or self.misshapen)

    def to_text(self) -> str:
        lines = [f"mapped: {len(self.mapped)} tensors"]
        for title, names in (
            ("left over in the file", self.left_over),
            ("missing from the file", self.missing),
            ("of another shape", self.misshapen),
        ):
            lines.append(f"{title}: {_listed(names) if names else 'nothing'}")
        return "\n".join(lines)


def compare_names(model: keras.Model, tensors: dict[str, np.ndarray]) -> Comparison:
    """Says which tensors of the file a network takes, and which it lacks."""
    from_timm = any(re.match(r"layer\d+\.\d+\.", name) for name in tensors)
    entries = torch_entries(model, "timm" if from_timm else "authors")
    needed = {entry.name: entry.shape for entry in entries}
    common = [name for name in needed if name in tensors]
    return Comparison(
        mapped=[name for name in common if tensors[name].shape == needed[name]],
        left_over=[name for name in tensors if name not in needed],
        missing=[name for name in needed if name not in tensors],
        misshapen=[
            f"{name} (file {tensors[name].shape}, network {needed[name]})"
            for name in common
            if tensors[name].shape != needed[name]
        ],
    )


def signature_of(tensors) -> NetworkSignature:
    """What the names and shapes of the file tell about its network."""
    return NetworkSignature.of_tensors({n: v.shape for n, v in tensors.items()})


def _model_name(name):
    constructor = get_model(name)
    if not constructor.__module__.startswith("keras_sda."):
        raise InvalidInputError(
            "`--model` must be a network of keras_sda, such as SDASENet86. Received: "
            f"{name!r}, of keras.applications."
        )
    return constructor.__name__


def build_keras_model(name: str, tensors: dict[str, np.ndarray]) -> keras.Model:
    """Builds the named network with the classes of the file, ending in logits."""
    options = {}
    if "fc.bias" in tensors and tensors["fc.bias"].ndim == 1:
        options["classes"] = len(tensors["fc.bias"])
    if signature_of(tensors).attention is False:
        options["depth_attention"] = False  # The file holds the plain trunk.
    return get_model(name)(weights=None, classifier_activation=None, **options)


def build_torch_model(name: str, path):
    """Imports `package.module:function`, calls it and loads the file into it."""
    torch = import_torch()
    module_name, separator, function_name = name.partition(":")
    if not (separator and module_name and function_name):
        raise InvalidInputError(
            "`--torch_model` must look like package.module:function. Received: "
            f"{name!r}."
        )
    if "" not in sys.path:
        sys.path.insert(0, "")  # As with `python -m`: modules of the current folder.
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise InvalidInputError(
            f"`--torch_model` {name!r} cannot be imported: {error}. Run from the "
            "folder that holds the module, or set PYTHONPATH."
        ) from error
    model = function()
    if not isinstance(model, torch.nn.Module):
        raise InvalidInputError(
            f"`--torch_model` {name!r} must return a torch.nn.Module. Received: "
            f"{type(model).__name__}."
        )
    content = _unwrap(_load(pathlib.Path(path)), path)
    content = {key.removeprefix("module."): value for key, value in content.items()}
    try:
        model.load_state_dict(content)
    except RuntimeError as error:
        raise InvalidInputError(
            f"`--torch_model` {name!r} does not take the state dict: "
            f"{' '.join(str(error).split())[:600]}"
        ) from error
    return model


def output_difference(torch_model, keras_model, seed: int = 0) -> tuple[float, float]:
    """Largest difference of the outputs for one random image, and largest output."""
    torch = import_torch()
    shape = [size or 224 for size in keras_model.input_shape[1:]]
    image = np.random.default_rng(seed).standard_normal((1, *shape)).astype("float32")
    torch_image = image
    if keras.config.image_data_format() == "channels_last":
        torch_image = np.ascontiguousarray(image.transpose(0, 3, 1, 2))
    torch_model.eval()
    with torch.no_grad():
        expected = torch_model(torch.from_numpy(torch_image))
    if not isinstance(expected, torch.Tensor):
        raise InvalidInputError(
            "`--torch_model` must return one tensor, the logits. Received: "
            f"{type(expected).__name__}."
        )
    expected = expected.numpy()
    actual = keras.ops.convert_to_numpy(keras_model(image, training=False))
    if actual.shape != expected.shape:
        raise InvalidInputError(
            f"The outputs have other shapes: PyTorch {expected.shape}, keras_sda "
            f"{actual.shape}. Give the network that the file belongs to."
        )
    return float(np.abs(actual - expected).max()), float(np.abs(expected).max())


def convert(
    source, target, model=None, torch_model=None, overwrite=False, log=print
) -> None:
    """Does what the command line does; see the top of this file."""
    from safetensors.numpy import save

    target = pathlib.Path(target)
    if target.suffix != ".safetensors":
        raise InvalidInputError(
            f"`output` must end in .safetensors. Received: {str(target)!r}."
        )
    if target.exists() and not overwrite:
        raise InvalidInputError(
            f"`output` exists: {str(target)!r}. Give --overwrite to replace it."
        )
    if model is not None:  # A wrong name shows before the work begins.
        model = _model_name(model)
    tensors, counters = read_state_dict(source)
    size = sum(math.prod(value.shape) for value in tensors.values())
    log(f"read: {len(tensors)} tensors, {size:,} numbers, from {source}")
    if counters:
        log(f"left out: {counters} counters of seen batches, which nothing needs")
    signature = signature_of(tensors)
    name = model or signature.preset
    if name is None and torch_model is not None:
        raise InvalidInputError(
            "`--torch_model` compares with a network of keras_sda, and the file does "
            "not tell which: give --model."
        )
    keras_model = None
    if name is None:
        log("network: not known from the names; --model checks against one")
    else:
        keras_model = build_keras_model(name, tensors)
        comparison = compare_names(keras_model, tensors)
        plain = ", depth_attention=False" if signature.attention is False else ""
        guessed = "" if model else " (guessed from the names)"
        log(f"network: {name}{plain}{guessed}")
        log(comparison.to_text())
        if not comparison.fits:
            if model or torch_model:
                hint = signature.difference(NetworkSignature.of_model(keras_model))
                raise InvalidInputError(
                    f"`input` does not fit {name} (see above); nothing was written. "
                    f"{hint} Give the network that the file belongs to, or convert "
                    "without --model and --torch_model."
                )
            keras_model = None
    with atomic_write(target) as temporary:
        temporary.write_bytes(save(tensors, metadata={"format": "pt"}))
        if keras_model is not None:
            load_weights(keras_model, temporary)
        if torch_model is not None:
            other = build_torch_model(torch_model, source)
            difference, largest = output_difference(other, keras_model)
            log(
                f"largest difference of the outputs on a random image: {difference:.3g}"
                f" (largest output {largest:.3g})"
            )
            if not difference <= _TOLERANCE * max(1.0, largest):
                raise InvalidInputError(
                    f"`--torch_model` {torch_model!r} and {name} give other outputs "
                    f"({difference:.3g}, allowed {_TOLERANCE} of the largest); nothing "
                    "was written. One of them is not the network of this file."
                )
    log(f"written: {target}")


def _listed(names):
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"{len(names)}: {', '.join(names[:_SHOWN])}{more}"


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="PyTorch file with a state dict")
    parser.add_argument("output", help="file to write, ends in .safetensors")
    parser.add_argument(
        "--model",
        help="network of keras_sda that the file must fit, such as SDASENet86",
    )
    parser.add_argument(
        "--torch_model",
        metavar="MODULE:FUNCTION",
        help="function without arguments that returns the PyTorch network",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an existing output"
    )
    options = parser.parse_args(arguments)
    try:
        convert(
            options.input,
            options.output,
            options.model,
            options.torch_model,
            options.overwrite,
        )
    except (InvalidInputError, OSError) as error:
        message = " ".join(str(error).split())
        print(f"convert_torch_checkpoint: error: {message}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
