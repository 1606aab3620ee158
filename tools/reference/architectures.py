#!/usr/bin/env python3
"""Makes tests/golden/architectures.json: tiny models of every decoder architecture and their logits in float32.

    $(tools/python reference) tools/reference/architectures.py

A model is a GGUF file in words: its keys, and for each tensor a shape, a middle and a spread. Both sides make the same
numbers of these (`numbers` below, `fill` in tests/models/test_architectures.c), so that no weights are committed. The logits are
those of `transformers`, whose weights are the file's turned back: rows of Q and K in Hugging Face's order, Gemma's norms
less 1. That the file is what llama.cpp's converter would write is shown by llama.cpp itself, which opens it here and must give
the same logits within the noise of its half-precision cache.
"""

import math
import tempfile

import gguf
import numpy
import torch
import transformers

from common import GOLDEN, base64_text, write_json
from logits import Peer

VOCABULARY, WIDTH, FFN, HEADS, KV_HEADS, HEAD_DIM = 128, 64, 96, 4, 2, 16
PROMPT = 40
CONTEXT = 1024
EPSILON = 1e-6
MASK = (1 << 64) - 1


def numbers(index, count):
    """splitmix64 (Steele et al. 2014) as a function of a counter: `count` floats in [-1, 1) for tensor `index`."""
    with numpy.errstate(over="ignore"):
        state = numpy.uint64((index + 1) * 0x9E3779B97F4A7C15 * 1000003 & MASK)
        z = state + (numpy.arange(count, dtype=numpy.uint64) + numpy.uint64(1)) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return (z >> numpy.uint64(40)).astype(numpy.float64) / 8388608.0 - 1.0


class Model:
    """`keys` are general ones and, with "." in front, the architecture's; tensors are [name, columns, rows, middle, spread], or
    [name, values] where the converter computes them."""

    def __init__(self, arch, config, layers, keys, *, head_dim=HEAD_DIM, untied=False, biases=False, head_norms=False,
                 post_norms=False, fused=False, interleaved=False, norm_offset=0.0, tables=()):
        self.arch, self.config, self.layers, self.head_dim = arch, config, layers, head_dim
        self.fused, self.interleaved, self.norm_offset = fused, interleaved, norm_offset
        self.keys = {"general.architecture": arch, "tokenizer.ggml.model": "no_vocab"}
        common = {"block_count": layers, "context_length": CONTEXT, "embedding_length": WIDTH, "feed_forward_length": FFN,
                  "attention.head_count": HEADS, "attention.head_count_kv": KV_HEADS, "attention.key_length": head_dim,
                  "attention.value_length": head_dim, "rope.dimension_count": head_dim, "vocab_size": VOCABULARY,
                  "attention.layer_norm_rms_epsilon": EPSILON}
        self.keys |= {f"{arch}.{key}": value for key, value in (common | keys).items()}
        q, kv = HEADS * head_dim, KV_HEADS * head_dim
        tensors = [("token_embd.weight", WIDTH, VOCABULARY), ("output_norm.weight", WIDTH, 0)]
        if untied:
            tensors.append(("output.weight", WIDTH, VOCABULARY))
        layer = [("attn_norm.weight", WIDTH, 0), ("ffn_norm.weight", WIDTH, 0), ("attn_output.weight", q, WIDTH),
                 ("ffn_down.weight", FFN, WIDTH)]
        if fused:
            layer += [("attn_qkv.weight", WIDTH, q + 2 * kv), ("ffn_up.weight", WIDTH, 2 * FFN)]
        else:
            layer += [("attn_q.weight", WIDTH, q), ("attn_k.weight", WIDTH, kv), ("attn_v.weight", WIDTH, kv),
                      ("ffn_gate.weight", WIDTH, FFN), ("ffn_up.weight", WIDTH, FFN)]
        if biases:
            layer += [("attn_q.bias", q, 0), ("attn_k.bias", kv, 0), ("attn_v.bias", kv, 0)]
        if head_norms:
            layer += [("attn_q_norm.weight", head_dim, 0), ("attn_k_norm.weight", head_dim, 0)]
        if post_norms:
            layer += [("post_attention_norm.weight", WIDTH, 0), ("post_ffw_norm.weight", WIDTH, 0)]
        tensors += [(f"blk.{i}.{name}", columns, rows) for i in range(layers) for name, columns, rows in layer]
        self.tensors = [self.drawn(*tensor) for tensor in tensors] + [list(table) for table in tables]

    @staticmethod
    def drawn(name, columns, rows):
        if rows:
            return [name, columns, rows, 0.0, 1.0 if name == "token_embd.weight" else round(2.5 / math.sqrt(columns), 4)]
        return [name, columns, rows, 0.0, 0.5] if name.endswith(".bias") else [name, columns, rows, 1.0, 0.3]

    def arrays(self):
        """The file's tensors by name."""
        out = {}
        for index, (name, *rest) in enumerate(self.tensors):
            if len(rest) == 1:
                out[name] = numpy.array(rest[0], numpy.float32)
            else:
                columns, rows, middle, spread = rest
                values = (middle + spread * numbers(index, columns * max(rows, 1))).astype(numpy.float32)
                out[name] = values.reshape(rows, columns) if rows else values
        return out

    def deinterleave(self, matrix, heads):
        """llama.cpp's order of Q's and K's rows back to Hugging Face's."""
        if not self.interleaved:
            return matrix
        rows, columns = matrix.shape
        return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)

    def hugging_face(self):
        """The state dictionary that this file was converted from."""
        arrays, state = self.arrays(), {}
        names = {"attn_norm": "input_layernorm", "attn_output": "self_attn.o_proj", "ffn_down": "mlp.down_proj",
                 "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
                 "attn_qkv": "self_attn.qkv_proj", "ffn_gate": "mlp.gate_proj", "attn_q_norm": "self_attn.q_norm",
                 "attn_k_norm": "self_attn.k_norm", "post_ffw_norm": "post_feedforward_layernorm"}
        names["ffn_up"] = "mlp.gate_up_proj" if self.fused else "mlp.up_proj"
        names["ffn_norm"] = "pre_feedforward_layernorm" if "blk.0.post_ffw_norm.weight" in arrays else "post_attention_layernorm"
        names["post_attention_norm"] = "post_attention_layernorm"
        outer = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight",
                 "output.weight": "lm_head.weight"}
        for name, array in arrays.items():
            if name.startswith("rope_"):
                continue
            if name.endswith("norm.weight"):
                array = array - numpy.float32(self.norm_offset)
            if name in outer:
                state[outer[name]] = array
                continue
            _, layer, stem, kind = name.split(".")
            if stem in ("attn_q", "attn_k") and kind == "weight":
                array = self.deinterleave(array, HEADS if stem == "attn_q" else KV_HEADS)
            state[f"model.layers.{layer}.{names[stem]}.{kind}"] = array
        if "lm_head.weight" not in state:
            state["lm_head.weight"] = state["model.embed_tokens.weight"]
        return {name: torch.from_numpy(numpy.ascontiguousarray(array)) for name, array in state.items()}

    def write(self, path):
        writer = gguf.GGUFWriter(path, self.arch)
        for key, value in self.keys.items():
            if key == "general.architecture":
                continue
            kind = {str: writer.add_string, int: writer.add_uint32, float: writer.add_float32, bool: writer.add_bool}[type(value)]
            kind(key, value)
        for name, array in self.arrays().items():
            writer.add_tensor(name, array)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()

    def logits(self, ids):
        model = transformers.AutoModelForCausalLM.from_config(self.config, dtype=torch.float32, attn_implementation="eager")
        missing, unexpected = model.load_state_dict(self.hugging_face(), strict=False)
        if missing or unexpected:
            raise SystemExit(f"{self.arch}: {missing} are missing and {unexpected} have no place")
        with torch.inference_mode():
            return model.eval()(torch.tensor([ids]), use_cache=False).logits[0].numpy().astype("<f4")


def settings(rope, head_dim=HEAD_DIM, layers=2, tied=True, **more):
    return dict(vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=layers,
                num_attention_heads=HEADS, num_key_value_heads=KV_HEADS, head_dim=head_dim, max_position_embeddings=CONTEXT,
                rms_norm_eps=EPSILON, rope_parameters=rope, tie_word_embeddings=tied, pad_token_id=None, bos_token_id=None,
                eos_token_id=None) | more


def llama3_divisors(base, factor, low, high, context):
    """What llama.cpp's converter writes into rope_freqs.weight."""
    divisors = []
    for i in range(0, HEAD_DIM, 2):
        wavelength = 2 * math.pi * base ** (i / HEAD_DIM)
        if wavelength < context / high:
            divisors.append(1.0)
        elif wavelength > context / low:
            divisors.append(factor)
        else:
            smooth = (context / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return [float(numpy.float32(divisor)) for divisor in divisors]


def longrope(original, longest):
    near, far = [1.0 + 0.05 * i for i in range(HEAD_DIM // 2)], [1.0 + 0.75 * i * i for i in range(HEAD_DIM // 2)]
    return ({"rope_type": "longrope", "rope_theta": 10000.0, "short_factor": near, "long_factor": far,
             "original_max_position_embeddings": original},
            {"rope.scaling.original_context_length": original, "rope.freq_base": 10000.0, "context_length": longest,
             "rope.scaling.attn_factor": math.sqrt(1 + math.log(longest / original) / math.log(original))},
            [("rope_factors_short.weight", near), ("rope_factors_long.weight", far)])


def phi3(original, longest, window):
    rope, keys, tables = longrope(original, longest)
    window = {"sliding_window": window} if window else {}
    return Model("phi3", transformers.Phi3Config(**settings(rope, tied=False, max_position_embeddings=longest,
                                                            original_max_position_embeddings=original, **window)),
                 2, keys | {f"attention.{key}": value for key, value in window.items()}, untied=True, fused=True, tables=tables)


def yarn(original, **more):
    return {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 4.0, "original_max_position_embeddings": original} | more


def models():
    t = transformers
    plain = {"rope_type": "default", "rope_theta": 10000.0}
    window = {"attention.sliding_window": 8}
    yarn_keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 256,
                 "rope.freq_base": 10000.0}
    yield "llama", Model("llama", t.LlamaConfig(**settings(plain, tied=False)), 2, {"rope.freq_base": 10000.0}, untied=True,
                         interleaved=True)
    yield "llama, linear", Model("llama", t.LlamaConfig(**settings(plain | {"rope_type": "linear", "factor": 4.0})), 2,
                                 {"rope.scaling.type": "linear", "rope.scaling.factor": 4.0}, interleaved=True)
    llama3 = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    yield "llama 3", Model("llama", t.LlamaConfig(**settings({"rope_type": "llama3", "rope_theta": 500.0} | llama3)), 2,
                           {"rope.freq_base": 500.0}, interleaved=True,
                           tables=[("rope_freqs.weight", llama3_divisors(500.0, 8.0, 1.0, 4.0, 64))])
    yield "mistral", Model("llama", t.MistralConfig(**settings(plain, sliding_window=8)), 2, window, interleaved=True)
    yield "mistral3", Model("mistral3", t.Ministral3Config(**settings(
        yarn(1024, mscale=1.0, mscale_all_dim=0.5, beta_fast=16.0, beta_slow=1.0, llama_4_scaling_beta=0.1))), 2,
        yarn_keys | {"rope.scaling.original_context_length": 1024, "context_length": 4096, "rope.scaling.yarn_beta_fast": 16.0,
                     "rope.scaling.yarn_log_multiplier": 0.5, "attention.temperature_scale": 0.1}, interleaved=True)
    yield "qwen2", Model("qwen2", t.Qwen2Config(**settings(plain)), 2, {"rope.freq_base": 10000.0}, biases=True)
    yield "qwen2, yarn", Model("qwen2", t.Qwen2Config(**settings(yarn(256))), 2, yarn_keys, biases=True)
    yield "qwen3", Model("qwen3", t.Qwen3Config(**settings(plain | {"rope_theta": 1e6}, head_dim=32)), 2,
                         {"rope.freq_base": 1e6}, head_dim=32, head_norms=True)
    yield "gemma2", Model("gemma2", t.Gemma2Config(**settings(plain, layers=3, sliding_window=8, query_pre_attn_scalar=HEAD_DIM,
                                                              attn_logit_softcapping=2.0, final_logit_softcapping=5.0,
                                                              hidden_activation="gelu_pytorch_tanh")), 3,
                          window | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 5.0}, post_norms=True,
                          norm_offset=1.0)
    ropes = {"full_attention": {"rope_type": "linear", "rope_theta": 1e6, "factor": 8.0}, "sliding_attention": plain}
    yield "gemma3", Model("gemma3", t.Gemma3TextConfig(**settings(ropes, layers=7, sliding_window=8, query_pre_attn_scalar=HEAD_DIM,
                                                                  hidden_activation="gelu_pytorch_tanh")), 7,
                          window | {"rope.freq_base": 1e6, "rope.scaling.type": "linear", "rope.scaling.factor": 8.0},
                          head_norms=True, post_norms=True, norm_offset=1.0)
    yield "phi3, short", phi3(1024, 4096, 8)
    yield "phi3, long", phi3(32, 1024, 0)


def check_peer(name, model, ids, expected):
    """llama.cpp on the same file: its cache is f16, and it runs Mistral's and Phi-3's windows as full attention."""
    if f"{model.arch}.attention.sliding_window" in model.keys and model.arch in ("llama", "phi3"):
        return "not compared"
    with tempfile.TemporaryDirectory() as folder:
        model.write(f"{folder}/model.gguf")
        theirs = numpy.stack(Peer(f"{folder}/model.gguf", context=CONTEXT).logits(ids, list(range(len(ids)))))
    error = float(numpy.abs(theirs - expected).max() / numpy.abs(expected).max())
    if error > 0.02:
        raise SystemExit(f"{name}: llama.cpp's logits are off by {error:.4f} of the largest")
    return f"llama.cpp is off by {error:.5f} of the largest logit"


def main():
    torch.set_num_threads(1)
    generator = numpy.random.default_rng(4)
    out = []
    for name, model in models():
        ids = [int(i) for i in generator.integers(0, VOCABULARY, PROMPT)]
        logits = model.logits(ids)
        print(f"{name}: logits to {numpy.abs(logits).max():.2f}, {check_peer(name, model, ids, logits)}")
        out.append({"name": name, "keys": model.keys, "tensors": model.tensors, "ids": ids,
                    "logits": base64_text(logits.tobytes())})
    write_json(GOLDEN / "architectures.json", {"models": out})


if __name__ == "__main__":
    main()
