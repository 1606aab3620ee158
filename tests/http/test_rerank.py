"""/v1/rerank with a tiny random cross-encoder: its scores against transformers (tests/golden/rerank-tiny.json), the shapes that
clients read, and what is refused."""

import json
import threading

import pytest

import tiny_models
from conftest import BUILD, ROOT, Server, error_of

GOLDEN = json.loads((ROOT / "tests" / "golden" / "rerank-tiny.json").read_text())["cases"]
EMULATED = BUILD / "plugins" / "cuda-emulated.so"
QUERIES = list(dict.fromkeys(case["query"] for case in GOLDEN))
DOCUMENTS = [case["document"] for case in GOLDEN if case["query"] == QUERIES[0]]


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2):
    root = tmp_path_factory.mktemp("folders")
    folders = {"sigmoid": tiny_models.cross_encoder(root / "sigmoid"),
               "said": tiny_models.cross_encoder(root / "said", "activation.Sigmoid"),
               "identity": tiny_models.cross_encoder(root / "identity", "linear.Identity"),
               "tanh": tiny_models.cross_encoder(root / "tanh", "activation.Tanh"),
               "labels": tiny_models.cross_encoder(root / "labels", labels=3)}
    models = {name: f"file: {folder}, kv_type: f32" for name, folder in folders.items()}
    models |= {"smol": f"file: {smollm2}, context: 256", "narrow": f"file: {folders['sigmoid']}, max_batch: 2, page_tokens: 16, kv_type: f32",
               "embeds": f"file: {folders['sigmoid']}, task: embed", "ranks": f"file: {smollm2}, task: rank",
               "ended": f"file: {folders['sigmoid']}, append_eos: true", "asked": f"file: {folders['sigmoid']}, task: rank, kv_type: f32"}
    s = Server(tmp_path_factory.mktemp("server"), "\n".join(f"  {name}: {{ {keys} }}" for name, keys in models.items()))
    yield s
    assert s.stop() == 0, "".join(s.log)


def rerank(server, model, query, documents, path="/v1/rerank", **more):
    reply = server.post(path, {"model": model, "query": query, "documents": documents} | more)
    assert reply.status == 200, reply.body
    return reply.json


def scores(server, model, query, documents, **more):
    """In the order of the documents."""
    results = rerank(server, model, query, documents, **more)["results"]
    return [r["relevance_score"] for r in sorted(results, key=lambda r: r["index"])]


@pytest.mark.parametrize("model, key", [("sigmoid", "score"), ("said", "score"), ("asked", "score"), ("identity", "number")])
def test_scores_of_transformers(server, model, key):
    worst = 0
    for query in QUERIES:
        ours = scores(server, model, query, DOCUMENTS, truncate=True)
        golden = [case[key] for case in GOLDEN if case["query"] == query]
        worst = max(worst, *(abs(a - b) for a, b in zip(ours, golden)))
    print(f"{model}: off by at most {worst:.1e}")
    assert worst <= 1e-5 and max(case["score"] for case in GOLDEN) - min(case["score"] for case in GOLDEN) > 0.2


def test_tokens_are_those_of_pairs(server):
    for case in GOLDEN:
        reply = rerank(server, "sigmoid", case["query"], [case["document"]], truncate=True)
        assert reply["usage"]["prompt_tokens"] == reply["usage"]["total_tokens"] == case["tokens"]
        if case["whole"] > case["tokens"]:
            body = {"model": "sigmoid", "query": case["query"], "documents": ["x", case["document"]]}
            error = error_of(server.post("/v1/rerank", body), 400, "context_length_exceeded")
            assert str(case["whole"]) in error["message"] and str(tiny_models.POSITIONS) in error["message"]
    assert sum(case["whole"] > case["tokens"] for case in GOLDEN) >= 3


def test_order_and_shapes(server):
    query = QUERIES[0]
    whole = rerank(server, "sigmoid", query, DOCUMENTS, truncate=True)
    assert whole["object"] == "list" and whole["model"] == "sigmoid" and whole["id"]
    assert sorted(r["index"] for r in whole["results"]) == list(range(len(DOCUMENTS)))
    assert all(set(r) == {"index", "relevance_score"} for r in whole["results"])
    assert [r["relevance_score"] for r in whole["results"]] == sorted((r["relevance_score"] for r in whole["results"]), reverse=True)
    for top in (1, 3, 6, 100):
        assert rerank(server, "sigmoid", query, DOCUMENTS, truncate=True, top_n=top)["results"] == whole["results"][:top]
    with_text = rerank(server, "sigmoid", query, [{"text": d, "title": "?"} for d in DOCUMENTS], "/rerank", truncate=True, return_documents=True)
    assert [r.pop("document") for r in with_text["results"]] == [{"text": DOCUMENTS[r["index"]]} for r in whole["results"]]
    assert with_text["results"] == whole["results"]
    # Equal documents come in their own order.
    assert [r["index"] for r in rerank(server, "sigmoid", query, ["food"] * 5)["results"]] == list(range(5))


def test_text_embeddings_inference(server):
    whole = rerank(server, "sigmoid", "x", DOCUMENTS[:3])["results"]
    body = {"model": "sigmoid", "query": "x", "texts": DOCUMENTS[:3]}
    bare = server.post("/rerank", body).json
    assert [(r["index"], r["score"]) for r in bare] == [(r["index"], r["relevance_score"]) for r in whole]
    assert all(r["text"] == DOCUMENTS[r["index"]] for r in server.post("/rerank", body | {"return_text": True}).json)


def test_the_same_bits(server):
    documents = DOCUMENTS[:4] + DOCUMENTS[5:]
    together = scores(server, "sigmoid", QUERIES[0], documents)
    assert [scores(server, "sigmoid", QUERIES[0], [d])[0] for d in documents] == together
    assert scores(server, "narrow", QUERIES[0], documents) == together
    many = scores(server, "sigmoid", QUERIES[0], documents * 60)
    assert many == together * 60
    crowd = [None] * 6

    def ask(i):
        crowd[i] = scores(server, "sigmoid", QUERIES[0], documents[i % 5:] + documents[:i % 5])

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowd == [together[i % 5:] + together[:i % 5] for i in range(6)]


@pytest.mark.skipif(not EMULATED.exists(), reason="the CUDA backend's kernels are not emulated in this build")
def test_the_same_bits_on_another_backend(server, tmp_path):
    folder = tiny_models.cross_encoder(tmp_path / "sigmoid")
    other = Server(tmp_path, "", text=f"backends: {{ cuda: {{ plugin: {EMULATED} }} }}\n"
                                      f"models: {{ sigmoid: {{ file: {folder}, kv_type: f32, context: 64 }} }}\n"
                                      "frontends: { http: { plugin: http, port: 0 } }\n")
    for query in QUERIES[:2]:
        assert scores(other, "sigmoid", query, DOCUMENTS[:4]) == scores(server, "sigmoid", query, DOCUMENTS[:4])
    assert other.stop() == 0, "".join(other.log)


def test_33_the_wrong_kind_of_model(server):
    chat = {"model": "sigmoid", "messages": [{"role": "user", "content": "x"}]}
    for path, body in (("/v1/chat/completions", chat), ("/v1/completions", {"model": "sigmoid", "prompt": "x"}),
                       ("/v1/embeddings", {"model": "sigmoid", "input": "x"}),
                       ("/v1/rerank", {"model": "smol", "query": "x", "documents": ["y"]})):
        error_of(server.post(path, body), 400, "unsupported")
    rerank(server, "sigmoid", "x", ["y"])
    tasks = {m["id"]: m["task"] for m in server.get("/v1/models").json["data"] if m["state"] == "ready"}
    assert tasks["sigmoid"] == "rank" and tasks["smol"] == "generate"


@pytest.mark.parametrize("model, reason", [("tanh", "Sigmoid and Identity"), ("labels", "3 labels"), ("embeds", "its task is rank"),
                                           ("ranks", "its task is not rank"), ("ended", "append_eos is an embedder's")])
def test_models_that_are_no_rerankers(server, model, reason):
    error = error_of(server.post("/v1/rerank", {"model": model, "query": "x", "documents": ["y"]}), 503, "model_unavailable")
    assert reason in error["message"]


@pytest.mark.parametrize("field, value", [
    ("model", None), ("model", 3), ("query", None), ("query", ["x"]), ("documents", None), ("documents", []), ("documents", "x"),
    ("documents", [3]), ("documents", ["x", {"words": "y"}]), ("documents", ["x"] * 2049), ("texts", ["x"]), ("top_n", 0), ("top_n", -1),
    ("top_n", 1.5), ("return_documents", 1), ("truncate", "yes"), ("raw_scores", True)])
def test_wrong_fields(server, field, value):
    body = {"model": "sigmoid", "query": "x", "documents": ["y"], field: value}
    error_of(server.post("/v1/rerank", body), 400, param=field)


def test_32_unknown_models(server):
    for name in ("nothing", "a\0b", "../x"):
        error_of(server.post("/v1/rerank", {"model": name, "query": "x", "documents": ["y"]}), 404, "model_not_found")
