"""`numerics: stable`: BF16 goes through tensor cores, in an order of their own. Under emulation that order is known."""

import sys

from conftest import BUILD, EMULATED, ROOT, run

sys.path.insert(0, str(ROOT / "tests" / "proof"))
import page  # noqa: E402


def test_bf16_is_chains_of_256(tmp_path, monkeypatch):
    """docs/numerics.md's F32 order on narrowed activations: what matmul_bf16.cu and the emulated instruction make together."""
    ordered = page.product

    def product(w, x):
        return page.chains(w, page.to_bf16(x)) if w.dtype == page.BF16 else ordered(w, x)

    run(BUILD / "bin" / "proof", EMULATED, "--stable", "--only", "net/bf16", "--dump", tmp_path)
    description, weights, expected = page.read_net(tmp_path, "bf16")
    description["tokens"] = description["tokens"][:12]
    assert (page.bits_of(page.Net(description, weights).run()) != page.bits_of(expected[:12])).any()
    monkeypatch.setattr(page, "product", product)
    assert (page.bits_of(page.Net(description, weights).run()) == page.bits_of(expected[:12])).all()


def test_what_is_quantised_has_the_same_bits_in_both_tiers():
    for net in ("q8_0", "q4_k", "mxfp4", "cache-q8_0"):
        portable, stable = (run(BUILD / "bin" / "proof", EMULATED, *tier, "--hash", f"net/{net}").stdout for tier in ((), ("--stable",)))
        assert portable == stable
