"""The command line `keras-sda`."""

import argparse
import json
import sys
from collections.abc import Sequence

from keras_sda.cli.exit_status import exit_status
from keras_sda.cli.group import add_group_command
from keras_sda.cli.import_user_module import import_user_module
from keras_sda.cli.latency_table import add_latency_table_command
from keras_sda.cli.list import add_list_command
from keras_sda.cli.prune import add_pruning_commands
from keras_sda.cli.run import run_options, typed_options
from keras_sda.cli.search import add_search_command
from keras_sda.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line `keras-sda`.

    Args:
        arguments: The words after `keras-sda`. Defaults to those of the process.

    Returns:
        The exit status: 0, or 2 where the input cannot be used (with one line on
        standard error), 130 after an interruption (SIGINT, Ctrl-C) or 143 after
        SIGTERM.

    Example:

    >>> from keras_sda.cli import main
    >>> main(["profile", "SDAResNet20", "--json"])  # doctest: +SKIP
    0
    """
    return exit_status(
        "keras-sda",
        lambda: _run(arguments),
        "An interrupted training goes on with --resume.",
    )


def _run(arguments):
    # A parser of its own: the others offer what these modules register.
    first = argparse.ArgumentParser(
        prog="keras-sda", add_help=False, allow_abbrev=False
    )
    first.add_argument(
        "--import", action="append", default=argparse.SUPPRESS, metavar="MODULE",
        help="Import a module of yours first, for the criteria, networks, layers and "
        "rules that it registers; again for another one. Before or after COMMAND.",
    )  # fmt: skip
    given, words = first.parse_known_args(arguments)
    for name in vars(given).get("import", ()):
        import_user_module(name)
    options = _parser(first).parse_args(words)
    options.run(options)


def _show(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _parser(first):
    parser = argparse.ArgumentParser(
        prog="keras-sda",
        parents=[first],
        allow_abbrev=False,
        description="Keras networks that adapt to scale and to budget: train, "
        "evaluate, prune, search for widths, group filters, export, predict, profile.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _add_train,
        _add_evaluate,
        _add_export,
        _add_predict,
        _add_profile,
    ):
        add(commands)
    add_list_command(commands, _command, _show)
    add_pruning_commands(commands, _command, _show)
    add_latency_table_command(commands, _command, _show)
    add_search_command(commands, _command, _show)
    add_group_command(commands, _command, _show)
    return parser


def _command(commands, name, run, text, example):
    parser = commands.add_parser(
        name,
        help=text,
        description=f"{text}.",
        epilog=f"example: {example}",
    )
    parser.set_defaults(run=run)
    return parser


def _add_train(commands):
    from keras_sda.training import TrainOptions, add_arguments

    parser = _command(
        commands,
        "train",
        _train,
        "Train an image classifier",
        "keras-sda train --dataset digits --model SDAResNet20 --output runs/digits",
    )
    add_arguments(parser, TrainOptions, typed_only=True)


def _train(options):
    from keras_sda.training import TrainOptions, train_classifier

    chosen = run_options(typed_options(options), TrainOptions)
    metrics = train_classifier(chosen, log=_show)
    _show(f"test accuracy {100 * metrics['accuracy']:.2f} %")
    _show(f"results in {chosen.output}")


def _add_evaluate(commands):
    parser = _command(
        commands,
        "evaluate",
        _evaluate,
        "Measure the accuracy of a saved model on test images",
        "keras-sda evaluate runs/digits/model.keras --dataset digits",
    )
    parser.add_argument(
        "model", metavar="MODEL.keras", help="Saved model (.keras, or .h5 of Keras)."
    )
    parser.add_argument("--dataset", default="digits", help="As in train.")
    parser.add_argument("--data_dir", help="Folder of the prepared datasets.")
    parser.add_argument("--download", action="store_true", help="As in train.")
    parser.add_argument("--batch_size", type=int, default=128, metavar="N")
    parser.add_argument("--strict", action="store_true", help="As in train.")
    _add_activation(parser)
    parser.add_argument(
        "--split", default="per_class", choices=("per_class", "by_name"),
        help="As in train.",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def _evaluate(options):
    from keras_sda.training import evaluate_classifier

    metrics = evaluate_classifier(
        options.model,
        options.dataset,
        data_dir=options.data_dir,
        batch_size=options.batch_size,
        download=options.download,
        strict=options.strict,
        activation=options.activation,
        split=options.split,
    )
    if options.json:
        _show(json.dumps(metrics, indent=2))
        return
    for name, value in metrics.items():
        _show(f"{name:20} {value:.4f}" if isinstance(value, float) else
              f"{name:20} {value}")  # fmt: skip


def _add_activation(parser):
    parser.add_argument(
        "--activation",
        choices=("softmax", "sigmoid", "none"),
        help="What turns the outputs of the model into probabilities, where it does "
        "not show it: softmax, sigmoid, or none (they are probabilities).",
    )


def _add_export(commands):
    parser = _command(
        commands,
        "export",
        _export,
        "Write a SavedModel for TF Serving",
        "keras-sda export runs/digits/model.keras --output served/digits",
    )
    parser.add_argument(
        "model", metavar="MODEL.keras", help="Saved model (.keras, or .h5 of Keras)."
    )
    parser.add_argument(
        "--output", required=True, metavar="DIR", help="Folder; gets DIR/1, DIR/2, ..."
    )
    parser.add_argument(
        "--labels",
        metavar="FILE",
        help="Text file with a class name per line. Default: labels.txt beside the "
        "model, else class_0, class_1, ...",
    )
    parser.add_argument(
        "--preprocessing",
        default="auto",
        metavar="NAME",
        help="What the model still needs: none (it scales pixels itself), imagenet "
        "(networks of this package), tf or caffe (some of keras.applications), or auto "
        "(as documented for its network, or its layers tell). Default: auto.",
    )
    _add_activation(parser)
    parser.add_argument(
        "--top_k", type=int, default=5, metavar="N", help="Classes named. Default: 5."
    )
    parser.add_argument(
        "--version",
        type=int,
        metavar="N",
        help="Version number. Default: the next free one.",
    )
    parser.add_argument(
        "--portable",
        action="store_true",
        help="Split grouped convolutions, so that the export runs without oneDNN too.",
    )
    parser.add_argument(
        "--fold",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="Fold BatchNormalization into convolutions.",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="Replace an existing version."
    )


def _export(options):
    import pathlib

    from keras_sda.export import export_saved_model
    from keras_sda.utils import load_model

    model = load_model(options.model)
    labels = options.labels
    beside = pathlib.Path(options.model).with_name("labels.txt")
    if labels is None and beside.is_file():
        labels = beside
    path = export_saved_model(
        model,
        options.output,
        labels=labels,
        preprocessing=options.preprocessing,
        activation=options.activation,
        version=options.version,
        top_k=options.top_k,
        fold=options.fold,
        portable=options.portable,
        overwrite=options.overwrite,
    )
    _show(f"exported to {path}")


def _add_predict(commands):
    parser = _command(
        commands,
        "predict",
        _predict,
        "Classify images with an export",
        "keras-sda predict served/digits image.png",
    )
    parser.add_argument("export", metavar="EXPORT", help="Folder of the export.")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="Image files.")
    parser.add_argument(
        "--top_k", type=int, default=5, metavar="N", help="Classes named. Default: 5."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def _predict(options):
    from keras_sda.export import format_predictions, predict

    results = predict(options.export, options.images, top_k=options.top_k)
    if options.json:
        _show(json.dumps(results, indent=2))
    else:
        _show(format_predictions(results))


def _add_profile(commands):
    parser = _command(
        commands,
        "profile",
        _profile,
        "Count parameters and multiply-accumulates, layer by layer",
        "keras-sda profile SDAResNet86 --latency",
    )
    parser.add_argument(
        "model",
        metavar="NAME|MODEL.keras",
        help="A network of this package or of keras.applications, or a saved model.",
    )
    parser.add_argument(
        "--input_shape",
        type=_shape,
        metavar="H,W,C",
        help="Shape of an image. Default: that of the model.",
    )
    parser.add_argument(
        "--latency", action="store_true", help="Measure the latency as well."
    )
    parser.add_argument(
        "--batch_size", type=int, default=1, metavar="N", help="For --latency."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON.")


def _shape(text):
    try:
        return tuple(int(side) for side in text.replace("x", ",").split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"must be numbers such as 224,224,3, not {text!r}"
        ) from error


def _profile(options):
    from keras_sda.analysis import measure_latency, profile
    from keras_sda.applications import get_model
    from keras_sda.utils import load_model
    from keras_sda.utils.files.load_model import is_model_file

    name, shape = options.model, options.input_shape
    if is_model_file(name):
        model = load_model(name)
    else:
        constructor = get_model(name)
        model = constructor(weights=None)
        sides = model.input_shape[1:]
        if shape is None and None in sides:
            shape = (224, 224, 3)  # where the network leaves the size open
        if shape not in (None, sides):
            model = constructor(weights=None, input_shape=shape)
    result = profile(model, shape)
    latency = None
    if options.latency:
        latency = measure_latency(
            model, batch_size=options.batch_size, input_shape=shape
        )
    if options.json:
        report = result.to_dict()
        if latency is not None:
            report["latency"] = latency.to_dict()
        _show(json.dumps(report, indent=2))
        return
    _show(result.to_text())
    if latency is not None:
        _show(latency.to_text())


if __name__ == "__main__":
    sys.exit(main())
