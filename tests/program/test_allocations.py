"""Case 67 behind the batch frontend and the REPL: every allocation that a line or a question makes fails in turn. What comes is the
right answer, an error, or the end of the program with a sentence that leaves the line for the next run; never a crash, never half an
answer, and the next is as good as ever. Behind HTTP it is in tests/http."""

import json
import mmap
import os
import struct
import subprocess

import pytest

from conftest import BUILD, PROGRAM

PRELOAD = BUILD / "tests" / "support" / "failing_malloc.so"
pytestmark = pytest.mark.skipif(not PRELOAD.exists(), reason="a sanitizer has its own allocator")

REQUESTS = {
    "text": {"prompt": "Hello", "max_tokens": 2, "temperature": 0, "logprobs": 2, "stop": ["x", "yz"], "logit_bias": {"2": -100}},
    "chat": {"messages": [{"role": "user", "content": "Say \"A\"."}], "max_tokens": 2, "seed": 1, "logit_bias": {"2": -100}},
}


@pytest.fixture
def control(tmp_path):
    """Says which allocation fails from now on, and whether it did."""
    path = tmp_path / "control"
    path.write_bytes(bytes(16))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 16) as memory:
        class Control:
            environment = dict(os.environ, LD_PRELOAD=str(PRELOAD), BACKPLANE_FAILING_MALLOC=str(path))

            def fail(self, n):
                memory[:16] = struct.pack("<qq", n, 0)

            def has_failed(self):
                _, failed = struct.unpack("<qq", memory[:16])
                memory[:8] = bytes(8)
                return failed > 0

        yield Control()


class Talk:
    """A program that answers on a pipe what it is asked on another."""

    def __init__(self, control, *arguments):
        self.process = subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=control.environment)

    def ask(self, line, end=b"\n"):
        """What it says up to `end`; None when it has ended, with 1 and a sentence."""
        said = b""
        try:
            self.process.stdin.write(line.encode() + b"\n")
            self.process.stdin.flush()
            while not said.endswith(end):
                byte = self.process.stdout.read(1)
                if not byte:
                    break
                said += byte
            else:
                return said
        except BrokenPipeError:
            pass
        errors = self.close()
        assert self.process.returncode == 1 and b"memory" in errors, (self.process.returncode, errors)
        return None

    def close(self):
        errors = self.process.communicate(timeout=30)[1]
        return errors


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    subprocess.run([BUILD / "bin" / "write_tiny_llama", folder / "tiny.gguf"], check=True)
    (folder / "config.yaml").write_text(
        "backends: { cpu: { plugin: cpu, threads: 1 } }\n"
        "models: { tiny: { file: tiny.gguf, load: eager, temperature: 0, max_tokens: 2 } }\n"
        "frontends: { batch: { plugin: batch, model: tiny, input: '-', output: '-', parallel: 1 } }\n")
    (folder / "talk.yaml").write_text((folder / "config.yaml").read_text().split("frontends")[0] +
                                      "frontends: { repl: { plugin: repl, model: tiny, separator: '==' } }\n")
    return folder


@pytest.mark.parametrize("name", REQUESTS)
def test_67_every_allocation_of_a_line_fails_in_turn(config, control, name):
    def answer(line):
        result = json.loads(line)
        return result["response"]["choices"] if "response" in result else result["error"]

    request, talk, n, seen = json.dumps(REQUESTS[name]), None, 0, {}
    right = None
    while True:
        talk = talk or Talk(control, "run", config / "config.yaml")
        right = right or answer(talk.ask(request))
        assert answer(talk.ask(request)) == right
        n += 1
        control.fail(n)
        said = talk.ask(request)
        failed = control.has_failed()
        if not failed:
            break
        if said is None:
            seen["ended"], talk = seen.get("ended", 0) + 1, None
            continue
        got = answer(said)
        assert got == right or (set(got) == {"message", "type", "param", "code"} and got["code"] == "internal_error"), (n, got)
        seen[got == right] = seen.get(got == right, 0) + 1
    assert answer(said) == right
    talk.close()
    assert n > 20 and seen.get(False, 0) > n / 4, (n, seen)


def test_67_every_allocation_of_a_question_fails_in_turn(config, control):
    end, talk, n, seen, right = b"==\n", None, 0, {}, None
    while True:
        talk = talk or Talk(control, "run", config / "talk.yaml")
        talk.ask("/clear", end)
        said = talk.ask("Hello", end)
        right = right or said
        assert said == right
        talk.ask("/clear", end)
        n += 1
        control.fail(n)
        said = talk.ask("Hello", end)
        if not control.has_failed():
            break
        kind = "ended" if said is None else "right" if said == right else "failed"
        assert kind != "failed" or right.startswith(said.removesuffix(end).removesuffix(b"\n")), (n, said)
        seen[kind] = seen.get(kind, 0) + 1
        talk = talk if said is not None else None
    assert said == right
    talk.close()
    assert n > 20 and seen.get("failed", 0) > n / 4 and seen.get("ended", 0) < 8, (n, seen)
