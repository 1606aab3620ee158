"""The models of the suite: where each file comes from, and the ratios that the project promises for it.

What is fetched is fetched by tools/fetch; what is made of that is made by the peer's own tools and kept in the cache folder, so
that both engines read one file.
"""

import os
import re
import shutil

from engines import ROOT, Failure, run

CACHE = os.environ.get("BACKPLANE_CACHE") or os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"), "backplane")
MADE = os.path.join(CACHE, "benchmarks")


class Model:
    """`promised` is a ratio by the beginning of a measurement's name; `seconds` a round's time on two cores, for estimates
    before there is a better one."""

    def __init__(self, key, title, kind, file, promised, seconds):
        self.key, self.title, self.kind, self.file, self.promised, self.seconds = key, title, kind, file, promised, seconds


def fetch(name):
    return run([os.path.join(ROOT, "tools", "fetch"), name], timeout=1800).strip()


def peer_folder():
    return run([os.path.join(ROOT, "tools", "peer")], timeout=3600).strip()


def made(name, make):
    """MADE/name, made by make(path) if it is not there; it appears whole or not at all."""
    path = os.path.join(MADE, name)
    if not os.path.exists(path):
        os.makedirs(MADE, exist_ok=True)
        # The suffix stays, since tools decide by it what to write.
        partial = os.path.join(MADE, "partial-" + name)
        shutil.rmtree(partial, ignore_errors=True)
        make(partial)
        os.rename(partial, path)
    return path


def quantised(source, name, kind):
    quantize = os.path.join(peer_folder(), "bin", "llama-quantize")
    return made(name, lambda path: run([quantize, "--allow-requantize", source, path, kind, os.cpu_count() or 1]))


def converted(folder, name):
    """A Hugging Face folder as GGUF in float32, by the peer's converter."""
    convert = os.path.join(peer_folder(), "source", "vendor", "llama.cpp", "convert_hf_to_gguf.py")
    python = run([os.path.join(ROOT, "tools", "python"), "reference"], timeout=1800).strip()
    return made(name, lambda path: run([python, convert, "--outtype", "f32", "--outfile", path, folder]))


# A shape of BERT with random weights: what a text costs does not depend on what they are.
BERT_SMALL = """
import shutil, sys, torch, transformers
torch.manual_seed(1)
shape = transformers.BertConfig(vocab_size=30522, hidden_size=512, num_hidden_layers=4, num_attention_heads=8,
                                intermediate_size=2048)
transformers.BertModel(shape).save_pretrained(sys.argv[1])
for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
    shutil.copy(sys.argv[2] + "/" + name, sys.argv[1])
"""


def bert_small():
    python = run([os.path.join(ROOT, "tools", "python"), "reference"], timeout=1800).strip()
    folder = made("bert-small", lambda path: run([python, "-c", BERT_SMALL, path, fetch("minilm")]))
    return converted(folder, "bert-small.F32.gguf")


def smollm2(kind):
    return quantised(fetch("smollm2"), f"SmolLM2-135M-Instruct.{kind}.gguf", kind)


def minilm(kind):
    plain = converted(fetch("minilm"), "all-MiniLM-L6-v2.F32.gguf")
    return plain if kind == "F32" else quantised(plain, f"all-MiniLM-L6-v2.{kind}.gguf", kind)


def is_zen4(cpuinfo="/proc/cpuinfo"):
    """On Zen 4, with less than half the bandwidth of where the ratios were set, decoding alone is nearer to its roof."""
    try:
        with open(cpuinfo) as file:
            facts = dict(re.findall(r"(?m)^(cpu family|model)\s*:\s*(\d+)$", file.read()))
    except OSError:
        return False
    family, number = int(facts.get("cpu family", 0)), int(facts.get("model", 0))
    return family == 25 and (0x10 <= number <= 0x1f or 0x60 <= number <= 0x7f or 0xa0 <= number <= 0xaf)


def decoder(key, title, file, prefill, alone, alone_zen4, eight, many, seconds):
    promised = {"prefill": prefill, "decode, batch 1": alone_zen4 if is_zen4() else alone, "decode, batch 8": eight,
                "decode, batch 32": many, "decode at": 2.0}
    return Model(key, title, "decoder", file, promised, seconds)


def embedder(key, title, file):
    return Model(key, title, "embedder", file, {"embed": 2.5}, 12)


SUITE = [
    decoder("smollm2-q8_0", "SmolLM2-135M Q8_0", lambda: smollm2("Q8_0"), 2.5, 1.8, 1.5, 3, 3, 40),
    decoder("smollm2-q4_0", "SmolLM2-135M Q4_0", lambda: smollm2("Q4_0"), 1.8, 1.6, 1.3, 2.5, 2.5, 30),
    decoder("smollm2-q4_1", "SmolLM2-135M Q4_1", lambda: fetch("smollm2"), 5, 2.2, 2, 4, 5, 50),
    decoder("qwen2.5-coder-q4_k_m", "Qwen2.5-Coder-0.5B Q4_K_M", lambda: fetch("qwen2.5-coder"), 2.5, 1.6, 1.4, 3, 3, 75),
    decoder("gemma3-q4_k_m", "Gemma 3 270M Q4_K_M", lambda: fetch("gemma3"), 2.5, 1.6, 1.5, 3, 3, 45),
    decoder("smollm2-bf16", "SmolLM2-135M BF16", lambda: smollm2("BF16"), 1.2, 1.2, 1.1, 1.8, 1.8, 40),
    embedder("minilm-f32", "MiniLM-L6 F32", lambda: minilm("F32")),
    embedder("minilm-f16", "MiniLM-L6 F16", lambda: minilm("F16")),
    embedder("minilm-q8_0", "MiniLM-L6 Q8_0", lambda: minilm("Q8_0")),
    embedder("bert-small-f32", "BERT-small F32", bert_small),
]


def find(keys):
    unknown = [key for key in keys if key not in {model.key for model in SUITE}]
    if unknown:
        raise Failure(f"there is no model \"{unknown[0]}\" in the suite; there are {', '.join(model.key for model in SUITE)}")
    return [model for model in SUITE if not keys or model.key in keys]


def promise(model, name):
    """The ratio that is promised of a measurement, or None."""
    return next((ratio for start, ratio in model.promised.items() if name == start or name.startswith(start + " ")), None)
