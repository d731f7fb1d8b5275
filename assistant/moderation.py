"""Does a text ask for harm? A classifier small enough to be asked with every message.

Logistic regression on hashed n-grams of words and letters (Joulin et al. 2017; Weinberger et al.
2009): no engine and no torch, some megabytes, and less than a millisecond a text.
"""

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from assistant.disk import write_synced
from assistant.errors import ModelError, NotServed
from assistant.registry import Registry
from assistant.version import MODERATION, Version

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORM = "hashed n-grams, 1"  # changes with what `features` gives
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
WORDS_TOGETHER = (1, 2, 3)
LETTERS_TOGETHER = (3, 4, 5)
PIECE, OVERLAP = 2000, 200  # characters that are judged at once; the worst piece of a text counts


def features(text: str, buckets: int) -> tuple[np.ndarray, np.ndarray]:
    """Which of the buckets a text falls into, and how much: two arrays of one length.

    The amounts have the length 1 as a vector, whatever the text's length.
    """
    counts = Counter(zlib.crc32(gram.encode()) % buckets for gram in _grams(text))
    if not counts:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    places = np.fromiter(counts, np.int64, len(counts))
    amounts = np.log1p(np.fromiter(counts.values(), np.float32, len(counts)))
    return places, amounts / np.linalg.norm(amounts)


def pieces(text: str) -> list[str]:
    """A text cut into pieces that overlap; most texts are one."""
    starts = range(0, max(len(text) - OVERLAP, 1), PIECE - OVERLAP)
    return [text[start : start + PIECE] for start in starts]


def _grams(text: str) -> Iterator[str]:
    words = WORD.findall(text.lower())
    for number in WORDS_TOGETHER:
        for start in range(len(words) - number + 1):
            yield " ".join(words[start : start + number])
    for word in words:
        marked = f"<{word}>"
        for number in LETTERS_TOGETHER:
            for start in range(len(marked) - number + 1):
                yield "_" + marked[start : start + number]


class Classifier:
    """Weights by bucket, and from which probability on a text is flagged."""

    def __init__(self, weights: np.ndarray, bias: float, threshold: float) -> None:
        self._weights = weights
        self._bias = bias
        self.threshold = threshold

    @classmethod
    def of(cls, version: Version) -> "Classifier":
        """The one in a version's folder. Raises ModelError for a form this release cannot read."""
        config = json.loads((version.path / CONFIG).read_text(encoding="utf-8"))
        if config.get("form") != FORM:
            raise ModelError(f"{version.name} is no classifier that this release can read.")
        weights = load_file(version.path / WEIGHTS)["weights"]
        return cls(weights, config["bias"], config["threshold"])

    def save(self, folder: Path) -> None:
        """Write it as `of` reads it."""
        save_file({"weights": self._weights}, folder / WEIGHTS)
        config = {"form": FORM, "bias": self._bias, "threshold": self.threshold}
        write_synced(folder / CONFIG, json.dumps(config))

    def probability(self, text: str) -> float:
        """How likely it is that the text asks for harm, going by its worst piece."""
        return max(map(self._of_piece, pieces(text)))

    def _of_piece(self, text: str) -> float:
        places, amounts = features(text, len(self._weights))
        return 1 / (1 + math.exp(-float(self._weights[places] @ amounts) - self._bias))

    def probabilities(self, texts: Sequence[str]) -> list[float]:
        """Of each text."""
        return [self.probability(text) for text in texts]


class Moderators:
    """The classifiers among the versions; the newest one answers unless another is named."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._loaded: tuple[str, Classifier] | None = None

    def find(
        self, name: str | None, may_ask: Callable[[str], bool] = lambda _: True
    ) -> tuple[Version, Classifier]:
        """The one of that name, or the newest, of those that the caller may ask.

        Raises NotServed where there is none.
        """
        made = [v for v in self._registry.versions() if v.kind == MODERATION and may_ask(v.name)]
        wanted = [v for v in made if name is None or v.name == name]
        if not wanted:
            known = ", ".join(v.name for v in made)
            raise NotServed(
                f"There is no moderation version {name!r} here; there are: {known}."
                if known
                else "No moderation version is registered here; `align safety` makes one."
            )
        version = wanted[-1]
        if self._loaded is None or self._loaded[0] != version.content_hash:
            self._registry.verify(version)
            self._loaded = version.content_hash, Classifier.of(version)
        return version, self._loaded[1]
