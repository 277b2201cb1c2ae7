"""Fit the kernels of a pruned model, one after the other."""

import dataclasses
import functools
import time
from collections.abc import Collection, Sequence
from typing import Any

import keras
import numpy as np
from absl import logging

from keras_sda.graph import ChannelGraph, GraphRunner
from keras_sda.pruning.refit.find_kernels import (
    ReadingKernel,
    calls_by_name,
    find_kernels,
    find_masked_kernels,
)
from keras_sda.pruning.refit.kept_values import KeptValues
from keras_sda.pruning.refit.kernel_rows import count_places, kernel_rows
from keras_sda.pruning.refit.least_squares import (
    Moments,
    choose_ridge,
    correction,
    fit,
)
from keras_sda.pruning.refit.refit_row import RefitRow

_MAX_ROWS = 65536
_ROWS_PER_FEATURE = 4
_NOT_FINITE = "values that it reads are not finite"
_LEAST_ROWS = 16384


def refit_kernels(
    graph: ChannelGraph,
    removed: np.ndarray,
    small: keras.Model,
    batches: Sequence[Any],
    ridge: float | None = None,
    sequential: bool = True,
    max_rows: int = _MAX_ROWS,
    seed: int = 0,
    whole: keras.Model | None = None,
    held: Collection[str] = (),
) -> list[RefitRow]:
    """Changes kernels of a pruned model so that they give what those of the whole did.

    Use it through `reconstruct`.

    Args:
        graph: The channels of the whole model, or of what is left of it without some
            branches.
        removed: Boolean array over the classes of `graph.units`.
        small: The model without these channels. Its kernels are changed.
        batches: Inputs of the model, batch by batch.
        ridge: See `reconstruct`. Defaults to `None`.
        sequential: See `reconstruct`. Defaults to `True`.
        max_rows: See `reconstruct`. Defaults to `65536`.
        seed: Of the choice of rows. Defaults to `0`.
        whole: The model whose values are aimed at. Defaults to the model of `graph`.
        held: Names of layers whose kernels must not change. Defaults to none.

    Returns:
        A `RefitRow` for every kernel that was fitted, that reads removed channels, or
        that is held.
    """
    cut, pruned = GraphRunner(graph.model), GraphRunner(small)
    kernels, reasons = find_kernels(graph, removed, cut, pruned)
    closed = [k.name for k in kernels if k.name in held or k.owner in held]
    reasons |= dict.fromkeys(closed, "its zeros keep channels closed")
    kernels = [kernel for kernel in kernels if kernel.name not in closed]
    aim = cut if whole is None or whole is graph.model else GraphRunner(whole)
    rest = _aimed(kernels, aim) if sequential else []
    swept = {kernel.name for kernel in rest}
    at_once = [k for k in kernels if k.loses and k.name not in swept]
    generator = np.random.default_rng(seed)
    rows = _correct(cut, at_once, batches, ridge, max_rows, generator)
    if sequential:
        sweep = _Sweep(aim, pruned, batches, ridge, max_rows, generator)
        rows += sweep.fit_all(rest)
    rows += [RefitRow(name, reason=reason) for name, reason in reasons.items()]
    _note(graph.model.name, rows)
    return rows


def _aimed(kernels, aim):
    """Those with one call, here and in the model whose values are aimed at."""
    calls = calls_by_name(aim)
    return [
        dataclasses.replace(kernel, whole_calls=found)
        for kernel in kernels
        for found in [calls.get(kernel.owner or kernel.name, [])]
        if len(kernel.whole_calls) == len(found) == 1
    ]


def refit_masked(
    model: keras.Model, masked: keras.Model, batches: Sequence[Any], seed: int = 0
) -> list[RefitRow]:
    """`refit_kernels` for filters that read some channels by a mask.

    Filters with the same mask are fitted together, from the channels that they read;
    layers without a mask to what they read from others by then. Use it through
    `keras_sda.grouping`.

    Args:
        model: The model before.
        masked: The one with masks. Its kernels are changed, where masks let them
            through; masks stay.
        batches: Inputs of the model, batch by batch.
        seed: Of the choice of rows. Defaults to `0`.

    Returns:
        A `RefitRow` for every kernel that was fitted or whose mask cuts.
    """
    whole, small = GraphRunner(model), GraphRunner(masked)
    kernels, reasons = find_masked_kernels(whole, small)
    generator = np.random.default_rng(seed)
    sweep = _Sweep(whole, small, batches, None, _MAX_ROWS, generator)
    rows = sweep.fit_all(kernels)
    rows += [RefitRow(name, reason=reason) for name, reason in reasons.items()]
    _note(model.name, rows)
    return rows


def _note(name, rows):
    left = [f"{row.layer} ({row.reason})" for row in rows if row.reason]
    fitted = [row for row in rows if not row.reason]
    logging.info("%s: refitted %d kernels.", name, len(fitted))
    if left and not fitted:
        logging.warning("%s: no kernel could be refitted.", name)
    if left:
        more = f" and {len(left) - 8} more" if len(left) > 8 else ""
        logging.info("%s: as they were cut stay %s%s.", name, ", ".join(left[:8]), more)


def _correct(whole, kernels, batches, ridge, max_rows, generator):
    """Removed channels are predicted from the kept ones, all as the whole has them."""
    if not kernels:
        return []
    ridge = 1e-4 if ridge is None else ridge
    calls = [call for kernel in kernels for call in kernel.whole_calls]
    wanted = {number for call in calls for number in call.inputs}
    sums: dict[str, Any] = {kernel.name: 0.0 for kernel in kernels}
    for inputs in batches:
        found = whole.run(whole.given(inputs), wanted)
        for kernel in kernels:
            for call in range(len(kernel.whole_calls)):
                value = kernel.whole_input(found.__getitem__, call)
                value = _channels_last(kernel.whole, value)
                most = -(-max_rows // (len(batches) * len(kernel.whole_calls)))
                if len(value) > most:
                    value = value[generator.choice(len(value), most, replace=False)]
                sums[kernel.name] += _gram(value, kernel.groups)
    rows = []
    for kernel in kernels:
        if not np.isfinite(sums[kernel.name]).all():
            rows.append(RefitRow(kernel.name, reason=_NOT_FINITE))
            continue
        old = keras.ops.convert_to_numpy(kernel.whole.kernel).astype("float64")
        filters = np.split(old, kernel.groups, -1)
        made = np.split(kernel.made, kernel.groups)
        parts = []
        for moments, mine, stays in zip(sums[kernel.name], filters, made, strict=True):
            change = correction(moments, kernel.kept, ridge)
            parts.append(np.einsum("kc,...cf->...kf", change, mine[..., stays]))
        _assign(kernel.small.kernel, np.concatenate(parts, -1))
        rows.append(RefitRow(kernel.name, ridge))
    return rows


def _gram(value, groups):
    parts = np.split(value, groups, -1)
    return np.stack([(part.T @ part).astype("float64") for part in parts])


def _channels_last(layer, value):
    """Samples and positions by channels."""
    value = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(value, "float32")))
    if getattr(layer, "data_format", None) == "channels_first":
        value = np.moveaxis(value, 1, -1)
    return value.reshape(-1, value.shape[-1])


def _assign(variable, value):
    """Whatever the type of the variable is."""
    value = keras.ops.convert_to_tensor(value.reshape(variable.shape), "float32")
    variable.assign(keras.ops.cast(value, variable.dtype))


class _Sweep:
    """Fits kernels to what they read in the small model as it is by then."""

    def __init__(self, whole, small, batches, ridge, max_rows, generator):
        self._whole = KeptValues(whole, batches)
        self._small = KeptValues(small, batches)
        self._num_batches = len(batches)
        self._num_samples = self._whole.num_samples
        self._ridge, self._max_rows = ridge, max_rows
        self._generator = generator

    def fit_all(self, kernels):
        rows, told = [], time.monotonic()
        for number, kernel in enumerate(kernels):
            for half, calls in (
                (self._whole, [k.whole_calls[0].index for k in kernels[number:]]),
                (self._small, [k.small_calls[0].index for k in kernels[number:]]),
            ):
                half.advance(min(calls))
            row = self._fit(kernel)
            if row is not None:
                rows.append(row)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                logging.info("Refitted %d of %d kernels.", number + 1, len(kernels))
        return rows

    def _fit(self, kernel: ReadingKernel):
        halves = self._moments(kernel)
        if halves is None:
            return None
        shift = kernel.shift
        has_shift = shift is not None
        if not all(half.is_finite for pair in halves for half in pair):
            return RefitRow(kernel.name, reason=_NOT_FINITE)
        starts = self._starts(kernel, has_shift)
        powers = sum(float(half.power.sum()) for pair in halves for half in pair)
        before = after = 0.0
        fitted, ridges = [], []
        for group, start in zip(halves, starts, strict=True):
            weights = start.copy()
            for rows, columns in kernel.parts():
                pair = [half.part(rows, columns) for half in group]
                both, old = pair[0] + pair[1], start[rows][:, columns]
                ridge = self._ridge
                if ridge is None:
                    ridge = choose_ridge(pair, old, has_shift)
                new = old if ridge is None else fit(both, old, ridge, has_shift)
                before += both.error(old)
                after += both.error(new)
                block = weights[rows]
                block[:, columns] = new
                weights[rows] = block
                ridges.append(ridge)
            fitted.append(weights)
        weights = np.concatenate(fitted, -1)
        if shift is not None:
            variable, sign = shift
            offset = keras.ops.convert_to_numpy(variable).astype("float64")
            _assign(variable, offset + sign * weights[-1])
            weights = weights[:-1]
        _assign(kernel.small.kernel, weights)
        used = [ridge for ridge in ridges if ridge is not None]
        return RefitRow(
            kernel.name,
            max(used) if used else None,
            max(before, 0.0) / max(powers, 1e-30),
            max(after, 0.0) / max(powers, 1e-30),
            "" if used else "no fit is better on images that it has not seen",
        )

    def _moments(self, kernel):
        """For every group the moments of two halves of the samples."""
        old = kernel.values().astype("float32")
        taps = int(np.prod(old.shape[:-2]))
        old = np.compress(kernel.made, old.reshape(-1, old.shape[-1]), -1)
        features = taps * int(kernel.kept.sum())
        total, first = None, 0  # and the number of the first sample of a batch
        for batch in range(self._num_batches):
            x = kernel.whole_input(functools.partial(self._whole.value, batch))
            y = kernel.small_input(functools.partial(self._small.value, batch))
            if batch == 0 and not kernel.loses and _is_same(x, y):
                return None  # nothing before it has changed
            places = self._places(kernel.whole, x.shape, features)
            after = kernel_rows(kernel.small, y, places)
            after = _split(after, taps, kernel.groups)
            before = kernel_rows(kernel.whole, x, places)
            before = _split(before, taps, kernel.groups)
            weights = np.split(old, kernel.groups, -1)
            goals = [a @ w for a, w in zip(before, weights, strict=True)]
            has_shift = kernel.shift is not None
            if total is None:
                total = [
                    tuple(
                        Moments.of_no_rows(mine.shape[1] + has_shift, goal.shape[1])
                        for _ in range(2)
                    )
                    for mine, goal in zip(after, goals, strict=True)
                ]
            for pair, mine, goal in zip(total, after, goals, strict=True):
                if has_shift:
                    mine = np.pad(mine, [(0, 0), (0, 1)], constant_values=1.0)
                mine, goal = (a.reshape(len(x), -1, a.shape[-1]) for a in (mine, goal))
                # Even and odd samples, counted over all batches.
                for moments, start in zip(
                    pair, (first % 2, 1 - first % 2), strict=True
                ):
                    moments.add(
                        *(a[start::2].reshape(-1, a.shape[-1]) for a in (mine, goal))
                    )
            first += len(x)
        return total

    def _places(self, layer, shape, features):
        """Positions of the output that are looked at, others in every batch."""
        count = count_places(layer, tuple(shape))
        rows = max(_LEAST_ROWS, _ROWS_PER_FEATURE * features)
        each = -(-min(self._max_rows, rows) // self._num_samples)
        if each >= count:
            return None
        return np.sort(self._generator.choice(count, each, replace=False))

    def _starts(self, kernel, has_shift):
        """The kernel as it was cut, a matrix for each group."""
        value = keras.ops.convert_to_numpy(kernel.small.kernel).astype("float64")
        value = value.reshape(-1, value.shape[-1])
        parts = np.split(value, kernel.groups, -1)
        if has_shift:
            parts = [np.pad(part, [(0, 1), (0, 0)]) for part in parts]
        return parts


def _split(rows, taps, groups):
    """Columns of taps by channels, by the groups of the channels."""
    if groups == 1:
        return [rows]
    values = rows.reshape(len(rows), taps, groups, -1)
    return [values[:, :, group].reshape(len(rows), -1) for group in range(groups)]


def _is_same(one, other):
    one, other = map(keras.ops.convert_to_numpy, (one, other))
    return one.shape == other.shape and np.array_equal(one, other)
