"""OpenVINO GenAI's continuous batching, with its prefix cache on.

Precision is pinned, since OpenVINO's defaults compute and cache in fewer bits than asked.
"""

from pathlib import Path


class Peer:
    def __init__(self, folder, precision, threads, kv8=False):
        import openvino
        import openvino_genai

        self.version = openvino_genai.__version__
        self._tensor = openvino.Tensor
        self._genai = openvino_genai
        converted = Path(f"{folder}-openvino-{'int8' if precision == 'int8' else 'fp32'}")
        if not (converted / "openvino_model.xml").exists():
            _convert(folder, converted, precision == "int8")
        scheduler = openvino_genai.SchedulerConfig()
        scheduler.cache_size = 2  # GB
        scheduler.enable_prefix_caching = True
        scheduler.max_num_seqs = 16
        self._pipeline = openvino_genai.ContinuousBatchingPipeline(
            str(converted),
            scheduler,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "f32",
                "KV_CACHE_PRECISION": "u8" if kv8 else "f32",
                "INFERENCE_NUM_THREADS": threads,
            },
        )
        self._running = {}  # key -> (handle, tokens so far)
        self._ids = 0

    def add(self, key, prompt, count):
        import numpy

        config = self._genai.GenerationConfig()
        config.max_new_tokens = config.min_new_tokens = count
        config.ignore_eos = True
        config.do_sample = False
        self._ids += 1
        ids = self._tensor(numpy.array([prompt], dtype=numpy.int64))
        self._running[key] = self._pipeline.add_request(self._ids, ids, config), []

    def step(self):
        self._pipeline.step()
        grown = []
        for key, (handle, tokens) in list(self._running.items()):
            before = len(tokens)
            while handle.can_read():
                for output in handle.read().values():
                    tokens.extend(output.generated_ids)
            ended = handle.get_status() != self._genai.GenerationStatus.RUNNING
            if len(tokens) > before or ended:
                grown.append((key, tokens, ended))
            if ended:
                del self._running[key]
        return grown


def _convert(folder, target, int8):
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    options = (
        {"quantization_config": OVWeightQuantizationConfig(bits=8)}
        if int8
        else {"load_in_8bit": False}
    )
    OVModelForCausalLM.from_pretrained(folder, export=True, **options).save_pretrained(target)
    _convert_tokenizer(folder, target)


def _convert_tokenizer(folder, target):
    """Write a stand-in tokenizer: the pipeline wants one, requests come as token ids."""
    import openvino
    from openvino_tokenizers import convert_tokenizer
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    stand_in = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    tokenizer, detokenizer = convert_tokenizer(stand_in, with_detokenizer=True)
    openvino.save_model(tokenizer, target / "openvino_tokenizer.xml")
    openvino.save_model(detokenizer, target / "openvino_detokenizer.xml")
