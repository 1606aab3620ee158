"""Log-probabilities of a prompt's own tokens, as evaluations ask for them, and answers that are chosen by theirs."""

import json
import subprocess
import threading

import pytest

import tiny_models
from conftest import PROGRAM, ROOT, Server, error_of

ALPHABET = "A, B, C, D, E, F,"
# What lm-eval sends for log-likelihoods.
EVALUATION = {"model": "smol", "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}


def complete(server, **more):
    reply = server.post("/v1/completions", {"model": "smol", "prompt": ALPHABET, "temperature": 0, "logprobs": 2, **more})
    assert reply.status == 200, reply.body
    return reply.json


def lists_of(answer, index=0):
    lists = answer["choices"][index]["logprobs"]
    assert len({len(values) for values in lists.values()}) == 1
    return lists


def test_a_prompt_is_scored(alive):
    answer = complete(alive, echo=True, max_tokens=0)
    lists, choice = lists_of(answer), answer["choices"][0]
    assert choice["text"] == ALPHABET == "".join(lists["tokens"]) and choice["finish_reason"] == "length"
    assert answer["usage"]["completion_tokens"] == 0 and answer["usage"]["prompt_tokens"] == len(lists["tokens"])
    assert lists["token_logprobs"][0] is None and lists["top_logprobs"][0] is None
    assert lists["text_offset"] == [len("".join(lists["tokens"][:i])) for i in range(len(lists["tokens"]))]
    for token, value, top in list(zip(lists["tokens"], lists["token_logprobs"], lists["top_logprobs"]))[1:]:
        assert value < 0 and top[token] == value and len(top) in (2, 3) and (len(top) == 2 or value == min(top.values()))
    # By the middle of the alphabet the model knows what comes: the same number, not one that is near.
    assert lists["token_logprobs"][-2] == max(lists["top_logprobs"][-2].values())


def test_what_was_drawn_is_scored_alike(alive):
    drawn = complete(alive, max_tokens=12)
    text, own = drawn["choices"][0]["text"], lists_of(drawn)
    lists = lists_of(complete(alive, prompt=ALPHABET + text, echo=True, max_tokens=0))
    count = len(own["tokens"])
    assert lists["tokens"][-count:] == own["tokens"] and lists["token_logprobs"][-count:] == own["token_logprobs"]
    assert lists["top_logprobs"][-count:] == own["top_logprobs"]
    both = lists_of(complete(alive, echo=True, max_tokens=12))
    assert both == lists


def test_a_stream_scores_too(alive):
    body = {"model": "smol", "prompt": [ALPHABET, "Hello wörld"], "temperature": 0, "logprobs": 2, "echo": True, "max_tokens": 3}
    whole = alive.post("/v1/completions", body).json["choices"]
    streamed = [{"text": "", "logprobs": {}} for _ in whole]
    reply = alive.post("/v1/completions", {**body, "stream": True}).body.decode()
    for line in reply.splitlines():
        if line.startswith("data: {"):
            for choice in json.loads(line[6:])["choices"]:
                one = streamed[choice["index"]]
                one["text"] += choice["text"]
                for name, values in (choice["logprobs"] or {}).items():
                    one["logprobs"].setdefault(name, []).extend(values)
    assert streamed == [{"text": c["text"], "logprobs": c["logprobs"]} for c in whole]


def test_prompts_of_tokens_and_the_token_that_ends_an_answer(alive):
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = alive.post("/apply-template", {"model": "smol", "messages": messages}).json["prompt"] + "The capital of France is Paris."
    ids = alive.post("/tokenize", {"model": "smol", "content": prompt, "parse_special": True}).json["tokens"]
    answer = complete(alive, prompt=ids, echo=True, max_tokens=5)
    lists = lists_of(answer)
    # One for each token of prompt and answer, though the end is no text, so that a client may cut from the end.
    assert len(lists["tokens"]) == len(ids) + 1 and lists["tokens"][-1] == "<|im_end|>"
    assert lists["text_offset"][-1] == len(prompt) and answer["choices"][0]["text"] == prompt
    assert answer["choices"][0]["finish_reason"] == "stop" and answer["usage"]["completion_tokens"] == 1
    assert lists["token_logprobs"][-1] == max(lists["top_logprobs"][-1].values())
    assert lists_of(complete(alive, prompt=ids, max_tokens=5))["tokens"] == []


def test_a_long_prompt_among_others_has_the_same_scores(alive):
    body = {"prompt": "The quick brown fox jumps over the lazy dog. " * 40, "echo": True, "max_tokens": 1, "logprobs": 5}
    alone = complete(alive, **body)["choices"]
    results = []

    def work(i):
        if i % 2:
            complete(alive, prompt=f"Number {i} of", max_tokens=30, logprobs=0)
        else:
            results.append(complete(alive, **body)["choices"])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [alone] * 4


def test_an_evaluations_numbers_are_the_batch_frontends(alive, smollm2, tmp_path):
    contexts = ["The capital of France is", "Water boils at 100 degrees", "Two plus two is"]
    endings = [" Paris", " London", " Celsius", " four", " a"]
    prompts = [c + e for c in contexts for e in endings]
    choices = alive.post("/v1/completions", {**EVALUATION, "prompt": prompts}).json["choices"]
    assert [c["index"] for c in choices] == list(range(len(prompts)))
    lines = [json.dumps({"body": {**{k: v for k, v in EVALUATION.items() if k != "model"}, "prompt": p}}) for p in prompts]
    (tmp_path / "in").write_text("\n".join(lines))
    subprocess.run([PROGRAM, "batch", tmp_path / "in", tmp_path / "out", "--model", smollm2], check=True, capture_output=True)
    results = [json.loads(line)["response"]["choices"][0] for line in (tmp_path / "out").read_text().splitlines()]
    assert [{**r, "index": i} for i, r in enumerate(results)] == choices
    assert len({c["logprobs"]["token_logprobs"][-2] for c in choices}) == len(choices)


def test_the_best_of_several_answers(alive):
    body = {"prompt": "My favourite colour is", "temperature": 1, "seed": 7, "max_tokens": 6, "ignore_eos": True}
    each = [complete(alive, **{**body, "seed": 7 + i}, logprobs=0)["choices"][0] for i in range(6)]
    mean = [sum(c["logprobs"]["token_logprobs"]) / 6 for c in each]
    best = sorted(range(6), key=lambda i: -mean[i])
    assert best[:2] != [0, 1] and len({c["text"] for c in each}) == 6
    answer = complete(alive, **body, n=2, best_of=6, logprobs=0)
    assert [c["index"] for c in answer["choices"]] == [0, 1]
    assert [c["text"] for c in answer["choices"]] == [each[i]["text"] for i in best[:2]]
    assert [c["logprobs"] for c in answer["choices"]] == [each[i]["logprobs"] for i in best[:2]]
    assert answer["usage"]["completion_tokens"] == 36
    several = complete(alive, **{**body, "prompt": [body["prompt"], ALPHABET]}, best_of=6, logprobs=None)["choices"]
    assert [c["index"] for c in several] == [0, 1] and several[0]["text"] == each[best[0]]["text"]
    assert several[0]["logprobs"] is None
    assert [c["text"] for c in complete(alive, **body, n=6, best_of=6)["choices"]] == [c["text"] for c in each]


def test_text_before_the_prompt_takes_no_place_in_it(tmp_path):
    gemma = subprocess.run([ROOT / "tools" / "fetch", "gemma3"], capture_output=True, text=True, check=True).stdout.strip()
    s = Server(tmp_path, f"  smol: {{ file: {gemma}, context: 256 }}")
    prompt = "Hello wörld, this"
    choice = complete(s, prompt=prompt, echo=True, max_tokens=2)["choices"][0]
    lists = choice["logprobs"]
    assert choice["text"].startswith(prompt) and lists["tokens"][0] == "<bos>" and lists["token_logprobs"][1] < 0
    assert lists["text_offset"][:2] == [0, 0]
    for token, begin in list(zip(lists["tokens"], lists["text_offset"]))[1:]:
        assert choice["text"][begin:begin + len(token)] == token
    assert s.stop() == 0


def test_lists_of_scores_have_an_end(tmp_path):
    tiny = tiny_models.mistral(tmp_path / "tiny", headless=False)
    s = Server(tmp_path, f"  smol: {{ file: {tiny} }}")
    body = {"model": "smol", "echo": True, "max_tokens": 0, "logprobs": 0}
    lists = s.post("/v1/completions", {**body, "prompt": ["x" * 120] * 200}).json["choices"]
    assert len(lists) == 200 and all(c["logprobs"] == lists[0]["logprobs"] for c in lists)
    error_of(s.post("/v1/completions", {**body, "prompt": ["x" * 120] * 600}), 400, "invalid_value", "prompt")
    assert s.post("/v1/completions", {**body, "prompt": "x"}).status == 200
    assert s.stop() == 0


@pytest.mark.parametrize("body", [{"best_of": 21}, {"best_of": 0}, {"best_of": 1, "n": 2}, {"best_of": 2, "stream": True},
                                  {"best_of": 1.5}, {"best_of": "2"}])
def test_38_best_of(alive, body):
    error_of(alive.post("/v1/completions", {"model": "smol", "prompt": "x", "max_tokens": 1, **body}), 400, param="best_of")
