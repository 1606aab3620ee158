"""The description that the server gives of itself: it names every route and field that there is, and Schemathesis finds no
answer that it does not describe. The models are tiny, so that time goes into requests. tests/http/search runs this file as a
program, to search for longer."""

import json
import os
import re
import subprocess
import sys

import pytest

import tiny_models
from conftest import ROOT, Server, error_of

DESCRIPTION = ROOT / "frontends" / "http" / "openapi.json"
TEMPLATE = "{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
# Of `kinds` in frontends/openai/fields.c.
KINDS = {"ALL": {"Chat", "Completion", "Embedding"}, "BOTH": {"Chat", "Completion"}, "OPENAI_CHAT": {"Chat"},
         "OPENAI_TEXT": {"Completion"}, "OPENAI_EMBEDDING": {"Embedding"}}
# What it is told to leave out: TRACE, of which CivetWeb knows nothing, is a 400 for it; not every combination of fields that
# are right by themselves is; and there are no keys.
LEFT_OUT = "unsupported_method,positive_data_acceptance,ignored_auth"


@pytest.fixture(scope="module")
def description():
    return json.loads(DESCRIPTION.read_text())


def test_it_names_every_route(description):
    source = (ROOT / "frontends" / "http" / "exchange.c").read_text()
    routes = {(path + "{id}" if path.endswith("/") and path != "/" else path, method.lower(), is_open == "true")
              for path, method, is_open in re.findall(r'^    \{"(/[^"]*)", "(GET|POST)", (true|false), route_\w+\},$', source, re.M)}
    assert len(routes) > 15
    assert routes == {(path, method, operation.get("security") == []) for path, methods in description["paths"].items()
                      for method, operation in methods.items()}


def test_it_names_every_field(description):
    source = (ROOT / "frontends" / "openai" / "fields.c").read_text()
    rows = re.findall(r'^    \{"(\w+)", ([\w |]+), (\w+), ([^}]*)\},', source, re.M)
    assert len(rows) == source[source.index("fields[] = {"):].split("\n};")[0].count('\n    {"') > 40
    for kind in ("Chat", "Completion", "Embedding"):
        properties = description["components"]["schemas"][f"{kind}Request"]["properties"]
        own = {name: (reader, rest) for name, kinds, reader, rest in rows if any(kind in KINDS[k] for k in kinds.split(" | "))}
        assert set(own) == set(properties)
        for name, (reader, rest) in own.items():
            schema = properties[name]
            assert (reader == "refuse_unsupported") == (schema == {"$ref": "#/components/schemas/Unsupported"}), name
            if reader in ("read_whole", "read_real", "read_length") and "$ref" not in schema:
                least = rest.split(",")[-2].strip()
                assert schema["minimum"] == float(least), name
                assert (reader == "read_real") == ("number" in schema["type"]), name


def test_it_says_what_an_error_is(description):
    statuses = set(re.findall(r"^\| ([\d, ]+) \|", (ROOT / "docs" / "http.md").read_text(), re.M))
    told = {status for operation in description["paths"].values() for method in operation.values() for status in method["responses"]}
    assert {s for group in statuses for s in group.split(", ")} | {"200"} == told


# --- requests -------------------------------------------------------------------------------------------------------------


def start(folder):
    """A model for chat, one for vectors and one for scores, of some ten thousand weights each."""
    chat, vectors = tiny_models.mistral(folder / "chat", headless=False), tiny_models.mistral(folder / "vectors")
    tiny_models.write_modules(vectors, "mean", True)
    scores = tiny_models.cross_encoder(folder / "scores")
    settings = json.loads((chat / "tokenizer_config.json").read_text())
    (chat / "tokenizer_config.json").write_text(json.dumps(settings | {"chat_template": TEMPLATE}))
    return Server(folder, f"  chat: {{ file: {chat}, max_tokens: 8 }}\n  vectors: {{ file: {vectors} }}\n"
                          f"  scores: {{ file: {scores} }}")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = start(tmp_path_factory.mktemp("server"))
    yield s
    assert s.stop() == 0, "".join(s.log)


def test_the_server_gives_it(server, description):
    reply = server.get("/openapi.json")
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    assert reply.body == DESCRIPTION.read_bytes() and reply.json == description
    error_of(server.post("/openapi.json", {}), 405, "method_not_allowed")


def for_models(description):
    """The description with the names of models that there are, which a search would not guess."""
    narrow = json.loads(json.dumps(description))
    for name, schema in narrow["components"]["schemas"].items():
        if "model" in schema.get("properties", {}) and name.endswith(("Request", "ModelName")):
            of_one = {"EmbeddingRequest": "vectors", "RerankRequest": "scores", "ChatRequest": "chat", "CompletionRequest": "chat",
                      "ResponseRequest": "chat"}
            names = [of_one[name]] if name in of_one else ["chat", "vectors", "scores"]
            schema["properties"]["model"] = {"type": "string", "enum": names}
            schema["example"]["model"] = names[0]
    return narrow


def search(server, description, folder, arguments, timeout):
    python = subprocess.run([ROOT / "tools" / "python", "schemathesis"], capture_output=True, text=True, check=True).stdout.strip()
    (folder / "description.json").write_text(json.dumps(for_models(description)))
    return subprocess.run([os.path.dirname(python) + "/st", "run", "description.json", "--url", f"http://127.0.0.1:{server.port}",
                           "--request-timeout", "60", "--exclude-checks", LEFT_OUT, "--continue-on-failure", "--no-color", "--generation-database", "none",
                           *arguments], cwd=folder, timeout=timeout, capture_output=True, text=True)


def test_no_answer_is_undescribed(server, description, tmp_path):
    done = search(server, description, tmp_path, ["--phases", "examples,coverage,fuzzing", "--max-examples", "20", "--seed", "5"], 280)
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(re.search(r"(\d+) generated", done.stdout)[1]) > 1000 and f"Tested: {len(description['paths'])}\n" in done.stdout
    assert server.post("/v1/completions", {"model": "chat", "prompt": "x", "max_tokens": 1}).status == 200


@pytest.mark.parametrize("path, wrong", [
    ("/tokenize", lambda d: d["paths"]["/tokenize"]["post"]["responses"].pop("400")),
    ("/v1/models", lambda d: d["components"]["schemas"]["Model"]["required"].append("price"))])
def test_the_search_finds_what_is_wrong(server, description, tmp_path, path, wrong):
    changed = json.loads(json.dumps(description))
    wrong(changed)
    done = search(server, changed, tmp_path, ["--phases", "coverage", "--include-path", path, "--seed", "5", "--max-failures", "1"], 110)
    assert done.returncode == 1 and "1 failure" in done.stdout, done.stdout


if __name__ == "__main__":
    import pathlib
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        one = start(pathlib.Path(name))
        found = search(one, json.loads(DESCRIPTION.read_text()), pathlib.Path(name),
                       ["--max-time", sys.argv[1], "--max-examples", "100000", *(["--seed", sys.argv[2]] if len(sys.argv) > 2 else [])],
                       int(sys.argv[1]) + 600)
        print(found.stdout + found.stderr)
        sys.exit(found.returncode or one.stop())
