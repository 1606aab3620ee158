"""What the tests of the program share: how it is run, the model, and plugins that are made for the purpose."""

import os
import pathlib
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"])
PROGRAM = BUILD / "bin" / "backplane"
PLUGIN_FILES = BUILD / "tests" / "plugins" / "files"


class Result:
    """A finished run. `expect` fails with all that the program said."""

    def __init__(self, arguments, done):
        self.arguments, self.code, self.out, self.err = arguments, done.returncode, done.stdout, done.stderr

    def expect(self, code):
        assert self.code == code, f"backplane {' '.join(map(str, self.arguments))}: {self.code}\n{self.out}\n{self.err}"
        return self


def backplane(*arguments, stdin="", environment=None, directory=None, timeout=60):
    done = subprocess.run([PROGRAM, *arguments], input=stdin, capture_output=True, text=True, timeout=timeout, cwd=directory,
                          env=dict(os.environ, **(environment or {})))
    return Result(arguments, done)


class Running:
    """A program that is at work, killed at the end of the block if it still is."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True, bufsize=1)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()
        self.process.wait()

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def wait(self, timeout=20):
        return self.process.wait(timeout)


@pytest.fixture(scope="session")
def model():
    """The default model's file."""
    done = subprocess.run([ROOT / "tools" / "fetch", "smollm2"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="session")
def minilm():
    return subprocess.run([ROOT / "tools" / "fetch", "minilm"], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def outside(tmp_path_factory):
    """A backend that is not part of the build, made from the SDK's headers alone."""
    file = tmp_path_factory.mktemp("outside") / "outside.so"
    subprocess.run([os.environ["BACKPLANE_TEST_COMPILER"], "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden",
                    "-I", ROOT / "core" / "include", ROOT / "docs" / "example" / "outside.c", "-o", file],
                   check=True)
    return file


@pytest.fixture
def write(tmp_path):
    """Writes a file into the test's folder."""
    def write(text, name="config.yaml"):
        (tmp_path / name).write_text(text)
        return tmp_path / name
    return write
