"""Backends that fail, behind the batch frontend and the REPL: case numbers are those of the acceptance list, and behind HTTP
they are in tests/http. A file of answers is never wrong: a line is right, or an error, or left for the next run."""

import json
import subprocess
import time

import pytest

from conftest import BUILD, PLUGIN_FILES, backplane

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


# --- 66: a cache that is full, 71: half a character at the end ---------------------------------------------------------------


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "tiny.gguf"
    subprocess.run([BUILD / "bin" / "write_tiny_llama", path], check=True)
    return path


NARROW = "kv_tokens: 512, page_tokens: 16, max_batch: 8, queue_limit: 64, drafts: 0"


def narrow(tiny, frontends):
    """A cache of 512 tokens on a device whose steps take a while, so that answers of 150 tokens stand in each other's way."""
    return (f"backends: {{ b: {{ plugin: {FAULTY}, fault: slow, milliseconds: 1 }} }}\n"
            f"models: {{ m: {{ file: {tiny}, {NARROW}, temperature: 1, seed: 5, max_tokens: 150 }} }}\nfrontends: {{ {frontends} }}\n")


def lines_for(count, tokens=150):
    return "".join(json.dumps({"prompt": f"Number {i}.", "max_tokens": tokens, "seed": i, "logprobs": 1,
                               "logit_bias": {"2": -100}}) + "\n" for i in range(count))


def test_66_a_cache_that_is_full_costs_no_line(tiny, write, tmp_path):
    source = write(lines_for(8, 100) + json.dumps({"prompt": [5] * 600}) + "\n", "in.jsonl")
    outputs = []
    for parallel in (1, 8):
        out = tmp_path / f"{parallel}.jsonl"
        backplane("batch", source, out, "--config", write(narrow(tiny, "")), "--set", f"frontend.parallel={parallel}").expect(0)
        *lines, last = out.read_text().splitlines()
        assert json.loads(last)["error"]["code"] == "context_length_exceeded"
        outputs.append([answer_of(line) for line in lines])
    assert outputs[0] == outputs[1] and len(outputs[0]) == 8
    assert all(choices[0]["finish_reason"] == "length" for choices in outputs[0])


def test_66_a_question_beside_a_crowd_is_answered_alike(tiny, write, tmp_path):
    repl = "repl: { plugin: repl, model: m }"
    alone = backplane("run", write(narrow(tiny, repl)), stdin="Hello\nAgain\n").expect(0)
    source, out = write(lines_for(16, 100), "in.jsonl"), tmp_path / "out.jsonl"
    crowd = f"{repl}, batch: {{ plugin: batch, model: m, input: {source}, output: {out}, parallel: 16 }}"
    both = backplane("run", write(narrow(tiny, crowd)), stdin="Hello\nAgain\n").expect(0)
    assert both.out == alone.out and len(alone.out) > 100
    assert len([answer_of(line) for line in out.read_text().splitlines()]) == 16


@pytest.mark.parametrize("half", [131, 200, 258])
def test_71_half_a_character_at_the_end_of_a_line(half, tiny, write):
    request = {"prompt": "Hello", "max_tokens": 3, "temperature": 0, "logit_bias": {str(half): 100}, "logprobs": 1}
    said = backplane("batch", write(json.dumps(request) + "\n", "in.jsonl"), "-", "--config", write(narrow(tiny, ""))).expect(0)
    choice, = answer_of(said.out)
    assert choice["finish_reason"] == "length" and choice["text"] and set(choice["text"]) == {"\ufffd"}


def test_71_half_a_character_at_the_end_of_an_answer(tiny, write):
    """The tiny model says bytes at random: most of its answers end inside of a character, and what is printed is text."""
    config = write(narrow(tiny, "repl: { plugin: repl, model: m, max_tokens: 7, temperature: 2 }"))
    said = backplane("run", config, stdin="".join(f"/set seed {seed}\nHello\n/clear\n" for seed in range(12))).expect(0)
    assert "\ufffd\n" in said.out


# --- 81 and 82: plugins that are none, or fail at once -------------------------------------------------------------------


@pytest.fixture(params=["wrong_major", "newer_minor", "no_symbol", "torn_ops", "half", "foreign", "missing"])
def broken(request, tmp_path, outside):
    """A file that is no plugin."""
    whole, file = outside.read_bytes(), tmp_path / f"{request.param}.so"
    damaged = {"half": whole[:len(whole) // 2], "foreign": whole[:18] + (8).to_bytes(2, "little") + whole[20:]}
    if request.param in damaged:
        file.write_bytes(damaged[request.param])
    return file if request.param in damaged or request.param == "missing" else PLUGIN_FILES / f"{request.param}.so"


def with_plugin(plugin, model, frontends):
    return (f"backends:\n  good: {{ plugin: cpu }}\n  bad: {{ plugin: {plugin} }}\nmodels:\n"
            f"  well: {{ file: {model}, backend: good, temperature: 0, max_tokens: 4 }}\n  sick: {{ file: {model}, backend: bad }}\n"
            f"frontends: {{ {frontends} }}\n")


def refused_in_batch(plugin, model, write, tmp_path):
    """The line for its model, and no other, is left for another run."""
    lines = [{"prompt": "Hello", "model": name, "max_tokens": 4} for name in ("well", "sick", "well")]
    source, out = write("".join(json.dumps(line) + "\n" for line in lines), "in.jsonl"), tmp_path / "out.jsonl"
    batch = f"batch: {{ plugin: batch, model: well, input: {source}, output: {out}, parallel: 1 }}"
    said = backplane("run", write(with_plugin(plugin, model, batch))).expect(1)
    assert "backend bad is left out: " in said.err and plugin.name in said.err and 'model "sick"' in said.err
    assert len([answer_of(line) for line in out.read_text().splitlines()]) == 1


def refused_in_repl(plugin, model, write):
    said = backplane("run", write(with_plugin(plugin, model, 'repl: { plugin: repl, model: well, separator: "==" }')),
                     stdin="Hello\n/clear\n/model sick\nHello\n/model well\n/clear\nHello\n").expect(1)
    assert "backend bad is left out: " in said.err and plugin.name in said.err and 'model "sick"' in said.err
    assert "1 of 7 lines failed" in said.err
    answers = said.out.split("==\n")
    assert len(answers) == 8 and answers[0] == answers[6] != "" == answers[3].strip()


def test_81_a_plugin_that_is_none_behind_batch(broken, tiny, write, tmp_path):
    refused_in_batch(broken, tiny, write, tmp_path)


def test_81_a_plugin_that_is_none_behind_the_repl(broken, tiny, write):
    refused_in_repl(broken, tiny, write)


@pytest.mark.parametrize("name", ["fails_open", "twin", "wrong_name"])
def test_82_a_plugin_that_fails_behind_batch(name, tiny, write, tmp_path):
    refused_in_batch(PLUGIN_FILES / f"{name}.so", tiny, write, tmp_path)


@pytest.mark.parametrize("name", ["fails_open", "twin", "wrong_name"])
def test_82_a_plugin_that_fails_behind_the_repl(name, tiny, write):
    refused_in_repl(PLUGIN_FILES / f"{name}.so", tiny, write)
