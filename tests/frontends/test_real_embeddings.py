"""Embeddings in the program: all-MiniLM-L6-v2 from its Hugging Face folder, texts in and vectors out."""

import base64
import json
import math
import struct

from conftest import PROGRAM, ROOT, run

GOLDEN = ROOT / "tests" / "golden" / "embeddings-minilm.json"


def cases():
    return json.loads(GOLDEN.read_text())["cases"]


def embed(tmp_path, embedder, bodies, *options):
    lines, out = tmp_path / "in", tmp_path / f"out{len(list(tmp_path.iterdir()))}"
    lines.write_text("".join(json.dumps(body) + "\n" for body in bodies))
    done = run([PROGRAM, "batch", lines, out, "--model", embedder, *options])
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in out.read_text().splitlines()]


def vectors(result):
    return [struct.unpack("<384f", base64.b64decode(d["embedding"])) for d in result["response"]["data"]]


def distance(a, b):
    dot = sum(x * y for x, y in zip(a, b))
    return 1 - dot / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def test_texts_agree_with_sentence_transformers(tmp_path, embedder):
    golden = cases()
    result, = embed(tmp_path, embedder, [{"input": [c["text"] for c in golden], "encoding_format": "base64", "truncate": True}])
    assert result["response"]["usage"]["prompt_tokens"] == sum(len(c["ids"]) for c in golden)
    for case, vector in zip(golden, vectors(result)):
        assert distance(vector, struct.unpack("<384e", base64.b64decode(case["vector"]))) <= 1e-5, case["text"]


def test_neighbours_and_batches_change_no_bit(tmp_path, embedder):
    texts = [c["text"] for c in cases()[:40]]
    alone = embed(tmp_path, embedder, [{"input": t, "encoding_format": "base64"} for t in texts], "--set", "model.max_batch=1",
                  "--set", "frontend.parallel=1", "--set", "backend.threads=1")
    together, = embed(tmp_path, embedder, [{"input": texts, "encoding_format": "base64"}], "--set", "model.max_step_tokens=2048",
                      "--set", "model.page_tokens=16")
    assert [vectors(result)[0] for result in alone] == vectors(together)


def test_what_an_embedder_refuses(tmp_path, embedder):
    long = "word " * 300
    refused, fits, chat = embed(tmp_path, embedder, [{"input": long}, {"input": long, "truncate": True},
                                                    {"messages": [{"role": "user", "content": "hi"}]}])
    assert refused["error"]["code"] == "context_length_exceeded" and "context" in refused["error"]["message"]
    assert len(fits["response"]["data"][0]["embedding"]) == 384 and fits["response"]["usage"]["prompt_tokens"] == 256
    assert chat["error"]["code"] == "unsupported"
