"""kogpt-bot's engine."""

import asyncio


class Peer:
    def __init__(self, folder, precision, threads, kv8=False):
        import torch

        from kogpt_bot import __version__
        from kogpt_bot.generation.engine import Engine
        from kogpt_bot.generation.loading import LoadOptions, load

        torch.set_num_threads(threads)
        self.version = __version__
        options = LoadOptions(
            model=folder,
            device="cpu",
            dtype={"int8": "float32"}.get(precision, precision),
            quantization="int8" if precision == "int8" else "none",
            kv_cache_dtype="int8" if kv8 else "auto",
        )
        self._engine = Engine(load(options), cache_tokens=24_000)
        self._runner = asyncio.Runner()
        self._runner.run(self._engine.start())

    def wave(self, requests):
        from kogpt_bot.generation.bench import Ask, wave

        asked = [Ask(prompt, count, str(n)) for n, (prompt, count) in enumerate(requests)]
        answers = self._runner.run(wave(self._engine, asked))
        return [(each.tokens, each.first_s, each.first_cpu_s) for each in answers]

    def serve(self, talk, coming, report):
        from kogpt_bot.generation.bench import serve

        def say(_workload, done, _total):
            report(done)

        return self._runner.run(serve(self._engine, talk, coming, say))
