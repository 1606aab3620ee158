"""Schemas and regular expressions with a model that likes every token alike: what comes out is valid, whatever the schema."""

import datetime
import ipaddress
import json
import os
import pathlib
import random
import re
import subprocess

import jsonschema
import pytest

PROGRAM = pathlib.Path(os.environ["BACKPLANE_TEST_BUILD"]) / "bin" / "sample_grammar"
GBNF, SCHEMA, REGEX = 1, 2, 3


@pytest.fixture(scope="module")
def ask():
    process = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def one(kind, text, **more):
        process.stdin.write(json.dumps({"kind": kind, "text": text if isinstance(text, str) else json.dumps(text), **more}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    yield one
    process.stdin.close()
    assert process.wait(10) == 0


# --- schemas by chance ------------------------------------------------------------------------------------------------------

def random_string(r):
    kind = r.randrange(6)
    if kind == 0:
        low = r.randrange(4)
        return {"type": "string", "minLength": low, "maxLength": low + r.randrange(12)}
    if kind == 1:
        return {"type": "string", "pattern": r.choice([r"^[a-z]{2,5}$", r"^\d{3}-\d{4}$", "^(yes|no)!?$", r'^["\\]{1,3}x\n?$', r"^[^a]{1,4}$"])}
    if kind == 2:
        return {"type": "string", "format": r.choice(["date", "uuid", "ipv4", "date-time", "time", "email", "ipv6"])}
    return {"type": "string"}


def random_number(r):
    schema = {"type": r.choice(["integer", "number"])}
    low = r.choice([0, 1, -1, 7, -120, 0.5, -2.25, 99.99, 1e-3, 1000000])
    if r.random() < 0.6:
        schema[r.choice(["minimum", "exclusiveMinimum"])] = low
    if r.random() < 0.6:
        schema[r.choice(["maximum", "exclusiveMaximum"])] = low + r.choice([1.5, 2, 3, 17, 250.125, 10**6])
    return schema


def random_object(r, depth):
    names = r.sample(["name", "na", "a", "b c", 'q"', "é", "x\ny", "id", "name2"], r.randrange(6))
    schema = {"type": "object", "properties": {n: random_schema(r, depth - 1) for n in names},
              "required": r.sample(names, r.randrange(len(names) + 1))}
    if r.random() < 0.4:
        schema["additionalProperties"] = r.choice([False, True, {"type": "integer"}])
    if not names and r.random() < 0.5:
        schema |= {"additionalProperties": {"type": "boolean"}, "minProperties": r.randrange(3), "maxProperties": 3 + r.randrange(3)}
    return schema


def random_array(r, depth):
    schema = {"type": "array"}
    if r.random() < 0.8:
        schema["items"] = random_schema(r, depth - 1)
    if r.random() < 0.3:
        schema["prefixItems"] = [random_schema(r, depth - 1) for _ in range(1 + r.randrange(3))]
        if schema.get("items") is not None and r.random() < 0.5:
            schema["items"] = False
    if "prefixItems" not in schema and r.random() < 0.5:
        low = r.randrange(3)
        schema |= {"minItems": low, "maxItems": low + r.randrange(4)}
    return schema


def random_schema(r, depth):
    kind = r.randrange(12 if depth > 0 else 6)
    if kind < 2:
        return random_string(r)
    if kind == 2:
        return random_number(r)
    if kind == 3:
        return r.choice([{"type": "boolean"}, {"type": "null"}, {"type": ["string", "null"]}, {"type": ["integer", "boolean"]}])
    if kind == 4:
        return {"enum": r.sample(["a", "b\n", 1, 2.5, None, True, {"k": [1, {}]}, [], "é\"", -7], 1 + r.randrange(4))}
    if kind == 5:
        return {"const": r.choice(["c", 3, {"a": 1}, [1, 2], False])}
    if kind < 9:
        return random_object(r, depth)
    if kind == 9:
        return random_array(r, depth)
    if kind == 10:
        return {"anyOf": [random_schema(r, depth - 1) for _ in range(1 + r.randrange(3))]}
    base, more = random_object(r, depth), random_object(r, depth)
    for schema in (base, more):
        schema.pop("additionalProperties", None)
        schema.pop("minProperties", None), schema.pop("maxProperties", None)
    return {"allOf": [base, more]}


def fits(schema, value):
    checker = jsonschema.FormatChecker(formats=())
    checker.checks("date", ValueError)(lambda v: not isinstance(v, str) or bool(datetime.date.fromisoformat(v)))
    checker.checks("time", ValueError)(lambda v: not isinstance(v, str) or datetime.time.fromisoformat(v) is not None)
    checker.checks("date-time", ValueError)(lambda v: not isinstance(v, str) or bool(datetime.datetime.fromisoformat(v)))
    checker.checks("ipv4", ValueError)(lambda v: not isinstance(v, str) or bool(ipaddress.IPv4Address(v) or True))
    checker.checks("ipv6", ValueError)(lambda v: not isinstance(v, str) or bool(ipaddress.IPv6Address(v) or True))
    checker.checks("email")(lambda v: not isinstance(v, str) or re.fullmatch(r"[^@\s]+@[^@\s]+\.[a-zA-Z]+", v) is not None)
    checker.checks("uuid")(lambda v: not isinstance(v, str) or re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", v) is not None)
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)


REFUSALS = ("no finite text", "cannot be joined", "together with", "one at a time", "two schemas that must both hold")


@pytest.mark.parametrize("block", range(8))
def test_every_answer_is_valid(ask, block):
    whole = total = 0
    for seed in range(block * 60, block * 60 + 60):
        schema = random_schema(random.Random(seed), 3)
        reply = ask(SCHEMA, schema, seed=seed, count=5)
        if "error" in reply:  # two of allOf may contradict each other
            assert any(reason in reply["error"] for reason in REFUSALS) and "allOf" in json.dumps(schema), (schema, reply)
            continue
        for text, ended in reply["answers"]:
            total += 1
            if ended:
                whole += 1
                try:
                    fits(schema, json.loads(text))
                except Exception as error:
                    raise AssertionError((schema, text)) from error
    assert whole > 0.8 * total > 100


# --- numbers ----------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("low, high", [(0, 9), (-13, 27), (98, 1002), (-105, -7), (7, 7), (0, 0), (-1, 0), (199, 201), (1000, 2111)])
def test_integers_are_exact(ask, low, high):
    numbers = list(range(low - 1200, high + 1200))
    reply = ask(SCHEMA, {"type": "integer", "minimum": low, "maximum": high}, fits=[str(n) for n in numbers])
    assert reply["fits"] == [low <= n <= high for n in numbers]
    reply = ask(SCHEMA, {"type": "integer", "exclusiveMinimum": low, "exclusiveMaximum": high + 2}, fits=[str(n) for n in numbers])
    assert reply["fits"] == [low < n < high + 2 for n in numbers]


def test_integers_reach_the_ends_of_64_bits(ask):
    ends = [-2**63, 2**63 - 1]
    numbers = [-2**63 - 1, -2**63, -2**63 + 1, 0, 2**63 - 2, 2**63 - 1, 2**63, 10**19]
    reply = ask(SCHEMA, {"type": "integer", "minimum": ends[0], "maximum": ends[1]}, fits=[str(n) for n in numbers])
    assert reply["fits"] == [ends[0] <= n <= ends[1] for n in numbers]
    for odd in ["00", "01", "-0", "+1", "1.0", "1e3", "", "-", " 1"]:
        assert ask(SCHEMA, {"type": "integer"}, fits=[odd])["fits"] == [False]


@pytest.mark.parametrize("low, high", [(0, 1), (0.5, 0.75), (-1.5, 2.25), (3, 3), (99.99, 100.01), (-0.001, -0.0005), (1.05, 10.5), (0.1, 0.12)])
def test_numbers_are_compared_digit_by_digit(ask, low, high):
    r = random.Random(4)
    texts = [f"{r.uniform(low - 1, high + 1):.{r.randrange(1, 6)}f}" for _ in range(400)]
    texts += [str(low), str(high), f"{low}0" if "." in str(low) else f"{low}.0", f"{high}01" if "." in str(high) else f"{high}.01"]
    for schema, inside in (({"minimum": low, "maximum": high}, lambda x: low <= x <= high),
                           ({"exclusiveMinimum": low, "exclusiveMaximum": high}, lambda x: low < x < high),
                           ({"minimum": low}, lambda x: low <= x), ({"exclusiveMaximum": high}, lambda x: x < high)):
        if low == high and "exclusiveMinimum" in schema:
            continue
        good = [t for t in texts if not t.startswith("-0.") or float(t) != 0]
        reply = ask(SCHEMA, {"type": "number", **schema}, fits=good)
        assert reply["fits"] == [inside(float(t)) for t in good], [t for t, f in zip(good, reply["fits"]) if f != inside(float(t))]


# --- regular expressions --------------------------------------------------------------------------------------------------------

PATTERNS = [r"[a-c]+x?", r"(?:ab|a)*b", r"\d{2,4}", r"[^\W\d]{2}", r"\w+@\w+", r"(a|bc){2,3}", r"x.y", r"[\]\-^a]+", r"\x41\u0042\t?", "é+|ü{2}",
            r"(?<n>a)b", r"a??b*?c", r"", r"|a", r"\$\^\.", r"(ab?){0,2}c{2}"]


def test_regular_expressions_are_those_of_python(ask):
    r = random.Random(9)
    letters = "abcxy01é@ü-^].$\tAB_ "
    texts = ["".join(r.choice(letters) for _ in range(r.randrange(6))) for _ in range(3000)]
    for pattern in PATTERNS:
        python = re.compile(pattern.replace("(?<", "(?P<"), re.ASCII)
        reply = ask(REGEX, pattern, fits=texts)
        assert reply["fits"] == [python.fullmatch(t) is not None for t in texts], pattern
        for text, whole in ask(REGEX, pattern, seed=1, count=5)["answers"]:
            assert not whole or python.fullmatch(text), (pattern, text)


# --- what the grammar decides ------------------------------------------------------------------------------------------------------

def test_forms(ask):
    person = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "null"}, "c": {"const": "x"}}, "required": ["b"]}
    good = ['{"b":null}', '{"a":1,"b":null}', '{ "a": 1, "b": null, "c": "x" }', '{\n  "b": null,\n  "c": "x"\n}', '{"b":null,"c":"x"}']
    bad = ['{}', '{"b":null,"a":1}', '{"a":1}', '{"b":null,}', '{"b":null,"b":null}', '{"b":null,"d":1}', '{"b" :null}', '{"b":null} ',
           ' {"b":null}', '{  "b":null}', '{\n\n"b":null}', '{,"b":null}']
    assert ask(SCHEMA, person, fits=good + bad)["fits"] == [True] * len(good) + [False] * len(bad)
    person["additionalProperties"] = {"type": "boolean"}
    good += ['{"b":null,"d":true,"ab":false,"":true}', '{"b":null,"d":true}']
    bad = ['{"b":null,"a":true}', '{"b":null,"c":true}', '{"b":null,"d":1}']
    assert ask(SCHEMA, person, fits=good + bad)["fits"] == [True] * len(good) + [False] * len(bad)
    pair = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "null"}], "items": {"const": 7}, "minItems": 1, "maxItems": 4}
    good, bad = ["[1]", "[1,null]", "[1, null, 7]", "[1,null,7,7]"], ["[]", "[null]", "[1,7]", "[1,null,7,7,7]", "[1,null,8]"]
    assert ask(SCHEMA, pair, fits=good + bad)["fits"] == [True] * len(good) + [False] * len(bad)
    strings = {"type": "string", "minLength": 2, "maxLength": 2}
    good, bad = ['"éé"', r'"\n\u00e9"', r'"\ud83d\ude00a"', '"😀a"'], ['"a"', '"abc"', r'"\ud83da"', '"a\nb"', r'"\q1"', '"a\tb"']
    assert ask(SCHEMA, strings, fits=good + bad)["fits"] == [True] * len(good) + [False] * len(bad)


def test_53_recursion(ask):
    tree = {"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}}},
                               "required": ["v"]}}, "$ref": "#/$defs/node"}
    good = ['{"v":1,"kids":[{"v":2,"kids":[{"v":3},{"v":4,"kids":[]}]}]}']
    assert ask(SCHEMA, tree, fits=good + ['{"v":1,"kids":[{"kids":[]}]}'])["fits"] == [True, False]
    for text, whole in ask(SCHEMA, tree, seed=2, count=10)["answers"]:
        if whole:
            fits(tree, json.loads(text))
