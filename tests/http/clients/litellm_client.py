"""litellm on a server: python litellm_client.py BASE_URL. Chat, text and embeddings, streamed and not, sync and async."""

import asyncio
import sys

import litellm

BASE = {"api_base": sys.argv[1], "api_key": "none", "num_retries": 0}
CHAT = {**BASE, "model": "openai/smol", "temperature": 0, "max_tokens": 20,
        "messages": [{"role": "user", "content": "What is the capital of France?"}]}
TEXT = {**BASE, "model": "text-completion-openai/smol", "prompt": "A, B, C, D,", "max_tokens": 4, "temperature": 0}
PARIS = "The capital of France is Paris."

answer = litellm.completion(**CHAT, logprobs=True, top_logprobs=2, seed=1)
assert answer.choices[0].message.content == PARIS and answer.choices[0].finish_reason == "stop", answer
assert answer.usage.completion_tokens == 8 and len(answer.choices[0].logprobs.content[0].top_logprobs) == 2
pieces = list(litellm.completion(**CHAT, stream=True, stream_options={"include_usage": True}))
assert "".join(p.choices[0].delta.content or "" for p in pieces if p.choices) == PARIS
assert litellm.completion(**{**CHAT, "model": "openai/coder", "messages": [
    {"role": "user", "content": "Write a Python function that adds two numbers."}]}).choices[0].message.content
assert [c.message.content for c in litellm.completion(**CHAT, n=2).choices] == [PARIS, PARIS]

assert litellm.text_completion(**TEXT).choices[0].text == " E, F,"
assert "".join(p.choices[0].text or "" for p in litellm.text_completion(**TEXT, stream=True)) == " E, F,"

vectors = litellm.embedding(**BASE, model="openai/mini", input=["one", "two"], encoding_format="float").data
assert [len(v["embedding"]) for v in vectors] == [384, 384]
others = litellm.embedding(**BASE, model="openai/smol-embed", input=["one"], encoding_format="float").data
assert [len(v["embedding"]) for v in others] == [576]


async def ask():
    async def one():
        return (await litellm.acompletion(**CHAT)).choices[0].message.content

    async def stream():
        return "".join([p.choices[0].delta.content or "" async for p in await litellm.acompletion(**CHAT, stream=True)])

    both = await asyncio.gather(*(one() if i % 2 else stream() for i in range(6)))
    same = await litellm.aembedding(**BASE, model="openai/mini", input=["one", "two"], encoding_format="float")
    return both, same.data


answers, again = asyncio.run(ask())
assert answers == [PARIS] * 6 and [v["embedding"] for v in again] == [v["embedding"] for v in vectors]

try:
    litellm.completion(**{**CHAT, "model": "openai/nobody"})
    raise AssertionError("a model that is not there answered")
except litellm.NotFoundError as error:
    assert "nobody" in str(error)
try:
    litellm.completion(**{**CHAT, "temperature": 3})
    raise AssertionError("a temperature of 3 was taken")
except litellm.BadRequestError as error:
    assert "temperature" in str(error)
print("litellm: passed")
