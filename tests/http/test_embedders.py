"""Decoders as embedders: SmolLM2's hidden states and a tiny random Mistral against transformers
(tests/golden/embeddings-decoders.json), as files and as folders that sentence-transformers left, and the same bits alone, in a
batch, beside neighbours and beside chat."""

import base64
import json
import math
import pathlib
import re
import struct
import subprocess
import threading

import pytest

import dequantised
import tiny_models
from conftest import BUILD, PROGRAM, ROOT, Server, error_of

SANITIZED = b"__asan" in PROGRAM.read_bytes() or b"__tsan" in PROGRAM.read_bytes()
GOLDEN = json.loads((ROOT / "tests" / "golden" / "embeddings-decoders.json").read_text())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """The same weights under each of the names that a server gives them."""
    root = tmp_path_factory.mktemp("folders")
    made = {name: tiny_models.mistral(root / name, headless=name != "answers") for name in ("bare", "answers", "mean", "cls", "asked")}
    tiny_models.write_modules(made["mean"], "mean", True)
    tiny_models.write_modules(made["cls"], "cls", False)
    tiny_models.write_modules(made["asked"], "mean", True)
    tiny_models.write_prompts(made["asked"], {"query": "Find: ", "document": ""}, "query")
    tiny_models.write_prompts(made["cls"], {"query": "Find: "}, None)
    return made


@pytest.fixture(scope="module")
def full(tmp_path_factory, smollm2):
    path = tmp_path_factory.mktemp("full") / "smollm2.gguf"
    dequantised.dequantise(smollm2, path)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2, full, folders):
    models = {"full-last": f"file: {full}, task: embed, context: 256",
              "full-mean": f"file: {full}, task: embed, pooling: mean, context: 256",
              "chat": f"file: {smollm2}", "smol-last": f"file: {smollm2}, task: embed, context: 256",
              "smol-mean": f"file: {smollm2}, task: embed, pooling: mean, context: 256",
              "bare": f"file: {folders['bare']}", "mean": f"file: {folders['mean']}", "cls": f"file: {folders['cls']}",
              "forced": f"file: {folders['mean']}, pooling: last, append_eos: true",
              "asked": f"file: {folders['asked']}",
              "prefixed": f"file: {folders['asked']}, prefix: 'Represent: '",
              "open": f"file: {folders['bare']}, append_eos: false, normalize: false",
              "answers": f"file: {folders['answers']}", "embeds": f"file: {folders['answers']}, task: embed",
              "torn": f"file: {folders['bare']}, task: generate", "odd": f"file: {folders['answers']}, pooling: mean"}
    s = Server(tmp_path_factory.mktemp("server"), "\n".join(f"  {name}: {{ {keys} }}" for name, keys in models.items()))
    yield s
    assert s.stop() == 0, "".join(s.log)


def vectors(server, model, inputs, **more):
    reply = server.post("/v1/embeddings", {"model": model, "input": inputs, "encoding_format": "base64"} | more)
    assert reply.status == 200, reply.body
    return [base64.b64decode(e["embedding"]) for e in reply.json["data"]], reply.json["usage"]["prompt_tokens"]


def floats(data):
    return struct.unpack(f"<{len(data) // 4}f", data)


def distance(a, b):
    a, b = floats(a), floats(b)
    return 1 - sum(x * y for x, y in zip(a, b)) / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def length(data):
    return math.sqrt(sum(x * x for x in floats(data)))


@pytest.mark.parametrize("model, key, kind, limit", [
    ("bare", "mistral", "last", 1e-5), ("embeds", "mistral", "last", 1e-5), ("forced", "mistral", "last", 1e-5),
    ("mean", "mistral", "mean", 1e-5), ("full-last", "smollm2", "last", 1e-3), ("full-mean", "smollm2", "mean", 1e-3)])
def test_vectors_of_transformers(server, model, key, kind, limit):
    cases = GOLDEN[key][:12 if key == "mistral" else 4]
    ours, tokens = vectors(server, model, [case["text"] for case in cases])
    assert tokens == sum(len(case["ids"]) + (kind == "last") for case in cases)
    worst = max(distance(vector, base64.b64decode(case[kind])) for vector, case in zip(ours, cases))
    print(f"{model}: distance at most {worst:.1e}")
    assert worst <= limit and all(abs(length(vector) - 1) < 1e-5 for vector in ours)
    # Other texts are not as near, and the other pooling gives another vector.
    other = "mean" if kind == "last" else "last"
    assert distance(ours[1], ours[2]) > 10 * limit < distance(ours[1], base64.b64decode(cases[1][other]))


@pytest.mark.parametrize("model, kind", [("smol-last", "last"), ("smol-mean", "mean")])
def test_what_quantised_activations_cost(server, model, kind):
    """The file itself, whose products read activations of 8 bits; llama.cpp is as far away from transformers."""
    cases = GOLDEN["smollm2"]
    ours, _ = vectors(server, model, [case["text"] for case in cases])
    distances = sorted(distance(vector, base64.b64decode(case[kind])) for vector, case in zip(ours, cases))
    print(f"{model}: distance {distances[len(cases) // 2]:.1e}, at most {distances[-1]:.1e}")
    assert distances[len(cases) // 2] <= 2e-3 and distances[-1] <= 2e-2


def test_what_a_folder_says_and_what_the_configuration_says_instead(server):
    case = GOLDEN["mistral"][3]
    (unit,), tokens = vectors(server, "bare", case["text"])
    (bare,), fewer = vectors(server, "open", case["text"])
    assert (tokens, fewer) == (len(case["ids"]) + 1, len(case["ids"])) and abs(length(bare) - 1) > 0.1
    # Its own ids, with and without the end token, are the same sequences.
    assert vectors(server, "open", case["ids"])[0] == [bare]
    assert vectors(server, "bare", case["ids"] + [1])[0] == [unit]
    # The first row depends on the first token alone, which stands before every text.
    first = vectors(server, "cls", ["a", "something else"])[0]
    assert first[0] == first[1] and abs(length(first[0]) - 1) > 0.1


def test_prompts(server):
    """What config_sentence_transformers.json defines, and the configuration's prefix in the place of its default."""
    text = "the fox"
    with_find, without, with_represent = (vectors(server, "mean", before + text)[0]
                                          for before in ("Find: ", "", "Represent: "))
    assert len({*with_find, *without, *with_represent}) == 3
    assert vectors(server, "asked", text)[0] == vectors(server, "asked", text, prompt_name="query")[0] == with_find
    assert vectors(server, "asked", text, prompt_name="document")[0] == without
    assert vectors(server, "prefixed", text)[0] == with_represent
    assert vectors(server, "prefixed", text, prompt_name="query")[0] == with_find
    assert vectors(server, "cls", text)[1] + 4 <= vectors(server, "cls", text, prompt_name="query")[1]
    ids = server.post("/tokenize", {"model": "asked", "content": text, "add_special": True}).json["tokens"]
    assert vectors(server, "asked", ids)[0] == without
    for body in ({"prompt_name": "nothing"}, {"prompt_name": 3}, {"prompt_name": "query", "input": ids}):
        error = error_of(server.post("/v1/embeddings", {"model": "asked", "input": text} | body), 400, "invalid_value", "prompt_name")
    error = error_of(server.post("/v1/embeddings", {"model": "bare", "input": text, "prompt_name": "query"}), 400, "invalid_value", "prompt_name")
    assert "no prompts" in error["message"]


@pytest.mark.parametrize("model, unit", [("bare", True), ("open", False)])
def test_49_dimensions(server, model, unit):
    whole = floats(vectors(server, model, "the fox")[0][0])
    assert len(whole) == tiny_models.WIDTH and vectors(server, model, "the fox", dimensions=len(whole))[0] == vectors(server, model, "the fox")[0]
    for count in (1, 17, 63):
        cut = floats(vectors(server, model, ["the fox", "x"], dimensions=count)[0][0])
        size = math.hypot(*whole[:count]) if unit else 1
        assert len(cut) == count and all(abs(a - b / size) < 1e-6 for a, b in zip(cut, whole))
    for wrong in (0, -1, len(whole) + 1, 2**40, 1.5, "8", True):
        error_of(server.post("/v1/embeddings", {"model": model, "input": "x", "dimensions": wrong}), 400, "invalid_value", "dimensions")


def test_tasks(server):
    tasks = {m["id"]: m["task"] for m in server.get("/v1/models").json["data"] if m["state"] == "ready"}
    assert tasks["embeds"] == tasks["smol-last"] == "embed"
    reply = server.post("/v1/completions", {"model": "answers", "prompt": "the", "max_tokens": 4})
    assert reply.status == 200 and reply.json["usage"]["completion_tokens"] > 0
    error_of(server.post("/v1/completions", {"model": "embeds", "prompt": "x"}), 400)
    error_of(server.post("/v1/embeddings", {"model": "answers", "input": "x"}), 400)
    torn = error_of(server.post("/v1/completions", {"model": "torn", "prompt": "x"}), 503)
    assert "its task is embed" in torn["message"]
    odd = error_of(server.post("/v1/embeddings", {"model": "odd", "input": "x"}), 503)
    assert "write task: embed" in odd["message"]


def test_the_end_of_a_text_that_is_cut(server):
    long = "the and " * 200
    error_of(server.post("/v1/embeddings", {"model": "bare", "input": long}), 400, "context_length_exceeded")
    ids = server.post("/tokenize", {"model": "bare", "content": long, "add_special": True}).json["tokens"]
    for model, expected in (("bare", ids[:127] + [1]), ("mean", ids[:128])):
        cut, tokens = vectors(server, model, long, truncate=True)
        assert tokens == 128 and cut == vectors(server, model, expected)[0]


@pytest.mark.parametrize("model", ["smol-last", "smol-mean", "bare"])
def test_the_same_bits(server, model):
    texts = [case["text"] for case in GOLDEN["smollm2"]][:6 if model.startswith("smol") else 12]
    together = vectors(server, model, texts)[0]
    assert [vectors(server, model, text)[0][0] for text in texts] == together
    crowd = [None] * 4
    def ask(i):
        crowd[i] = vectors(server, model, texts[i:] + texts[:i])[0] if i % 2 == 0 else server.post(
            "/v1/completions", {"model": "chat", "prompt": texts[i], "max_tokens": 20}).status
    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd == [together, 200, together[2:] + together[:2], 200]


def test_one_set_of_weights_under_two_names(tmp_path, smollm2):
    """A second name of a file costs neither the weights again nor the time to pack them."""
    names = {"chat": "", "calm": ", temperature: 0", "vectors": ", task: embed, pooling: mean"}
    s = Server(tmp_path, "\n".join(f"  {name}: {{ file: {smollm2}, context: 256{more} }}" for name, more in names.items()))

    def anonymous():
        return int(re.search(r"RssAnon:\s+(\d+) kB", pathlib.Path(f"/proc/{s.process.pid}/status").read_text())[1]) * 1024

    def weights():
        return {m["id"]: m["weight_bytes"] for m in s.get("/v1/models").json["data"] if m["weight_bytes"]}

    held = []
    for name in names:
        assert s.post("/models/load", {"model": name}).status == 200
        held.append((anonymous(), weights()))
    whole = held[0][1]["chat"]
    assert whole > 80e6 and set(held[2][1]) == set(names)
    for _, told in held:
        assert abs(sum(told.values()) - whole) < 1e6 and len(set(told.values())) == 1
    assert SANITIZED or held[2][0] - held[0][0] < whole / 2
    answer = {"model": "calm", "prompt": "A, B, C, D,", "max_tokens": 2}
    first = s.post("/v1/completions", answer).json["choices"][0]["text"], vectors(s, "vectors", "x")
    assert first[0] == " E," and s.post("/models/unload", {"model": "chat"}).status == 200
    assert (s.post("/v1/completions", answer).json["choices"][0]["text"], vectors(s, "vectors", "x")) == first
    assert set(weights()) == {"calm", "vectors"} and abs(sum(weights().values()) - whole) < 1e6
    assert s.post("/models/unload", {"model": "calm"}).status == 200 and abs(sum(weights().values()) - whole) < 1e6
    assert vectors(s, "vectors", "x") == first[1] and s.stop() == 0, "".join(s.log)


@pytest.mark.skipif(not (BUILD / "plugins" / "batch.so").exists(), reason="there is no batch frontend")
def test_the_same_bits_on_other_settings(server, tmp_path, folders):
    texts = [case["text"] for case in GOLDEN["mistral"]]
    lines = tmp_path / "lines"
    lines.write_text(json.dumps({"input": texts, "encoding_format": "base64"}) + "\n")
    expected = vectors(server, "bare", texts)[0]
    for number, settings in enumerate((["backend.isa=generic", "backend.threads=1", "model.max_batch=1"],
                                       ["backend.threads=3", "model.page_tokens=16", "model.max_step_tokens=200"])):
        out = tmp_path / f"out{number}"
        subprocess.run([PROGRAM, "batch", lines, out, "--model", folders["bare"], *(w for s in settings for w in ("--set", s))], check=True)
        data = json.loads(out.read_text())["response"]["data"]
        assert [base64.b64decode(e["embedding"]) for e in data] == expected
