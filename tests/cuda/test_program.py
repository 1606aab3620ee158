"""The CUDA backend behind the program: one word of the configuration, and a machine that has no GPU."""

from conftest import IDLE, backplane


def config(folder, model, backend):
    path = folder / f"{backend}.yaml"
    path.write_text("backends:\n  cpu: { plugin: cpu }\n  emulated: { plugin: cuda-emulated, threads: 2, order: 7 }\n  cuda: { plugin: cuda }\n"
                    "  lost: { plugin: cuda-emulated, threads: 2, fail_at: 700 }\n"
                    f"models:\n  small: {{ file: {model}, backend: {backend}, context: 256, temperature: 0 }}\n")
    return path


def answer(folder, model, backend):
    return backplane("chat", "--config", config(folder, model, backend), "small", "-n", "8", "-p", "Name a colour.").stdout


def test_one_word_of_the_configuration_changes_the_backend_and_not_the_answer(tmp_path, smollm2):
    here = answer(tmp_path, smollm2, "cpu")
    assert here.strip() and answer(tmp_path, smollm2, "emulated") == here


def test_a_lost_device_is_a_sentence(tmp_path, smollm2):
    said = backplane("chat", "--config", config(tmp_path, smollm2, "lost"), "small", "-n", "8", "-p", "Name a colour.", code=1).stderr
    assert "the device is lost" in said


if IDLE:
    def test_a_machine_without_a_gpu_serves_the_rest(tmp_path, smollm2):
        said = backplane("plugins").stdout
        assert "no device: cuda: no CUDA device" in said and "device cpu (" in said
        said = backplane("chat", "--config", config(tmp_path, smollm2, "cuda"), "small", "-p", "Hello", code=1).stderr
        assert "no CUDA device" in said and "backend: cpu" in said
        answer(tmp_path, smollm2, "cpu")
