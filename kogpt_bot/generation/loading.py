"""From a checkpoint to weights in memory: devices, precision, checks, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import structlog
import torch
from tokenizers import Tokenizer
from torch import Tensor

from kogpt_bot.errors import ModelError
from kogpt_bot.generation.checkpoint import (
    KOGPT,
    KOGPT_MEMORY,
    Progress,
    find_folder,
    open_weights,
    release_pages,
    weight_files,
)
from kogpt_bot.generation.model import GPTJ, Layer, Shape, Weights

log = structlog.get_logger(__name__)

GIB = 1 << 30
SMALL_BYTES = GIB  # a model under this in float32 is computed in float32 on a CPU
CHUNK_BYTES = 16 << 20  # of a tensor copied at once: what is mapped beside the weights
CACHE_RESERVE = 0.05  # of the weights: what must be left for a first conversation
SPECIAL_TOKENS = ("[BOS]", "[EOS]", "[UNK]", "[PAD]", "[MASK]")  # KoGPT's
DTYPES = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
# Buffers that older checkpoints hold and that are computed here.
IGNORED = (".attn.bias", ".attn.masked_bias", ".attn.embed_positions")


@dataclass(frozen=True, slots=True)
class LoadOptions:
    """Which model, where, and how precisely. `threads` None leaves one core to the others."""

    model: str = "mini"
    revision: str | None = None
    device: str = "auto"  # auto, cpu, cuda, cuda:N
    dtype: str = "auto"  # auto, float32, float16, bfloat16
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What was loaded."""

    name: str
    revision: str
    context_length: int
    vocab_size: int
    eos_token_id: int | None
    dtype: str
    device: str
    parameters: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready, its tokenizer, and the file that the tokenizer came from."""

    model: GPTJ
    tokenizer: Tokenizer
    tokenizer_json: str
    info: ModelInfo


def load(options: LoadOptions, progress: Progress | None = None) -> Loaded:
    """Load a model; ModelError, in one line, for whatever is wrong with it."""
    report = progress or (lambda _what, _share: None)
    report("model", 0.0)
    folder, revision = find_folder(options.model, options.revision, report)
    config = read_config(folder)
    shape = read_shape(folder, config)
    files = weight_files(folder)
    tokenizer = read_tokenizer(folder, options.model, shape)
    device = choose_device(options.device)
    dtype = choose_dtype(options.dtype, config, shape, device)
    placement = place(shape, dtype, device, options.model)
    weights = read_weights(files, shape, dtype, placement, report)
    info = ModelInfo(
        name=options.model,
        revision=revision,
        context_length=shape.context,
        vocab_size=shape.vocabulary,
        eos_token_id=_eos(folder, tokenizer, config),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        parameters=shape.parameters,
    )
    return Loaded(GPTJ(shape, weights), tokenizer, tokenizer.to_str(), info)


def read_config(folder: Path) -> dict[str, object]:
    """Return `config.json`; ModelError unless it is GPT-J's."""
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"{path}: missing; a model folder has a config.json") from error
    except (ValueError, OSError) as error:
        raise ModelError(f"{path}: not JSON ({error}); download it again") from error
    kind = config.get("model_type") if isinstance(config, dict) else None
    if kind != "gptj":
        raise ModelError(
            f"{path}: model_type is {kind!r}; allowed: 'gptj' (another model can be served by "
            "another program and used by its URL: generation.url)"
        )
    return dict(config)


def read_shape(folder: Path, config: dict[str, object]) -> Shape:
    """Return the model's dimensions, as transformers reads them from the configuration."""
    from transformers.models.gptj.configuration_gptj import GPTJConfig

    read = GPTJConfig.from_dict(config)
    if read.activation_function not in ("gelu_new", "gelu_pytorch_tanh"):
        raise ModelError(
            f"{folder}: activation_function is {read.activation_function!r}; allowed: 'gelu_new'"
        )
    if read.n_embd % read.n_head or not read.rotary_dim or read.rotary_dim % 2:
        raise ModelError(f"{folder}: n_embd must divide by n_head, and rotary_dim be even")
    return Shape(
        layers=read.n_layer,
        heads=read.n_head,
        width=read.n_embd,
        inner=read.n_inner or 4 * read.n_embd,
        rotary=read.rotary_dim,
        vocabulary=read.vocab_size,
        context=read.n_positions,
        epsilon=read.layer_norm_epsilon,
        tied=bool(read.tie_word_embeddings),
    )


def read_tokenizer(folder: Path, model: str, shape: Shape) -> Tokenizer:
    """Return the tokenizer; KoGPT's special tokens are special, whatever its files say."""
    path = folder / "tokenizer.json"
    try:
        if path.is_file():
            tokenizer = Tokenizer.from_file(str(path))
        else:
            from transformers import AutoTokenizer

            names = dict(zip(("bos", "eos", "unk", "pad", "mask"), SPECIAL_TOKENS, strict=True))
            special = {f"{key}_token": token for key, token in names.items() if model == KOGPT}
            tokenizer = AutoTokenizer.from_pretrained(str(folder), **special).backend_tokenizer
    except Exception as error:  # the Rust library raises bare Exception
        raise ModelError(f"{folder}: no usable tokenizer ({str(error)[:120]})") from error
    known = [token for token in SPECIAL_TOKENS if tokenizer.token_to_id(token) is not None]
    tokenizer.add_special_tokens(known)
    if tokenizer.get_vocab_size() > shape.vocabulary:
        raise ModelError(
            f"{folder}: the tokenizer has {tokenizer.get_vocab_size()} tokens, the model only "
            f"{shape.vocabulary}; they do not belong together"
        )
    return tokenizer


def _eos(folder: Path, tokenizer: Tokenizer, config: dict[str, object]) -> int | None:
    """Return the end-of-text token: the tokenizer's own, [EOS], or the configuration's."""
    path = folder / "tokenizer_config.json"
    named = (
        json.loads(path.read_text(encoding="utf-8")).get("eos_token") if path.is_file() else None
    )
    if isinstance(named, dict):
        named = named.get("content")
    for token in (named, "[EOS]"):
        if token and (found := tokenizer.token_to_id(str(token))) is not None:
            return int(found)
    configured = config.get("eos_token_id")
    return configured if isinstance(configured, int) else None


def choose_device(wanted: str) -> torch.device:
    """Return the device; ModelError for one that is not there."""
    if wanted == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kind, _, number = wanted.partition(":")
    if kind == "cpu" and not number:
        return torch.device("cpu")
    if kind != "cuda" or (number and not number.isdecimal()):
        raise ModelError(f"device {wanted!r}: allowed: auto, cpu, cuda, cuda:N")
    count = torch.cuda.device_count()
    if int(number or 0) >= count:
        have = f"cuda:0 to cuda:{count - 1}" if count else "no CUDA device"
        raise ModelError(f"device {wanted!r}: this machine has {have}; allowed: auto, cpu")
    return torch.device("cuda", int(number or 0))


def choose_dtype(
    wanted: str, config: dict[str, object], shape: Shape, device: torch.device
) -> torch.dtype:
    """Return the precision to compute in: a GPU takes the checkpoint's, a CPU what it does well."""
    if wanted != "auto" and wanted not in DTYPES:
        raise ModelError(f"dtype {wanted!r}: allowed: auto, {', '.join(DTYPES)}")
    stored = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    dtype = DTYPES.get(stored if wanted == "auto" else wanted, torch.float32)
    if device.type == "cpu":
        small = shape.parameters * 4 < SMALL_BYTES
        if wanted == "auto" and dtype is not torch.float32:
            dtype = torch.float32 if small or not _native_bfloat16() else torch.bfloat16
        elif dtype is torch.float16:
            dtype = torch.bfloat16 if _native_bfloat16() else torch.float32
            log.warning("float16_on_cpu", computed_in=str(dtype), why="CPUs compute it slowly")
    elif dtype is torch.bfloat16 and torch.cuda.get_device_capability(device) < (8, 0):
        log.warning("bfloat16_on_old_gpu", computed_in="torch.float16", needs="capability 8.0")
        dtype = torch.float16
    return dtype


def _native_bfloat16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def place(shape: Shape, dtype: torch.dtype, device: torch.device, model: str) -> list[torch.device]:
    """Return the device of each layer; the last one's holds the head. ModelError if none fits."""
    needed = int(shape.parameters * dtype.itemsize * (1 + CACHE_RESERVE))
    if device.type == "cpu":
        free = psutil.virtual_memory().available
    else:
        free = torch.cuda.mem_get_info(device)[0]
        if needed > free and torch.cuda.device_count() > 1:
            return _spread(shape, dtype)
    if needed > free:
        half = shape.parameters * 2 * (1 + CACHE_RESERVE)
        fits = (
            "float16 or bfloat16 would fit"
            if half <= free and dtype.itemsize == 4
            else ("a smaller model, or a machine with more memory, would fit")
        )
        extra = f" ({KOGPT_MEMORY})" if model == KOGPT else ""
        raise ModelError(
            f"model {model!r} needs {needed / GIB:.1f} GiB in {str(dtype).removeprefix('torch.')} "
            f"on {device}, {free / GIB:.1f} GiB are free; {fits}{extra}"
        )
    return [device] * shape.layers


def _spread(shape: Shape, dtype: torch.dtype) -> list[torch.device]:
    """Spread the layers over every GPU by accelerate's device map."""
    from accelerate import infer_auto_device_map, init_empty_weights
    from transformers import GPTJConfig, GPTJForCausalLM

    config = GPTJConfig(
        vocab_size=shape.vocabulary,
        n_positions=shape.context,
        n_embd=shape.width,
        n_layer=shape.layers,
        n_head=shape.heads,
        rotary_dim=shape.rotary,
        n_inner=shape.inner,
    )
    with init_empty_weights():
        skeleton = GPTJForCausalLM(config)
    memory = {
        n: int(torch.cuda.mem_get_info(n)[0] * (1 - CACHE_RESERVE))
        for n in range(torch.cuda.device_count())
    }
    devices = infer_auto_device_map(
        skeleton, memory, no_split_module_classes=["GPTJBlock"], dtype=dtype
    )
    placed = [devices.get(f"transformer.h.{n}", devices.get("")) for n in range(shape.layers)]
    if any(not isinstance(each, int) for each in placed):
        total = sum(memory.values()) / GIB
        raise ModelError(
            f"the model does not fit on {len(memory)} GPUs with {total:.1f} GiB free in all; "
            f"use fewer bits or more memory ({KOGPT_MEMORY})"
        )
    log.info("spread_over_gpus", layers=placed)
    return [torch.device("cuda", int(str(each))) for each in placed]


def read_weights(
    files: list[Path],
    shape: Shape,
    dtype: torch.dtype,
    placement: list[torch.device],
    report: Progress,
) -> Weights:
    """Read the tensors one by one into the fused weights; ModelError for a wrong one."""
    weights = empty_weights(shape, dtype, placement)
    places = dict(tensor_places(weights, shape))
    total, done = len(places), 0
    for path in files:
        with open_weights(path) as tensors:
            for name, read in tensors.items():
                if name.endswith(IGNORED) or (shape.tied and name == "lm_head.weight"):
                    continue
                target = places.pop(_full_name(name), None)
                if target is None:
                    raise ModelError(f"{path}: unexpected tensor {name}; not a GPT-J of this shape")
                _copy(path, name, read(), target)
                done += 1
                report("weights", done / total)
    missing = [name for name in places if not (shape.tied and name == "lm_head.bias")]
    if missing:
        raise ModelError(
            f"{files[0].parent}: {len(missing)} tensors missing, {missing[0]} among them; "
            "download it again"
        )
    if shape.tied and weights.head is not weights.embedding:  # on another device
        weights.head.copy_(weights.embedding)
    return weights


def _full_name(name: str) -> str:
    """Return the name under `transformer.`, which bare GPTJModel checkpoints leave out."""
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"


def _copy(path: Path, name: str, tensor: Tensor, target: Tensor) -> None:
    if tensor.shape != target.shape:
        raise ModelError(
            f"{path}: {name} has shape {tuple(tensor.shape)}, config.json says "
            f"{tuple(target.shape)}; they do not belong together"
        )
    rows = max(1, CHUNK_BYTES // max(1, tensor[0].nbytes)) if tensor.dim() > 1 else len(tensor)
    for begin in range(0, len(tensor), rows):
        source, part = tensor[begin : begin + rows], target[begin : begin + rows]
        part.copy_(source)
        release_pages(source)
        # A sum in float32 is finite if and only if all are: no weight is near float32's limit.
        if not bool(torch.isfinite(part.sum(dtype=torch.float32))):
            raise ModelError(f"{path}: {name} holds NaN or infinite numbers; download it again")


def empty_weights(shape: Shape, dtype: torch.dtype, placement: list[torch.device]) -> Weights:
    """Return weights of the right shapes with nothing in them (biases 0)."""
    width, inner = shape.width, shape.inner

    def empty(*size: int, on: torch.device) -> Tensor:
        return torch.empty(size, dtype=dtype, device=on)

    layers = [
        Layer(
            norm_weight=empty(width, on=on),
            norm_bias=empty(width, on=on),
            w_in=empty(3 * width + inner, width, on=on),
            b_in=empty(inner, on=on),
            w_out=empty(width, width + inner, on=on),
            b_out=empty(width, on=on),
        )
        for on in placement
    ]
    first, last = placement[0], placement[-1]
    embedding = empty(shape.vocabulary, width, on=first)
    head = embedding if shape.tied and first == last else empty(shape.vocabulary, width, on=last)
    return Weights(
        embedding=embedding,
        layers=layers,
        norm_weight=empty(width, on=last),
        norm_bias=empty(width, on=last),
        head=head,
        head_bias=torch.zeros(shape.vocabulary, dtype=dtype, device=last),
    )


def tensor_places(weights: Weights, shape: Shape) -> Iterator[tuple[str, Tensor]]:
    """Give the name of each tensor in a checkpoint and the part of the weights that it fills."""
    width = shape.width
    yield "transformer.wte.weight", weights.embedding
    yield "transformer.ln_f.weight", weights.norm_weight
    yield "transformer.ln_f.bias", weights.norm_bias
    yield "lm_head.bias", weights.head_bias
    if not shape.tied:
        yield "lm_head.weight", weights.head
    for number, layer in enumerate(weights.layers):
        name = f"transformer.h.{number}"
        yield f"{name}.ln_1.weight", layer.norm_weight
        yield f"{name}.ln_1.bias", layer.norm_bias
        for index, part in enumerate(("q", "k", "v")):
            yield f"{name}.attn.{part}_proj.weight", layer.w_in[index * width : (index + 1) * width]
        yield f"{name}.attn.out_proj.weight", layer.w_out[:, :width]
        yield f"{name}.mlp.fc_in.weight", layer.w_in[3 * width :]
        yield f"{name}.mlp.fc_in.bias", layer.b_in
        yield f"{name}.mlp.fc_out.weight", layer.w_out[:, width:]
        yield f"{name}.mlp.fc_out.bias", layer.b_out
