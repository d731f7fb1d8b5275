"""What a reward model of human pairs brings: RLOO by it, beside the best of several answers.

A scorer learns what people preferred. The embedded model is rewarded by it for answers to the
loop's questions, and is asked those of other families. Its rival learns nothing: of several answers
of the embedded model that one is given which the scorer likes best. Whether people would agree is
told by pairs that nobody learnt from; the answers are laid side by side, to be read.
"""

import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from align.data.gathering import gather
from align.recipes import RLHF, Job, Reward
from align.sampling import Sampled, sample
from align.scoring import Scorer
from align.stages import drop_weights, make
from assistant.registry import Registry
from assistant.settings import Settings
from assistant.version import Version
from tests.loop.questions import questions
from tests.loop.report import interval
from tests.numbers import measuring
from tests.numbers.kept import Kept
from tests.numbers.learning import rewarded, some
from tests.numbers.rewards import DATA

LEARNT = {"oasst_en100.train.jsonl": 300, "hh_harmless.train.jsonl": 200}
UNSEEN = ("oasst_en100.dev.jsonl", "hh_harmless.dev.jsonl")
SCORED = Reward(epochs=1, members=1)
RECIPE = RLHF(answers=8, phase=32, answer_tokens=96)
PROMPTS, ASKED = 96, 60
BEST_OF = (1, 2, 4, 8)
DRAWN = {"max_tokens": RECIPE.answer_tokens, "temperature": 1.0}
SHOWN = 12
SEEDS = (0, 1)


class Study:
    """What is kept of it lies among the `steps`."""

    def __init__(self, version: Version, home: Path, steps: Kept) -> None:
        self._version, self._home, self._steps = version, home, steps
        self._asked = questions("trial")[:ASKED]

    def run(self) -> dict[str, Any]:
        """Each seed has a scorer of its own, which rewards and chooses."""
        found: dict[str, Any] = {"trainings": []}
        for seed in SEEDS:
            told = self._steps.measure(
                f"seed-{seed}",
                lambda scratch, s=seed: self._seed(s, scratch),
                recipes=[SCORED.as_facts(), RECIPE.as_facts()],
            )
            if told:
                found["trainings"].append({"seed": seed, **told})
        return found

    def _seed(self, seed: int, scratch: Path) -> dict[str, Any]:
        name = f"scorer-{seed}"
        if not Registry(self._home).has(name):
            self._learn_to_score(name, seed, scratch)
        scorer = Scorer(Registry(self._home).get(name).path)
        pool, drawing = self._timed(lambda: self._answers(self._version, max(BEST_OF), scratch))
        scores, scoring = self._timed(lambda: [self._scores(scorer, answers) for answers in pool])
        first = told_of(pool[0], scores[0])
        several = [best(pool[:number], scores[:number]) for number in BEST_OF]
        each = (drawing + scoring) / max(BEST_OF)  # minutes for one answer to every question
        rivals = [
            {"of": number, "minutes": each * number, **told_of(*chosen)}
            for number, chosen in zip(BEST_OF, several, strict=True)
        ]
        learnt, minutes = self._timed(lambda: self._rewarded(name, seed, scratch))
        answers = self._answers(learnt, 1, scratch)[0]
        told = {
            "base": {**first, **self._cost(self._version, scratch)},
            "best": rivals,
            "rewarded": {
                "minutes": minutes,
                **told_of(answers, self._scores(scorer, answers)),
                **self._cost(learnt, scratch),
            },
            "samples": self._laid_out((pool[0], answers, several[2][0]), seed),
        }
        drop_weights(learnt.path)
        return told

    def _learn_to_score(self, name: str, seed: int, scratch: Path) -> None:
        files = [
            str(some(DATA / data, number, seed, scratch / data)) for data, number in LEARNT.items()
        ]
        job = Job(base=self._version.name, data=tuple(files), name=name, seed=seed)
        settings = Settings(home=self._home)
        make("reward", job, SCORED, settings, lambda line: print(line, flush=True))

    def _rewarded(self, scorer: str, seed: int, scratch: Path) -> Version:
        tasks = [{"prompt": asked} for asked in questions("collect")[:PROMPTS]]
        recipe = replace(RECIPE, reward=(scorer,))
        return rewarded(self._version, self._home, recipe, seed, tasks, scratch)[0]

    def _answers(self, version: Version, each: int, scratch: Path) -> list[list[Sampled]]:
        """So many answers to all questions, one after the other."""
        drawn = sample(version, self._asked * each, DRAWN, self._home, scratch)
        return [drawn[start : start + ASKED] for start in range(0, len(drawn), ASKED)]

    def _scores(self, scorer: Scorer, answers: Sequence[Sampled]) -> list[float]:
        talks = [
            [{"role": "user", "content": asked}, {"role": "assistant", "content": answer.text}]
            for asked, answer in zip(self._asked, answers, strict=True)
        ]
        return [score.mean for score in scorer.score(talks)]

    def _cost(self, version: Version, scratch: Path) -> dict[str, Any]:
        rows = [row for name in UNSEEN for row in gather("preference", str(DATA / name), "").rows]
        return {
            "people": measuring.held_out(self._version.path, version.path, rows),
            "instructions": measuring.instructions(version, self._home, scratch),
            "perplexity": measuring.perplexity(version.path),
        }

    def _laid_out(self, ways: Sequence[Sequence[Sampled]], seed: int) -> list[dict[str, Any]]:
        """A few questions with each way's answer in random order, and which is which."""
        names, order = ("base", "rewarded", f"best of {BEST_OF[2]}"), random.Random(seed)
        made = []
        for place, asked in list(enumerate(self._asked))[:SHOWN]:
            sides = [(name, way[place].text) for name, way in zip(names, ways, strict=True)]
            order.shuffle(sides)
            made.append({"asked": asked, "answers": [text for _, text in sides]})
            made[-1]["by"] = [name for name, _ in sides]
        return made

    @staticmethod
    def _timed(work: Any) -> tuple[Any, float]:
        began = time.monotonic()
        return work(), (time.monotonic() - began) / 60


def best(
    pool: Sequence[Sequence[Sampled]], scores: Sequence[Sequence[float]]
) -> tuple[list[Sampled], list[float]]:
    """Of several answers to each question the one that scores highest, and its score."""
    chosen = [max(range(len(pool)), key=lambda n, p=place: scores[n][p]) for place in range(ASKED)]
    found = [(pool[n][place], scores[n][place]) for place, n in enumerate(chosen)]
    return [answer for answer, _ in found], [score for _, score in found]


def told_of(answers: Sequence[Sampled], scores: Sequence[float]) -> dict[str, Any]:
    """The mean score (95 %), how long answers are, and how many end."""
    return {
        "score": [fmean(scores), *interval(list(scores))],
        "tokens": fmean(answer.tokens for answer in answers),
        "ends": fmean(answer.stopped for answer in answers),
    }


def table(found: dict[str, Any]) -> str:
    """The numbers as Markdown."""
    lines = [
        "| seed | answers | minutes | score (95 %) | tokens | end | people's pairs (95 %) "
        "| IFEval, strict | perplexity |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for one in found["trainings"]:
        seed = one["seed"]
        lines.append(_line(seed, "of the base", one["base"]))
        lines += [_line(seed, f"best of {rival['of']}", rival) for rival in one["best"]]
        lines.append(_line(seed, "rewarded (RLOO)", one["rewarded"]))
    return "\n".join(lines)


def _line(seed: int, name: str, told: dict[str, Any]) -> str:
    score, low, high = told["score"]
    cost = ["–"] * 3
    if "people" in told:
        right, least, most = told["people"]["accuracy"]
        cost = [
            f"{right:.0%} ({least:.0%} to {most:.0%})",
            f"{told['instructions']['strict'][0]:.1%}",
            f"{told['perplexity']:.2f}",
        ]
    minutes = f"{told['minutes']:.1f}" if "minutes" in told else "–"
    ends = f"{told['ends']:.0%}"
    shown = f"{score:+.2f} ({low:+.2f} to {high:+.2f})"
    cells = (str(seed), name, minutes, shown, f"{told['tokens']:.0f}", ends, *cost)
    return "| " + " | ".join(cells) + " |"
