"""backplane run: the examples, signals, and that what is broken costs only itself."""

import json
import signal
import time

import pytest

from conftest import PLUGIN_FILES, ROOT, Running, backplane

# Those that serve HTTP have a test of their own in tests/http.
EXAMPLES = [path for path in sorted((ROOT / "config").glob("*.yaml")) if "plugin: http" not in path.read_text()]


def config_of(model, more_backends="", more_models="", options=""):
    return (f"backends:\n  cpu: {{ plugin: cpu }}\n{more_backends}models:\n"
            f"  small: {{ file: {model}, backend: cpu, temperature: 0{options} }}\n{more_models}"
            "frontends:\n  repl: { plugin: repl, model: small }\n")


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_every_example_runs(example, model):
    question = "What is the capital of France?"
    if example.name == "batch.yaml":
        question = json.dumps({"messages": [{"role": "user", "content": question}], "max_tokens": 16})
    assert "Paris" in backplane("run", example, stdin=question + "\n").expect(0).out


def test_it_says_what_fits(write, model):
    said = backplane("run", write("memory_budget: 90MiB\n" + config_of(model)), stdin="Hi\n")
    assert "error: model small cannot be loaded: it needs" in said.err and "memory_budget is 90 MiB; raise it" in said.err


def test_it_ends_when_its_frontends_do(write, model):
    backplane("run", write(config_of(model)), stdin="").expect(0)


def wait_until_it_answers(running):
    running.say("Write a long story about a ship.")
    first = running.process.stdout.read(1)
    assert first


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_with_0(number, write, model):
    with Running("run", write(config_of(model, options=", max_tokens: 150"))) as running:
        wait_until_it_answers(running)
        running.signal(number)
        rest = running.process.stdout.read()
        assert running.wait() == 0
    assert len(rest.split()) > 60, "the running answer was cut short"


def test_a_signal_while_idle_exits_at_once(write, model):
    with Running("run", write(config_of(model, options=", load: eager"))) as running:
        while "is loaded" not in running.process.stderr.readline():
            pass
        time.sleep(0.1)
        begin = time.monotonic()
        running.signal()
        assert running.wait() == 0 and time.monotonic() - begin < 2


def test_72_the_time_to_drain_ends(write, model):
    with Running("run", "--drain", "0", write(config_of(model))) as running:
        wait_until_it_answers(running)
        begin = time.monotonic()
        running.signal()
        assert running.wait() == 0 and time.monotonic() - begin < 3
        assert "cut short" in running.process.stderr.read()


def test_a_signal_while_models_load_exits_with_0(write, model):
    several = "".join(f"  m{i}: {{ file: {model}, backend: cpu, load: eager }}\n" for i in range(8))
    with Running("run", write(config_of(model, more_models=several))) as running:
        while "model m0 is loaded" not in (line := running.process.stderr.readline()):
            assert line, "it ended without loading"
        running.signal()
        assert running.wait() == 0


def test_73_a_second_signal_exits_at_once(write, model):
    with Running("run", write(config_of(model))) as running:
        wait_until_it_answers(running)
        running.signal()
        time.sleep(0.2)
        begin = time.monotonic()
        running.signal()
        assert running.wait() == 128 + signal.SIGTERM and time.monotonic() - begin < 1


@pytest.mark.parametrize("broken, reason", [("wrong_major", "is built for plugin ABI 2."), ("newer_minor", "needs plugin ABI 1."),
                                            ("no_symbol", "exports no bp_plugin_entry"), ("fails_open", "")])
def test_81_82_a_refused_backend_costs_its_own_models(broken, reason, write, model):
    config = write(config_of(model, f"  other: {{ plugin: {PLUGIN_FILES / broken}.so }}\n",
                             f"  lost: {{ file: {model}, backend: other, load: eager }}\n", ", max_tokens: 8"))
    said = backplane("run", config, stdin="What is the capital of France?\n").expect(0)
    assert said.out.strip() and f"{broken}" in said.err and reason in said.err and 'model "lost"' in said.err


def test_a_model_that_does_not_load_is_refused_with_a_reason(write, tmp_path, model):
    (tmp_path / "fake.gguf").write_bytes(b"GGUF but not really")
    config = write(config_of(model, "", "  fake: { file: fake.gguf, backend: cpu, load: eager }\n", ", max_tokens: 8"))
    said = backplane("run", config, stdin="What is the capital of France?\n").expect(0)
    assert said.out.strip() and 'model "fake"' in said.err and "fake.gguf" in said.err


def test_nothing_to_run_on_or_with(write, model):
    only_broken = config_of(model).replace("plugin: cpu", f"plugin: {PLUGIN_FILES / 'wrong_major.so'}")
    assert "no backend can be used" in backplane("run", write(only_broken)).expect(1).err
    no_frontend = config_of(model).split("frontends:")[0]
    assert "names no frontend" in backplane("run", write(no_frontend)).expect(1).err


def test_a_mistake_in_the_configuration_starts_nothing(write, model):
    config = write(config_of(model).replace("plugin: cpu }", "plugin: cpu, threds: 2 }"))
    assert f"{config}:2:23: " in backplane("run", config, stdin="hello\n").expect(1).err
