#!/usr/bin/env python3
"""Makes core/text/wordpiece_characters.h: what `tokenizers`' BertNormalizer and BertPreTokenizer do to each character.

    $(tools/python reference) tools/reference/characters.py

They stand on tables of Unicode 8 for categories, whatever the version of the rest; asking them about every code point is
exact where a newer library's tables would not be. The ranges become one table a question.
"""

from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

from common import REPOSITORY

OUT = REPOSITORY / "core" / "text" / "wordpiece_characters.h"
HEADER = """/* wordpiece_characters: what BERT's normaliser and pre-tokenizer do to characters, as ranges of first and last code point in
 * ascending order. Made by tools/reference/characters.py out of `tokenizers`, whose categories are those of Unicode 8. */
#ifndef BACKPLANE_TEXT_WORDPIECE_CHARACTERS_H
#define BACKPLANE_TEXT_WORDPIECE_CHARACTERS_H

#include <stdint.h>

typedef struct character_range {
    int32_t first, last;
} character_range;
"""


def normaliser(**chosen):
    settings = {"clean_text": False, "handle_chinese_chars": False, "strip_accents": False, "lowercase": False}
    return BertNormalizer(**{**settings, **chosen}).normalize_str


def ranges(points):
    out = []
    for point in points:
        if out and out[-1][1] == point - 1:
            out[-1][1] = point
        else:
            out.append([point, point])
    return out


def table(name, comment, points):
    lines, line = [], "   "
    for first, last in ranges(points):
        item = f" {{0x{first:X}, 0x{last:X}}},"
        if len(line) + len(item) > 124:
            lines.append(line)
            line = "   "
        line += item
    lines.append(line)
    return f"\n/* {comment} */\nstatic const character_range {name}[] = {{\n" + "\n".join(lines) + "\n};\n"


def main():
    points = [point for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    clean, strip, chinese = normaliser(clean_text=True), normaliser(strip_accents=True), normaliser(handle_chinese_chars=True)
    split = BertPreTokenizer().pre_tokenize_str

    def between(point):
        return "a" + chr(point) + "b"

    removed = [point for point in points if clean(between(point)) == "ab"]
    accents = [point for point in points if strip(between(point)) == "ab"]
    ideographs = [point for point in points if chinese(between(point)) == f"a {chr(point)} b"]
    spaces = [point for point in points if [word for word, _ in split(between(point))] == ["a", "b"]]
    marks = [point for point in points if [word for word, _ in split(between(point))] == ["a", chr(point), "b"]]
    with open(OUT, "w", encoding="ascii") as out:
        out.write(HEADER)
        out.write(table("removed_characters", "What cleaning removes: controls, formats, private use.", removed))
        out.write(table("space_characters", "What ends a word.", spaces))
        out.write(table("chinese_characters", "What becomes a word of its own before accents are stripped.", ideographs))
        out.write(table("accent_characters", "What is left out with accents.", accents))
        out.write(table("punctuation_characters", "What is a word of its own.", marks))
        out.write("\n#endif\n")
    print(f"{OUT.relative_to(REPOSITORY)}: {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
