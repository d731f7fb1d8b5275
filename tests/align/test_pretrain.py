"""Pretraining: from text alone to a model that continues it, with a tokenizer of its own."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from align import scratch, stages
from align.data.packing import cut_apart
from align.loading import load
from align.pretrain import bits_per_byte
from align.recipes import Job, Pretrain, Reward
from align.rendering import render, tokenizer_of
from align.rl.rewards import Answered, rewards_of
from align.scoring import Scorer
from align.scratch import learnt_tokenizer
from align.stages import make
from assistant.errors import Invalid
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.align.conftest import home_with
from tests.align.lessons import rows, write

RHYME = "The cat sat on the mat and the dog sat on the log.\n\nA fish swam by in the dish.\n\n"
SMALL = Pretrain(
    epochs=10, learning_rate=5e-3, batch=2, longest=64, layers=2, width=64, vocabulary=300,
    held_out=0.2,
)  # fmt: skip


def text_file(folder: Path) -> Path:
    file = folder / "rhyme.txt"
    file.write_text(RHYME * 30, encoding="utf-8")
    return file


def pretrained(home: Settings, recipe: Pretrain = SMALL, **job) -> Version:
    given_job = Job(data=(str(text_file(home.home)),), **({"base": "scratch"} | job))
    return make("pretrain", given_job, recipe, home, lambda line: None)


@pytest.fixture(scope="module")
def home(tiny: Version, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return home_with(tiny, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def made(home: Settings) -> Version:
    return pretrained(home)


def test_it_continues_what_it_has_read(made: Version):
    model, tokenizer = load(made.path).eval(), tokenizer_of(made.path)
    ids = tokenizer("The cat sat on the", return_tensors="pt").input_ids
    said = model.generate(ids, max_new_tokens=12, do_sample=False)
    assert tokenizer.decode(said[0]).startswith("The cat sat on the mat and the dog")


def test_bits_per_byte_fall_and_are_told_on_the_card(made: Version):
    metrics = json.loads((made.path / "made" / "training.json").read_text())["stages"][0]["metrics"]
    assert metrics["bits_after"] < 1 < 2 < metrics["bits_before"]
    assert f"{metrics['bits_after']:.3f} bits per byte of 1 held-out documents" in made.source


def test_the_random_weights_are_a_version_of_their_own(made: Version, home: Settings):
    base = Registry(home.home).get("pretrain-001-scratch")
    assert (made.base, base.kind) == (base.name, "scratch")
    before, after = (load_file(v.path / "model.safetensors") for v in (base, made))
    assert before.keys() == after.keys()
    assert all(not torch.equal(after[name], before[name]) for name in before)
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}


def test_random_weights_of_another_size_are_not_taken_for_these(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(stages, "train", killed)
        with pytest.raises(KeyboardInterrupt):
            pretrained(settings)
    with pytest.raises(Invalid, match="made of another text, seed or size"):
        pretrained(settings, replace(SMALL, layers=1))
    assert pretrained(settings).name == "pretrain-001"


def test_a_base_of_ones_own_can_be_taught_to_answer(made: Version):
    talk = [{"role": "user", "content": "Cat?"}, {"role": "assistant", "content": "Mat."}]
    tokenizer = tokenizer_of(made.path)
    rendered = render(tokenizer, talk)
    learnt = [i for i, t in zip(rendered.ids, rendered.trained, strict=True) if t]
    assert tokenizer.decode(learnt) == "Mat.<|im_end|>"
    assert tokenizer.convert_tokens_to_ids("<|im_end|>") == tokenizer.eos_token_id == learnt[-1]


def test_a_reward_model_reads_answers_with_a_tokenizer_of_its_own(made: Version, home: Settings):
    file = write(home.home / "pairs.jsonl", rows("dpo"))
    job = Job(base=made.name, data=(str(file),))
    judge = make("reward", job, Reward(epochs=1, members=1), home, lambda line: None)
    assert len(tokenizer_of(judge.path)) < 400  # other models' token ids would mean nothing to it
    registry = Registry(home.home)
    answered = [
        Answered([{"role": "user", "content": "Cat?"}], {}, text, 2) for text in ("Mat.", "好")
    ]
    scores = rewards_of([judge.name], registry).named[0].rewarder(answered)
    alone = Scorer(judge.path).score([one.talk for one in answered])
    assert scores == [score.mean for score in alone]
    assert scores[0] != scores[1]


def test_a_version_is_pretrained_further_with_adapters_or_whole(home: Settings, tiny: Version):
    for rank in (4, 0):
        recipe = Pretrain(epochs=1, batch=2, longest=64, rank=rank, learning_rate=1e-2)
        further = pretrained(home, recipe, base=tiny.name, name=f"further-{rank}")
        before, after = (load_file(v.path / "model.safetensors") for v in (tiny, further))
        changed = {name for name in before if not torch.equal(after[name], before[name])}
        assert ("model.embed_tokens.weight" in changed) == (rank == 0)
        assert (further.path / "made" / "pretrain" / "adapter").exists() == (rank > 0)


@given(st.text())
def test_any_text_survives_a_learnt_tokenizer(text: str):
    tokenizer = TOKENIZER
    assert tokenizer.decode(tokenizer(text).input_ids) == text


TOKENIZER = learnt_tokenizer([RHYME], 300)


def test_bits_per_byte_of_a_model_that_knows_nothing_are_those_of_its_vocabulary(tmp_path: Path):
    tokenizer = learnt_tokenizer(["x"], 259)  # no merges: a byte is a token
    model = load_uniform(tokenizer, tmp_path)
    expected = math.log2(len(tokenizer))
    assert bits_per_byte(model, ["abcdefgh" * 20, "é"], 16) == pytest.approx(expected, rel=1e-3)


def load_uniform(tokenizer, folder: Path) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415

    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, intermediate_size=16, num_hidden_layers=1,
        num_attention_heads=1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("knobs", "words"),
    [({"width": 100}, "multiple of 64"), ({"layers": 0}, "multiple of 64"),
     ({"vocabulary": 100}, "every byte is a token")],
)  # fmt: skip
def test_sizes_that_no_model_can_have_are_refused(settings: Settings, knobs: dict, words: str):
    with pytest.raises(Invalid, match=words):
        pretrained(settings, Pretrain(**knobs))
    assert not Registry(settings.home).has("pretrain-001-scratch")


def test_the_tokenizer_never_read_what_is_held_out(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
):
    read: list[str] = []

    def noted(texts: list[str], *_: object) -> Version:
        read.extend(texts)
        raise Invalid("enough")

    monkeypatch.setattr(scratch, "made_from_scratch", noted)
    with pytest.raises(Invalid, match="enough"):
        pretrained(settings, replace(SMALL, held_out=0.25))
    learnt, held_out = cut_apart([text_file(settings.home).read_text()], 0.25, 0)
    assert held_out
    assert read == learnt


def test_blocks_of_a_token_are_refused(settings: Settings):
    with pytest.raises(Invalid, match="--longest 1: give 8 or more"):
        pretrained(settings, replace(SMALL, held_out=0.0, longest=1))


def test_no_text_is_said(settings: Settings, tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"prompt": "Q?", "completion": "A"}\n')
    with pytest.raises(Invalid, match="no row of the shape text is left"):
        make("pretrain", Job(data=(str(file),)), Pretrain(), settings, lambda line: None)
