"""The search for widths: weights, gates, smaller network, fine-tuning."""

import os
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_sda.analysis import LatencyTable
from keras_sda.data.fit.fit_data import FitData, is_stream_function
from keras_sda.graph import model_scope
from keras_sda.objectives import Distillation
from keras_sda.pruning.refit.calibration_batches import check_reconstruct
from keras_sda.runs.run import Run
from keras_sda.runs.train_stage import train_stage
from keras_sda.search.gates.add_channel_gates import channel_gates
from keras_sda.search.gates.gate_cost import GateCost
from keras_sda.search.gates.gate_penalty import gate_penalty, gate_schedule
from keras_sda.search.masks.choose_masks import choose_masks
from keras_sda.search.masks.derive import DerivationResult, derive_masks, open_channels
from keras_sda.search.plot_search import plot_search
from keras_sda.search.search_callbacks import HardenGates, SteerPrice
from keras_sda.search.search_log import SearchLog
from keras_sda.search.search_model import SearchModel
from keras_sda.search.search_options import (
    check_budget,
    check_lambda,
    check_residual,
    default_loss,
    momentum_sgd,
)
from keras_sda.search.stage_variables import stage_variables
from keras_sda.utils import InvalidInputError, model_digest


class ChannelSearch:
    """Learns which channels of a network are needed, in three stages on `model.fit`.

    Use it on a model from `add_channel_gates`. Call the stages one by one, or `fit` for
    all of them:

    1. `train_weights`: the gates are bypassed;
    2. `learn_architecture`: the gates learn and harden, the convolutions stand still;
    3. `derive` cuts the closed channels out, `fine_tune` trains what is left.

    With a folder every stage can be interrupted, by a kill too: make the same search
    again of the same model, call the stages as before, and it goes on after the last
    finished epoch. Only one process at a time may work in a folder.

    Args:
        gated: A model with gates. The stages train it in place.
        folder: Gets backups, logs and pictures; `None` (default) keeps nothing. The
            `Run` of a command that the search is a part of is taken, too.
        loss: A Keras loss. Defaults to `None`: the cross-entropy that fits the end of
            the model (softmax, sigmoid, or logits of what the targets are) and labels
            as numbers, one-hot or several per sample, as the data have them.
        metrics: Metrics of `compile`. Defaults to `("accuracy",)`.
        input_shape: Shape of one sample for counting; needed where the model leaves it
            open. Defaults to `None`.
        seed: Seed of the order of arrays and of dropout. Defaults to `0`.

    Attributes:
        gated: The model with gates.
        gates: Its gates.
        cost: Their `GateCost`.
        log: The `SearchLog` of the architecture stage, once it ran.
        result: What `derive` returned last.

    Raises:
        InvalidInputError: The model has no gates, or no `loss` is given and the model
            does not return classes or does not show what its outputs mean.

    Data of all stages: `(inputs, targets)` or `(inputs, targets, sample_weight)`
    arrays, batched and shuffled here; anything else that `model.fit` takes, which
    should give the same batches in every run; or a function of the first epoch that
    returns such a stream, from that epoch on.

    Options of all stages: `batch_size` for arrays (32), and `validation_data`,
    `validation_steps`, `steps_per_epoch`, `class_weight`, `callbacks` and `verbose` as
    in `model.fit`. What `ModelCheckpoint` writes loads as the model with gates.

    Example:

    ```python
    gated = add_channel_gates(model)
    search = ChannelSearch(gated, "runs/search")
    search.train_weights((images, labels), epochs=30)
    search.learn_architecture((images, labels), epochs=10, target_macs=0.5)
    result = search.derive()
    search.fine_tune((images, labels), epochs=30)
    search.plot("search.png")
    result.model.save("small.keras")
    ```

    Source: arXiv 2103.02126 (Pattern Recognition 126, 2022) and its code; not
    `target_macs` and the regularisers `"macs"` and `"latency"`.
    """

    def __init__(
        self,
        gated: keras.Model,
        folder: Run | str | os.PathLike | None = None,
        loss: Any = None,
        metrics: Sequence[Any] = ("accuracy",),
        input_shape: Any = None,
        seed: int = 0,
    ):
        self.gated = gated
        self.gates = channel_gates(gated)
        self._kept = Run.of(folder, "ChannelSearch")
        self.folder = self._kept.work
        self._loss, self._metrics, self._seed = loss, list(metrics), seed
        self._input_shape = input_shape
        # A repeated call has to begin alike.
        self._start: dict[str, Any] = {"seed": seed}
        if folder is not None:
            self._start["model"] = model_digest(gated)
        self._cost: GateCost | None = None
        self._target: float | None = None
        self.log: SearchLog | None = None
        self.result: DerivationResult | None = None
        if loss is None:
            default_loss(gated, None)  # Say at once when the outputs are no classes.

    @property
    def cost(self) -> GateCost:
        """What open gates cost."""
        self._cost = self._cost or GateCost(self.gated, self._input_shape)
        return self._cost

    def train_weights(
        self, data: Any, epochs: int, optimizer: Any = None, **options
    ) -> list[dict]:
        """First stage: trains everything but the gates, which are bypassed.

        Leave it out for a model that is trained already.

        Args:
            data: See the class.
            epochs: Passes over the data.
            optimizer: A Keras optimizer or its name. Defaults to SGD with rate 0.1 and
                momentum 0.9.
            **options: See the class.

        Returns:
            A dictionary of losses and metrics per epoch.

        Raises:
            InvalidInputError: An argument is wrong, the training diverged, or the
                folder holds the stage with other settings.
        """
        settings = self._settings(data, epochs, options)
        with self._kept.open_stage("weights", settings) as stage:
            with self._scope():
                for gate in self.gates:
                    gate.set_mode("bypass")
                model = self._search_model(stage_variables(self.gated, "weights"))
            optimizer = self._optimizer(optimizer, 0.1)
            return self._run(stage, model, data, epochs, optimizer, options)

    def learn_architecture(
        self,
        data: Any,
        epochs: int = 10,
        lambda_arch: float | None = None,
        target_macs: float | None = None,
        regularizer: str = "plain",
        learning_rate: float = 0.01,
        optimizer: Any = None,
        train_dense: bool = True,
        reset_momentum: bool = True,
        final_beta: float = 1e4,
        latency_table: LatencyTable | None = None,
        **options,
    ) -> list[dict]:
        """Second stage: trains the gates while they harden.

        The gates start half open, at `s = 0`. Convolutions and the scale and offset of
        their normalisation do not change; its moving statistics do.

        Args:
            data: See the class.
            epochs: Passes over the data, over which beta grows to `final_beta`.
                Defaults to `10`.
            lambda_arch: Price of an open gate in the loss; 1e-5 to 5e-4 are published
                for CIFAR-10. What counts is the price times the number of steps.
            target_macs: Instead of a price, the multiply-accumulates to end at: a share
                (below 1) or an absolute number. The price is steered towards it, from
                `lambda_arch` or 1e-4 on, and `derive` adjusts the last channels.
            regularizer: `"plain"`, `"scaled"`, `"macs"` or `"latency"`, see
                `gate_regularizer`.
            learning_rate: Rate of the default optimizer. Defaults to `0.01`.
            optimizer: Defaults to SGD with momentum 0.9.
            train_dense: Whether dense layers learn as well. Defaults to `True`.
            reset_momentum: Whether the state of the optimizer is cleared before every
                epoch, as officially. Defaults to `True`.
            final_beta: Beta of the last epoch. Defaults to `1e4`.
            latency_table: Times of the layers, for `"latency"`. Defaults to `None`.
            **options: See the class.

        Returns:
            A dictionary per epoch, see `SearchLog`.

        Raises:
            InvalidInputError: See `train_weights`; or neither or a wrong `lambda_arch`
                or `target_macs` is given, or the target is out of reach.
        """
        price = check_lambda(lambda_arch, target_macs)
        betas = gate_schedule(epochs, final_beta)
        target = check_budget(target_macs, self.cost)
        penalty = gate_penalty(self.gates, self.cost, regularizer, latency_table)
        settings = {
            **self._settings(data, epochs, options), "lambda_arch": price,
            "target_macs": target, "regularizer": regularizer,
            "train_dense": train_dense, "reset_momentum": reset_momentum,
            "final_beta": final_beta,
        }  # fmt: skip
        if latency_table is not None:
            settings["latency_table"] = latency_table.digest
        self._target = target

        def more_callbacks(start, fresh):
            log = SearchLog(self.gates, self.cost, stage.folder, start)
            self.log = log
            steer = [] if target is None else [
                SteerPrice(self.gates, self.cost, target, epochs, price / 10)
            ]  # fmt: skip
            harden = HardenGates(self.gates, betas, fresh if reset_momentum else ())
            return [harden, *steer, log]

        with self._kept.open_stage("architecture", settings) as stage:
            chosen = stage_variables(self.gated, "architecture", train_dense)
            with self._scope():
                for gate in self.gates:
                    gate.s.assign(np.zeros(gate.channels))
                    gate.mask.assign(np.ones(gate.channels))
                    gate.set_mode("soft")
                model = self._search_model(chosen, penalty, price)
            optimizer = self._optimizer(optimizer, learning_rate)
            self._run(stage, model, data, epochs, optimizer, options, more_callbacks)
        return [] if self.log is None else self.log.rows

    def derive(  # noqa: D417
        self, threshold: float = 0.9, residual: str = "exact",
        max_half_open: float = 0.25, round_to: int = 1,
        reconstruct: bool | None = None, data: Any = None,
    ) -> DerivationResult:  # fmt: skip
        """Cuts out the channels whose gates closed; see `search.derive`.

        After a search with `target_macs` the threshold is only where it starts from:
        the cut is moved along the sorted `s` until the budget is met. How many channels
        that concerned is logged and in `result.report.settings`.

        Args:
            threshold, residual, max_half_open, round_to, reconstruct: See
                `search.derive`. A budget closes gates that still let something
                through, which `reconstruct` makes up for.
            data: Images for `reconstruct`; see the class. Defaults to `None`.

        Returns:
            A `DerivationResult`.
        """
        check_reconstruct(reconstruct, data)
        check_residual(residual, self._target)
        masks, changes = choose_masks(
            self.gated, self.cost, self._target, threshold, max_half_open, round_to
        )
        settings = {"threshold": threshold, "residual": residual, **changes}
        with self._scope():
            self.result = derive_masks(
                self.gated, masks, residual, settings, self._input_shape,
                data(0) if is_stream_function(data) else data, self._seed,
            )  # fmt: skip
        return self.result

    def fine_tune(  # noqa: D417
        self, data: Any, epochs: int, optimizer: Any = None,
        distill: Distillation | None = None, **options,
    ) -> list[dict]:  # fmt: skip
        """Third stage: trains `result.model`, the derived network, in place.

        Args:
            data, epochs, optimizer, **options: See `train_weights`; so is what returns.
            distill: A teacher for a part of the loss; `result.model` is then not
                compiled. Defaults to `None`, the labels alone.

        Raises:
            InvalidInputError: See `train_weights`; or there is no derived network yet.
        """
        if self.result is None:
            raise InvalidInputError(
                "There is no derived network to fine-tune. Call `derive()` first, "
                "after `learn_architecture(...)`."
            )
        kept = {name: len(places) for name, places in self.result.kept.items()}
        settings = {**self._settings(data, epochs, options), "kept": kept}
        if self.result.report.settings.get("reconstruct"):
            settings["reconstruct"] = True
        model = self.result.model
        if distill is not None:
            settings["distill"] = distill.settings()
            model = distill.wrap(model)
        with self._kept.open_stage("fine_tune", settings) as stage:
            optimizer = self._optimizer(optimizer, 0.1)
            return self._run(stage, model, data, epochs, optimizer, options)

    def fit(  # noqa: D417
        self, data: Any, weight_epochs: int, fine_tune_epochs: int,
        architecture_epochs: int = 10, lambda_arch: float | None = None,
        target_macs: float | None = None, weight_optimizer: Any = None,
        fine_tune_optimizer: Any = None, threshold: float = 0.9,
        residual: str = "exact", max_half_open: float = 0.25,
        architecture: dict[str, Any] | None = None, round_to: int = 1,
        reconstruct: bool | None = False, **options,
    ) -> DerivationResult:  # fmt: skip
        """All stages one after the other.

        Args:
            data: See the class.
            weight_epochs: Epochs of `train_weights`; 0 leaves the stage out.
            fine_tune_epochs: Epochs of `fine_tune`; 0 leaves the stage out.
            architecture_epochs: Epochs of `learn_architecture`. Defaults to `10`.
            lambda_arch, target_macs: See `learn_architecture`.
            weight_optimizer, fine_tune_optimizer: See `train_weights`.
            threshold, residual, max_half_open, round_to, reconstruct: See `derive`;
                kernels are fitted to `data` as they come, augmented or not, if that is
                asked for. Defaults to `False`.
            architecture: Further arguments of `learn_architecture`.
            **options: For every stage, see the class.

        Returns:
            The `DerivationResult` with the fine-tuned model.
        """
        check_lambda(lambda_arch, target_macs)
        check_budget(target_macs, self.cost, round_to)
        reconstruct = check_reconstruct(reconstruct, data, is_used=True, is_read=True)
        with self._kept.opened():
            if weight_epochs:
                self.train_weights(data, weight_epochs, weight_optimizer, **options)
            more = {**options, **(architecture or {})}
            self.learn_architecture(
                data, architecture_epochs, lambda_arch, target_macs, **more
            )
            result = self.derive(
                threshold, residual, max_half_open, round_to, reconstruct,
                data if reconstruct else None,
            )  # fmt: skip
            if fine_tune_epochs:
                self.fine_tune(data, fine_tune_epochs, fine_tune_optimizer, **options)
        return result

    def plot(self, path: str | os.PathLike) -> None:
        """Draws widths before and after, and the course of the architecture stage.

        Args:
            path: The PNG file.

        Raises:
            InvalidInputError: The architecture stage has not run.
        """
        if self.log is None:
            raise InvalidInputError(
                "There is nothing to draw yet. Call `learn_architecture(...)` first."
            )
        masks = open_channels(self.gated)
        after = {name: int(mask.sum()) for name, mask in masks.items()}
        if self.result is not None:
            after = {name: len(places) for name, places in self.result.kept.items()}
        widths = {gate.name: (gate.channels, after[gate.name]) for gate in self.gates}
        plot_search(self.log.rows, widths, path, self.gated.name)

    def _run(self, stage, model, data, epochs, optimizer, options, more_callbacks=None):
        with self._scope():
            if data is not None and not is_stream_function(data):
                data = FitData(data, model)
            loss = self._loss or default_loss(self.gated, data)
            return train_stage(
                stage, model, data, epochs, optimizer, loss, self._metrics,
                self._seed, more_callbacks, **options,
            )  # fmt: skip

    def _optimizer(self, optimizer, rate):
        with self._scope():
            return optimizer or momentum_sgd(rate)

    def _settings(self, data, epochs, options):
        size = options.get("batch_size", 32)
        settings = {"epochs": epochs, "batch_size": size, "data": data, **self._start}
        if options.get("class_weight"):  # as text, because keys in JSON are text
            settings["class_weight"] = repr(options["class_weight"])
        return settings

    def _search_model(self, chosen, penalty=None, price=0.0):
        ends, name = (self.gated.input, self.gated.output), self.gated.name
        return SearchModel(*ends, chosen, penalty, price, name=name)

    def _scope(self):
        return model_scope(self.gated)  # the strategy that it was made under
