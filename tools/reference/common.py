"""What the makers of golden files share: where models and golden files are, and the text side of a GGUF file."""

import base64
import json
import pathlib
import subprocess

from gguf import GGUFReader, TokenType
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"

SMOLLM2 = "smollm2"
QWEN = "qwen2.5-coder"
MINILM = "minilm"
GEMMA = "gemma3"


def fetch(name):
    """The path of a model of tools/fetch."""
    done = subprocess.run([REPOSITORY / "tools" / "fetch", name], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(done.stdout.strip())


def peer():
    """The folder that tools/peer built llama.cpp in."""
    done = subprocess.run([REPOSITORY / "tools" / "peer"], stdout=subprocess.PIPE, text=True, check=True)
    return pathlib.Path(done.stdout.strip())


class Vocabulary:
    """The BPE vocabulary of a GGUF file: its merges, or SentencePiece's scores."""

    def __init__(self, path):
        fields = GGUFReader(path).fields
        self.tokens = fields["tokenizer.ggml.tokens"].contents()
        self.types = fields["tokenizer.ggml.token_type"].contents()
        if "tokenizer.ggml.scores" in fields:
            self.scores = fields["tokenizer.ggml.scores"].contents()
        else:
            self.merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
        self.template = fields["tokenizer.chat_template"].contents() if "tokenizer.chat_template" in fields else None

    def of_type(self, kind):
        return [token for token, its in zip(self.tokens, self.types) if its == kind]


# The definitions are those of the tokenizer.json files of the models the names come from.
LLAMA3_SPLIT = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
                r"|\s*[\r\n]+|\s+(?!\S)|\s+")
CASED_WORDS = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+END"
               r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*END|NUMBER"
               r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")
TEKKEN_SPLIT = CASED_WORDS.replace("END", "").replace("NUMBER", r"\p{N}")
GPT4O_SPLIT = CASED_WORDS.replace("END", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("NUMBER", r"\p{N}{1,3}")
QWEN2_SPLIT = LLAMA3_SPLIT.replace(r"\p{N}{1,3}", r"\p{N}")


def split_then_bytes(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


PRE_TOKENIZERS = {
    "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True),
                                               pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]),
    "gpt-2": lambda: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    "llama-bpe": lambda: split_then_bytes(LLAMA3_SPLIT),
    "qwen2": lambda: split_then_bytes(QWEN2_SPLIT),
    "tekken": lambda: split_then_bytes(TEKKEN_SPLIT),
    "gpt-4o": lambda: split_then_bytes(GPT4O_SPLIT),
}


def build_tokenizer(vocabulary, pre_tokenizer):
    """A Hugging Face tokenizer with a GGUF's vocabulary and merges, and a pre-tokenizer by its GGUF name.

    Llama 3 and Tekken take a whole pre-token that is in the vocabulary without merging; Qwen2 normalises text to NFC. Both belong to
    the definition that the name stands for.
    """
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary.tokens)},
                                     merges=vocabulary.merges, ignore_merges=pre_tokenizer in ("llama-bpe", "tekken")))
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[pre_tokenizer]()
    tokenizer.decoder = decoders.ByteLevel()
    if pre_tokenizer == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    return add_tokens(tokenizer, vocabulary)


def scored_merges(vocabulary):
    """SentencePiece's merges: every way to make a piece out of two, the pieces of higher scores first."""
    scores = {token: score for token, kind, score in zip(vocabulary.tokens, vocabulary.types, vocabulary.scores)
              if kind in (TokenType.NORMAL, TokenType.USER_DEFINED)}
    merges = []
    for piece, score in scores.items():
        for i in range(1, len(piece)):
            if piece[:i] in scores and piece[i:] in scores:
                merges.append((-score, i, piece[:i], piece[i:]))
    merges.sort(key=lambda merge: merge[:2])
    return [merge[2:] for merge in merges]


def build_sentencepiece(vocabulary, space_prefix):
    """As the tokenizer.json files of Gemma and Llama 2 define SentencePiece's BPE: nothing is split; a character that is no piece
    becomes its bytes, or unknown tokens of which a run is one. The prefix comes before every stretch between special tokens."""
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(vocabulary.tokens)},
                                     merges=scored_merges(vocabulary), unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    steps = [normalizers.Prepend("\u2581")] if space_prefix else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", "\u2581")])
    return add_tokens(tokenizer, vocabulary)


def add_tokens(tokenizer, vocabulary):
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True)
                                  for token in vocabulary.of_type(TokenType.CONTROL)])
    tokenizer.add_tokens([AddedToken(token, normalized=False, special=False)
                          for token in vocabulary.of_type(TokenType.USER_DEFINED)])
    if tokenizer.get_vocab_size() != len(vocabulary.tokens):
        raise SystemExit("the added tokens are not all part of the vocabulary")
    return tokenizer


def encode(tokenizer, text, special):
    """Token ids, with the spellings of special tokens taken as those tokens or as plain text."""
    tokenizer.encode_special_tokens = not special
    return tokenizer.encode(text, add_special_tokens=False).ids


def base64_text(data):
    return base64.b64encode(data).decode("ascii")


def write_json(path, value):
    """One JSON value, a line for each element of a top-level list or for each key of a top-level object's lists."""
    def line(element):
        return json.dumps(element, ensure_ascii=False, separators=(",", ":"))

    parts = []
    for key, element in value.items():
        if isinstance(element, list) and element and isinstance(element[0], dict):
            parts.append(f"{line(key)}:[\n" + ",\n".join(line(item) for item in element) + "\n]")
        else:
            parts.append(f"{line(key)}:{line(element)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
    print(f"{path.relative_to(REPOSITORY)}: {path.stat().st_size} bytes")
