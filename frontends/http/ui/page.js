// The page of the server: talks to the same API as every other client, and keeps nothing but the choice of theme.
const $ = id => document.getElementById(id);

const state = {
  turns: [],        // {role, content, tokens}: tokens are entries of logprobs, where they were asked for
  running: null,    // AbortController of the answer that comes
};

// --- the API ---------------------------------------------------------------------------------------------------------

function headers() {
  const key = $("key").value;
  return { "Content-Type": "application/json", ...(key ? { Authorization: `Bearer ${key}` } : {}) };
}

async function request(path, options = {}) {
  const reply = await fetch(path, { ...options, headers: headers() });
  if (reply.ok) return reply;
  if (reply.status === 401) $("key-field").hidden = false;
  let message = `${reply.status} ${reply.statusText}`;
  try { message = (await reply.json()).error.message; } catch { /* not JSON: the status has to do */ }
  throw new Error(message);
}

// The objects of a stream of server-sent events.
async function* events(reply) {
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    held += value;
    const lines = held.split("\n\n");
    held = lines.pop();
    for (const line of lines) {
      const data = line.replace(/^data: /, "");
      if (data === "[DONE]") return;
      const event = JSON.parse(data);
      if (event.error) throw new Error(event.error.message);
      yield event;
    }
  }
}

function complain(error) {
  $("notice").textContent = error ? error.message : "";
  $("notice").hidden = !error;
}

// --- models ----------------------------------------------------------------------------------------------------------

const mebibytes = bytes => bytes ? `${(bytes / 1048576).toFixed(0)} MiB` : "–";

function row(cells) {
  const tr = document.createElement("tr");
  for (const cell of cells) tr.insertCell().textContent = cell;
  return tr;
}

// Models that are not loaded may be either kind.
function fill(select, models, task) {
  const fitting = models.filter(m => m.task === task || m.state !== "ready"), chosen = select.value;
  select.replaceChildren(...fitting.map(m => new Option(m.id, m.id, false, m.id === chosen)));
}

async function act(path, model) {
  complain(null);
  try {
    await request(path, { method: "POST", body: JSON.stringify({ model }) });
    await listModels();
  } catch (error) {
    complain(error);
  }
}

function modelRow(m) {
  const tr = row([m.id, m.state, m.backend, m.context || "–", mebibytes(m.weight_bytes), mebibytes(m.kv_bytes)]);
  const ready = m.state === "ready";
  const b = button(ready ? "Unload" : "Load", () => act(ready ? "models/unload" : "models/load", m.id));
  b.setAttribute("aria-label", `${b.textContent} ${m.id}`);
  tr.insertCell().append(b);
  return tr;
}

async function listModels() {
  try {
    const models = (await (await request("v1/models")).json()).data;
    fill($("model"), models, "generate");
    fill($("embedder"), models, "embed");
    $("list").replaceChildren(...models.map(modelRow));
  } catch (error) {
    complain(error);
  }
}

// --- embeddings ------------------------------------------------------------------------------------------------------

const cosine = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0) / Math.sqrt(a.reduce((s, x) => s + x * x, 0) *
                                                                               b.reduce((s, x) => s + x * x, 0));

function headCell(text, scope) {
  const th = document.createElement("th");
  th.scope = scope;
  th.textContent = th.title = text;
  return th;
}

function showMatrix(texts, vectors) {
  const [head, rows] = [$("matrix").tHead.rows[0], $("matrix").tBodies[0]];
  head.replaceChildren(document.createElement("td"), ...texts.map(text => headCell(text, "col")));
  rows.replaceChildren(...texts.map((text, i) => {
    const tr = document.createElement("tr");
    tr.append(headCell(text, "row"));
    for (const other of vectors) {
      const value = cosine(vectors[i], other), td = tr.insertCell();
      td.textContent = value.toFixed(3);
      td.style.setProperty("--share", `${Math.max(0, 60 * value).toFixed(0)}%`);
    }
    return tr;
  }));
  $("matrix").hidden = false;
}

async function compare() {
  const texts = $("lines").value.split("\n").filter(line => line.trim());
  const began = performance.now();
  complain(null);
  try {
    const reply = await request("v1/embeddings", { method: "POST", body: JSON.stringify({
      model: $("embedder").value, input: texts, encoding_format: "float" }) });
    const { data, usage } = await reply.json();
    showMatrix(texts, data.map(entry => entry.embedding));
    $("cost").textContent = `${texts.length} vectors of ${data[0].embedding.length}, ${usage.total_tokens} tokens, ` +
      `${(performance.now() - began).toFixed(0)} ms`;
  } catch (error) {
    complain(error);
  }
}

// --- the conversation ------------------------------------------------------------------------------------------------

function describe(entry) {
  const percent = logprob => `${(100 * Math.exp(logprob)).toFixed(1).padStart(5)} %`;
  const lines = entry.top_logprobs.map(t => `${t.token === entry.token ? "▸" : " "} ${percent(t.logprob)}  ${JSON.stringify(t.token)}`);
  if (!entry.top_logprobs.some(t => t.token === entry.token)) lines.push(`▸ ${percent(entry.logprob)}  ${JSON.stringify(entry.token)}`);
  return lines.join("\n");
}

function showTip(span, entry) {
  const tip = $("tip");
  tip.textContent = describe(entry);
  tip.hidden = false;
  const at = span.getBoundingClientRect(), own = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(4, Math.min(at.left, innerWidth - own.width - 4))}px`;
  tip.style.top = `${at.top > own.height + 8 ? at.top - own.height - 4 : at.bottom + 4}px`;
}

function tokenSpan(entry) {
  const span = document.createElement("span");
  span.className = "token" + (Math.exp(entry.logprob) < 0.5 ? " unsure" : "");
  span.textContent = entry.token;
  span.tabIndex = 0;
  span.setAttribute("aria-describedby", "tip");
  for (const name of ["mouseenter", "focus"]) span.addEventListener(name, () => showTip(span, entry));
  for (const name of ["mouseleave", "blur"]) span.addEventListener(name, () => { $("tip").hidden = true; });
  return span;
}

function button(text, act) {
  const b = document.createElement("button");
  b.type = "button";
  b.textContent = text;
  b.addEventListener("click", act);
  return b;
}

// A turn's place in the list; its words come last.
function turnItem(turn, index) {
  const item = document.createElement("li"), who = document.createElement("div"), words = document.createElement("span");
  item.className = turn.role;
  who.className = "who";
  who.append(turn.role === "user" ? "You" : $("model").value);
  if (turn.role === "user") who.append(button("Edit", () => editTurn(index)));
  if (turn.tokens.length) words.append(...turn.tokens.map(tokenSpan));
  else words.textContent = turn.content;
  item.append(who, words);
  return item;
}

function showTurns() {
  $("turns").replaceChildren(...state.turns.map(turnItem));
  $("turns").lastElementChild?.scrollIntoView({ block: "end" });
  $("again").disabled = state.running !== null || state.turns.at(-1)?.role !== "assistant";
}

function editTurn(index) {
  state.running?.abort();
  $("words").value = state.turns[index].content;
  state.turns.length = index;
  showTurns();
  $("words").focus();
}

function body() {
  const number = id => $(id).value === "" ? {} : { [id]: Number($(id).value) };
  const system = $("system").value.trim();
  return {
    model: $("model").value, stream: true, stream_options: { include_usage: true },
    messages: [...(system ? [{ role: "system", content: system }] : []), ...state.turns.map(({ role, content }) => ({ role, content }))],
    ...number("temperature"), ...number("top_p"), ...number("top_k"), ...number("min_p"), ...number("max_tokens"), ...number("seed"),
    ...($("probabilities").checked ? { logprobs: true, top_logprobs: 5 } : {}),
  };
}

function setRunning(controller) {
  state.running = controller;
  $("turns").setAttribute("aria-busy", String(controller !== null));
  $("send").disabled = controller !== null;
  $("stop").disabled = controller === null;
}

// Adds a chunk to the turn and to its place in the list.
function addChunk(turn, item, choice) {
  const words = item.lastElementChild;
  for (const entry of choice.logprobs?.content ?? []) {
    turn.tokens.push(entry);
    words.append(tokenSpan(entry));
  }
  const content = choice.delta.content ?? "";
  turn.content += content;
  if (!turn.tokens.length && content) words.append(content);
  item.scrollIntoView({ block: "end" });
}

async function answer() {
  const controller = new AbortController(), turn = { role: "assistant", content: "", tokens: [] };
  const request_body = JSON.stringify(body());
  const item = turnItem(turn, state.turns.length);
  state.turns.push(turn);
  $("turns").append(item);
  setRunning(controller);
  complain(null);
  const began = performance.now();
  let first = 0;
  try {
    const reply = await request("v1/chat/completions", { method: "POST", body: request_body, signal: controller.signal });
    for await (const event of events(reply)) {
      first ||= performance.now();
      if (event.choices.length) addChunk(turn, item, event.choices[0]);
      else showSpeed(event.usage, first - began, performance.now() - first);
    }
  } catch (error) {
    if (error.name !== "AbortError") complain(error);
    if (!turn.content) state.turns.pop();
  }
  setRunning(null);
  showTurns();
  listModels();
}

function showSpeed(usage, wait, rest) {
  const rate = usage.completion_tokens > 1 ? `, ${((usage.completion_tokens - 1) / rest * 1000).toFixed(0)} tokens/s` : "";
  $("speed").textContent = `${usage.prompt_tokens} + ${usage.completion_tokens} tokens, first after ${wait.toFixed(0)} ms${rate}`;
}

// --- events ----------------------------------------------------------------------------------------------------------

$("ask").addEventListener("submit", event => {
  event.preventDefault();
  const content = $("words").value.trim();
  if (!content || state.running) return;
  $("words").value = "";
  state.turns.push({ role: "user", content, tokens: [] });
  showTurns();
  answer();
});
$("words").addEventListener("keydown", event => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  $("ask").requestSubmit();
});
document.addEventListener("keydown", event => { if (event.key === "Escape") state.running?.abort(); });
$("stop").addEventListener("click", () => state.running?.abort());
$("again").addEventListener("click", () => {
  state.turns.pop();
  showTurns();
  answer();
});
$("clear").addEventListener("click", () => {
  state.running?.abort();
  state.turns.length = 0;
  $("speed").textContent = "";
  showTurns();
});
$("compare").addEventListener("submit", event => {
  event.preventDefault();
  compare();
});
function refresh() {
  complain(null);
  listModels();
}
$("refresh").addEventListener("click", refresh);
$("key").addEventListener("change", refresh);

const tabs = [...document.querySelectorAll("[role=tab]")];
function select(tab) {
  for (const other of tabs) {
    other.setAttribute("aria-selected", String(other === tab));
    other.tabIndex = other === tab ? 0 : -1;
    $(other.getAttribute("aria-controls")).hidden = other !== tab;
  }
  if (tab.id === "tab-models") listModels();
}
for (const tab of tabs) {
  tab.addEventListener("click", () => select(tab));
  tab.addEventListener("keydown", event => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const next = tabs[(tabs.indexOf(tab) + step + tabs.length) % tabs.length];
    select(next);
    next.focus();
  });
}

const root = document.documentElement;
root.className = localStorage.getItem("theme") ?? "";
$("theme").addEventListener("click", () => {
  const dark = root.className ? root.className === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.className = dark ? "light" : "dark";
  localStorage.setItem("theme", root.className);
});

listModels();
