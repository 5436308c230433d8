"""transformers' `generate` over a padded batch: every request waits for the longest."""

import time


class Peer:
    at_once = 16  # of those that wait

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
        torch, longest = self._torch, max(len(prompt) for prompt, _ in requests)
        ids = torch.full((len(requests), longest), 3)
        mask = torch.zeros_like(ids)
        for row, (prompt, _) in enumerate(requests):
            ids[row, longest - len(prompt) :] = torch.tensor(prompt)
            mask[row, longest - len(prompt) :] = 1
        first = []

        class Clock:
            def put(self, _value):
                first.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))

            def end(self):
                pass

        def note(_ids, _scores, **_):
            if not first:
                Clock().put(None)
            return torch.zeros(len(requests), dtype=torch.bool)

        with torch.inference_mode():
            made = self._model.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=max(count for _, count in requests),
                do_sample=False,
                eos_token_id=None,
                pad_token_id=3,
                stopping_criteria=[note],
            )
        return [
            (made[row, longest : longest + count].tolist(), *first[0])
            for row, (_, count) in enumerate(requests)
        ]
