"""backplane check: the examples are fine, and mistakes are told with file, line and column."""

import re

import pytest

from conftest import ROOT, backplane

EXAMPLES = sorted((ROOT / "config").glob("*.yaml"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_is_fine(example, model):
    said = backplane("check", example).expect(0).out
    assert "backend  cpu: cpu" in said and "model    smollm2: llama" in said and said.endswith("is fine\n")


def whole(model):
    return (f"backends:\n  cpu: {{ plugin: cpu }}\nmodels:\n  small:\n    file: {model}\n    backend: cpu\n"
            "frontends:\n  repl: { plugin: repl, model: small }\n")


def test_it_starts_nothing_and_says_what_it_found(write, model):
    said = backplane("check", write(whole(model))).expect(0).out
    assert "134.5 million parameters" in said and "Q4_1" in said and "frontend repl: repl" in said


MISTAKES = [
    ("backend: cpu", "backend: cqu", ":6:14: ", "did you mean cpu"),
    ("backend: cpu", "backnd: cpu", ":6:5: ", "did you mean backend"),
    ("backend: cpu", "file: twice", ":6:5: ", "file"),
    ("backend: cpu", "context: many", ":6:14: ", "a whole number from 16"),
    ("backend: cpu", "context: 8", ":6:14: ", "a whole number from 16"),
    ("backend: cpu", "temperature: [1]", ":6:18: ", "temperature"),
    ("backend: cpu", "seed: ${BACKPLANE_UNSET_VARIABLE}", ":6:11: ", "BACKPLANE_UNSET_VARIABLE"),
    ("plugin: cpu", "plugin: gpu", ":2:18: ", 'no plugin "gpu"'),
    ("plugin: cpu", "plugin: repl", ":2:18: ", "is a frontend where a backend belongs"),
    ("plugin: cpu", "plugin: cpu, threds: 2", ":2:23: ", "did you mean threads"),
    ("plugin: cpu", "plugin: cpu, threads: -1", ":2:32: ", "threads"),
    ("model: small", "model: smal", ":8:32: ", "did you mean small"),
    ("frontends:", "frontend:", ":7:1: ", "did you mean frontends"),
    ("plugin: cpu }", "plugin: cpu", ":3:", ""),
]


@pytest.mark.parametrize("old, new, place, sentence", MISTAKES, ids=[new for _, new, _, _ in MISTAKES])
def test_80_a_mistake_has_a_place(old, new, place, sentence, write, model):
    config = write(whole(model).replace(old, new))
    said = backplane("check", config).expect(1).err
    assert f"{config}{place}" in said and sentence in said


def test_all_problems_are_told(write, model):
    text = whole(model).replace("plugin: cpu", "plugin: gpu").replace(str(model), "/no/such.gguf")
    result = backplane("check", write(text)).expect(1)
    assert 'no plugin "gpu"' in result.err and "/no/such.gguf" in result.err and "2 problems" in result.err


def test_a_file_that_is_no_model_is_told_with_its_line(write, tmp_path, model):
    (tmp_path / "fake.gguf").write_bytes(b"GGUF but not really")
    said = backplane("check", write(whole("fake.gguf"))).expect(1).err
    assert "config.yaml:5:11: " in said and "fake.gguf" in said


def test_80_a_bomb_of_aliases_ends_at_once(write):
    levels = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
    backplane("check", write("a0: &a0 [x, x, x]\n" + levels), timeout=5).expect(1)


def test_variables_are_those_of_the_environment(write, model):
    config = write(whole("${MODEL_OF_THIS_TEST}").replace("backend: cpu", "context: ${CONTEXT_OF_THIS_TEST:-512}"))
    said = backplane("check", config, environment={"MODEL_OF_THIS_TEST": model}).expect(0).out
    assert "context 512" in said


def budget(model, mini, memory, keys="", more=""):
    return (f"memory_budget: {memory}\nbackends:\n  cpu: {{ plugin: cpu }}\nmodels:\n"
            f"  smol: {{ file: {model}, context: 1024, kv_tokens: 1024{keys} }}\n  mini: {{ file: {mini}{keys} }}\n{more}")


def needs_of(said, name):
    return int(re.search(rf"^memory   model {name} needs (\d+) MiB: ", said, re.M)[1])


def test_what_fits_into_memory_is_told(write, model, minilm):
    said = backplane("check", write(budget(model, minilm, "2GiB"))).expect(0).out
    both = needs_of(said, "smol") + needs_of(said, "mini")
    assert 93 + 22 < needs_of(said, "smol") < 150 and 87 < needs_of(said, "mini") < 110
    assert re.search(rf"all models together need ({both}|{both - 1}) MiB and memory_budget is 2048 MiB: all of them fit", said)
    said = backplane("check", write(budget(model, minilm, f"{both - 10}MiB"))).expect(0).out
    assert "makes room for who is asked for" in said
    embed = f"  embed: {{ file: {model}, task: embed, context: 512 }}\n" # of the same weights
    shared = backplane("check", write(budget(model, minilm, "2GiB", more=embed))).expect(0).out
    assert int(re.search(r"together need (\d+)", shared)[1]) < both + needs_of(shared, "embed") - 80
    assert "the weights of a file counted once" in shared and "counted once" not in said


def test_what_never_fits_is_a_mistake(write, model, minilm):
    result = backplane("check", write(budget(model, minilm, "100MiB"))).expect(1)
    assert "model smol cannot be loaded: it needs" in result.err and "memory_budget is 100 MiB" in result.err and "1 problem" in result.err
    result = backplane("check", write(budget(model, minilm, "200MiB", ", pinned: true"))).expect(1)
    assert "the pinned models cannot all be loaded" in result.err and "1 problem" in result.err
    said = backplane("check", write(budget(model, minilm, "2GiB"))).expect(0).out
    one_short = f"{needs_of(said, 'smol') + needs_of(said, 'mini') - 3}MiB"
    result = backplane("check", write(budget(model, minilm, one_short).replace(f"{minilm} }}", f"{minilm}, pinned: true }}"))).expect(1)
    assert "model smol cannot be loaded: it needs" in result.err and "pinned models leave" in result.err and "and stays" in result.out
