"""From a masked model to one that computes only what the masks leave."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
from absl import logging

from keras_sda.analysis import compare_latency
from keras_sda.graph import (
    ChannelGraph,
    clone_edited,
    layer_calls,
    unwrapped,
)
from keras_sda.grouping.packing.order_channels import order_channels
from keras_sda.grouping.packing.packed_forms import (
    PackedForm,
    dense_form,
    packed_form,
    packed_forms,
)
from keras_sda.grouping.packing.packing_report import PackedLayer, PackingReport
from keras_sda.grouping.packing.time_forms import FormTimer
from keras_sda.grouping.packing.trim_unread import trim_unread
from keras_sda.layers.compression.self_grouped import SelfGrouped
from keras_sda.utils import InvalidInputError

_FORMS = ("auto", "lists", "grouped", "dense")
# A form must beat the dense layer by more than measurements vary.
_MARGIN = 0.95
# Odd numbers of channels can be slower than a few more.
_ROUND_TO = 8


@dataclasses.dataclass(frozen=True)
class PackingResult:
    """What `pack` returns.

    Attributes:
        model: The packed model, not compiled.
        report: A `PackingReport`.
    """

    model: keras.Model
    report: PackingReport


def pack(
    model: keras.Model,
    form: str = "auto",
    batch_size: int = 1,
    num_runs: int = 7,
    input_shape: Any = None,
    log: Callable[[str], None] = logging.info,
) -> PackingResult:
    """Returns the model to deploy: the same function with the kept weights alone.

    Use it on a masked model after the last training. Channels that nobody reads are
    removed, channels are reordered so that groups are ranges (the order is folded into
    the layers that write and read them), and every masked layer becomes one of

    * `"dense"`: the plain Keras layer, with zeros where the mask cuts;
    * `"grouped"`: a `GroupedConv2D`, where all groups have one size, behind a gather
      of the channels where their order could not be folded;
    * `"lists"`: a `PackedConv2D` or `PackedDense`, with a kernel and a list of channels
      per group; `"lists_8"`, `"lists_4"` and `"lists_2"` join groups to so many, which
      computes some zeros in exchange for fewer, larger convolutions.

    `"auto"` times these forms of every layer on this device, and keeps the fastest;
    where the model as a whole does not gain, all layers stay dense. So do unread
    channels whose removal makes it slower: all of them, or those up to the next
    multiple of 8. Time it on the device and at the batch size that it will run on.

    Args:
        model: A masked model, from `self_group`. It is not changed.
        form: `"auto"`, or `"dense"`, `"grouped"` (lists where the groups are not of one
            size) or `"lists"` for all layers. Defaults to `"auto"`.
        batch_size: Images per run when forms are timed. Defaults to `1`.
        num_runs: Timed rounds per layer. Defaults to `7`.
        input_shape: Shape of one image, where the model leaves it open.
        log: Gets a line of text for every layer whose forms are timed, which takes
            seconds each. Defaults to `absl.logging.info`.

    Returns:
        A `PackingResult` with `model`, whose layers have the names of the masked ones,
        and `report`, which says what became of each layer.

    Raises:
        InvalidInputError: No layer is masked, or an argument is wrong.

    Example:

    >>> from keras_sda.applications import LeNet
    >>> from keras_sda.grouping import pack, self_group
    >>> masked = self_group(LeNet(), conv_rate=0.95, dense_rate=0.95).model
    >>> pack(masked, form="lists").model.count_params() < 0.1 * masked.count_params()
    True

    Source: arXiv 2009.13803 (Neural Networks 132, 2020), diverse group convolution.
    The authors' code masks; packing is ours.
    """
    _check(form, batch_size, num_runs)
    model = unwrapped(model)
    names = _masked_layers(model)
    trimmed, unread = trim_unread(model)
    timer = FormTimer(batch_size, num_runs)

    def ratios(models):
        return compare_latency(
            {name: _build(*forms) for name, forms in models.items()},
            batch_size=batch_size,
            num_runs=max(num_runs, 11),
            input_shape=input_shape,
        ).ratios

    latency = None
    if form == "auto" and unread:
        bases = {
            "dense": (model, 0),
            "trimmed": (trimmed, unread),
            "rounded": trim_unread(model, _ROUND_TO),
        }
        found = ratios({name: (base, {}) for name, (base, _) in bases.items()})
        fastest = min(bases, key=found.get)
        trimmed, unread = bases[fastest]
        latency = found[fastest]
    # An order serves the layers that gain from it; which do is known when all are
    # timed. So the first choice decides who is asked for the second.
    chosen, rows = names, {}
    for _ in range(2 if form == "auto" else 1):
        ordered = order_channels(trimmed, chosen)
        forms, rows = _choose(ordered, form, timer, input_shape, log)
        chosen = [name for name in names if rows[name].form != "dense"]
    packed = _build(ordered, forms)
    if form == "auto" and chosen:
        models = {"dense": (model, {}), "packed": (ordered, forms)}
        if unread:
            models["trimmed"] = trimmed, {}
        found = ratios(models)
        latency = found["packed"]
        if latency >= found.get("trimmed", 1.0):
            packed, latency = _build(trimmed, {}), found.get("trimmed", 1.0)
            rows = {
                name: dataclasses.replace(
                    row,
                    form="dense",
                    computed=row.filters * row.channels,
                    gathers=False,
                    reorders=False,
                    note="the whole model is not faster otherwise",
                )
                for name, row in rows.items()
            }
    report = PackingReport.of(
        model,
        packed,
        list(rows.values()),
        unread=unread,
        settings={
            "form": form,
            "batch_size": batch_size,
            "latency_ratio_to_dense": latency,
        },
        input_shape=input_shape,
    )
    for text in report.warnings:
        logging.warning("%s: %s.", model.name, text)
    logging.info("%s", report.to_text())
    return PackingResult(packed, report)


def _choose(model, form, timer, input_shape, log):
    """A form and a row of the report for every masked layer."""
    records = ChannelGraph(model).layers
    names = {id(record.layer): record.name for record in records.values()}
    chosen: dict[int, PackedForm] = {}
    rows: dict[str, PackedLayer] = {}
    shapes: dict[int, tuple] = {}
    layers = {}
    for call in layer_calls(model, input_shape):
        if isinstance(call.layer, SelfGrouped):
            layers.setdefault(id(call.layer), call.layer)
            shapes.setdefault(id(call.layer), call.input_shapes[0])
    for number, layer in enumerate(layers.values(), 1):
        times: dict[str, float] = {}
        if form == "auto":
            forms = packed_forms(layer)
            times = timer.times_ms(forms, shapes[id(layer)])
            fastest = min(forms, key=lambda own: times[own.name])
            if times[fastest.name] > _MARGIN * times["dense"]:
                fastest = forms[0]
            log(
                f"Timed layer {number} of {len(layers)}, {names[id(layer)]}: "
                + ", ".join(f"{key} {value:.3f}" for key, value in times.items())
                + " ms"
            )
        else:
            fastest = packed_form(layer, form)
        chosen[id(layer)] = fastest
        name = names[id(layer)]
        rows[name] = PackedLayer.of(name, layer, fastest, times)
    return chosen, rows


def _build(model, forms):
    """The model with the chosen forms in place of its masked layers; or dense."""
    form_of: dict[int, PackedForm] = {}
    steps: dict[int, list] = {}  # once per layer: a shared one is called again

    def chosen(layer):
        if id(layer) not in form_of:
            form_of[id(layer)] = forms.get(id(layer)) or dense_form(layer)
        return form_of[id(layer)]

    def edit(layer, config):
        if not isinstance(layer, SelfGrouped):
            return config
        form = chosen(layer)
        return form.layer_class.from_config(form.config)

    def call(layer, new, args, kwargs):
        if not isinstance(layer, SelfGrouped):
            return new(*args, **kwargs)
        if id(layer) not in steps:
            steps[id(layer)] = chosen(layer).steps(new)
        x = args[0] if args else kwargs["inputs"]
        for step in steps[id(layer)]:
            x = step(x)
        return x

    def weights_of(layer):
        if isinstance(layer, SelfGrouped):
            return chosen(layer).weights
        return layer.weights

    def everywhere(_):
        return {"call": call}

    return clone_edited(
        model, edit, weights_of=weights_of, call=call, nested=everywhere
    )


def _masked_layers(model):
    records = ChannelGraph(model).layers.values()
    masked = [record for record in records if isinstance(record.layer, SelfGrouped)]
    if not any(record.layer.is_grouped for record in masked):
        raise InvalidInputError(
            f"`model` '{model.name}' is not masked"
            + (": its layers have no groups yet" if masked else "")
            + ". Call grouping.self_group(model) first, fine-tune what it returns, and "
            "pack that."
        )
    return [record.name for record in masked]


def _check(form, batch_size, num_runs):
    if form not in _FORMS:
        raise InvalidInputError(
            f"`form` must be one of {_FORMS}. Received: form={form!r}."
        )
    for name, value in (("batch_size", batch_size), ("num_runs", num_runs)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise InvalidInputError(
                f"`{name}` must be a positive integer. Received: {name}={value!r}."
            )
