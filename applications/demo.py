"""The main job in one program: train, evaluate, export and classify a real image.

    python applications/demo.py --output=runs/demo

Trains SDAResNet20 on scikit-learn's handwritten digits, writes a SavedModel, classifies
test images with it and prints what happened and where the files are.
"""

import pathlib
import time

import keras_sda_command

with keras_sda_command.ctrl_c_ends():
    import tensorflow as tf
    from absl import flags, logging

    from keras_sda.cli.run_program import run_program
    from keras_sda.export import export_saved_model, format_predictions, predict
    from keras_sda.training import (
        TrainOptions,
        evaluate_classifier,
        load_image_dataset,
        train_classifier,
    )
    from keras_sda.utils import load_model

flags.DEFINE_string("output", "runs/demo", "Folder of the results; replaced.")
flags.DEFINE_integer("epochs", None, "Passes over the images. Default: the recipe's.")
flags.DEFINE_integer("seed", 0, "Seed of the run.")


def demo(output, epochs, seed):
    """Runs all steps; returns rows of a summary table and the predictions."""
    start = time.perf_counter()
    folder = pathlib.Path(output)
    print("1/4 train SDAResNet20 on handwritten digits", flush=True)
    metrics = train_classifier(
        TrainOptions(
            model="SDAResNet20",
            dataset="digits",
            epochs=epochs,
            seed=seed,
            overwrite=True,
            output=str(folder / "train"),
        )
    )
    model_file = folder / "train" / "model.keras"

    print("2/4 evaluate the saved model", flush=True)
    evaluation = evaluate_classifier(model_file, "digits")

    print("3/4 export it for TF Serving", flush=True)
    export = export_saved_model(
        load_model(model_file),
        folder / "served",
        labels=folder / "train" / "labels.txt",
        version=1,
        overwrite=True,
    )

    print("4/4 classify test images with the export", flush=True)
    images, truth = [], []
    for number, (image, label) in enumerate(load_image_dataset("digits").test.take(3)):
        path = folder / f"digit_{number}.png"
        path.write_bytes(tf.io.encode_png(image).numpy())
        images.append(path)
        truth.append(int(label))
    results = predict(export, images, top_k=3)
    best = [row["predictions"][0]["class"] for row in results]
    rows = [
        ("model", f"{metrics['model']}, {metrics['params']:,} parameters, "
                  f"{metrics['macs'] / 1e6:.1f} M MACs"),
        ("data", f"{metrics['num_train']} training, {metrics['num_test']} test images"),
        ("test accuracy", f"{100 * evaluation['accuracy']:.2f} %"),
        ("export says / truth", f"{' '.join(best)} / {' '.join(map(str, truth))}"),
        ("seconds", f"{time.perf_counter() - start:.0f}"),
        ("model file", model_file),
        ("curves", folder / "train" / "curves.png"),
        ("SavedModel", export),
    ]  # fmt: skip
    return rows, results


def main(options):
    logging.set_verbosity(logging.INFO)
    rows, results = demo(options.output, options.epochs, options.seed)
    print()
    print(format_predictions(results))
    print()
    for name, value in rows:
        print(f"{name:20} {value}")


if __name__ == "__main__":
    run_program(main)
