"""tools/ptxas: no kernel spills registers, and the tool would say so if one did."""

from conftest import BUILD, REAL, ROOT, run

LOG = """ptxas info    : Compiling entry function '_Z6attend14attention_args' for 'sm_90'
ptxas info    : Function properties for _Z6attend14attention_args
    {stack} bytes stack frame, {stores} bytes spill stores, {loads} bytes spill loads
ptxas info    : Used 40 registers, used 1 barriers, 2048 bytes smem
"""


def check(folder, code, **numbers):
    (folder / "plugins" / "cuda").mkdir(parents=True, exist_ok=True)
    (folder / "plugins" / "cuda" / "a.o.log").write_text(LOG.format(**numbers))
    return run(ROOT / "tools" / "ptxas", folder, "--check", code=code)


def test_a_spill_is_found(tmp_path):
    said = check(tmp_path, 1, stack=16, stores=12, loads=8)
    assert "attend for sm_90 uses the stack: 16 bytes, 12 of spill stores and 8 of loads" in said.stderr


def test_a_clean_kernel_is_described(tmp_path):
    said = check(tmp_path, 0, stack=0, stores=0, loads=0)
    assert said.stdout.splitlines()[1].split() == ["attend", "90", "40", "2048", "0", "0", "0"]


def test_a_page_has_a_row_a_kernel_and_a_column_an_architecture(tmp_path):
    check(tmp_path, 0, stack=0, stores=0, loads=0)
    log = tmp_path / "plugins" / "cuda" / "a.o.log"
    log.write_text(log.read_text() + log.read_text().replace("sm_90", "sm_120").replace("40 registers", "41 registers"))
    said = run(ROOT / "tools" / "ptxas", tmp_path, "--markdown").stdout
    assert "| kernel | 90 | 120 | shared, bytes |" in said and "| `attend` | 40 | 41 | 2048 |" in said


def test_a_build_without_cuda_is_a_sentence(tmp_path):
    assert "no plugins/cuda" in run(ROOT / "tools" / "ptxas", tmp_path, code=1).stderr


if REAL.exists():  # nvcc has built it
    def test_no_kernel_of_the_build_spills():
        said = run(ROOT / "tools" / "ptxas", BUILD, "--check").stdout
        assert said.count("matmul_blocks<") >= 12 and said.count("attend<") >= 16
