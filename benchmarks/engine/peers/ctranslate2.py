"""CTranslate2: a static batch with one set of parameters a call."""

import time
from pathlib import Path


class Peer:
    at_once = 16  # of those that wait

    def __init__(self, folder, precision, threads):
        import ctranslate2
        from ctranslate2.converters import TransformersConverter

        self.version = ctranslate2.__version__
        converted = Path(f"{folder}-ctranslate2")
        if not converted.exists():
            TransformersConverter(folder).convert(str(converted))
        self._generator = ctranslate2.Generator(
            str(converted), compute_type=precision, intra_threads=threads, inter_threads=1
        )

    def wave(self, requests):
        begun = time.perf_counter(), time.process_time()
        longest = max(count for _, count in requests)
        first = {}

        def note(step):
            first.setdefault(
                step.batch_id, (time.perf_counter() - begun[0], time.process_time() - begun[1])
            )
            return False

        made = self._generator.generate_batch(
            [[f"t{each}" for each in prompt] for prompt, _ in requests],
            max_length=longest,
            min_length=longest,
            sampling_topk=1,
            include_prompt_in_result=False,
            max_batch_size=len(requests),
            end_token=["t1"],
            callback=note,
        )
        return [
            (each.sequences_ids[0][:count], *first.get(number, (0.0, 0.0)))
            for number, (each, (_, count)) in enumerate(zip(made, requests, strict=True))
        ]
