"""Tools: calls that are forced, chosen and strict, whole and streamed, and what comes back of them, with the official client."""

import json
import subprocess

import jsonschema
import openai
import pytest

from conftest import ROOT, Server, error_of

CHAT = "/v1/chat/completions"
WEATHER = {"type": "object", "properties": {"city": {"type": "string"}, "unit": {"enum": ["celsius", "fahrenheit"]}},
           "required": ["city", "unit"], "additionalProperties": False}
TIME = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS = [{"type": "function", "function": {"name": "get_weather", "description": "The weather of a city", "parameters": WEATHER}},
         {"type": "function", "function": {"name": "get_time", "description": "The time in a city", "parameters": TIME}}]
ASKED = [{"role": "user", "content": "What is the weather in Paris, in celsius?"}]


@pytest.fixture(scope="module")
def server(tmp_path_factory, smollm2):
    qwen = subprocess.run([ROOT / "tools" / "fetch", "qwen2.5-coder"], capture_output=True, text=True, check=True).stdout.strip()
    s = Server(tmp_path_factory.mktemp("server"), f"  qwen: {{ file: {qwen}, context: 2048 }}\n  smol: {{ file: {smollm2} }}")
    yield s
    assert s.stop() == 0, "".join(s.log)


@pytest.fixture(scope="module")
def client(server):
    return openai.OpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="none", max_retries=0)


def ask(client, **more):
    return client.chat.completions.create(**{"model": "qwen", "messages": ASKED, "temperature": 0, "max_tokens": 80, "tools": TOOLS, **more})


def check_call(call, name, schema):
    assert call.type == "function" and call.function.name == name and len(call.id) == 9
    jsonschema.validate(json.loads(call.function.arguments), schema)


@pytest.mark.parametrize("choice, name, schema", [("required", "get_weather", WEATHER),
                                                  ({"type": "function", "function": {"name": "get_time"}}, "get_time", TIME)])
def test_a_forced_call(client, choice, name, schema):
    answer = ask(client, tool_choice=choice, parallel_tool_calls=False).choices[0]
    assert answer.finish_reason == "tool_calls" and answer.message.content is None and len(answer.message.tool_calls) == 1
    check_call(answer.message.tool_calls[0], name, schema)
    hot = ask(client, tool_choice=choice, temperature=1.5, seed=4, n=2)
    for other in hot.choices:
        for call in other.message.tool_calls if other.finish_reason == "tool_calls" else []:
            check_call(call, call.function.name, {"get_weather": WEATHER, "get_time": TIME}[call.function.name])


def test_a_streamed_call(client):
    whole = ask(client, tool_choice="required", parallel_tool_calls=False).choices[0].message.tool_calls[0].function
    chunks = list(ask(client, tool_choice="required", parallel_tool_calls=False, stream=True))
    deltas = [c.choices[0].delta for c in chunks]
    calls = [d.tool_calls[0] for d in deltas if d.tool_calls]
    assert deltas[0].role == "assistant" and not any(d.content for d in deltas)
    assert calls[0].id and calls[0].type == "function" and calls[0].function.name == whole.name and calls[0].function.arguments == ""
    assert all(c.index == 0 for c in calls) and all(c.id is None and c.function.name is None for c in calls[1:])
    assert "".join(c.function.arguments for c in calls) == whole.arguments and len(calls) > 3
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["tool_calls"]


def test_the_models_choice(client):
    called = ask(client).choices[0]
    assert called.finish_reason == "tool_calls"
    check_call(called.message.tool_calls[0], "get_weather", WEATHER)
    said = ask(client, tool_choice="none").choices[0]
    assert said.finish_reason == "stop" and said.message.tool_calls is None and said.message.content
    assert said.message.content == ask(client, tools=openai.NOT_GIVEN).choices[0].message.content
    hello = ask(client, messages=[{"role": "user", "content": "Say hello in one word."}], max_tokens=8).choices[0]
    assert hello.message.tool_calls is None and hello.message.content


def test_a_strict_tool(client):
    strict = json.loads(json.dumps(TOOLS))
    strict[0]["function"] |= {"strict": True}
    strict[0]["function"]["parameters"]["properties"]["city"] = {"enum": ["Rome", "Berlin"]}
    call = ask(client, tools=strict).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"] in ("Rome", "Berlin")
    text = ask(client, tools=strict, messages=[{"role": "user", "content": "Say hello in one word."}], max_tokens=8).choices[0]
    assert text.message.tool_calls is None and text.message.content


def test_a_schema_beside_tools(client):
    shape = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"greeting": {"type": "string"}},
                                                                          "required": ["greeting"]}}}
    answer = ask(client, response_format=shape, messages=[{"role": "user", "content": "Say hello as JSON."}]).choices[0]
    assert answer.message.tool_calls or answer.finish_reason == "length" or "greeting" in json.loads(answer.message.content)


def test_there_and_back(client):
    call = ask(client, tool_choice="required", parallel_tool_calls=False).choices[0].message
    told = [*ASKED, call, {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "It is 21 degrees and sunny in Paris."}]
    answer = ask(client, messages=told, tool_choice="auto").choices[0]
    assert answer.finish_reason in ("stop", "tool_calls", "length")
    without = ask(client, messages=told, tools=openai.NOT_GIVEN).choices[0].message.content
    assert "21" in without


def test_the_template_sees_objects(server):
    """Arguments come as text and go into the prompt as the JSON that they are, once."""
    messages = [*ASKED, {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {
        "name": "get_weather", "arguments": "{\"city\": \"Paris\"}"}}]}, {"role": "tool", "tool_call_id": "a", "content": "21"}]
    prompt = server.post("/apply-template", {"model": "qwen", "messages": messages, "tools": TOOLS}).json["prompt"]
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Paris"}}\n</tool_call>' in prompt and "<tool_response>" in prompt


FLAT = [{"type": "function", **tool["function"]} for tool in TOOLS]


def respond(client, **more):
    return client.responses.create(**{"model": "qwen", "input": ASKED, "temperature": 0, "max_output_tokens": 80, "tools": FLAT, **more})


def test_a_call_in_a_response(client):
    answer = respond(client, tool_choice="required", parallel_tool_calls=False)
    call, = answer.output
    assert answer.status == "completed" and call.type == "function_call" and call.status == "completed" and call.name == "get_weather"
    jsonschema.validate(json.loads(call.arguments), WEATHER)
    assert answer.tools[0].name == "get_weather" and answer.tool_choice == "required" and not answer.parallel_tool_calls
    named = respond(client, tool_choice={"type": "function", "name": "get_time"}, parallel_tool_calls=False).output[0]
    assert named.name == "get_time"
    told = [*ASKED, call.model_dump(exclude_none=True), {"type": "function_call_output", "call_id": call.call_id, "output": "21 degrees"}]
    back = respond(client, input=told, tools=openai.NOT_GIVEN)
    assert "21" in back.output_text and back.output[0].type == "message"


def test_a_streamed_call_in_a_response(client):
    whole = respond(client, tool_choice="required", parallel_tool_calls=False).output[0]
    events = list(respond(client, tool_choice="required", parallel_tool_calls=False, stream=True))
    kinds = [e.type.removeprefix("response.") for e in events]
    assert kinds[:3] == ["created", "in_progress", "output_item.added"]
    assert kinds[-3:] == ["function_call_arguments.done", "output_item.done", "completed"]
    assert set(kinds[3:-3]) == {"function_call_arguments.delta"} and [e.sequence_number for e in events] == list(range(len(events)))
    assert events[2].item.name == whole.name and events[2].item.arguments == "" and {e.output_index for e in events[2:-1]} == {0}
    assert "".join(e.delta for e in events[3:-3]) == whole.arguments == events[-3].arguments
    assert events[-1].response.output[0].arguments == whole.arguments


def test_a_schema_in_a_response(client):
    form = {"type": "json_schema", "name": "x", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}}
    answer = respond(client, tools=openai.NOT_GIVEN, input="Give me a number as JSON.", text={"format": form})
    assert isinstance(json.loads(answer.output_text)["n"], int)


@pytest.mark.parametrize("more", [{"tools": [{"type": "web_search"}]}, {"tools": 3}, {"tool_choice": {"type": "function", "name": "absent"}},
                                  {"input": [{"type": "function_call", "name": "x"}]}, {"input": [{"type": "function_call_output"}]},
                                  {"text": {"format": {"type": "x"}}}, {"text": 3}])
def test_wrong_tools_in_a_response(server, more):
    error_of(server.post("/v1/responses", {"model": "qwen", "input": "Hi", "max_output_tokens": 16, "tools": FLAT, **more}), 400,
             param=next(iter(more)))


@pytest.mark.parametrize("more, param", [({"tool_choice": {"type": "function", "function": {"name": "absent"}}}, "tool_choice"),
                                         ({"tools": None, "tool_choice": "required"}, "tool_choice"), ({"tools": [], "tool_choice": "required"}, "tool_choice"),
                                         ({"tool_choice": "sometimes"}, "tool_choice"), ({"tool_choice": {"type": "function"}}, "tool_choice"),
                                         ({"tool_choice": 3}, "tool_choice"), ({"tools": [{"type": "function"}]}, "tools"),
                                         ({"tools": [{"type": "web_search"}]}, "tools"), ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "tools"),
                                         ({"tools": [{"type": "function", "function": {"name": "a", "parameters": 3}}]}, "tools"),
                                         ({"parallel_tool_calls": "no"}, "parallel_tool_calls"),
                                         ({"tool_choice": "required", "response_format": {"type": "json_object"}}, "tool_choice"),
                                         ({"tool_choice": "required", "tools": [{"type": "function", "function": {"name": "a", "parameters": {"not": {}}}}]},
                                          "tools"), ({"model": "smol"}, "tools")])
def test_55_tools_that_cannot_be_called(server, more, param):
    body = {"model": "qwen", "messages": ASKED, "tools": TOOLS, "max_tokens": 4, **more}
    error = error_of(server.post(CHAT, {k: v for k, v in body.items() if v is not None}), 400, param=param)
    assert "not is not supported" not in error["message"] or "tools[0].function.parameters" in error["message"]


@pytest.mark.parametrize("more, param", [({"chat_template": "{{ messages }}"}, "chat_template"), ({"chat_template_kwargs": {"messages": []}}, "chat_template_kwargs"),
                                         ({"chat_template_kwargs": {"tools": []}}, "chat_template_kwargs"),
                                         ({"chat_template_kwargs": {"add_generation_prompt": False}}, "chat_template_kwargs"),
                                         ({"chat_template_kwargs": {"bos_token": "x"}}, "chat_template_kwargs"), ({"chat_template_kwargs": 3}, "chat_template_kwargs")])
def test_56_templates_are_the_servers(server, more, param):
    error_of(server.post(CHAT, {"model": "qwen", "messages": ASKED, "max_tokens": 4, **more}), 400, param=param)
    assert server.post(CHAT, {"model": "qwen", "messages": ASKED, "max_tokens": 1, "chat_template_kwargs": {"anything": 1}}).status == 200
