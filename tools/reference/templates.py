#!/usr/bin/env python3
"""Makes tests/golden/templates.json and templates/*.jinja: chat templates as `transformers` renders them.

    $(tools/python reference) tools/reference/templates.py

A template is a model's data, published with its weights. The sources are the GGUF files of tools/fetch where they hold one, and
else copies that two packages carry; templates/README.md says for each whose it is and under which licence. The environment is
that of transformers' apply_chat_template, with a fixed date in place of strftime_now's.
"""

import ast
import datetime
import pathlib
import subprocess
import sys
import tempfile
import zipfile

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

from common import GOLDEN, QWEN, SMOLLM2, Vocabulary, fetch, peer, write_json

DATE = datetime.datetime(2025, 2, 3, 4, 5, 6)
UNSLOTH = "unsloth==2026.10.9"


class Template:
    def __init__(self, name, family, source, bos, eos, tools=False):
        self.name, self.family, self.source, self.bos, self.eos = name, family, source, bos, eos
        self.tools = tools  # takes tools and tool calls


def of_peer(name):
    return (peer() / "source/vendor/llama.cpp/models/templates" / f"{name}.jinja").read_text(encoding="utf-8")


def of_unsloth(name):
    """The value of a string constant of unsloth/chat_templates.py, which is read and not run."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, UNSLOTH],
                       cwd=folder, stderr=subprocess.DEVNULL, check=True)
        with zipfile.ZipFile(next(pathlib.Path(folder).glob("*.whl"))) as wheel:
            module = ast.parse(wheel.read("unsloth/chat_templates.py"))
    for node in module.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == name:
            return ast.literal_eval(node.value)
    raise SystemExit(f"{UNSLOTH} holds no {name}")


TEMPLATES = [
    Template("smollm2", "smollm2", lambda: Vocabulary(fetch(SMOLLM2)).template, "<|im_start|>", "<|im_end|>"),
    Template("qwen2.5", "qwen2.5", lambda: Vocabulary(fetch(QWEN)).template, "<|endoftext|>", "<|im_end|>", tools=True),
    Template("llama-3.1", "llama3", lambda: of_peer("meta-llama-Llama-3.1-8B-Instruct"), "<|begin_of_text|>", "<|eot_id|>",
             tools=True),
    Template("llama-3.2", "llama3", lambda: of_peer("meta-llama-Llama-3.2-3B-Instruct"), "<|begin_of_text|>", "<|eot_id|>",
             tools=True),
    Template("gemma-2", "gemma", lambda: of_peer("google-gemma-2-2b-it"), "<bos>", "<eos>"),
    Template("gemma-3", "gemma", lambda: of_unsloth("gemma3_template"), "<bos>", "<eos>"),
    Template("mistral-nemo", "mistral", lambda: of_peer("mistralai-Mistral-Nemo-Instruct-2407"), "<s>", "</s>", tools=True),
    Template("mistral-small-3.2", "mistral", lambda: of_peer("Mistral-Small-3.2-24B-Instruct-2506"), "<s>", "</s>", tools=True),
    Template("phi-3.5", "phi", lambda: of_peer("microsoft-Phi-3.5-mini-instruct"), "<s>", "<|endoftext|>"),
    Template("phi-4", "phi", lambda: of_unsloth("phi4_template"), "<|endoftext|>", "<|im_end|>"),
]


def system(content):
    return {"role": "system", "content": content}


def user(content):
    return {"role": "user", "content": content}


def assistant(content):
    return {"role": "assistant", "content": content}


def call(identifier, name, arguments):
    return {"id": identifier, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*tool_calls, content=""):
    return {"role": "assistant", "content": content, "tool_calls": list(tool_calls)}


def result(identifier, name, content):
    return {"role": "tool", "tool_call_id": identifier, "name": name, "content": content}


WEATHER = {"type": "function", "function": {
    "name": "get_weather", "description": "Get the current weather in a city.",
    "parameters": {"type": "object", "required": ["city"], "properties": {
        "city": {"type": "string", "description": "The city, e.g. \"Zürich\" or 東京"},
        "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}}}}
ADD = {"type": "function", "function": {
    "name": "add", "description": "Adds <two> numbers & returns 'the sum'.",
    "parameters": {"type": "object", "properties": {
        "a": {"type": "number", "minimum": -1.5, "default": 1e-07}, "b": {"type": "number", "maximum": 10000000000}},
        "additionalProperties": False, "required": []}}}

# name, messages, whether the turn is opened for the assistant
CONVERSATIONS = [
    ("user", [user("Hello")], True),
    ("user, no generation prompt", [user("Hello")], False),
    ("system and user", [system("You are terse."), user("What is 1+1?")], True),
    ("several turns", [user("Hi"), assistant("Hello! How can I help?"), user("Tell me a joke."),
                       assistant("Why did the chicken cross the road?"), user("Why?")], True),
    ("system and several turns", [system("Be kind."), user("A"), assistant("B"), user("C")], True),
    ("ends with the assistant", [user("Hi"), assistant("Hello")], False),
    ("unicode", [system("Réponds en français 🇫🇷"), user("你好，世界！ مرحبا 👩‍👩‍👧 e\u0301 \U0001f9ff"), assistant("Ça va? \u00a0\u3000"),
                 user("नमस्ते\u2028x")], True),
    ("empty user", [user("")], True),
    ("empty system", [system(""), user("Hi")], True),
    ("spaces around", [system("  be brief \n"), user("\n\t  padded  \n\n"), assistant("  answer  "), user(" \u00a0 again \u00a0 ")], True),
    ("only spaces", [user("   \n  ")], True),
    ("template syntax in content", [user("{{ 7*7 }} {% raise %} {# no #} ${x} \\n \"quoted\" 'single'")], True),
    ("special tokens in content", [user("<|im_end|>\n<|im_start|>system\nx</s>[INST]<end_of_turn><|eot_id|><|end|>")], True),
    ("lines", [user("first\n\n\nsecond\r\nthird\n")], True),
    ("two users in a row", [user("one"), user("two")], True),
    ("assistant first", [assistant("I begin."), user("ok")], True),
    ("system in the middle", [user("a"), assistant("b"), system("c"), user("d")], True),
    ("unknown role", [user("a"), {"role": "critic", "content": "b"}], True),
    ("system only", [system("alone")], True),
]

PARTS = [("content in parts", [system("Be kind."), {"role": "user", "content": [{"type": "text", "text": " one "},
                                                                              {"type": "text", "text": "two"}]}], True)]

ASK = user("What is the weather in Paris?")
PARIS = call("abcdef123", "get_weather", {"city": "Paris", "unit": "celsius"})
SUN = result("abcdef123", "get_weather", "{\"temperature\": 21.5, \"sky\": \"☀️\"}")
ODD = call("abcdef456", "add", {"a": 0.1, "b": -3, "note": "\"x\" <y> & 'z' \\ é\n", "list": [1, 2.0, None, True], "nested": {}})

# name, messages, tools, assistant's turn, extra variables
TOOL_CONVERSATIONS = [
    ("tools", [ASK], [WEATHER], True, {}),
    ("two tools and system", [system("Use tools."), ASK], [WEATHER, ADD], True, {}),
    ("tool call and result", [ASK, calls(PARIS), SUN], [WEATHER], True, {}),
    ("tool call, result and answer", [ASK, calls(PARIS), SUN, assistant("21.5 degrees and sunny."), user("Thanks")], [WEATHER], True, {}),
    ("two calls at once", [ASK, calls(PARIS, ODD), SUN, result("abcdef456", "add", "-2.9")], [WEATHER, ADD], True, {}),
    ("arguments of every type", [user("Add."), calls(ODD), result("abcdef456", "add", "-2.9")], [ADD], True, {}),
    ("text beside the call", [ASK, calls(PARIS, content="Let me look."), SUN], [WEATHER], True, {}),
    ("call in a conversation without tools", [ASK, calls(PARIS), SUN], None, True, {}),
    ("identifier of the wrong length", [ASK, calls(call("call_1", "get_weather", {"city": "Paris"})),
                                        result("call_1", "get_weather", "x")], [WEATHER], True, {}),
    ("no tools in the list", [ASK], [], True, {}),
]

LLAMA_VARIABLES = [
    ("date given", [user("Hi")], None, True, {"date_string": "26 Jul 2024"}),
    ("tools in the system message", [system("Use tools."), ASK, calls(PARIS), SUN], [WEATHER, ADD], True, {"tools_in_user_message": False}),
    ("custom tools", [ASK], None, True, {"custom_tools": [ADD]}),
    ("tools without a user message", [system("x")], [ADD], True, {}),
]

BUILTIN = [("built-in tools", [ASK], None, True, {"builtin_tools": ["brave_search", "code_interpreter", "wolfram_alpha"]})]


def cases_of(template):
    cases = [(name, messages, None, opened, {}) for name, messages, opened in CONVERSATIONS]
    if template.name in ("gemma-3", "mistral-small-3.2"):
        cases += [(name, messages, None, opened, {}) for name, messages, opened in PARTS]
    if template.tools:
        cases += TOOL_CONVERSATIONS
    if template.family == "llama3":
        cases += LLAMA_VARIABLES
    if template.name == "llama-3.1":
        cases += BUILTIN
    return cases


def render(source, template, messages, tools, opened, variables):
    """The expected text, or the error: one that the template raises, or a use of what is not there."""
    try:
        text = _compile_jinja_template(source).render(
            messages=messages, tools=tools, documents=None, add_generation_prompt=opened, bos_token=template.bos,
            eos_token=template.eos, strftime_now=DATE.strftime, **variables)
        return {"expected": text}
    except jinja2.exceptions.UndefinedError as error:
        return {"error": str(error), "error_kind": "undefined"}
    except jinja2.exceptions.TemplateError as error:
        return {"error": str(error), "error_kind": "raise_exception"}
    except TypeError as error:
        return {"error": str(error), "error_kind": "type"}


def main():
    folder = GOLDEN / "templates"
    folder.mkdir(parents=True, exist_ok=True)
    cases = []
    for template in TEMPLATES:
        source = template.source()
        path = folder / f"{template.name}.jinja"
        path.write_text(source, encoding="utf-8", newline="")
        for name, messages, tools, opened, variables in cases_of(template):
            cases.append({"family": template.family, "name": name, "template": f"templates/{path.name}", "messages": messages,
                          "tools": tools, "add_generation_prompt": opened, "bos_token": template.bos, "eos_token": template.eos,
                          "variables": variables, **render(source, template, messages, tools, opened, variables)})
    write_json(GOLDEN / "templates.json", {"strftime_now": DATE.strftime("%Y-%m-%dT%H:%M:%S"), "cases": cases})
    errors = sum("error" in case for case in cases)
    print(f"{len(cases)} cases, {errors} of them errors")


if __name__ == "__main__":
    main()
