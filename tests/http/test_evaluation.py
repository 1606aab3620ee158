"""lm-eval's local-completions on the server, with tasks that are made here: its log-likelihoods are, to the last digit, those of
the batch frontend."""

import json
import os
import subprocess

import pytest

from conftest import PROGRAM, ROOT, Server

QUESTIONS = [
    ("The capital of France is", ["Paris.", "London, a city in England.", "Rome"], 0),
    ("Two plus two is", ["five", "four"], 1),
    ("Water is made of", ["hydrogen and oxygen", "iron", "stone and fire", "cheese"], 0),
    ("A B C D", ["E", "Z", "E F G"], 0),
    ("Once upon a", ["time", "naïve café", "midnight dreary, while I pondered"], 0),
]
TASK = {"dataset_path": "json", "test_split": "test", "metric_list": [{"metric": "acc"}]}
TASKS = {
    "choices": TASK | {"output_type": "multiple_choice", "doc_to_text": "{{question}}", "doc_to_choice": "{{choices}}",
                       "doc_to_target": "{{answer}}"},
    "rolling": TASK | {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{question}} {{choices[0]}}",
                       "metric_list": [{"metric": "word_perplexity"}]},
    "answers": TASK | {"output_type": "generate_until", "doc_to_text": "{{question}}", "doc_to_target": "{{choices[answer]}}",
                       "generation_kwargs": {"until": ["."], "max_gen_toks": 8}, "metric_list": [{"metric": "exact_match"}]},
}


@pytest.fixture(scope="module")
def samples(server, tmp_path_factory):
    """What lm-eval got for each task, by its own files."""
    folder = tmp_path_factory.mktemp("evaluation")
    with open(folder / "data.jsonl", "w") as data:
        for question, choices, answer in QUESTIONS:
            data.write(json.dumps({"question": question, "choices": choices, "answer": answer}) + "\n")
    for name, task in TASKS.items():
        whole = task | {"task": name, "dataset_kwargs": {"data_files": {"test": str(folder / "data.jsonl")}}}
        (folder / f"{name}.yaml").write_text(json.dumps(whole))
    python = subprocess.run([ROOT / "tools" / "python", "evaluation"], capture_output=True, text=True, check=True).stdout.strip()
    # With its defaults: it asks the server for the model's tokenizer.
    model = f"model=smol,base_url=http://127.0.0.1:{server.port}/v1/completions,num_concurrent=2"
    done = subprocess.run([python, "-m", "lm_eval", "run", "--model", "local-completions", "--model_args", model, "--batch_size", "3",
                           "--tasks", ",".join(TASKS), "--include_path", folder, "--output_path", folder / "out", "--log_samples"],
                          cwd=folder, capture_output=True, text=True, timeout=250,
                          env=os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), "TQDM_DISABLE": "1"})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Using remote tokenizer" in done.stdout + done.stderr
    found = {}
    for name in TASKS:
        [file] = (folder / "out").rglob(f"samples_{name}_*.jsonl")
        found[name] = [json.loads(line) for line in file.read_text().splitlines()]
        assert len(found[name]) == len(QUESTIONS)
    return found


def tokenize(server, text):
    return server.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json["tokens"]


def score(model, prompts, folder):
    """Of each list of tokens: logprobs and alternatives as the batch frontend lists them."""
    body = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
    (folder / "in").write_text("".join(json.dumps({**body, "prompt": tokens}) + "\n" for tokens in prompts))
    subprocess.run([PROGRAM, "batch", folder / "in", folder / "out", "--model", model], check=True, capture_output=True)
    return [json.loads(line)["response"]["choices"][0]["logprobs"] for line in (folder / "out").read_text().splitlines()]


def test_choices_have_the_batch_frontends_likelihoods(server, samples, smollm2, tmp_path):
    expected, prompts, begins = [], [], []
    for sample in samples["choices"]:
        for arguments, [(value, greedy)] in zip(sample["arguments"].values(), sample["resps"]):
            context, ending = arguments["arg_0"], arguments["arg_1"]
            prompts.append(tokenize(server, context + ending))
            begins.append(len(tokenize(server, context)))
            expected.append((float(value), str(greedy) == "True"))
    lists = score(smollm2, prompts, tmp_path)
    got = [(sum(one["token_logprobs"][begin:-1]),
            all(value == max(top.values()) for value, top in zip(one["token_logprobs"][begin:-1], one["top_logprobs"][begin:-1])))
           for one, begin in zip(lists, begins)]
    assert len(expected) == sum(len(choices) for _, choices, _ in QUESTIONS) and got == expected
    assert {greedy for _, greedy in got} == {True, False}, got
    assert all(value < 0 for value, _ in got)
    assert sum(sample["acc"] for sample in samples["choices"]) >= 3


def test_a_rolling_likelihood_is_the_batch_frontends(server, samples, smollm2, tmp_path):
    begin = tokenize(server, server.get("/tokenizer_info").json["bos_token"])
    assert len(begin) == 1
    prompts = [begin + tokenize(server, f"{question} {choices[0]}") for question, choices, _ in QUESTIONS]
    got = [sum(one["token_logprobs"][1:-1]) for one in score(smollm2, prompts, tmp_path)]
    assert got == [float(sample["resps"][0][0]) for sample in samples["rolling"]]


def test_answers_are_greedy_ones(server, samples):
    for (question, _, _), sample in zip(QUESTIONS, samples["answers"]):
        reply = server.post("/v1/completions", {"model": "smol", "prompt": question, "temperature": 0, "max_tokens": 8,
                                                "stop": ["."]})
        assert sample["resps"][0][0] == reply.json["choices"][0]["text"]
