"""The training data: what is learned is what the bot will be asked."""

import random

import pytest
import torch

from kogpt_bot.conversation import transcript
from kogpt_bot.conversation.persona import DEFAULT_PERSONA
from tests.fakes.tokenizer import make_tokenizer
from training.chats import (
    BOT,
    CHARACTERS,
    OTHER_BOTS,
    ChatSource,
    own_dialogues,
    own_split,
    renamed,
)
from training.encoding import EOS, encode
from training.model import Model, Size
from training.prepare import clean, fingerprint
from training.templates import dialogue, with_particles

TOKENIZER = make_tokenizer()


def test_every_answer_learns_to_end_and_nothing_else_does():
    tokens, labels, weights = encode(ChatSource(None, 1), TOKENIZER, 600)
    assert len(tokens) == len(labels) == len(weights) == 600
    text = TOKENIZER.decode(tokens, skip_special_tokens=False)
    answers = sum(row.startswith("코코: ") for row in text.split("\n"))
    ends = [n for n, label in enumerate(labels) if label == EOS and weights[n] == 1.0]
    assert len(ends) > 3
    assert answers == 0 or ends
    newline = TOKENIZER.encode("\n").ids[0]
    for at in ends[:-1]:
        assert tokens[at + 1] == newline  # the history goes on with a line break


def test_labels_are_the_next_tokens_wherever_they_count():
    tokens, labels, weights = encode(ChatSource(None, 2), TOKENIZER, 500)
    for at in range(499):
        if weights[at] > 0 and labels[at] != EOS:
            assert labels[at] == tokens[at + 1]


def test_transcripts_are_in_the_conversation_managers_format():
    source = ChatSource(None, 3)
    described = {renamed(text, name) for text in CHARACTERS for name in (BOT, *OTHER_BOTS)}
    for _ in range(20):
        text = "".join(piece for piece, _ in source.transcript(300))
        head, _, body = text.partition("\n\n")
        assert head in described
        for row in body.strip().split("\n"):
            name, _, said = row.partition(": ")
            assert transcript.line(name, said) == row + "\n"


def test_the_header_of_the_default_persona_is_what_the_bot_will_use():
    seen = {"".join(p for p, _ in ChatSource(None, seed).transcript(50)) for seed in range(30)}
    assert any(text.startswith(transcript.header(DEFAULT_PERSONA)) for text in seen)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("비빔밥{을}", "비빔밥을"),
        ("피자{을}", "피자를"),
        ("서울{으로}", "서울로"),
        ("부산{으로}", "부산으로"),
        ("3{은} 7{이에요}", "3은 7이에요"),
        ("9{은} 2{이에요}", "9는 2예요"),
    ],
)
def test_particles_fit_the_word_before_them(text, wanted):
    assert with_particles(text) == wanted


def test_templates_make_whole_dialogues():
    rng = random.Random(0)
    found = [dialogue(rng) for _ in range(3000)]
    for turns in found:
        assert [who for who, _ in turns] == ["나", "봇"] * (len(turns) // 2)
        assert all(text and "{" not in text and "}" not in text for _, text in turns)
    assert len({str(turns) for turns in found}) > 1500


def test_our_own_dialogues_are_well_formed():
    found = list(own_dialogues())
    assert len(found) >= 300
    for turns in found:
        assert any(who == "봇" for who, _ in turns)
        assert all(text == transcript.utterance(text) and text for _, text in turns)


def test_texts_come_once_and_clean():
    texts = ["가나다라", "가나 다라!", "씨발 뭐야", "짧", "본 글이에요."]
    assert list(clean(texts, {fingerprint("본 글이에요")})) == ["가나다라"]


def test_the_exported_weights_are_the_trained_ones():
    from transformers import GPTJConfig, GPTJForCausalLM

    torch.manual_seed(0)
    size = Size(vocabulary=600, width=64, layers=2, heads=4, rotary=8, context=64)
    model = Model(size)
    config = GPTJConfig(
        vocab_size=600, n_positions=64, n_embd=64, n_layer=2, n_head=4, rotary_dim=8, n_inner=256,
        tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    other = GPTJForCausalLM(config).eval()
    other.load_state_dict(model.checkpoint(), strict=False)
    tokens = torch.randint(5, 600, (2, 30))
    with torch.no_grad():
        wanted = other(tokens).logits
        model.cos, model.sin = model.cos.double(), model.sin.double()
        found = torch.nn.functional.linear(model.hidden(tokens), model.wte.weight) + model.hb
    torch.testing.assert_close(found, wanted, atol=5e-3, rtol=5e-2)


def test_a_checkpoint_is_taken_over_as_it_was_written():
    size = Size(vocabulary=600, width=64, layers=2, heads=4, rotary=8, context=64)
    one, other = Model(size), Model(size)
    other.load_checkpoint(one.checkpoint())
    for name, value in one.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("저는 코코예요!", "저는 다솜이에요!"),
        ("코코야, 코코는 뭐가 좋아?", "다솜아, 다솜은 뭐가 좋아?"),
        ("코코넛이랑 코코아 마셔요", "코코넛이랑 코코아 마셔요"),
    ],
)
def test_another_character_is_called_by_its_own_name(text, told):
    assert renamed(text, "다솜") == told


def test_what_is_kept_away_is_not_learned():
    learned, kept = own_split()
    assert kept
    assert not [each for each in kept if each in learned]


def test_a_step_brings_the_same_whatever_came_before():
    source = ChatSource(None, 4)
    first = source.at(7).transcript(200)
    source.transcript(500)
    assert source.at(7).transcript(200) == first
    assert source.at(8).transcript(200) != first
