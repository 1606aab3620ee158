"""Makes tests/golden/blocks.json: what `gguf` makes of blocks of every quantised type that backends run."""

import numpy
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

from common import GOLDEN, base64_text, write_json

# name: where a block's halves lie (d, then its minimum)
TYPES = {
    "Q8_0": (0, 1),
    "Q4_0": (0, 1),
    "Q4_1": (0, 2),
    "Q5_0": (0, 1),
    "Q5_1": (0, 2),
    "Q2_K": (80, 2),
    "Q3_K": (108, 1),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208, 1),
    "IQ4_NL": (0, 1),
    "MXFP4": (0, 0),
}


def blocks(random, size, halves_at, halves):
    """Random bytes; scales and minima are halves of every kind that is finite: normal, denormal, zero, negative.

    The first byte of MXFP4, an exponent, takes both ends of its range too."""
    count = 40 if size < 40 else 16
    data = random.integers(0, 256, (count, size), dtype=numpy.uint8)
    if halves == 0:
        data[:6, 0] = [0, 1, 2, 127, 254, 255]
        return data
    scales = random.normal(0, 1, (count, halves)).astype(numpy.float16)
    scales[:4] *= numpy.float16(2**-16)
    scales[4:6] = numpy.float16(-0.0)
    scales[6:8] = numpy.float16(65504)
    data[:, halves_at : halves_at + 2 * halves] = scales.view(numpy.uint8)
    return data


def main():
    random = numpy.random.default_rng(20)
    types = []
    for name, (halves_at, halves) in TYPES.items():
        number = GGMLQuantizationType[name]
        data = blocks(random, GGML_QUANT_SIZES[number][1], halves_at, halves)
        values = dequantize(data, number).astype("<f4")
        types.append({"type": name, "blocks": base64_text(data.tobytes()), "values": base64_text(values.tobytes())})
    write_json(GOLDEN / "blocks.json", {"types": types})


if __name__ == "__main__":
    main()
