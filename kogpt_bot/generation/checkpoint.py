"""Finding a checkpoint and reading it, one tensor at a time: folders, hub names, both formats."""

from __future__ import annotations

import ctypes
import io
import json
import mmap
import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from kogpt_bot.errors import ModelError

Progress = Callable[[str, float], None]  # what is being done, and the share that is done

KOGPT = "kakaobrain/kogpt"
KOGPT_REVISIONS = ("KoGPT6B-ryan1.5b-float16", "KoGPT6B-ryan1.5b")  # the first is the default
KOGPT_MEMORY = "KoGPT needs a 16 GB GPU in half precision, 32 GB in full"
MINI = Path(__file__).parent.parent / "mini"
FILES = ["*.json", "*.txt", "*.model", "*.safetensors", "*.bin", "*.jinja"]


def find_folder(
    model: str, revision: str | None, report: Progress | None = None
) -> tuple[Path, str]:
    """Return the folder of a model and its revision ("" where it has none).

    `model` is `mini`, a local folder, or a name on the hub, which is downloaded unless it is in
    the hub's cache. Raises ModelError.
    """
    if model == "mini":
        return MINI, ""
    folder = Path(model).expanduser()
    if folder.is_dir():
        return folder, ""
    if model.startswith((".", "/", "~")) or model.count("/") != 1:
        raise ModelError(
            f"model {model!r}: no such folder; allowed: mini, a local folder, "
            f"or a hub name such as {KOGPT}"
        )
    if revision is None:
        revision = KOGPT_REVISIONS[0] if model == KOGPT else "main"
    return _download(model, revision, report or (lambda _what, _share: None)), revision


def _download(model: str, revision: str, report: Progress) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    what = f"model {model!r} at revision {revision!r}"
    hint = f"; KoGPT's are {' and '.join(KOGPT_REVISIONS)}" if model == KOGPT else ""
    try:
        return Path(
            snapshot_download(
                model, revision=revision, allow_patterns=FILES, tqdm_class=_reporting(report)
            )
        )
    except RevisionNotFoundError as error:
        raise ModelError(f"{what}: the hub has no such revision{hint}") from error
    except GatedRepoError as error:
        raise ModelError(f"{what}: accept its licence on the hub, then set HF_TOKEN") from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{what}: the hub has no such model, or it is private") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        reason = str(error).splitlines()[0]
        raise ModelError(
            f"{what}: not in the cache and the download failed ({reason}); "
            "check the network and start again: what was downloaded is kept"
        ) from error


def _reporting(report: Progress) -> type[Any]:
    """Return a progress bar that draws nothing and reports the share of the bytes instead."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *arguments: Any, **options: Any) -> None:
            options["file"] = io.StringIO()
            super().__init__(*arguments, **options)

        def update(self, n: float | None = 1) -> bool | None:
            drawn: bool | None = super().update(n)
            if self.unit == "B" and self.total:
                report("download", min(self.n / self.total, 1.0))
            return drawn

    return Bar


def weight_files(folder: Path) -> list[Path]:
    """Return the checkpoint's weight files, safetensors before `.bin`; ModelError for a gap."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            try:
                shards = sorted(set(json.loads(index.read_text())["weight_map"].values()))
            except (ValueError, KeyError, AttributeError) as error:
                raise ModelError(f"{index}: not an index of weights; download it again") from error
            paths = [folder / shard for shard in shards]
            for path in paths:
                if not path.is_file() or path.parent != folder:
                    raise ModelError(f"{path}: missing, {index.name} names it; download it again")
            return paths
    partial = next(folder.glob("*.incomplete"), None)
    state = "only an interrupted download" if partial else "no weights"
    raise ModelError(
        f"{folder}: {state}; expected model.safetensors or pytorch_model.bin (or shards with "
        "an index); download it again"
    )


@contextmanager
def open_weights(path: Path) -> Iterator[Mapping[str, Callable[[], Tensor]]]:
    """Give tensor name -> a function that reads it, without reading the others."""
    with ExitStack() as stack:
        try:
            if path.suffix == ".safetensors":
                file: Any = stack.enter_context(safe_open(path, framework="pt"))
                yield {name: _reader(file, name) for name in file.keys()}  # noqa: SIM118
            else:
                tensors = _load_bin(path)
                yield {name: _constant(tensor) for name, tensor in tensors.items()}
        except (SafetensorError, EOFError, zipfile.BadZipFile) as error:
            raise ModelError(f"{path}: damaged or cut off ({error}); download it again") from error


def _reader(file: Any, name: str) -> Callable[[], Tensor]:
    return lambda: file.get_tensor(name)


def _constant(tensor: Tensor) -> Callable[[], Tensor]:
    return lambda: tensor


def _load_bin(path: Path) -> dict[str, Tensor]:
    try:
        # weights_only: a pickle may run code; mmap: the file is read as it is needed.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelError(
            f"{path}: holds more than tensors and is not loaded, since it could run code; "
            "use safetensors"
        ) from error
    except (RuntimeError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ModelError(f"{path}: damaged or cut off ({reason}); download it again") from error
    if not isinstance(loaded, dict) or not all(isinstance(t, Tensor) for t in loaded.values()):
        raise ModelError(f"{path}: not a table of tensors")
    return loaded


def release_pages(tensor: Tensor) -> None:
    """Let the system have the pages of a tensor back, those that are wholly its own.

    Those of a file that is mapped would count as this process's memory until something else
    needed it; they are read again where anybody asks. What a tensor of the program's own held is
    gone. A GPU's memory is none of the system's.
    """
    if tensor.device.type != "cpu":
        return
    size = mmap.PAGESIZE
    begin = -(-tensor.data_ptr() // size) * size
    length = (tensor.data_ptr() + tensor.nbytes - begin) // size * size
    advice = getattr(mmap, "MADV_DONTNEED", None)
    if length > 0 and advice is not None:
        ctypes.CDLL(None).madvise(ctypes.c_void_p(begin), ctypes.c_size_t(length), advice)
