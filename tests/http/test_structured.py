"""Answers that are held to a schema, a grammar or a regular expression."""

import concurrent.futures
import json
import re
import time

import jsonschema
import openai
import pytest

from conftest import Server, Trap, error_of

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 30}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
          "required": ["name", "age"], "additionalProperties": False}


def chat(content="Give me a person as JSON.", **more):
    return {"model": "smol", "messages": [{"role": "user", "content": content}], "temperature": 0, "max_tokens": 60, **more}


def schema_of(schema):
    return {"type": "json_schema", "json_schema": {"name": "thing", "schema": schema}}


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)


def test_an_object_of_the_schema(client):
    def ask(**more):
        return client.chat.completions.create(**chat(response_format=schema_of(PERSON), **more))

    whole = ask().choices[0]
    jsonschema.validate(json.loads(whole.message.content), PERSON)
    assert whole.finish_reason == "stop"
    assert "".join(c.choices[0].delta.content or "" for c in ask(stream=True)) == whole.message.content
    for choice in ask(temperature=2, n=4, seed=3).choices:
        if choice.finish_reason == "stop":
            jsonschema.validate(json.loads(choice.message.content), PERSON)
    parsed = client.chat.completions.create(**chat("Give me {} as JSON.", response_format={"type": "json_object"})).choices[0]
    assert parsed.message.content.startswith("{")
    assert parsed.finish_reason == "length" or isinstance(json.loads(parsed.message.content), dict)


def test_text_completions_and_logprobs(client):
    made = client.completions.create(model="smol", prompt="The answer is", max_tokens=20, temperature=0, logprobs=2,
                                     extra_body={"regex": r" (yes|no), \d{3}"})
    choice = made.choices[0]
    assert re.fullmatch(r" (yes|no), \d{3}", choice.text) and choice.finish_reason == "stop"
    assert "".join(choice.logprobs.tokens) == choice.text and len(choice.logprobs.token_logprobs) == len(choice.logprobs.tokens)


@pytest.mark.parametrize("grammar, fits", [('root ::= "yes" | "no"', r"yes|no"), ('root ::= ("a" [0-9] ", "){2,3} "end"', r"(a\d, ){2,3}end"),
                                           ('root ::= item ("\\n" item){2}\nitem ::= "- " [a-z ]{3,12} # three lines', r"- [a-z ]{3,12}(\n- [a-z ]{3,12}){2}")])
def test_a_grammar(alive, grammar, fits):
    reply = alive.post(CHAT, chat(grammar=grammar, temperature=1, seed=1))
    assert reply.status == 200 and re.fullmatch(fits, reply.json["choices"][0]["message"]["content"])


def test_eos_waits_for_the_end_of_the_grammar(alive):
    body = chat("Hi", regex=r"\d{5,9}", logit_bias={"2": 100})  # its end of a turn
    assert re.fullmatch(r"\d{5}", alive.post(CHAT, body).json["choices"][0]["message"]["content"])
    body = chat("Hi", regex=r"\d{5,9}", ignore_eos=True)
    assert re.fullmatch(r"\d{9}", alive.post(CHAT, body).json["choices"][0]["message"]["content"])


def test_stops_and_lengths_cut_an_answer(alive):
    choice = alive.post(CHAT, chat(response_format=schema_of(PERSON), stop=":")).json["choices"][0]
    assert re.fullmatch(r'\{\s*"name"', choice["message"]["content"]) and choice["finish_reason"] == "stop"
    assert alive.post(CHAT, chat(response_format=schema_of(PERSON), max_tokens=3)).json["choices"][0]["finish_reason"] == "length"


def test_the_same_beside_others_and_after_a_prefix_hit(alive):
    bodies = [chat(f"Give me person number {i}.", response_format=schema_of(PERSON), temperature=1, seed=i, logprobs=True) for i in range(4)]
    alone = [alive.post(CHAT, body).json["choices"] for body in bodies]
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda body: alive.post(CHAT, body).json["choices"], bodies))
    assert together == alone


def test_guesses_change_nothing(tmp_path, smollm2):
    """An answer that repeats itself is guessed ahead; what the grammar allows is asked row by row."""
    s = Server(tmp_path, f"  guess: {{ file: {smollm2}, drafts: 8 }}\n  plain: {{ file: {smollm2}, drafts: 0 }}")
    row = {"type": "object", "properties": {"kind": {"enum": ["apple", "pear"]}, "count": {"type": "integer", "maximum": 99}}, "required": ["kind", "count"]}
    shape = schema_of({"type": "array", "items": row, "minItems": 6, "maxItems": 6})
    for seed in range(2):
        body = chat("A list of fruit as JSON.", response_format=shape, temperature=seed, seed=seed, max_tokens=120, logprobs=True)
        guess, plain = (s.post(CHAT, {**body, "model": model}).json["choices"] for model in ("guess", "plain"))
        assert guess == plain
    metrics = s.raw(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").decode()
    drafted = {name: float(value) for name, value in re.findall(r'^backplane_\w*accepted\w*\{[^}]*model="(\w+)"[^}]*\} (\S+)$', metrics, re.M)}
    assert drafted["guess"] > 0 and drafted["plain"] == 0, drafted
    assert s.stop() == 0


def test_54_many_schemas(alive):
    """What test_constraint.c does with ten thousand, with some by HTTP: each is answered, and memory does not grow with them."""
    def resident():
        with open(f"/proc/{alive.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    def ask(i):
        schema = {"type": "object", "properties": {f"k{i}": {"enum": [i]}}, "required": [f"k{i}"]}
        reply = alive.post(TEXT, {"model": "smol", "prompt": "x", "max_tokens": 1, "temperature": 0, "response_format": schema_of(schema)})
        return reply.json["choices"][0]["text"]

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(50))) == {"{"}
        before = resident()
        assert set(pool.map(ask, range(50, 250))) == {"{"}
    assert resident() < before + (32 << 20)


def test_two_shapes_are_one_too_many(alive):
    error_of(alive.post(CHAT, chat(grammar='root ::= "a"', regex="a")), 400, "invalid_value")
    error_of(alive.post(CHAT, chat(grammar=3)), 400, "invalid_value", "grammar")


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("value", [{"type": "json_schema"}, {"type": "json_schema", "json_schema": {"name": "x"}}, schema_of(123), schema_of([]),
                                   schema_of({"type": "hiccup"}), {"type": "json_schema", "json_schema": {"name": 3, "schema": {}}}, {}, [], 5,
                                   schema_of({"properties": {"a": {"not": {}}}}), schema_of({"type": "string", "maxLength": "x"})])
def test_51_schemas_that_are_none(alive, value):
    error = error_of(alive.post(CHAT, chat(response_format=value)), 400, "invalid_value", "response_format")
    assert "not is not" not in error["message"] or "schema/properties/a" in error["message"]


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("pattern", ["(a+)+b", "(?<=x)*", "(" * 60000, "a{0,1000000000}", "(a{1,60000}){1,60000}(b?){65000}"])
def test_52_patterns_that_cost_too_much(alive, pattern):
    start = time.monotonic()
    error_of(alive.post(CHAT, chat(regex=pattern)), 400, "invalid_value", "regex")
    error_of(alive.post(CHAT, chat(response_format=schema_of({"type": "string", "pattern": pattern}))), 400, "invalid_value", "response_format")
    assert time.monotonic() - start < 2


@pytest.mark.usefixtures("steady")
def test_52_grammars_that_cost_too_much(alive):
    for grammar in ["root ::= " + "(" * 60000 + '"a"' + ")" * 60000, 'root ::= "a"{0,1000000000}', "root ::= root \"a\" | \"b\"",
                    "root ::= " + "|".join(f'"{i}"' for i in range(100000)), "x" * 2_000_000]:
        start = time.monotonic()
        error_of(alive.post(CHAT, chat(grammar=grammar)), 400, "invalid_value", "grammar")
        assert time.monotonic() - start < 3


@pytest.mark.usefixtures("steady")
@pytest.mark.parametrize("schema", [{"$ref": "http://169.254.169.254/latest"}, {"$ref": "file:///etc/passwd"}, {"$ref": "#"}, {"$ref": "other.json"},
                                    {"properties": {"a": {"$ref": "#"}}, "required": ["a"]}, {"anyOf": [{"$ref": "#"}]}])
def test_53_references_that_lead_nowhere(alive, schema):
    error_of(alive.post(CHAT, chat(response_format=schema_of(schema))), 400, "invalid_value", "response_format")


@pytest.mark.usefixtures("steady")
def test_53_nothing_is_fetched(alive):
    with Trap() as address:
        for schema in ({"$ref": f"http://{address}/s.json"}, {"properties": {"a": {"$ref": f"http://{address}#/a"}}, "required": ["a"]}):
            error_of(alive.post(CHAT, chat(response_format=schema_of(schema))), 400, "invalid_value", "response_format")
        named = {"$schema": f"http://{address}/s", "$id": f"http://{address}/i", "const": 1}
        assert alive.post(CHAT, chat(response_format=schema_of(named))).json["choices"][0]["message"]["content"] == "1"


@pytest.mark.usefixtures("steady")
def test_53_recursion_has_an_end(alive):
    tree = {"type": "object", "properties": {"v": {"const": 1}, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["v", "next"]}
    reply = alive.post(CHAT, chat(response_format=schema_of(tree), max_tokens=40))
    choice = reply.json["choices"][0]
    assert reply.status == 200 and choice["message"]["content"].startswith("{") and choice["finish_reason"] in ("stop", "length")
