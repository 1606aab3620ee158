"""What the tests of frontends share: a frontend on the scripted engine, a terminal to type into, and the real program."""

import errno
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import termios
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"])
PROGRAM = BUILD / "bin" / "backplane"
FAKE = BUILD / "bin" / "fake_engine"
SANITIZED = any(name in FAKE.read_bytes() for name in (b"__asan", b"__tsan"))  # they need address space


def fake(plugin, **options):
    """The command that runs a frontend on the scripted engine."""
    return [str(FAKE), str(BUILD / "plugins" / f"{plugin}.so"), *(f"{k}={v}" for k, v in options.items())]


def run(command, stdin=b"", **more):
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, timeout=60, **more)
    assert done.returncode >= 0, f"killed by signal {-done.returncode}: {done.stderr.decode(errors='replace')}"
    return done


class Terminal:
    """A program on a terminal of its own. `expect` waits for text that was not expected before."""

    def __init__(self, command, columns=200):
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.environ.update(TERM="xterm", HOME="/nonexistent", COLUMNS=str(columns))
            os.execv(command[0], command)
        os.set_blocking(self.descriptor, False)
        self.output, self.seen, self.status = "", 0, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.status is None:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.descriptor)

    def type(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        while data: # the program may wait for its output to be read before it reads more
            try:
                data = data[os.write(self.descriptor, data):]
            except BlockingIOError:
                self.read(0.1)

    def raw(self):
        """Waits until the program edits lines itself: until then the kernel does, in its own way, and keeps 4,095 characters of a line."""
        end = time.monotonic() + 10
        while termios.tcgetattr(self.descriptor)[3] & termios.ICANON:
            assert time.monotonic() < end, "the terminal still edits lines"
            self.read(0.01)

    def read(self, timeout):
        if not select.select([self.descriptor], [], [], timeout)[0]:
            return False
        try:
            data = os.read(self.descriptor, 65536)
        except OSError as error:
            assert error.errno == errno.EIO
            return False
        self.output += data.decode(errors="replace")
        return bool(data)

    def expect(self, text, timeout=10):
        end = time.monotonic() + timeout
        while (at := self.output.find(text, self.seen)) < 0:
            assert time.monotonic() < end, f"no {text!r} in {self.output[self.seen:]!r}"
            self.read(0.1)
        between, self.seen = self.output[self.seen:at], at + len(text)
        return between

    def prompt(self):
        """Waits for the prompt, and for the program to read keys; returns what came before the prompt."""
        before = self.expect("> ")
        self.raw()
        return before

    def ask(self, line):
        self.type(line + "\r")
        self.expect("\r\n")
        return plain(self.prompt())

    def leave(self, timeout=10):
        """The exit code, once the program has ended by itself."""
        end = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = status
                self.read(0.1)
                assert os.WIFEXITED(status), f"killed by signal {os.WTERMSIG(status)}: {self.output!r}"
                return os.WEXITSTATUS(status)
            assert time.monotonic() < end, f"still running: {self.output[self.seen:]!r}"
            self.read(0.05)


def plain(text):
    """Without escape sequences of the program's own."""
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def fetch(name):
    return subprocess.run([ROOT / "tools" / "fetch", name], capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture(scope="session")
def model():
    return fetch("smollm2")


@pytest.fixture(scope="session")
def embedder():
    return fetch("minilm")
