"""transformers' `generate`, a request after the other."""

import time


class Peer:
    at_once = 1  # of those that wait

    def __init__(self, folder, precision, threads):
        import torch
        import transformers

        transformers.logging.set_verbosity_error()
        torch.set_num_threads(threads)
        self.version = f"{transformers.__version__}, torch {torch.__version__}"
        self._torch = torch
        self._model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=getattr(torch, precision)
        ).eval()

    def wave(self, requests):
        begun = time.perf_counter(), time.process_time()
        return [self._one(prompt, count, begun) for prompt, count in requests]

    def gaps(self, asked):
        """Return how far apart the logits of two tokens are after each prefix."""
        found = []
        with self._torch.inference_mode():
            for prefix, one, other in asked:
                ids = self._torch.tensor([prefix])
                logits = self._model(ids, logits_to_keep=1).logits[0, -1]
                found.append(abs(float(logits[one] - logits[other])))
        return found

    def _one(self, prompt, count, begun):
        clock = _FirstToken(begun)
        with self._torch.inference_mode():
            made = self._model.generate(
                self._torch.tensor([prompt]),
                attention_mask=self._torch.ones(1, len(prompt), dtype=self._torch.long),
                max_new_tokens=count,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=3,
                streamer=clock,
            )
        return made[0, len(prompt) :].tolist(), *clock.first


class _FirstToken:
    """A streamer that only looks at the clock; the prompt is put first."""

    def __init__(self, begun):
        self._begun, self._puts, self.first = begun, 0, (0.0, 0.0)

    def put(self, _value):
        self._puts += 1
        if self._puts == 2:
            self.first = (
                time.perf_counter() - self._begun[0],
                time.process_time() - self._begun[1],
            )

    def end(self):
        pass
