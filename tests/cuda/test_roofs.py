"""docs/cuda-roofs.md is what tools/gpu-roofs prints, and its figures are those that others have come to."""

from conftest import ROOT, run


def test_the_page_is_what_the_tool_prints():
    assert run(ROOT / "tools" / "gpu-roofs").stdout == (ROOT / "docs" / "cuda-roofs.md").read_text()


def test_an_h200_has_the_bandwidth_for_so_many_tokens():
    page = (ROOT / "docs" / "cuda-roofs.md").read_text()
    rows = {line.split(" | ")[0].strip("| "): line.split(" | ")[3] for line in page.splitlines() if line.count("|") == 7 and "," in line}
    assert [rows[kind].split(", ")[1] for kind in ("BF16", "FP8", "4 bit (MXFP4)")] == ["320", "598", "1009"]
