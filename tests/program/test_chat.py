"""backplane chat: one answer, a conversation without a terminal, and other backends by one word."""

import pytest

from conftest import ROOT, backplane

FRANCE = "What is the capital of France?"
HELPFUL = ["--temperature", "0", "--system", "You are a helpful assistant"]


def test_the_example_answers_one_prompt(model):
    said = backplane("chat", "--config", ROOT / "config" / "chat.yaml", "--prompt", FRANCE).expect(0)
    assert "Paris" in said.out and said.err == ""


def test_a_model_file_needs_no_configuration(model):
    said = backplane("chat", model, *HELPFUL, "-p", FRANCE).expect(0)
    assert "Paris" in said.out and said.err == ""


def test_lines_of_standard_input_are_prompts(model):
    said = backplane("chat", model, *HELPFUL, stdin=FRANCE + "\n").expect(0)
    assert "Paris" in said.out


def test_a_seed_makes_an_answer_repeatable(model):
    def answer(seed):
        return backplane("chat", model, "-t", "1.5", "--seed", seed, "-n", "12", "-p", "Tell me a story.").expect(0).out
    assert answer("1") == answer("1") != answer("2")


def test_the_number_of_threads_changes_nothing(model):
    def answer(*settings):
        return backplane("chat", model, "-t", "0", "-n", "16", "-p", "Name three colours.", *settings).expect(0).out
    assert answer("--set", "backend.threads=1") == answer("--set", "backend.threads=2")


@pytest.mark.parametrize("settings, sentence", [
    (["--set", "model.temprature=1"], "did you mean temperature"),
    (["--temperature", "hot"], "temperature"),
    (["--set", "backend.isa=mmx"], "isa"),
    (["--backend", "gpu"], 'no plugin "gpu"'),
    (["--context", "1"], "context"),
])
def test_a_wrong_setting_is_a_sentence(settings, sentence, model):
    assert sentence in backplane("chat", model, "-p", "x", *settings).expect(1).err


def test_a_name_that_the_configuration_lacks(model):
    said = backplane("chat", "--config", ROOT / "config" / "chat.yaml", "nobody", "-p", "x").expect(1).err
    assert 'no model "nobody" under models; the first of 1 is smollm2' in said
    said = backplane("chat", "--config", ROOT / "config" / "chat.yaml", "smolm2", "-p", "x").expect(1).err
    assert 'no model "smolm2" under models; did you mean smollm2?' in said


def config_with(backend, outside, model):
    return (f"plugin_path: [{outside.parent}]\nbackends:\n  cpu: {{ plugin: cpu }}\n  counting: {{ plugin: outside, step: 3 }}\n"
            f"models:\n  small: {{ file: {model}, backend: {backend}, temperature: 0, max_tokens: 8 }}\n"
            "frontends:\n  repl: { plugin: repl, model: small }\n")


def test_one_word_of_the_configuration_changes_the_backend(write, outside, model):
    here = backplane("chat", "--config", write(config_with("cpu", outside, model)), "-p", FRANCE).expect(0).out
    config = write(config_with("counting", outside, model))
    there = backplane("chat", "--config", config, "-p", FRANCE).expect(0).out
    assert here != there
    # The backend that is not in the tree counts upwards from the prompt's last token, in steps of 3.
    prompt = backplane("tokenize", model, "--special", "<|im_start|>assistant\n").expect(0).out.split()
    ids = [str(int(prompt[-1]) + 3 * i) for i in range(1, 9)]
    assert there.strip() == backplane("tokenize", model, "--decode", " ".join(ids)).expect(0).out.strip()


def test_the_command_line_changes_the_backend_too(outside, model):
    said = backplane("chat", model, "--backend", outside, "--set", "backend.step=5", "-n", "4", "-t", "0", "-p", "x").expect(0)
    assert said.out.strip()
