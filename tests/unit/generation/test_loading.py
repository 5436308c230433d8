"""Loading: KoGPT's layouts load, and whatever is wrong with a checkpoint is one line."""

import json
import pickle
import shutil

import pytest
import structlog
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from kogpt_bot.errors import EXIT_CONFIGURATION, ModelError
from kogpt_bot.generation import checkpoint, limits, placement
from kogpt_bot.generation.kv_store import CacheDtype
from kogpt_bot.generation.linear import Quantization
from kogpt_bot.generation.loading import LoadOptions, load
from kogpt_bot.generation.model import Shape
from tests.fakes.steps import run


@pytest.fixture
def folder(checkpoints, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(checkpoints["small"], copy)
    return copy


def loaded(folder, **options):
    return load(LoadOptions(model=str(folder), **({"device": "cpu", "dtype": "float32"} | options)))


def refused(folder, **options):
    with pytest.raises(ModelError) as error:
        loaded(folder, **options)
    assert "\n" not in str(error.value)
    assert error.value.exit_code == EXIT_CONFIGURATION
    return str(error.value)


def same(one, other):
    ids = list(range(5, 45))
    assert torch.equal(run(one.model, ids), run(other.model, ids))


def test_a_bin_file_as_kogpt_has_it(folder):
    safe = loaded(folder)
    tensors = load_file(folder / "model.safetensors")
    # Old checkpoints hold these buffers too.
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 8, 8)
    tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e9)
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    same(safe, loaded(folder))


@pytest.mark.parametrize("kind", ["safetensors", "bin"])
def test_shards_with_an_index(folder, kind):
    safe = loaded(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    base, ending = ("model", "safetensors") if kind == "safetensors" else ("pytorch_model", "bin")
    where = {}
    for number, part in enumerate((names[::2], names[1::2])):
        name = f"{base}-{number}.{ending}"
        content = {each: tensors[each] for each in part}
        save_file(content, folder / name) if kind == "safetensors" else torch.save(
            content, folder / name
        )
        where |= dict.fromkeys(part, name)
    (folder / f"{base}.{ending}.index.json").write_text(json.dumps({"weight_map": where}))
    same(safe, loaded(folder))
    (folder / f"{base}-1.{ending}").unlink()
    assert "missing" in refused(folder)


def test_a_half_precision_checkpoint_in_each_precision(folder):
    tensors = {k: v.half() for k, v in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text()) | {"dtype": "float16"}
    (folder / "config.json").write_text(json.dumps(config))
    for dtype in ("float32", "bfloat16"):
        assert loaded(folder, dtype=dtype).info.dtype == dtype
    assert loaded(folder, dtype="float16").info.dtype == "float16"
    assert loaded(folder, dtype="auto").info.dtype == "float32"  # it is small


def test_special_tokens_of_kogpt(folder):
    found = loaded(folder)
    assert found.info.eos_token_id == 1
    assert found.tokenizer.encode("[EOS]").ids == [1]
    tokens = json.loads(found.tokenizer_json)["added_tokens"]
    assert {each["content"] for each in tokens} >= {"[BOS]", "[EOS]", "[UNK]", "[PAD]", "[MASK]"}


def test_kogpt_is_asked_for_at_its_half_precision_revision(monkeypatch, tmp_path):
    asked = []

    def download(model, *, revision, allow_patterns, tqdm_class):
        asked.append((model, revision))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert checkpoint.find_folder("kakaobrain/kogpt", None)[1] == "KoGPT6B-ryan1.5b-float16"
    checkpoint.find_folder("kakaobrain/kogpt", "KoGPT6B-ryan1.5b")
    checkpoint.find_folder("someone/gptj", None)
    assert asked == [
        ("kakaobrain/kogpt", "KoGPT6B-ryan1.5b-float16"),
        ("kakaobrain/kogpt", "KoGPT6B-ryan1.5b"),
        ("someone/gptj", "main"),
    ]


def test_a_download_that_fails_is_said(monkeypatch):
    def fail(*_arguments, **_options):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fail)
    with pytest.raises(ModelError, match=r"Network is unreachable.*what was downloaded is kept"):
        checkpoint.find_folder("kakaobrain/kogpt", None)


@pytest.mark.parametrize("name", ["/no/such/folder", "./nothing", "kogpt", "a/b/c"])
def test_a_folder_that_is_not_there(name):
    with pytest.raises(ModelError, match="no such folder; allowed: mini, a local folder"):
        checkpoint.find_folder(name, None)


def drop(name):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        del tensors[name]
        save_file(tensors, folder / "model.safetensors")

    return change


def put(name, make):
    def change(folder):
        tensors = load_file(folder / "model.safetensors")
        tensors[name] = make(tensors.get(name))
        save_file(tensors, folder / "model.safetensors")

    return change


def cut(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def replace_weights(content):
    def change(folder):
        (folder / "model.safetensors").unlink()
        (folder / "pytorch_model.bin").write_bytes(content)

    return change


class Evil:
    def __reduce__(self):
        return (print, ("code ran",))


def set_config(**fields):
    def change(folder):
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return change


FC_IN = "transformer.h.1.mlp.fc_in.weight"
BROKEN = [
    (lambda f: (f / "config.json").unlink(), "config.json: missing"),
    (lambda f: (f / "config.json").write_text("{"), "not JSON"),
    (set_config(model_type="llama"), "'llama'; allowed: 'gptj'"),
    (set_config(activation_function="relu"), "activation_function"),
    (set_config(vocab_size=400), "the tokenizer has 465 tokens"),
    (set_config(n_embd=128), "do not belong together"),
    (lambda f: (f / "model.safetensors").unlink(), "no weights"),
    (lambda f: (f / "tokenizer.json").write_text("{}"), "no usable tokenizer"),
    (drop(FC_IN), "1 tensors missing, transformer.h.1.mlp.fc_in.weight"),
    (put(FC_IN, lambda t: t[:, :5].contiguous()), "has shape (256, 5), config.json says (256, 64)"),
    (put(FC_IN, lambda t: t.index_fill(0, torch.tensor(0), float("nan"))), "holds NaN"),
    (put("transformer.h.9.ln_1.weight", lambda _: torch.ones(64)), "unexpected tensor"),
    (cut, "damaged or cut off"),
    (replace_weights(b""), "damaged or cut off"),
    (replace_weights(pickle.dumps({"a": Evil()})), "pytorch_model.bin"),
    (replace_weights(b"PK\x03\x04 garbage"), "damaged or cut off"),
]  # fmt: skip


@pytest.mark.parametrize(("change", "message"), BROKEN, ids=[m for _, m in BROKEN])
def test_what_is_wrong_is_one_line(folder, change, message, capsys):
    change(folder)
    assert message in refused(folder)
    assert "code ran" not in capsys.readouterr().out


def test_an_interrupted_download(folder):
    (folder / "model.safetensors").rename(folder / "model.safetensors.incomplete")
    assert "only an interrupted download" in refused(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "tpu"}, "allowed: auto, cpu, cuda, cuda:N"),
        ({"device": "cuda:99"}, "this machine has"),
        ({"dtype": "int4"}, "allowed: auto, float32"),
    ],
)
def test_options_that_cannot_be(folder, options, message):
    assert message in refused(folder, **options)


def test_a_model_that_does_not_fit_says_what_would(monkeypatch):
    kogpt = Shape(28, 16, 4096, 16384, 64, 64512, 2048)
    assert kogpt.parameters == 6_166_502_400
    monkeypatch.setattr(limits, "free_memory", lambda: 20 * placement.GIB)
    cpu = torch.device("cpu")
    # 24.1 for the weights; keys and values are in float32 in both.
    with pytest.raises(ModelError, match=r"25\.9 GiB in float32.*20\.0 GiB are free; float16 or "):
        placement.place(kogpt, torch.float32, cpu, "kakaobrain/kogpt")
    assert len(placement.place(kogpt, torch.bfloat16, cpu, "kakaobrain/kogpt")) == 28
    monkeypatch.setattr(limits, "free_memory", lambda: placement.GIB)
    with pytest.raises(ModelError, match="16 GB GPU in half precision, 32 GB in full"):
        placement.place(kogpt, torch.bfloat16, cpu, "kakaobrain/kogpt")


def test_layers_are_spread_over_gpus_by_accelerates_map(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda n=0: (8 * placement.GIB, 8 * placement.GIB)
    )
    kogpt = Shape(28, 16, 4096, 16384, 64, 64512, 2048)
    placed = placement.place(kogpt, torch.float16, torch.device("cuda"), "kakaobrain/kogpt")
    assert {str(device) for device in placed} == {"cuda:0", "cuda:1"}
    assert placed == sorted(placed, key=lambda device: device.index)
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda n=0: (4 * placement.GIB, 4 * placement.GIB)
    )
    with pytest.raises(ModelError, match=r"do not fit on 2 GPUs with 8\.0 GiB free in all"):
        placement.place(kogpt, torch.float16, torch.device("cuda"), "kakaobrain/kogpt")


KOGPT_SHAPE = Shape(28, 16, 4096, 16384, 64, 64_512, 2048)
GPU = torch.device("cuda", 0)


def memory(monkeypatch, gpu, main):
    """Pretend that a GPU and the main memory have so many GiB free."""
    free = (int(gpu * placement.GIB),) * 2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _n=0: free)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(limits, "free_memory", lambda: int(main * placement.GIB))


@pytest.mark.parametrize(("cache_gib", "free_gib"), [(None, 6.8), (3, 8)])
def test_each_gpu_has_room_for_the_cache_of_its_layers(monkeypatch, cache_gib, free_gib):
    def place(free_gib):
        free = (int(free_gib * placement.GIB),) * 2
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: free)
        return placement.place(KOGPT_SHAPE, torch.float16, GPU, "kogpt", cache_gib=cache_gib)

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    placed = place(free_gib)
    table, layer = KOGPT_SHAPE.vocabulary * KOGPT_SHAPE.width, KOGPT_SHAPE.layer_parameters
    cache = (cache_gib * placement.GIB if cache_gib else (2048 + 16) * 448 * 1024) / 28
    for device in set(placed):
        used = table * 2 + placed.count(device) * (layer * 2 + cache)
        assert used <= free_gib * placement.GIB
    with pytest.raises(ModelError, match=r"keys and values do not fit on 2 GPUs .* kv_cache_gib"):
        place(free_gib * 0.9)  # each GPU could hold its weights


def test_a_gpu_holds_more_in_int8_which_is_read_into_the_main_memory_first(monkeypatch):
    def place(quantization):
        return placement.place(KOGPT_SHAPE, torch.float16, GPU, "kogpt", quantization)

    memory(monkeypatch, gpu=8, main=32)
    with pytest.raises(ModelError, match=r"needs 12.* in float16 .*; quantization int8 would fit"):
        place(Quantization.NONE)
    placed = place(Quantization.INT8)
    assert placed == [GPU] * 28
    assert placement.read_to(placed, Quantization.INT8) == [torch.device("cpu")] * 28
    assert placement.read_to(placed, Quantization.NONE) == placed
    memory(monkeypatch, gpu=8, main=8)
    with pytest.raises(ModelError, match=r"before it is rounded to int8: that needs 11"):
        place(Quantization.INT8)
    with pytest.raises(ModelError, match=r"in float16 .*; a smaller model"):  # int8 would not help
        place(Quantization.NONE)
    memory(monkeypatch, gpu=7, main=32)  # the weights alone would fit
    with pytest.raises(
        ModelError, match=r"needs 7.7 GiB in int8 .*, 0.9 of them .*; a smaller model"
    ):
        place(Quantization.INT8)


def test_what_does_not_fit_is_said_with_what_would(monkeypatch):
    def place(dtype, gib=None, kept=CacheDtype.AUTO):
        return placement.place(KOGPT_SHAPE, dtype, GPU, "kogpt", kept=kept, cache_gib=gib)

    memory(monkeypatch, gpu=12.6, main=64)  # 12.06 for the weights and their reserve
    with pytest.raises(ModelError, match=r"needs 12.9 GiB in float16 .*; quantization int8 would"):
        place(torch.float16)
    assert place(torch.float16, kept=CacheDtype.INT8) == [GPU] * 28
    memory(monkeypatch, gpu=15, main=64)
    assert place(torch.float16) == place(torch.float16, 2.9) == [GPU] * 28
    with pytest.raises(ModelError, match=r"needs 17.1 .*, 5.0 of them .*; a smaller kv_cache_gib"):
        place(torch.float16, 5)
    with pytest.raises(ModelError, match=r"in float32 .*; float16 or bfloat16 would fit"):
        place(torch.float32)


@pytest.mark.parametrize(
    ("capability", "wanted", "stored", "computed"),
    [
        ((7, 0), "auto", "bfloat16", torch.float16),  # Volta
        ((7, 5), "bfloat16", "float32", torch.float16),  # Turing
        ((8, 0), "auto", "bfloat16", torch.bfloat16),  # Ampere
        ((7, 5), "auto", "float32", torch.float32),
        ((7, 0), "auto", "float16", torch.float16),
    ],
)
def test_gpus_without_bfloat16_compute_it_in_float16(
    monkeypatch, capability, wanted, stored, computed
):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    config = {"torch_dtype": stored}
    with structlog.testing.capture_logs() as logs:
        assert placement.choose_dtype(wanted, config, KOGPT_SHAPE, GPU) is computed
    changed = computed is torch.float16 and stored != "float16"
    assert [each["event"] for each in logs] == ["bfloat16_on_old_gpu"] * changed


def test_a_gpu_that_is_found_has_a_number(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert placement.choose_device("auto") == GPU  # as tensors on it say: they compare unequal


def test_a_tokenizer_without_its_json(folder):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.model.save(str(folder))  # vocab.json and merges.txt
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "GPT2Tokenizer"}))
    assert loaded(folder).tokenizer.encode("안녕").ids
