"""A small classifier that flags one word, registered as `align safety` registers its own."""

import numpy as np

from assistant.moderation import Classifier, features
from assistant.registry import Registry
from assistant.version import MODERATION, Version

BUCKETS = 4096
WORD = "dynamite"


def flagging(word: str = WORD) -> Classifier:
    weights = np.zeros(BUCKETS, np.float32)
    weights[features(word, BUCKETS)[0]] = 20
    return Classifier(weights, bias=-4.0, threshold=0.5)


def registered(registry: Registry, name: str, word: str = WORD) -> Version:
    with registry.staging() as folder:
        flagging(word).save(folder)
        return registry.register(name, folder, kind=MODERATION, source="one word")
