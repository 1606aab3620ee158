"""Backends that fail, behind the batch frontend and the REPL: case numbers are those of the acceptance list, and behind HTTP
they are in tests/http. A file of answers is never wrong: a line is right, or an error, or left for the next run."""

import json
import time

import pytest

from conftest import BUILD, backplane

FAULTY = BUILD / "tests" / "plugins" / "faulty" / "faulty.so"
LETTERS = ["A, B, C, D,", "1, 2, 3, 4,", "Monday, Tuesday,", "one, two, three,"]
REQUESTS = "".join(json.dumps({"prompt": prompt, "max_tokens": 6, "temperature": 0, "logprobs": 2}) + "\n" for prompt in LETTERS)
QUESTION = "What is the capital of France?"


@pytest.fixture
def config(write, model):
    """A configuration of one model on a device with a fault; without one it is the CPU."""
    def config(fault=None, top="", **options):
        words = "".join(f", {key}: {value}" for key, value in options.items())
        backend = f"{{ plugin: {FAULTY}, fault: {fault}{words} }}" if fault else "{ plugin: cpu }"
        return write(f"{top}backends: {{ b: {backend} }}\n"
                     f"models: {{ m: {{ file: {model}, temperature: 0, max_tokens: 12, system_prompt: You are a helpful assistant }} }}\n"
                     "frontends: { repl: { plugin: repl, model: m } }\n", f"{fault}.yaml")
    return config


@pytest.fixture(scope="module")
def right(model, tmp_path_factory):
    """The lines of a run without a fault."""
    source = tmp_path_factory.mktemp("right") / "in.jsonl"
    source.write_text(REQUESTS)
    return backplane("batch", source, "-", "--model", model).expect(0).out.splitlines()


def batch(write, tmp_path, config, *more):
    said = backplane("batch", write(REQUESTS, "in.jsonl"), tmp_path / "out.jsonl", "--config", config, "--set",
                     "frontend.parallel=1", *more)
    out = tmp_path / "out.jsonl"
    return said, out.read_text().splitlines() if out.exists() else []


@pytest.mark.parametrize("fault", ["error", "memory", "nan", "short"])
def test_68_70_a_step_that_fails_costs_its_line(fault, config, write, tmp_path, right):
    said, lines = batch(write, tmp_path, config(fault, after=8, times=1))
    said.expect(0)
    failed = [json.loads(line) for line in lines if "error" in json.loads(line)]
    assert len(lines) == 4 and [f["line"] for f in failed] == [2] and failed[0]["error"]["code"] == "internal_error"
    assert "1 of 4 results are errors" in said.err
    assert [answer_of(lines[i]) for i in (0, 2, 3)] == [answer_of(right[i]) for i in (0, 2, 3)]


def answer_of(line):
    return json.loads(line)["response"]["choices"]


@pytest.mark.parametrize("fault, reason, top", [("lost", "fell off the bus", ""), ("hang", "did not come back", "step_seconds: 1\n")])
def test_68_69_a_lost_device_leaves_lines_for_the_next_run(fault, reason, top, config, write, tmp_path, right):
    began = time.monotonic()
    said, lines = batch(write, tmp_path, config(fault, top, after=8))
    said.expect(1)
    assert reason in said.err and time.monotonic() - began < 20
    assert [answer_of(line) for line in lines] == [answer_of(right[0])]
    said, lines = batch(write, tmp_path, config(None))
    said.expect(0)
    assert [answer_of(line) for line in lines] == [answer_of(line) for line in right]


@pytest.mark.parametrize("fault", ["open", "compile", "compile_memory"])
def test_68_82_a_device_that_takes_no_model_answers_nobody(fault, config, write, tmp_path):
    said, lines = batch(write, tmp_path, config(fault))
    said.expect(1)
    assert lines == [] and "faulty: " in said.err


def test_69_70_what_is_slow_or_infinite_is_still_an_answer(config, write, tmp_path, right):
    said, lines = batch(write, tmp_path, config("slow", milliseconds=20))
    said.expect(0)
    assert [answer_of(line) for line in lines] == [answer_of(line) for line in right]
    (tmp_path / "out.jsonl").unlink()
    said, lines = batch(write, tmp_path, config("infinity"))
    said.expect(0)
    for line, good in zip(lines, right):
        (choice,), (other,) = answer_of(line), answer_of(good)
        assert choice["text"] == other["text"] and choice["logprobs"]["token_logprobs"] == [0.0] * 6
        assert all(value in (0, -9999.0) for top in choice["logprobs"]["top_logprobs"] for value in top.values())


def talk(config):
    return backplane("run", config, stdin=f"{QUESTION}\n{QUESTION}\n")


@pytest.mark.parametrize("fault", ["error", "memory", "nan", "short"])
def test_68_70_a_question_that_fails_costs_itself(fault, config):
    said = talk(config(fault, after=0, times=1)).expect(1)
    assert said.out.count("Paris") == 1 and ("faulty: " in said.err or "NaN" in said.err)


@pytest.mark.parametrize("fault, reason, top", [("lost", "fell off the bus", ""), ("hang", "did not come back", "step_seconds: 1\n"),
                                                ("open", "no such device", ""), ("compile", "does not compile", "")])
def test_68_69_without_a_device_there_is_a_sentence(fault, reason, top, config):
    began = time.monotonic()
    said = talk(config(fault, top=top))
    assert reason in said.err and "Paris" not in said.out and time.monotonic() - began < 20
    said.expect(1)
