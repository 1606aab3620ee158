"""/v1/embeddings with a real embedder beside a chat model: against the model's own files' golden vectors, alone and in batches."""

import base64
import math
import re
import struct
import threading

import openai
import pytest

import tiny_models
from conftest import Server, error_of

TEXTS = ["A man is eating food.", "Someone eats.", "The weather is lovely today.", "x", "word " * 60]


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2, minilm):
    folder = tmp_path_factory.mktemp("server")
    tiny_models.cross_encoder(folder / "ranks")
    s = Server(folder, f"  smol: {{ file: {smollm2} }}\n  mini: {{ file: {minilm} }}\n  ranks: {{ file: ranks }}")
    yield s
    assert s.stop() == 0, "".join(s.log)


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)


def embed(client, texts, **more):
    return [e.embedding for e in client.embeddings.create(model="mini", input=texts, **more).data]


def test_vectors(client):
    reply = client.embeddings.create(model="mini", input=TEXTS, encoding_format="float")
    vectors = [e.embedding for e in reply.data]
    assert [e.index for e in reply.data] == list(range(5)) and reply.model == "mini"
    assert reply.usage.prompt_tokens == reply.usage.total_tokens > 70
    assert all(len(v) == 384 and abs(math.hypot(*v) - 1) < 1e-5 for v in vectors)
    similar = sum(a * b for a, b in zip(vectors[0], vectors[1]))
    assert similar > 0.5 > sum(a * b for a, b in zip(vectors[0], vectors[2]))


def test_the_same_alone_together_and_in_base64(client, server):
    together = embed(client, TEXTS, encoding_format="float")
    assert [embed(client, text, encoding_format="float")[0] for text in TEXTS] == together
    raw = server.post("/v1/embeddings", {"model": "mini", "input": TEXTS, "encoding_format": "base64"}).json["data"]
    unpacked = [struct.unpack("<384f", base64.b64decode(e["embedding"])) for e in raw]
    assert [[struct.unpack("<f", struct.pack("<f", x))[0] for x in v] for v in together] == [list(v) for v in unpacked]
    crowd = [None] * 8
    threads = [threading.Thread(target=lambda i=i: crowd.__setitem__(i, embed(client, TEXTS, encoding_format="float")))
               for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd == [together] * 8


def test_dimensions(client):
    whole, half = embed(client, TEXTS[0]), embed(client, TEXTS[0], dimensions=192)
    size = math.hypot(*whole[0][:192])
    assert len(half[0]) == 192 and size < 0.99 and all(abs(a - b / size) < 1e-6 for a, b in zip(half[0], whole[0]))


def test_token_ids(client, server):
    ids = server.post("/tokenize", {"model": "mini", "content": TEXTS[0]}).json["tokens"]
    assert len(ids) > 4 and len(embed(client, [ids, ids], encoding_format="float")) == 2


def test_many_inputs(client):
    vectors = embed(client, [f"number {i}" for i in range(300)])
    assert len(vectors) == 300 and len({tuple(v) for v in vectors}) == 300


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("field, value", [
    ("input", None), ("input", []), ("input", [""] * 0), ("input", ["x"] * 2049), ("input", [[]]), ("input", 3),
    ("encoding_format", "hex"), ("dimensions", 0), ("dimensions", 385), ("prompt_name", "x"), ("model", None)])
def test_48_49_50_wrong_fields(server, field, value):
    error_of(server.post("/v1/embeddings", {"model": "mini", "input": "x", field: value}), 400, param=field)


@pytest.mark.usefixtures("steady")
def test_47_longer_than_the_context(server):
    long = "word " * 1000
    for ask in (long, ["x", long]):
        error = error_of(server.post("/v1/embeddings", {"model": "mini", "input": ask}), 400, "context_length_exceeded", "input")
        assert "256" in error["message"] and re.search(r"\b100[0-9]\b", error["message"])
    assert server.post("/v1/embeddings", {"model": "mini", "input": long, "truncate": True}).status == 200


@pytest.mark.usefixtures("steady")
def test_33_the_wrong_kind_of_model(server):
    for path, body in [("/v1/embeddings", {"model": "smol", "input": "x"}), ("/v1/embeddings", {"model": "ranks", "input": "x"}),
                       ("/v1/rerank", {"model": "mini", "query": "x", "documents": ["y"]}), ("/v1/completions", {"model": "mini", "prompt": "x"}),
                       ("/v1/rerank", {"model": "smol", "query": "x", "documents": ["y"]}), ("/v1/completions", {"model": "ranks", "prompt": "x"}),
                       ("/v1/chat/completions", {"model": "mini", "messages": [{"role": "user", "content": "x"}]}),
                       ("/v1/chat/completions", {"model": "ranks", "messages": [{"role": "user", "content": "x"}], "stream": True}),
                       ("/v1/responses", {"model": "mini", "input": "x"})]:
        error = error_of(server.post(path, body), 400, param="model")
        assert body["model"] in error["message"]
