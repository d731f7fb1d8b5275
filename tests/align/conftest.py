"""A model so small that real training takes seconds, current in a home of its own."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from align.measure import measured
from assistant.dialect import TEMPLATE
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version

NAME = "tiny"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", TEMPLATE)
PAD, END, YES, NO, WELL = 0, 2, 9805, 787, 876  # " yes", " no", " well"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """For work as small as this, threads that wait for each other cost more than they bring."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tiny(embedded_version: Version, tmp_path_factory: pytest.TempPathFactory) -> Version:
    """Random weights under the embedded model's tokenizer; read it only."""
    registry = Registry(tmp_path_factory.mktemp("tiny"))
    with registry.staging() as folder:
        tiny_model().to(torch.bfloat16).save_pretrained(folder)
        for name in TOKENIZER:
            shutil.copyfile(embedded_version.path / name, folder / name)
        return registry.register(NAME, folder, kind="folder", source="random weights")


@pytest.fixture
def settings(tiny: Version, tmp_path: Path) -> Settings:
    """A home whose current version is the tiny model, with nothing said in it yet."""
    return home_with(tiny, tmp_path / "home")


def home_with(version: Version, home: Path) -> Settings:
    """A new home with a copy of one version, which is the current one."""
    registry = Registry(home)
    shutil.copytree(version.path, registry.folder / version.name)
    registry.promote(version.name)
    return Settings(home=home)


def tiny_model() -> LlamaForCausalLM:
    """Two layers that say yes, no, well, or most likely nothing more, so that answers are short."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,  # the smallest that an engine serves
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        embeddings = model.get_input_embeddings().weight
        embeddings[:, 0] = 0.1  # every hidden state points this way, …
        embeddings[[YES, NO, WELL], 0] = 2.5  # … and so do these words
        embeddings[END, 0] = 2.8
    return model


@pytest.fixture(scope="session")
def measured_home(tiny: Version, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which a real engine measured the tiny model; read it only."""
    settings = home_with(tiny, tmp_path_factory.mktemp("measured") / "home")
    measured(Registry(settings.home).get(NAME), settings.home, settings.home)
    return settings
