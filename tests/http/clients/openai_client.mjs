// The openai package of npm on a server: node openai_client.mjs FOLDER_OF_NODE_MODULES BASE_URL. Every route it knows of,
// streamed and not.
import assert from "node:assert/strict";
import { createRequire } from "node:module";

const { default: OpenAI, NotFoundError, BadRequestError } = createRequire(process.argv[2] + "/")("openai");
const client = new OpenAI({ baseURL: process.argv[3], apiKey: "none", maxRetries: 0 });
const france = "What is the capital of France?";
const paris = "The capital of France is Paris.";
const chat = { model: "smol", messages: [{ role: "user", content: france }], temperature: 0 };
const text = { model: "smol", prompt: "A, B, C, D,", max_tokens: 4, temperature: 0 };

const models = [];
for await (const model of await client.models.list()) models.push(model.id);
assert.deepEqual(models.sort(), ["coder", "mini", "smol", "smol-embed"]);
assert.equal((await client.models.retrieve("smol")).object, "model");
await assert.rejects(client.models.retrieve("nobody"), NotFoundError);

const answer = await client.chat.completions.create({ ...chat, logprobs: true, top_logprobs: 2, n: 2 });
assert.deepEqual(answer.choices.map((c) => c.message.content), [paris, paris]);
assert.equal(answer.choices[0].logprobs.content[0].top_logprobs.length, 2);
assert.equal(answer.choices[0].finish_reason, "stop");

let streamed = "", usage = null;
for await (const chunk of await client.chat.completions.create({ ...chat, stream: true, stream_options: { include_usage: true } })) {
  streamed += chunk.choices[0]?.delta?.content ?? "";
  usage = chunk.usage ?? usage;
}
assert.equal(streamed, paris);
assert.equal(usage.completion_tokens, 8);
const runner = client.chat.completions.stream(chat);
assert.equal(await runner.finalContent(), paris);

const completion = await client.completions.create({ ...text, echo: true, logprobs: 1 });
assert.equal(completion.choices[0].text, "A, B, C, D, E, F,");
assert.equal(completion.choices[0].logprobs.token_logprobs[0], null);
streamed = "";
for await (const chunk of await client.completions.create({ ...text, stream: true })) streamed += chunk.choices[0].text;
assert.equal(streamed, " E, F,");

// It asks for base64 by itself and decodes it.
const vectors = (await client.embeddings.create({ model: "mini", input: ["one", "two"] })).data.map((d) => d.embedding);
const floats = (await client.embeddings.create({ model: "mini", input: ["one", "two"], encoding_format: "float" })).data;
assert.deepEqual(vectors.map((v) => v.length), [384, 384]);
assert.ok(vectors.every((v, i) => v.every((x, k) => Math.abs(x - floats[i].embedding[k]) < 1e-7)));

const others = (await client.embeddings.create({ model: "smol-embed", input: "one" })).data;
assert.equal(others[0].embedding.length, 576);

assert.equal((await client.responses.create({ model: "smol", input: france, temperature: 0 })).output_text, paris);
streamed = "";
for await (const event of await client.responses.create({ model: "smol", input: france, temperature: 0, stream: true }))
  if (event.type === "response.output_text.delta") streamed += event.delta;
assert.equal(streamed, paris);

const many = await Promise.all(Array.from({ length: 8 }, () => client.chat.completions.create(chat)));
assert.ok(many.every((a) => a.choices[0].message.content === paris));

await assert.rejects(client.chat.completions.create({ ...chat, temperature: 3 }), (error) =>
  error instanceof BadRequestError && error.param === "temperature" && error.code === "invalid_value");
const stopped = await client.chat.completions.create({ ...chat, stream: true, max_tokens: 200, messages: [{ role: "user", content: "Tell me a story." }] });
for await (const _ of stopped) break; // leaves in the middle
console.log("openai for node: passed");
