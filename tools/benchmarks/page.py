"""docs/benchmarks.md and its plot, from the figures of a suite. The prose is that of page.md.in; what is in double braces there is made here.
"""

import json
import os
import re
import statistics

import models
import plot
import suite
from engines import ROOT, Failure

GIGA = 1e9


def table(head, rows):
    """Markdown; the first column to the left, the others to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "--:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def rate(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def title_of(name):
    """A measurement's name as the head of a column."""
    return name[0].upper() + name[1:]


class Figures:
    """All results: [(data, rows)], of which the promises are looked up by key."""

    def __init__(self, found, plan):
        self.plan = plan
        self.models = [(data, suite.summarise(data, plan.names(data["kind"]))) for data in found]
        self.known = {model.key: model for model in models.SUITE}
        self.roofs = self.best_roofs()

    def best_roofs(self):
        roofs = [data["facts"]["roofs"] for data, _ in self.models if "roofs" in data["facts"]]
        return {key: max(found[key] for found in roofs) for key in roofs[0]} if roofs else None

    def promised(self, data, row):
        return models.promise(self.known[data["key"]], row["name"]) if data["key"] in self.known else None

    def of_kind(self, kind):
        return [(data, rows) for data, rows in self.models if data["kind"] == kind]


def ratio_cell(figures, data, row):
    if row is None:
        return "–"
    promised = figures.promised(data, row)
    text = f"{row['ratio']:.2f}"
    if promised is None:
        return text
    return f"{text} (≥ {promised:g})" if row["ratio"] >= promised else f"**{text}** (≥ {promised:g})"


def ratios(figures, kind):
    names = figures.plan.names(kind)
    rows = []
    for data, found in figures.of_kind(kind):
        by_name = {row["name"]: row for row in found}
        rows.append([data["title"], *(ratio_cell(figures, data, by_name.get(name)) for name in names)])
    return table(["", *map(title_of, names)], rows) if rows else "Not measured."


def rates(figures, kind):
    """Every measurement in full."""
    rows = []
    for data, found in figures.of_kind(kind):
        for row in found:
            share = suite.shares(row, figures.roofs)
            limits = [f"{100 * part:.0f} %" for part in share] if share else ["–", "–"]
            rows.append([data["title"], row["name"], rate(row["ours"]), rate(row["peer"]), f"{row['ratio']:.2f}",
                         f"{row['ratio_min']:.2f} – {row['ratio_max']:.2f}", *limits])
    return table(["", "", "Backplane", "llama.cpp", "ratio", "its range", "of bandwidth", "of compute"], rows) if rows else "Not measured."


def misses(figures):
    lines = []
    for data, rows in figures.models:
        if data["error"]:
            lines.append(f"- {data['title']}: not measured to the end: {data['error']}")
        for row in rows:
            promised = figures.promised(data, row)
            if promised and row["ratio"] < promised:
                short = 100 * (1 - row["ratio"] / promised)
                lines.append(f"- {data['title']}, {row['name']}: {row['ratio']:.2f} where {promised:g} was promised, {short:.0f} % short")
    lines += limit_misses(figures)
    return "\n".join(lines) if lines else "Nothing."


def limit_misses(figures):
    """The promises that are fractions of the machine's limits, or times."""
    lines = []
    for data, rows in figures.models:
        by_name = {row["name"]: row for row in rows}
        prefill, alone = by_name.get(figures.plan.prefill_name()), by_name.get(figures.plan.decode_name(1))
        share = suite.shares(alone, figures.roofs) if alone else None
        if data["key"].startswith("qwen") and share and share[0] < 0.85:
            lines.append(f"- {data['title']}: decode at {100 * share[0]:.0f} % of bandwidth where 85 % was promised")
        share = suite.shares(prefill, figures.roofs) if prefill else None
        if share and share[1] < 0.40:
            lines.append(f"- {data['title']}: prefill at {100 * share[1]:.0f} % of compute where 40 % was promised")
        start = data["others"].get("start to first token")
        if data["key"].startswith("smollm2") and start and statistics.median(start) > 60:
            lines.append(f"- {data['title']}: {statistics.median(start):.0f} ms from start to first token where 60 ms were promised")
        batches = [row["ours"] for row in rows] if data["kind"] == "embedder" else []
        if any(later <= earlier for earlier, later in zip(batches, batches[1:])):
            lines.append(f"- {data['title']}: texts a second do not grow with every batch")
    return lines


def starts(figures):
    rows = []
    for data, _ in figures.models:
        start, size = (data["others"].get(name) for name in ("start to first token", "resident for one answer"))
        if start and size:
            rows.append([data["title"], f"{statistics.median(start):.0f} ms", f"{statistics.median(size):.0f} MiB"])
    return table(["", "start to first token", "resident for one answer"], rows) if rows else "Not measured."


def machine(figures):
    facts = next((data["facts"] for data, _ in figures.models if data["facts"].get("machine")), None)
    if not facts:
        return "Unknown: nothing was measured."
    found, roofs = facts["machine"], figures.roofs
    loads = [load for data, _ in figures.models for load in data["loads"]]
    lines = [f"- {found['processor'] or 'unknown processor'} ({found['features']}); {found['processors']} processors, "
             f"{found['numa_nodes']} NUMA node{'s' * (found['numa_nodes'] != 1)}, {found['last_cache'] / 2**20:.0f} MiB of last cache, "
             f"{found['memory'] / 2**30:.0f} GiB of memory; {found['kernel']}",
             f"- Backplane: {facts['backend']}; built by {found['build']}",
             f"- load when rounds began: {statistics.median(loads):.1f} (median), {max(loads):.1f} (most)"]
    if roofs:
        lines.insert(2, f"- measured limits: {roofs['read_bandwidth'] / GIGA:.1f} GB/s read from memory, "
                        f"{roofs['int8_ops'] / GIGA:,.0f} int8, {roofs['fp32_ops'] / GIGA:,.0f} fp32 and {roofs['bf16_ops'] / GIGA:,.0f} bf16 GOP/s")
    return "\n".join(lines)


def free_order(work):
    """What tools/bench-free left."""
    try:
        with open(os.path.join(work, "free-order.json")) as file:
            found = json.load(file)
    except OSError:
        return "Not measured."
    rows = [[row["model"], row["name"], rate(row["fixed"]), rate(row["free"]), f"{100 * (row['ratio'] - 1):+.1f} %"] for row in found["rows"]]
    freed = "\n".join(f"- {what}" for what in found["freed"])
    return table(["", "", "fixed order", "free order", "free order is faster by"], rows) + f"\n\nWhat was freed:\n\n{freed}"


def drafts(work):
    """What tools/bench-drafts left."""
    try:
        with open(os.path.join(work, "drafts.json")) as file:
            found = json.load(file)
    except OSError:
        return "Not measured."
    rows = [[row["model"], row["prompt"], rate(row["without"]), rate(row["with"]), f"{row['ratio']:.2f}"] for row in found["rows"]]
    return table(["", "", "tok/s without", "with", "ratio"], rows)


def peer_version():
    with open(os.path.join(ROOT, "tools", "peer")) as file:
        return re.search(r"(?m)^version=(\S+)$", file.read())[1]


def fill(template, values, name="page.md.in"):
    unknown = set(re.findall(r"\{\{(\w+)\}\}", template)) ^ set(values)
    if unknown:
        raise Failure(f"{name} and what fills it do not agree on {', '.join(sorted(unknown))}")
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match[1]], template)


SERVERS = re.compile(r"(?ms)^## Servers under load$.*?(?=^## )")


def servers(out):
    """The section that `tools/bench-peer --serve` left in the page."""
    try:
        with open(os.path.join(out, "benchmarks.md")) as file:
            there = SERVERS.search(file.read())
    except OSError:
        there = None
    return there[0].rstrip() if there else "## Servers under load\n\nNot measured."


def put_servers(section, out):
    path = os.path.join(out, "benchmarks.md")
    with open(path) as file:
        text, count = SERVERS.subn(lambda _: section.rstrip() + "\n\n", file.read())
    if count != 1:
        raise Failure(f"{path} has no section \"Servers under load\"; write it with tools/bench-peer --page first")
    with open(path, "w") as file:
        file.write(text)


def write(found, work, out, plan):
    figures = Figures(found, plan)
    with open(os.path.join(os.path.dirname(os.path.realpath(__file__)), "page.md.in")) as file:
        template = file.read()
    rounds = {len(data["rounds"]) for data, _ in figures.models}
    values = {"machine": machine(figures), "ratios": ratios(figures, "decoder"), "misses": misses(figures),
              "embeddings": ratios(figures, "embedder"), "rates": rates(figures, "decoder"), "text_rates": rates(figures, "embedder"),
              "starts": starts(figures), "servers": servers(out), "free_order": free_order(work), "drafts": drafts(work), "peer": peer_version(),
              "rounds": str(max(rounds)), **{name: str(value) for name, value in plan.as_dict().items()
                                             if name in ("prompt", "answer", "answers", "before", "deep", "depth", "text")}}
    text = fill(template, values)
    bars = [(data["title"], [(row["name"], row["ratio"], figures.promised(data, row)) for row in rows]) for data, rows in figures.models if rows]
    with open(os.path.join(out, "benchmarks.svg"), "w") as file:
        file.write(plot.draw(bars))
    with open(os.path.join(out, "benchmarks.md"), "w") as file:
        file.write(text)
