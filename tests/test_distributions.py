"""What is in the archives that pip gets."""

import pathlib
import shutil
import subprocess
import sys
import tarfile
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parents[1]


def build(source, kind, target):
    subprocess.run(
        [sys.executable, "setup.py", "-q", kind, "-d", str(target)],
        cwd=source,
        check=True,
        capture_output=True,
    )


@pytest.mark.large
def test_sdist_is_the_repository_and_makes_the_wheel(tmp_path):
    pytest.importorskip("setuptools", reason="building needs setuptools")
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if tracked.returncode:
        pytest.skip("needs the list of files that git has")
    files = {x for x in tracked.stdout.splitlines() if (ROOT / x).is_file()}
    for name in files:
        (tmp_path / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "source" / name)
    build(tmp_path / "source", "sdist", tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        inside = {x.name.partition("/")[2] for x in tar if x.isfile()}
        tar.extractall(tmp_path / "sdist", filter="data")
    missing = files - inside - {".gitignore"}
    assert not missing, f"not in MANIFEST.in: {sorted(missing)[:10]}"
    extra = {x for x in inside - files if "egg-info" not in x}
    assert extra <= {"PKG-INFO", "setup.cfg"}

    (source,) = (tmp_path / "sdist").iterdir()
    build(source, "bdist_wheel", tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    package = {x for x in files if x.startswith("keras_sda/")} | {
        "keras_sda_command.py"
    }
    assert {x for x in names if ".dist-info/" not in x} == package
    assert any(x.endswith(".safetensors") for x in names)
    assert "keras_sda/py.typed" in names
