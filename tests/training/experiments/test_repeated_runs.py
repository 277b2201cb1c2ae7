"""What the repetitions of published tables share, with cases that train nothing."""

import numpy as np
import pytest

from keras_sda.training.experiments.repeated_runs import RepeatedRuns
from keras_sda.training.options.repeat_grouping_options import RepeatGroupingOptions
from keras_sda.training.options.repeat_search_options import RepeatSearchOptions
from keras_sda.utils import InvalidInputError


class Doubled(RepeatedRuns):
    """Cases are numbers; 3 fails."""

    kind, order = "double", ("params", "macs")

    def title(self, case):
        return f"case {case}"

    def identity(self, case):
        return {"case": case, "seed": self.options.seed}

    def train_whole(self):
        self.log("trained")
        return self.build()

    def carry_out(self, case):
        if case == 3:
            raise InvalidInputError("Three is too many.")
        published = {"published_accuracy": "0.5" if case == 2 else ""}
        counts = {"published_params_millions": 1.5, "published_macs_millions": 7}
        return {**self.identity(case), "twice": 2 * case, **published, **counts}

    def tidy(self, case):
        self.log(f"tidied {case}")

    def words(self, row):
        return f"twice {row['case']} is {row['twice']}"


@pytest.fixture
def arrays(tmp_path):
    """Files of few images, in two parts."""
    generator = np.random.default_rng(0)
    for part in "ab":
        images = generator.integers(0, 255, (20, 32, 32, 1), dtype="uint8")
        labels = np.arange(20) % 10
        np.savez(
            tmp_path / f"{part}.npz", x_train=images[:10], y_train=labels[:10],
            x_test=images[10:], y_test=labels[10:],
        )  # fmt: skip
    return f"{tmp_path / 'a.npz'}, {tmp_path / 'b.npz'}"


def run(arrays, output, cases, log, **options):
    chosen = RepeatSearchOptions(
        arrays=arrays, dataset="noise", output=str(output), **options
    )
    return Doubled(chosen, "LeNet", 64, log.append, 28).run(cases)


def test_rows_are_kept_and_failures_named_at_the_end(arrays, tmp_path):
    log = []
    with pytest.raises(InvalidInputError, match=r"^case 3: Three is too many\.$"):
        run(arrays, tmp_path / "run", (1, 3, 2), log)
    accuracy = log.pop(2)
    assert accuracy.startswith("accuracy of the whole network ")
    assert log == [
        "case 1: double", "trained", "tidied 1", "twice 1 is 2",
        "case 3: double", "case 3: Three is too many.",
        "case 2: double", "tidied 2", "twice 2 is 4; published 50.00%, 1.5 M, 7 M",
    ]  # fmt: skip
    again = []
    rows = run(arrays, tmp_path / "run", (1, 2), again)
    assert [row["twice"] for row in rows] == ["2", "4"]
    assert again[:2] == ["case 1: done", "case 2: done"] and len(again) == 4
    # Of another seed, a case is another one.
    more = run(arrays, tmp_path / "run", (1,), again, seed=1)
    assert [row["seed"] for row in more] == ["0", "0", "1"]


def test_images_have_the_size_of_the_recipe(arrays):
    options = RepeatSearchOptions(arrays=arrays, dataset="noise", batch_size=7)
    runs = Doubled(options, "LeNet", 64, print, 28)
    images, labels = next(iter(runs.images.test_arrays()))
    assert images.shape == (20, 28, 28, 1) and len(labels) == 20
    assert runs.images.batch_size == 7
    assert set(runs.place()) == {"device", "versions"}


@pytest.mark.parametrize(
    ("options_class", "options", "message"),
    [
        (RepeatSearchOptions, {"recipe": "resnet56_cifr"}, "mean 'resnet56_cifar'"),
        (RepeatSearchOptions, {"recipe": "vgg16_imagenet"}, "needs --model"),
        (RepeatSearchOptions, {"lambda_arch": "1e-4,low"}, "--lambda_arch must be num"),
        (RepeatSearchOptions, {"weight_epochs": -1}, "`weight_epochs` must be 0 or m"),
        (RepeatSearchOptions, {"architecture_epochs": 0}, "must be greater than 0"),
        (RepeatGroupingOptions, {"rates": "0.7/0.6/0.5"}, "--rates must be shares"),
        (RepeatGroupingOptions, {"rates": "half"}, "Received: 'half'"),
        (RepeatGroupingOptions, {"seed": -1}, "`seed` must be 0 or more"),
        (
            RepeatGroupingOptions,
            {"recipe": "resnet50_imagenet", "balance": "equal"},
            "use --scheme=global",
        ),
    ],
)
def test_bad_options_are_refused(options_class, options, message):
    with pytest.raises(InvalidInputError, match=message):
        options_class(**options)


def test_what_is_not_given_is_that_of_the_recipe():
    searches = RepeatSearchOptions().searches
    assert len(searches) == 7 and searches[0] == (1e-5, None)
    assert RepeatSearchOptions(target_macs="0.5,0.3").searches == [
        (None, 0.5), (None, 0.3),
    ]  # fmt: skip
    assert RepeatGroupingOptions(recipe="lenet_mnist").pairs[0] == (0.95, 0.95)
    assert RepeatGroupingOptions().published_dataset == "cifar10"
