"""What the tests of the CUDA backend share: the build, the models, and how the program is run."""

import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"])
EMULATED = BUILD / "plugins" / "cuda-emulated.so"
REAL = BUILD / "plugins" / "cuda.so"
# nvcc has built the plugin, and there is no device for it.
IDLE = REAL.exists() and not pathlib.Path("/dev/nvidia0").exists()

def run(*command, code=0, timeout=240):
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == code, f"{' '.join(map(str, command))}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def backplane(*arguments, code=0):
    return run(BUILD / "bin" / "backplane", *arguments, code=code)


def fetch(name):
    return run(ROOT / "tools" / "fetch", name).stdout.strip()


@pytest.fixture(scope="session")
def smollm2():
    return fetch("smollm2")
