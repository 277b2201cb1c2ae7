"""What the repetitions of published tables have in common."""

import pathlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras

from keras_sda.analysis.latency.inference_step import device_name, versions
from keras_sda.applications import get_model
from keras_sda.training.commands.build_classifier import build_classifier
from keras_sda.training.commands.stage_images import StageImages
from keras_sda.training.options.repeat_options import RepeatOptions
from keras_sda.utils import InvalidInputError
from keras_sda.utils.files.csv_rows import read_rows, write_rows


class RepeatedRuns:
    """The cases of one published table, each a row of results.csv.

    Use it as the base of an experiment. A subclass trains the network that all cases
    start from (`train_whole`), names a case (`title`), says what its row is for
    (`identity`), makes the row (`carry_out`), removes what only an interrupted case
    needs (`tidy`) and puts a row into `words`.

    Args:
        options: The options of the experiment.
        network: Name of the network.
        batch_size: Images per step, where the options have none.
        log: Called with short messages.
        image_size: Height and width in pixels. Defaults to `None`, the dataset's.

    Example:

    ```python
    rows = Searches(options, "CIFARResNet56", 128, print).run(options.searches)
    ```
    """

    kind: str  # of work, in one word
    title: Callable[[Any], str]
    identity: Callable[[Any], dict]
    train_whole: Callable[[], keras.Model]
    carry_out: Callable[[Any], dict]
    tidy: Callable[[Any], None]
    words: Callable[[dict], str]
    order: tuple[str, str]  # in which the table has its counts

    def __init__(
        self,
        options: RepeatOptions,
        network: str,
        batch_size: int,
        log: Callable[[str], Any],
        image_size: int | None = None,
    ):
        self.options, self.network, self.log = options, network, log
        self.output = pathlib.Path(options.output)
        self.dataset = options.load()
        self.images = StageImages(
            self.dataset, options.batch_size or batch_size, image_size
        )
        self.verbose = 1 if sys.stdout.isatty() else 2
        self.whole: Any = None
        self.accuracy_whole = 0.0

    def run(self, cases: Sequence[Any]) -> list[dict[str, str]]:
        """The cases that have no row yet; returns all rows.

        Args:
            cases: What `title`, `identity`, `carry_out` and `tidy` take.

        Raises:
            InvalidInputError: The network cannot be trained; or some cases have failed,
                such as one that leaves a layer without channels. The others are done.
        """
        path = self.output / "results.csv"
        rows, failures = read_rows(path), []
        for case in cases:
            wanted = {key: str(value) for key, value in self.identity(case).items()}
            done = any(wanted.items() <= row.items() for row in rows)
            self.log(f"{self.title(case)}: {'done' if done else self.kind}")
            if done:
                continue
            if self.whole is None:
                self.whole = self.train_whole()
                self.accuracy_whole = self.images.accuracy(self.whole)
                self.log(f"accuracy of the whole network {self.accuracy_whole:.2%}")
            try:
                row = self.carry_out(case)
            except InvalidInputError as error:
                failures.append(f"{self.title(case)}: {error}")
                self.log(failures[-1])
                continue
            rows.append({key: str(value) for key, value in row.items()})
            write_rows(rows, path)
            self.tidy(case)
            self.log(self.line(rows[-1]))
        if failures:
            raise InvalidInputError(" ".join(failures))
        for row in rows:
            self.log(self.line(row))
        return rows

    def line(self, row: dict) -> str:
        """A row, beside what was published.

        Args:
            row: A row of results.csv.
        """
        text = self.words(row)
        if row["published_accuracy"]:
            counts = [f"{row[f'published_{name}_millions']} M" for name in self.order]
            accuracy = f"{float(row['published_accuracy']):.2%}"
            text += "; published " + ", ".join([accuracy, *counts])
        return text

    def build(self) -> keras.Model:
        """The network, with the weights of the seed."""
        keras.utils.set_random_seed(self.options.seed)
        return build_classifier(
            get_model(self.network),
            self.images.size,
            self.dataset.channels,
            len(self.dataset.class_names),
        )

    def place(self) -> dict[str, str]:
        """Where it ran, as entries of a row."""
        found = " ".join(f"{name} {version}" for name, version in versions().items())
        return {"device": device_name(), "versions": found}
