"""tools/gpu-check, as far as a machine without a GPU can see: on the emulated plugin, and where there is no device."""

from conftest import BUILD, EMULATED, IDLE, REAL, ROOT, run

CHECK = ROOT / "tools" / "gpu-check"


def check(folder, plugin, part, code=0):
    report = folder / "report.md"
    said = run(CHECK, "--build", BUILD, "--plugin", plugin, "--report", report, "--only", part, code=code)
    return said, report.read_text() if report.exists() else ""


def test_a_report_of_the_emulated_plugin(tmp_path):
    _, report = check(tmp_path, EMULATED, "sanitizer")
    assert "cuda-emulated.so" in report and "device: good" in report and "All of it was good." in report


def test_a_plugin_that_computes_something_else_fails(tmp_path):
    broken = tmp_path / "outside.so"
    run("cc", "-std=c11", "-shared", "-fPIC", "-I", ROOT / "core" / "include", ROOT / "docs" / "example" / "outside.c", "-o", broken)
    _, report = check(tmp_path, broken, "nets", code=1)
    assert "device: FAILED" in report


def test_a_plugin_that_is_not_there(tmp_path):
    said, _ = check(tmp_path, tmp_path / "none.so", "nets", code=1)
    assert "docs/cuda.md" in said.stderr


if IDLE:
    def test_a_machine_without_a_gpu_is_told_so(tmp_path):
        said, report = check(tmp_path, REAL, "nets", code=1)
        assert "the report says why" in said.stderr and "no CUDA device" in report
