"""The distribution that transformers' own logits processors leave to be drawn from."""

import collections

import torch
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SequenceBiasLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)


def distribution(logits, prompt, output, params):
    """Return the probabilities [vocabulary], in float64, of what follows a prompt and an output.

    transformers has no presence and frequency penalty: they are a bias against single tokens.
    """
    made = LogitsProcessorList()
    if params.repetition_penalty != 1:
        made.append(RepetitionPenaltyLogitsProcessor(params.repetition_penalty))
    if output and (params.presence_penalty or params.frequency_penalty):
        bias = {
            (token,): -(params.presence_penalty + params.frequency_penalty * count)
            for token, count in collections.Counter(output).items()
        }
        made.append(SequenceBiasLogitsProcessor(bias))
    if params.no_repeat_ngram_size:
        made.append(NoRepeatNGramLogitsProcessor(params.no_repeat_ngram_size))
    if params.temperature != 1:
        made.append(TemperatureLogitsWarper(params.temperature))
    if params.top_k:
        made.append(TopKLogitsWarper(min(params.top_k, len(logits))))
    if params.top_p < 1:
        made.append(TopPLogitsWarper(params.top_p))
    if params.min_p:
        made.append(MinPLogitsWarper(params.min_p))
    if params.typical_p < 1:
        made.append(TypicalLogitsWarper(params.typical_p))
    return made(torch.tensor([[*prompt, *output]]), logits.double().unsqueeze(0))[0].softmax(-1)
