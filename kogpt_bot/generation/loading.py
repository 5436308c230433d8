"""From a checkpoint to weights in memory: devices, precision, checks, one tensor at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog
import torch
from tokenizers import Tokenizer
from torch import Tensor

from kogpt_bot.errors import ModelError
from kogpt_bot.generation.checkpoint import (
    KOGPT,
    Progress,
    find_folder,
    open_weights,
    release_pages,
    weight_files,
)
from kogpt_bot.generation.model import GPTJ, Layer, Shape, Weights
from kogpt_bot.generation.options import ServiceOptions
from kogpt_bot.generation.placement import (
    choose_cache_dtype,
    choose_device,
    choose_dtype,
    choose_quantization,
    place,
    read_to,
)

log = structlog.get_logger(__name__)

CHUNK_BYTES = 16 << 20  # of a tensor copied at once: what is mapped beside the weights
SPECIAL_TOKENS = ("[BOS]", "[EOS]", "[UNK]", "[PAD]", "[MASK]")  # KoGPT's
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
    quantization: str = "none"  # none, int8
    kv_cache_dtype: str = "auto"  # auto, int8
    kv_cache_gib: float | None = None  # None: by what is free
    host_cache_gib: float | None = None

    @classmethod
    def of(cls, chosen: ServiceOptions) -> LoadOptions:
        """Return what a service was told, as far as it is about loading."""
        return cls(
            chosen.model,
            chosen.revision,
            chosen.device,
            chosen.dtype,
            chosen.threads,
            chosen.quantization,
            chosen.kv_cache_dtype,
            chosen.kv_cache_gib,
            chosen.host_cache_gib,
        )


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
    quantization: str = "none"
    kv_cache_dtype: str = "auto"


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
    quantization = choose_quantization(options.quantization)
    kept = choose_cache_dtype(options.kv_cache_dtype)
    placement = place(shape, dtype, device, options.model, quantization, kept, options.kv_cache_gib)
    weights = read_weights(files, shape, dtype, read_to(placement, quantization), report)
    info = ModelInfo(
        name=options.model,
        revision=revision,
        context_length=shape.context,
        vocab_size=shape.vocabulary,
        eos_token_id=_eos(folder, tokenizer, config),
        dtype=str(dtype).removeprefix("torch."),
        device=str(device),
        parameters=shape.parameters,
        quantization=quantization,
        kv_cache_dtype=kept,
    )
    report("layout", 0.0)
    model = GPTJ(shape, weights, quantization, kept, placement)
    return Loaded(model, tokenizer, tokenizer.to_str(), info)


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
            b_in=torch.zeros(3 * width + inner, dtype=dtype, device=on),
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
        yield f"{name}.mlp.fc_in.bias", layer.b_in[3 * width :]
        yield f"{name}.mlp.fc_out.weight", layer.w_out[:, width:]
        yield f"{name}.mlp.fc_out.bias", layer.b_out
