"""Shared fixtures. Logical devices and backends are set in subprocesses, never here."""

import gc
import os
import pathlib
import runpy
import signal
import subprocess
import sys

import budgets
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("MPLBACKEND", "Agg")

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Keras makes so many objects that Python would look for cycles a tenth of the time.
gc.set_threshold(50_000, 25, 25)

WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")

if WORKER.startswith("gw") and hasattr(os, "sched_setaffinity"):
    # TensorFlow's threads of all workers would fight for all cores. It counts those
    # that it may use when it is imported, which is later.
    cores = sorted(os.sched_getaffinity(0))
    count = int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.sched_setaffinity(0, cores[int(WORKER[2:]) % count :: count] or cores)


def pytest_configure(config):
    """The process that prints adds up what rooms take: see `budgets`.

    Tests of seconds to a minute carry the mark `large`, those of minutes
    `extra_large`: full-size networks, notebooks to accuracy, long searches. They run
    in `make test-all` alone, so every ability needs a small quick test beside them.
    """
    # A shell starts what it runs in the background with SIGINT ignored, and every
    # process after it is born so.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if not WORKER:
        config.pluginmanager.register(budgets.Clock(), "seconds of each room")


@pytest.fixture(autouse=True)
def fresh_state():
    """Every test starts with the same seed, policy and layer names."""
    import keras

    keras.utils.set_random_seed(7)
    yield
    keras.config.set_dtype_policy("float32")


@pytest.fixture(autouse=True, scope="module")
def clean_up():
    """What a file leaves would slow down the next ones.

    What is there before it stays, most of it modules: no need to look for cycles there.
    """
    import keras

    gc.freeze()
    yield
    keras.backend.clear_session()
    gc.collect()


@pytest.fixture(scope="session")
def shared_data():
    """Path of `../shared/data`, which a fresh clone does not have."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(
            "needs ../shared/data (CIFAR-10, MNIST, Imagenette), not in a clone"
        )
    return path


@pytest.fixture(scope="session")
def fixtures_dir():
    """Path of the small vectors that are committed with the tests."""
    return ROOT / "tests" / "fixtures"


@pytest.fixture(scope="session")
def run_python():
    """Runs Python code (or a list of arguments) in a process of its own."""

    def run(code, env=None, check=True, timeout=900, cwd=ROOT):
        arguments = ["-c", code] if isinstance(code, str) else list(code)
        result = subprocess.run(
            [sys.executable, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=cwd,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(
                    filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])
                ),
                **(env or {}),
            },
        )
        if check and result.returncode:
            pytest.fail(
                f"status {result.returncode}\n{result.stdout[-3000:]}\n"
                f"{result.stderr[-6000:]}"
            )
        return result

    return run


@pytest.fixture
def run_program(capsys, monkeypatch):
    """Runs a program of this repository in this process, as its command would.

    Answers like `run_python`, without the seconds that a start of TensorFlow takes.
    """
    from absl import app, flags, logging

    app.define_help_flags()
    before = set(flags.FLAGS)
    handlers, verbosity = list(logging.logging.root.handlers), logging.get_verbosity()

    def run(path, *words):
        path = str(ROOT / path)
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", [path, *map(str, words)])
        try:
            runpy.run_path(path, run_name="__main__")
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
            if isinstance(status, str):
                sys.stderr.write(status + "\n")
                status = 1
        finally:
            for name in set(flags.FLAGS) - before:
                delattr(flags.FLAGS, name)
            flags.FLAGS.unparse_flags()
            logging.logging.root.handlers[:] = handlers
            logging.set_verbosity(verbosity)
        output, error = capsys.readouterr()
        return subprocess.CompletedProcess([path, *words], status, output, error)

    return run
