#!/usr/bin/env python3
"""Makes tests/golden/tokens-*.jsonl: what Hugging Face `tokenizers` makes of a corpus of difficult strings; and
vocabulary-*.json: as much of a vocabulary as these strings can meet, so that the test does not need its model.

    $(tools/python reference) tools/reference/tokens.py

One line a case: {"bytes": base64 of the input, "ids": [...], "special": whether the spellings of special tokens are taken as
those tokens}. No beginning or end token is added. tests/golden/README.md says what each file holds and the rule for
invalid UTF-8.
"""

import json
import random
import unicodedata

from gguf import TokenType
from tokenizers import Tokenizer

from common import (GEMMA, GOLDEN, MINILM, QWEN, SMOLLM2, Vocabulary, base64_text, build_sentencepiece, build_tokenizer, encode,
                    fetch)

# file suffix, model of the vocabulary, pre-tokenizer
FILES = [
    ("smollm", SMOLLM2, "smollm"),
    ("gpt-2", SMOLLM2, "gpt-2"),
    ("llama-bpe", SMOLLM2, "llama-bpe"),
    ("qwen2", SMOLLM2, "qwen2"),
    ("tekken", QWEN, "tekken"),
    ("gpt-4o", QWEN, "gpt-4o"),
    ("qwen2.5-coder", QWEN, "qwen2"),
]

# Code points that no version of Unicode will assign, or that are unlikely to be assigned soon.
UNASSIGNED = [0x378, 0x530, 0xFDD0, 0xFFFE, 0xFFFF, 0x2FE0, 0x1FFFE, 0xE0080, 0x5FFFF, 0x9FFFE, 0x10FFFF]

WHITESPACE = [0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x1F, 0x20, 0x85, 0xA0, 0x1680, 0x180E, 0x2000, 0x2001, 0x2002,
              0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008, 0x2009, 0x200A, 0x200B, 0x2028, 0x2029, 0x202F, 0x205F, 0x2060,
              0x3000, 0xFEFF]

PROSE = [
    "", " ", "a", "Hello, world!", "Hello world", " Hello world ", "The quick brown fox jumps over the lazy dog.",
    "Once upon a time, there was a little girl named Lily.", "It was the best of times, it was the worst of times...",
    "don't stop-me now; it's (really) \"fine\" — isn't it?", "WHAT?! No... Yes!!! ;-) :-D", "e.g. i.e. etc. U.S.A. Ph.D.",
    "snake_case camelCase PascalCase SCREAMING_SNAKE kebab-case dot.case", "supercalifragilisticexpialidocious" * 3,
    "https://example.com/a/b?c=d&e=f#g user@example.com /usr/local/bin C:\\Windows\\System32", "a" * 300, "ab" * 100, "=" * 130,
    "-" * 79, "#" * 7, "." * 33, "!?" * 20, "\x00", "a\x00b", "\x00\x00\x00", "\x01\x02\x03\x04\x05\x06\x07\x08",
    "\x7f\x80\x9f", "\x1b[31mred\x1b[0m", "naïve café résumé Zürich Ærøskøbing", "İstanbul ıI ßẞ ﬁ ﬂ ǅ",
]

CODE = [
    "def f(x):\n    return x + 1\n", "def fib(n):\n\tif n < 2:\n\t\treturn n\n\treturn fib(n-1) + fib(n-2)\n",
    "#include <stdio.h>\nint main(void) { printf(\"%d\\n\", 42); return 0; }\n",
    "for (int i = 0; i < n; i++) {\n        a[i] = b[i] * c;\n    }\n\n\n", "SELECT * FROM t WHERE a >= 10 AND b != 'x';",
    "{\"a\": [1, 2, {\"b\": null}], \"c\": \"\\u00e9\"}", "<div class=\"x\">\r\n  <p>Hi &amp; bye</p>\r\n</div>\r\n",
    "let x = a?.b ?? c === d ? `t${e}` : /r\\d+/g;", "fn main() -> Result<(), Box<dyn Error>> { Ok(()) }",
    "if [ \"$x\" != 1 ]; then echo ${y:-z} | sed 's/a/b/g'; fi", "x = lambda a,b: a**b // 2 % 7 ^ ~1 | 3 & 5 << 2 >> 1",
    "\\begin{equation} \\frac{1}{2} \\sum_{i=0}^{n} x_i^2 \\end{equation}", "0x1F 0b1010 1e-9 3.14f 1_000_000 0o777",
    "    " * 8 + "deep", "\t" * 9 + "tabs", " \t \t mixed", "a\n\nb\n\n\nc\n\n\n\nd", "a\r\nb\rc\n\rd", "\n \n  \n   x",
    "x \n y \n\n z  \n", "  leading", "trailing  ", "trailing newline\n", "trailing mix \n\t ", "a  b   c    d     e",
]

NUMBERS = [
    "0", "7", "42", "123", "1234", "12345", "1234567890", "3.14159", "-273.15", "1,000,000", "2024-11-24T16:10:00Z", "1/2 ½ ¾ ⅐",
    "10^6 x² x³ H₂O", "①②③ ⑳ ㊿", "Ⅳ Ⅻ ⅷ", "١٢٣٤٥ ۱۲۳ १२३ ๑๒๓ ༡༢", "１２３４５", "𝟘𝟙𝟚 𝟏𝟐𝟑", "一二三四五 壱弐参", "v1.2.3-rc4", "abc123def456",
    "123abc", "$1,234.56 €99 £5 ¥100", "100%", " 1 2 3", "1 000 000", "99999999999999999999999", "1st 2nd 3rd", "٣٫١٤", "৳৷ 𐄇 𒐀 〇",
]

SCRIPTS = [
    "你好，世界！", "今天天气很好，我们去公园散步吧。", "人工智能正在改变世界", "繁體中文測試：臺灣、香港", "中文 English 混合 text 123 测试", "𠀀𠮷𩸽 rare han",
    "こんにちは、世界。", "東京は日本の首都です。カタカナとひらがな", "ﾊﾝｶｸ ｶﾀｶﾅ", "おはようございます！！元気？", "안녕하세요 세계", "대한민국의 수도는 서울입니다.",
    "\u1112\u1161\u11ab\u1100\u1173\u11af", "مرحبا بالعالم", "السَّلامُ عَلَيْكُم", "العربية ١٢٣ English", "שלום עולם", "בְּרֵאשִׁית",
    "नमस्ते दुनिया", "क्षत्रिय ज्ञान श्री", "हिन्दी में लिखा हुआ पाठ।", "สวัสดีชาวโลก", "ภาษาไทยไม่มีวรรคระหว่างคำ", "বাংলা ভাষা", "தமிழ் மொழி",
    "తెలుగు", "ಕನ್ನಡ", "മലയാളം", "ਪੰਜਾਬੀ", "ગુજરાતી", "සිංහල", "မြန်မာဘာသာ", "ភាសាខ្មែរ", "ລາວ", "བོད་སྐད་", "ქართული ენა",
    "Հայերեն լեզու", "Привет, мир! Как дела?", "Ελληνικά: Καλημέρα κόσμε", "Українська мова ґєії", "አማርኛ", "ᏣᎳᎩ", "ᐃᓄᒃᑎᑐᑦ", "ᠮᠣᠩᠭᠣᠯ",
    "𐌲𐌿𐍄𐌹𐍃𐌺", "𒀀𒁀𒂀 𓀀𓁀", "Tiếng Việt có dấu: ế ộ ữ", "Türkçe: ğüşöçıİ", "Polski: zażółć gęślą jaźń", "Īñtërnâtiônàlizætiøn",
]

COMPOSITION = [
    "e\u0301", "é e\u0301 E\u0301", "a\u0323\u0302 ậ", "\u212b Å A\u030a", "\u0958 क\u093c", "n\u0303o\u0303", "\u0301", " \u0301a",
    "x\u0301\u0302\u0303\u0304\u0305", "\uac00 \u1100\u1161 \u1100\u1161\u11a8", "ﬁ ﷺ ㎏ Ⅷ", "\u2126 \u1f71 \u0340", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞a̴̵̞l̷g̶o̸",
]

EMOJI = [
    "😀", "😀😃😄😁", "hello 👋 world 🌍!", "👍🏽 👍🏿", "👨‍👩‍👧‍👦", "👩🏻‍💻🧑🏾‍🚀", "🏳️‍🌈 🏴‍☠️", "🇩🇪🇯🇵🇺🇳", "❤️ ❤ ☺️ ☺︎", "1️⃣#️⃣*️⃣", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
    "🫠🫡🥹", "a😀b", "😀a", "  😀  ", "→←↑↓ ⇒ ∀∃∈ ∞ ≠ ≤", "♠♥♦♣ ★☆ ✓✗", "┌─┐│└┘ ░▒▓█", "♔♕♖ 🀄🃏", "🎉" * 25,
]

SPECIAL = [
    "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<|im_start|>user\nHi<|im_end|>\n", "a<|im_end|>b", " <|im_end|> ", "<|im_end|><|im_end|>",
    "<|im_start|>system\nYou are helpful.<|im_end|>\n<|im_start|>user\nWhat is 1+1?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_end|", "|im_end|>", "<<|im_end|>>", "<|im_END|>", "< |im_end|>", "<|im_end|>\n\n", "\n<|im_end|>", "é<|im_end|>\u0301",
    "<repo_name>x<file_sep>y.py\n<gh_stars>5", "<issue_start><issue_comment>text<issue_closed>", "<jupyter_code>print(1)<jupyter_output>1",
    "<empty_output>", "<|fim_prefix|>def f():<|fim_suffix|>    return x<|fim_middle|>", "<tool_call>\n{\"name\": \"f\"}\n</tool_call>",
    "<tool_call></tool_call><|im_end|>", "[PAD151665]", "<|file_sep|><|repo_name|>", "don't<|im_end|>'s", "12<|im_end|>34",
    "你好<|im_start|>世界", "<|endoftext|><|endoftext|> x",
]

INVALID = [
    b"\x80", b"\xbf", b"\xff", b"\xfe\xff", b"abc\x80def", b"\xc0\xaf", b"\xc1\xbf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xe0\x9f\xbf",
    b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80", b"\xc3", b"\xe4\xbd", b"\xf0\x9f\x98", b"\xf0\x9f", b"a\xc3", b"\xc3a", b"\xe4\xbda", b"\xf0\x9f\x98a", b"\xf0\x9fa\x98",
    b"\xe4\xbd\xe4\xbd\xa0", b"\xf0\x9f\xf0\x9f\x98\x80", b"\xe4\xbd\xa0\x80", b" \x80 \x80 ", b"\x80\x80\x80\x80", b"hello \xff world\xff",
    b"caf\xe9 na\xefve", b"\x93smart quotes\x94", b"\xef\xbb\xbfBOM", b"\xef\xbf\xbd", b"1\x802", b"don\x80't", b"\n\x80\n", b"<|im_end|>\x80",
    b"<|im\x80_end|>", b"\xf1\x80\x80", b"\xf4\x8f\xbf", b"\xf4\x8f\xbf\xbf\xbf", b"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", b"\xe2\x28\xa1", b"\xa0\xa1",
]


# What only WordPiece has something to say about.
WORDPIECE = [
    "[CLS]", "[SEP]", "[MASK]", "[UNK]", "[PAD]", "[CLS] hello world [SEP]", "a[SEP]b", "[cls]", "[CLS", "CLS]", "[MASK]ing", "[unused7]",
    "unaffable", "UNAFFABLE Unaffable", "a" * 99, "a" * 100, "a" * 101, "é" * 100, "é" * 101, "一" * 150, "x" * 70 + "一" + "y" * 70,
    "embeddings embedding embed", "##ing ing ##", "## # #", "can't won't", "co-operate", "İİ", "ÅÅÅ", "ﬀ ﬁ", "ß SS ẞ", "ΑΣ ΣΑΣ",
    "a\u00adb", "a\u200bb", "a\ufeffb", "a\u00a0b", "a\u2028b", "a\u0085b", "a\x0bb\x0cc", "\ue000x\U000f0000", "a\ufffdb",
    "\u037e \u1fef \u2000", "\U0002b820\U0002b91f\U0002b920", "\uf900\u2f00\u3007", "\u1734a\u0898b\U00011938c", "\u302e\u302f",
    "ｈｅｌｌｏ　ＷＯＲＬＤ！", "𝐡𝐞𝐥𝐥𝐨", "\u1c89\ua7cb\ua7dc\U00010d50\U00016ea0", "\u0130\u0131", "hello\tworld\r\nagain", "₹€$", "a_b", "\u2e43\u1fff",
]


def by_category():
    """Characters of every general category: alone, between letters and digits, doubled after a space."""
    members = {}
    for point in range(0x110000):
        if not 0xD800 <= point < 0xE000:
            members.setdefault(unicodedata.category(chr(point)), []).append(point)
    members["Cn"] = UNASSIGNED
    for category in sorted(members):
        points = members[category]
        # Evenly over the category, so that every plane it reaches is met.
        chosen = [points[i * (len(points) - 1) // 7] for i in range(8)] if len(points) > 8 else points
        for i, point in enumerate(chosen):
            c = chr(point)
            yield [c, f"a{c}b", f"1{c}2", f" {c}{c} x"][i % 4]
        yield " ".join(map(chr, chosen))
        yield "".join(map(chr, chosen)) + "z"


def whitespace():
    for point in WHITESPACE:
        c = chr(point)
        yield f"a{c}b"
        yield f"a{c * 3}b{c}"
    for c in " \n\t\r\u00a0\u3000":
        for count in (2, 7, 64, 300):
            yield c * count
            yield f"x{c * count}y"
    for c, d in ((" ", "\n"), ("\n", " "), ("\t", " "), ("\r\n", " "), ("\u3000", "\n"), (" ", "\u2028")):
        yield f"x{c * 3}{d * 2}y"
        yield f"x{c}{d}{c}{d}1"


def contractions():
    for suffix in ("s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "vE", "M", "LL", "Ll", "D", "x", "sx", "\u017f", "\u212a"):
        yield f"it'{suffix}"
        yield f"I'{suffix} '{suffix} 1'{suffix}, \u2019{suffix}"
    yield "''s '''t 'a' 's's"


def mixtures():
    """Random strings over pieces of all the others; the seed is fixed."""
    generator = random.Random(20)
    pieces = PROSE[3:8] + CODE[:6] + NUMBERS + SCRIPTS + COMPOSITION + EMOJI + [chr(point) for point in WHITESPACE] + ["'s", "'LL", " "] * 5
    for _ in range(80):
        yield "".join(generator.choice(pieces) for _ in range(generator.randint(2, 7)))


def corpus():
    """Every case as (bytes, special), each once."""
    texts = [*PROSE, *CODE, *NUMBERS, *SCRIPTS, *COMPOSITION, *EMOJI, *whitespace(), *contractions(), *by_category(), *mixtures()]
    cases = [(text.encode(), False) for text in texts] + [(data, False) for data in INVALID]
    for text in SPECIAL:
        cases += [(text.encode(), False), (text.encode(), True)]
    cases += [(data, True) for data in INVALID if b"<|" in data]
    return list(dict.fromkeys(cases))


def wordpiece_corpus():
    texts = [(text.encode(), special) for text in WORDPIECE for special in ((False, True) if "[" in text else (False,))]
    return list(dict.fromkeys([*corpus(), *texts]))


def byte_alphabet():
    """GPT-2's character of each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    return {**{byte: chr(byte) for byte in plain}, **{byte: chr(0x100 + i) for i, byte in enumerate(others)}}


def write_cut_down(vocabulary, cases, path):
    """The bytes, the special tokens, every piece that occurs in a case as it is or normalised, and the merges that make these.

    A merge can only ever apply where its result occurs, so what is left out changes no case.
    """
    alphabet = byte_alphabet()
    texts = {data.decode("utf-8", errors="replace") for data, _ in cases}
    texts |= {unicodedata.normalize("NFC", text) for text in texts}
    spelled = "\n".join("".join(alphabet[byte] for byte in text.encode()) for text in texts)
    kept = [i for i, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.types))
            if kind != TokenType.NORMAL or len(token) == 1 or token in spelled]
    pieces = {vocabulary.tokens[i] for i in kept}
    rows = [[i, int(vocabulary.types[i]), vocabulary.tokens[i]] for i in kept]
    merges = [f"{left} {right}" for left, right in vocabulary.merges if left + right in pieces]
    write_vocabulary(path, {"count": len(vocabulary.tokens), "pieces": rows, "merges": merges})


def write_vocabulary(path, vocabulary):
    with open(path, "w", encoding="utf-8") as out:
        json.dump(vocabulary, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")
    print(f"{path.name}: {len(vocabulary['pieces'])} pieces, {len(vocabulary['merges'])} merges, {path.stat().st_size} bytes")


def write_cut_down_wordpiece(tokenizer, cases, path):
    """The special tokens, and every piece that occurs in a normalised case, spelled as GGUF does: "##ing" is "ing", and what
    begins a word has U+2581 before it."""
    texts = "\n".join({tokenizer.normalizer.normalize_str(data.decode("utf-8", errors="replace")) for data, _ in cases})
    added = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    rows = []
    for piece, i in sorted(tokenizer.get_vocab().items(), key=lambda item: item[1]):
        bare = piece.removeprefix("##") if len(piece) > 2 else piece
        if piece in added:
            rows.append([i, int(TokenType.CONTROL), piece])
        elif bare in texts:
            rows.append([i, int(TokenType.NORMAL), bare if bare != piece else "\u2581" + piece])
    write_vocabulary(path, {"count": tokenizer.get_vocab_size(), "pieces": rows, "merges": []})


class SmallSentencePiece:
    """A vocabulary of few pieces, without bytes, so that other characters are unknown, and without user-defined tokens."""

    def __init__(self, gemma):
        pieces = [(token, score) for token, kind, score in zip(gemma.tokens, gemma.types, gemma.scores)
                  if kind == TokenType.NORMAL and all(ord(c) < 0x100 or c == "\u2581" for c in token)]
        chosen = [(t, s) for t, s in pieces if len(t) > 1][:2500] + [(t, s) for t, s in pieces if len(t) == 1]
        rows = [("<unk>", TokenType.UNKNOWN, 0.0), ("<s>", TokenType.CONTROL, 0.0), ("</s>", TokenType.CONTROL, 0.0),
                ("<|im_end|>", TokenType.CONTROL, 0.0), ("<|im_start|>", TokenType.CONTROL, 0.0)]
        rows += [(token, TokenType.NORMAL, score) for token, score in chosen]
        self.tokens, self.types, self.scores = map(list, zip(*rows))

    of_type = Vocabulary.of_type


def write_sentencepiece(vocabulary, cases, path):
    """Every piece that occurs in a case, with a space before it and before what follows a special token, and the tokens that are
    not normal but Gemma's thousands of unused ones."""
    texts = " " + "\n ".join(data.decode("utf-8", errors="replace") for data, _ in cases)
    texts = (texts + texts.replace("|>", "|> ")).replace(" ", "\u2581")
    rows = [[i, int(kind), token, score]
            for i, (token, kind, score) in enumerate(zip(vocabulary.tokens, vocabulary.types, vocabulary.scores))
            if token in texts or (kind != TokenType.NORMAL and not token.startswith("<unused"))]
    write_vocabulary(path, {"count": len(vocabulary.tokens), "pieces": rows, "merges": []})


def write_tokens(tokenizer, cases, path):
    with open(path, "w", encoding="ascii") as out:
        for data, special in cases:
            ids = encode(tokenizer, data.decode("utf-8", errors="replace"), special)
            out.write(json.dumps({"bytes": base64_text(data), "ids": ids, "special": special}, separators=(",", ":")) + "\n")
    print(f"{path.name}: {len(cases)} cases, {path.stat().st_size} bytes")


def main():
    cases = corpus()
    vocabularies = {}
    for suffix, model, pre_tokenizer in FILES:
        if model not in vocabularies:
            vocabularies[model] = Vocabulary(fetch(model))
        tokenizer = build_tokenizer(vocabularies[model], pre_tokenizer)
        write_tokens(tokenizer, cases, GOLDEN / f"tokens-{suffix}.jsonl")
    write_cut_down(vocabularies[QWEN], cases, GOLDEN / "vocabulary-qwen2.5-coder.json")
    gemma = Vocabulary(fetch(GEMMA))
    for name, vocabulary, space_prefix in ("gemma3", gemma, False), ("sentencepiece", SmallSentencePiece(gemma), True):
        write_tokens(build_sentencepiece(vocabulary, space_prefix), cases, GOLDEN / f"tokens-{name}.jsonl")
        write_sentencepiece(vocabulary, cases, GOLDEN / f"vocabulary-{name}.json")
    cases = wordpiece_corpus()
    tokenizer = Tokenizer.from_file(str(fetch(MINILM) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    write_tokens(tokenizer, cases, GOLDEN / "tokens-minilm.jsonl")
    write_cut_down_wordpiece(tokenizer, cases, GOLDEN / "vocabulary-minilm.json")


if __name__ == "__main__":
    main()
