"""What the generation process finds of the daemon's environment: what it needs, and no tokens.

It runs model code over what strangers write. The tokens of platforms and consoles, passwords of
databases and whatever else a service manager hands the daemon are none of its business.
"""

from __future__ import annotations

from collections.abc import Mapping

NAMES = frozenset(
    {
        # the process itself
        "PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR",
        "LD_LIBRARY_PATH", "LD_PRELOAD", "VIRTUAL_ENV",
        "KOGPT_BOT_LOG_LEVEL", "KOGPT_BOT_GPU_KERNELS",
        # downloads: proxies, certificates, and the account that accepted a model's licence
        "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY",
        "http_proxy", "https_proxy", "all_proxy", "no_proxy",
        "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
        "HUGGING_FACE_HUB_TOKEN",
        # arithmetic: threads of the libraries under torch
        "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS",
    }
)  # fmt: skip
PREFIXES = (
    "LC_", "XDG_", "PYTHON", "MALLOC_", "GLIBC_TUNABLES",
    "HF_", "TRANSFORMERS_", "ACCELERATE_", "SAFETENSORS_", "TOKENIZERS_",
    "CUDA_", "NVIDIA_", "CUBLAS_", "CUDNN_", "NCCL_", "HIP_", "ROCM_", "ROCR_", "HSA_",
    "TORCH_", "PYTORCH_", "TORCHINDUCTOR_", "TRITON_", "NUMBA_",
    "OMP_", "GOMP_", "KMP_", "MKL_", "ONEDNN_",
)  # fmt: skip
OURS = {
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that wait must not burn the core the daemon runs on
    "PYTHONUNBUFFERED": "1",  # its last words are read also where it is killed
}


def child_environment(of_the_daemon: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the generation process."""
    kept = {
        name: value
        for name, value in of_the_daemon.items()
        if name in NAMES or name.startswith(PREFIXES)
    }
    return kept | OURS
