"""Interrupts runs of all resumable commands and checks what `--resume` makes of them.

    python tools/interrupt_runs.py --runs 20 --output runs/interrupted

Every run of `keras-sda train`, `prune`, `search` and `group` is a process of its own on
a tiny network and a few of the built-in digits. It is ended by SIGINT, SIGTERM, SIGKILL
or a full disk, at a moment that --seed chooses: at some time, or in the middle of
writing a backup (as soon as its temporary file appears). It goes on with --resume, and
its final weights are compared bit by bit with those of a run that nobody interrupted.

Printed are one line per run and the totals; DIR/interrupted.csv and .json hold the
same. Full disks need the right to mount a tmpfs (root); they are left out with
a word where that is missing.

Exit status: 0 when every run ended bit-equal or with one clear line, else 1.
"""

import argparse
import contextlib
import csv
import importlib
import io
import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

COMMANDS = ("train", "prune", "search", "group")
CAUSES = ("SIGKILL", "SIGTERM", "SIGINT", "disk")
STATUS = {"SIGKILL": -signal.SIGKILL, "SIGTERM": 143, "SIGINT": 130, "disk": 2}
DISK = 24  # megabytes
IMAGES = ["--dataset", "digits", "--max_train_examples", "64", "--batch_size", "32"]
TIMEOUT = 900
# What the commands import when they need it: once here instead of once per run.
IMPORTED = (
    "h5py", "matplotlib.pyplot", "matplotlib.backends.backend_agg", "sklearn.cluster",
    "sklearn.datasets", "tensorboard.summary", "keras_sda.cli",
)  # fmt: skip


def tiny_network(
    input_tensor=None, classes=10, weights=None, synchronized=False,
    depth_attention=True,
):  # fmt: skip
    """Two convolutions, one of them in a residual branch, and dropout."""
    import keras

    layers = keras.layers
    if input_tensor is None:
        inputs = keras.Input((32, 32, 1), name="image")
        input_tensor = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(8, 3, strides=4, padding="same", name="conv1")(input_tensor)
    x = layers.ReLU()(layers.BatchNormalization(name="bn1")(x))
    y = layers.Conv2D(12, 3, padding="same", name="conv2")(x)
    y = layers.ReLU()(layers.BatchNormalization(name="bn2")(y))
    y = layers.Conv2D(8, 3, padding="same", name="conv3")(y)
    y = layers.BatchNormalization(name="bn3")(y)
    x = layers.GlobalAveragePooling2D()(layers.Add(name="add")([x, y]))
    x = layers.Dropout(0.1)(x)
    outputs = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(keras.utils.get_source_inputs(outputs), outputs, name="tiny")


def arguments_of(command, model, output):
    """The command line of a run."""
    words = {
        "train": ["train", "--model", "Tiny", "--epochs", "3"],
        "prune": ["prune", model, "--macs", "0.4", "--steps", "2",
                  "--fine_tune_epochs", "1"],
        "search": ["search", "--model", model, "--target_macs", "0.6",
                   "--weight_epochs", "1", "--architecture_epochs", "2",
                   "--fine_tune_epochs", "1", "--max_half_open", "1"],
        "group": ["group", model, "--conv_rate", "0.1", "--dense_rate", "0.1",
                  "--num_groups", "4", "--scheme", "local_global", "--local_epochs",
                  "1", "--fine_tune_epochs", "1", "--form", "none"],
    }[command]  # fmt: skip
    return [*map(str, words), *IMAGES, "--seed", "3", "--output", str(output)]


class Child:
    """A command in a process of its own, forked where everything is imported.

    Nothing of TensorFlow has run in the parent, so that it can be forked.
    """

    def __init__(self, work, log):
        self.log = pathlib.Path(log)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            self._run(work)
        self.began = time.perf_counter()
        self.status = None

    def _run(self, work):
        status = 70
        # Ignored, and inherited so, where a shell has put the parent in the background.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            status = work()
        except BaseException:
            import traceback

            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(status or 0)

    def poll(self):
        """The exit status, None while it runs; negative for a signal."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status

    def wait(self):
        """The exit status."""
        while self.poll() is None:
            if time.perf_counter() - self.began > TIMEOUT:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)
        return self.status

    def kill(self, number):
        """Sends a signal, where the process is still there."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def text(self):
        """What it printed."""
        return self.log.read_text(errors="replace")

    def error_lines(self):
        """Its lines of error, and whether anything else looks like one."""
        text = self.text()
        lines = re.findall(r"keras-sda: error: .*", text)  # behind a progress bar
        noise = re.search(r"Traceback|Exception ignored|HDF5-DIAG|core dumped", text)
        return lines, noise is not None


def run_command(words, log):
    """A child that runs the command line.

    Steps are run one operation after the other: for these few of them, tracing
    functions would take most of the time.
    """

    def work():
        import tensorflow as tf

        from keras_sda import cli

        tf.config.run_functions_eagerly(True)
        return cli.main(words)

    return Child(work, log)


def save_network(path):
    """Writes the network that prune, search and group start from."""
    import keras

    keras.utils.set_random_seed(1)
    tiny_network().save(path)
    return 0


def temporaries(folder):
    """Temporary files of backups in a folder."""
    found, folders = set(), [folder]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.name.startswith(".") and entry.name.endswith(".weights.h5"):
                    found.add(entry.path)
                elif entry.is_dir(follow_symlinks=False) and entry.name != "logs":
                    folders.append(entry.path)
    return found


def wait_for_backup(child, folder, number):
    """Returns when the temporary file of a backup is there; False if it never is."""
    seen = set()
    while child.poll() is None:
        seen |= temporaries(folder)
        if len(seen) >= number:
            return True
    return False


def wait_until(child, seconds):
    """Returns after some seconds; False if the process ends before."""
    while time.perf_counter() - child.began < seconds:
        if child.poll() is not None:
            return False
        time.sleep(0.002)
    return child.poll() is None


def fill(folder, leave):
    """Fills the disk of a folder but for some bytes; returns the file that does."""
    path = folder / "ballast.bin"
    with path.open("wb") as file, contextlib.suppress(OSError):
        while True:
            free = shutil.disk_usage(folder).free - leave
            if free < 4096:
                break
            file.write(b"\0" * min(free, 1 << 20))
            file.flush()
    return path


def weights_of(path):
    """All variables of a .keras file."""
    import h5py
    import numpy as np

    found = {}

    def visit(name, item):
        if isinstance(item, h5py.Dataset):
            found[name] = np.asarray(item)

    data = zipfile.ZipFile(path).read("model.weights.h5")
    with h5py.File(io.BytesIO(data)) as file:
        file.visititems(visit)
    return found


def are_equal(one, other):
    """Whether two .keras files hold the same bits."""
    a, b = weights_of(one), weights_of(other)
    return a.keys() == b.keys() and all(a[x].tobytes() == b[x].tobytes() for x in a)


class Trial:
    """One interrupted run."""

    def __init__(self, number, command, cause, moment, part, folder, reference):
        self.number, self.command, self.cause = number, command, cause
        self.moment, self.part, self.folder = moment, part, folder
        self.reference, self.seconds = reference
        self.log = folder.parent / f"{folder.name}_{number}.log"
        self.output = folder / f"run{number}"
        self.model = folder.parent / "network.keras"

    def start(self, attempt):
        """Starts the run and interrupts it; returns the child and where that was."""
        shutil.rmtree(self.output, ignore_errors=True)
        words = arguments_of(self.command, self.model, self.output)
        child = run_command(words, self.log)
        part = self.part * 0.8**attempt
        # On a busy machine the temporary file may come and go unseen.
        if self.moment == "backup" and attempt < 2:
            number = 1 + int(part * 2)
            there = wait_for_backup(child, self.output, number)
            place = f"backup {number}"
        else:
            seconds = part * self.seconds
            there = wait_until(child, seconds)
            place = f"{seconds:.2f} s"
        return child, there, place

    def run(self):
        """The row of this run."""
        ballast, ended = None, None
        for attempt in range(6):
            child, there, place = self.start(attempt)
            if there and self.cause == "disk":
                child.kill(signal.SIGSTOP)  # so that the disk is full at this moment
                ballast = fill(self.folder, 0 if self.moment == "backup" else 8192)
                child.kill(signal.SIGCONT)
            elif there:
                child.kill(getattr(signal, self.cause))
            ended = child.wait()
            if ballast is not None:
                ballast.unlink()
            if ended:  # 0: it was done before
                break
        first = child.error_lines()
        probes = list(self.folder.rglob(".probe-*"))
        row = {
            "run": self.number, "command": self.command, "cause": self.cause,
            "moment": place, "status": ended,
            "files_left": len(list(self.output.rglob("*"))) if ended else "",
        }  # fmt: skip
        as_expected = ended == STATUS[self.cause] and not probes and not first[1]
        if self.cause != "SIGKILL":
            as_expected = as_expected and len(first[0]) == 1
        again = [self.command, "--resume", "--output", str(self.output)]
        if not (self.output / "run.json").is_file():
            # Nothing was there to go on from: the same command again.
            again = arguments_of(self.command, self.model, self.output)
        resumed = run_command(again, self.log.with_suffix(".resume.log"))
        row["resume_status"] = resumed.wait()
        lines, noise = resumed.error_lines()
        model = self.output / "model.keras"
        if resumed.status == 0 and are_equal(model, self.reference / "model.keras"):
            outcome = "bit-equal"
        elif resumed.status == 2 and len(lines) == 1 and not noise:
            outcome = "one line"
        else:
            outcome = "DIFFERENT"
        left = [path.name for path in self.output.rglob(".*")]
        row["outcome"] = outcome if as_expected and not left else f"{outcome}, UNTIDY"
        row["line"] = (first[0] or lines or [""])[0]
        if outcome == "bit-equal" and "UNTIDY" not in row["outcome"]:
            shutil.rmtree(self.output, ignore_errors=True)
        return row


@contextlib.contextmanager
def small_disk(folder):
    """Mounts a tmpfs; yields whether that worked."""
    folder.mkdir(parents=True, exist_ok=True)
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(words, capture_output=True).returncode == 0
    except OSError:
        mounted = False
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=False)


def plan_trials(runs, seed, causes, commands):
    """Command, cause and moment of every run, every pair as often as another."""
    generator = random.Random(seed)
    for number in range(runs):
        turn = number // len(commands)
        command = commands[number % len(commands)]
        cause = causes[(number + turn) % len(causes)]
        moment = ("backup", "time")[(turn + turn // len(causes)) % 2]
        yield number, command, cause, moment, generator.uniform(0.05, 0.85)


def run_trials(folder, runs, seed, commands=COMMANDS, causes=CAUSES, show=print):
    """Makes the references and all interrupted runs; returns the rows.

    Args:
        folder: Gets everything.
        runs: Number of interrupted runs.
        seed: Seed of the moments.
        commands: Which commands.
        causes: What interrupts them.
        show: Called with every line of text.
    """
    from keras_sda import applications

    for name in IMPORTED:
        importlib.import_module(name)
    # By name the trainer builds the tiny network.
    applications.get_model = lambda name: tiny_network
    began = time.perf_counter()
    folder = pathlib.Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    network = folder / "network.keras"
    if Child(lambda: save_network(network), folder / "network.log").wait():
        raise RuntimeError((folder / "network.log").read_text())
    references = {}
    for command in commands:
        output = folder / f"reference_{command}"
        shutil.rmtree(output, ignore_errors=True)
        log = folder / f"reference_{command}.log"
        child = run_command(arguments_of(command, network, output), log)
        if child.wait():
            raise RuntimeError(f"{command} failed: {child.text()[-2000:]}")
        seconds = time.perf_counter() - child.began
        references[command] = output, seconds
        show(f"reference {command}: {seconds:.1f} s")
    show(f"references: {time.perf_counter() - began:.0f} s")
    rows = []
    with small_disk(folder / "disk") as mounted:
        if not mounted and "disk" in causes:
            causes = [cause for cause in causes if cause != "disk"]
            show("full disks are left out: a tmpfs cannot be mounted here (no root)")
        for number, command, cause, moment, part in plan_trials(
            runs, seed, causes, commands
        ):
            place = folder / ("disk" if cause == "disk" else "runs")
            place.mkdir(exist_ok=True)
            trial = Trial(
                number, command, cause, moment, part, place, references[command]
            )
            row = trial.run()
            rows.append(row)
            write_rows(rows, folder / "interrupted.csv")  # so far
            show(
                f"{row['run']:3} {row['command']:7}{row['cause']:8}{row['moment']:10}"
                f" status {row['status']:4} then {row['resume_status']:3}: "
                f"{row['outcome']}"
            )
            sys.stdout.flush()
    return rows


def write_rows(rows, path):
    """Writes the table."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def totals(rows):
    """How many runs ended how."""
    found = {}
    for row in rows:
        found[row["outcome"]] = found.get(row["outcome"], 0) + 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=20, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--output", default="runs/interrupted", metavar="DIR")
    options = parser.parse_args()
    began = time.perf_counter()
    folder = pathlib.Path(options.output)
    rows = run_trials(folder, options.runs, options.seed)
    found = totals(rows)
    seconds = time.perf_counter() - began
    summary = {"totals": found, "seconds": round(seconds, 1), "rows": rows}
    (folder / "interrupted.json").write_text(json.dumps(summary, indent=1) + "\n")
    parts = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
    print(f"{len(rows)} interrupted runs: {parts}; {seconds:.0f} s")
    return 0 if set(found) <= {"bit-equal", "one line"} else 1


if __name__ == "__main__":
    sys.exit(main())
