"""Align: what people said, the round that makes the next version of it, and what commands make."""

import asyncio
from collections.abc import Sequence
from typing import Any

import gradio as gr
import pandas as pd

from assistant.feedback.stats import count
from assistant.making import Making, Step, makings
from assistant.page.visitor import AT_ONCE, EVENT, Desk, attempt
from assistant.registry import Registry
from assistant.rounds import RoundView
from assistant.sources import EMBEDDED
from assistant.trials import Trial
from assistant.verdict import Verdict

REFRESH_SECONDS = 2
CURVES = (
    ("loss", "curve_loss"),
    ("rewards/accuracies", "curve_accuracy"),
    ("reward", "curve_reward"),
)
Curves = dict[str, list[dict[str, Any]]]  # the numbers of each step, by training
MARKS = {"finished": "●", "running": "◐", "waiting": "○"}


class AlignTab:
    """Reads the store and a round's files; starts a round as a process of its own."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._say = say = desk.say
        gr.Markdown(say("align_hint"))
        self._given = gr.Markdown(elem_id="given")
        self._start = gr.Button(say("round_start"), variant="primary", elem_id="start-round")
        self._state = gr.Markdown(elem_id="round-state")
        self._making = gr.Markdown(elem_id="making")
        with gr.Row(elem_id="curves"):
            self._plots = [
                gr.LinePlot(
                    x="step", y="value", color="stage", title=say(title), height=220, visible=False,
                    x_title=say("curve_step"), y_title=" ",
                )
                for _, title in CURVES
            ]  # fmt: skip
        self._trial = gr.Markdown(elem_id="trial-state")
        self._timer = gr.Timer(REFRESH_SECONDS, active=False)

    def wire(self, tab: gr.Tab, others: list[gr.Tab]) -> None:
        """Refresh while the tab is open."""
        follows = [self._start, self._state, self._making, *self._plots, self._trial]
        shown = [self._given, *follows]
        tab.select(self.refresh, None, shown, **AT_ONCE)
        tab.select(lambda: gr.Timer(active=True), None, self._timer, **AT_ONCE)
        for other in others:
            other.select(lambda: gr.Timer(active=False), None, self._timer, **AT_ONCE)
        self._timer.tick(self.follow, None, follows, **AT_ONCE)
        self._start.click(self.start, None, shown, **EVENT)

    async def start(self, request: gr.Request) -> list[Any]:
        """Start a round, or go on with one that was interrupted."""
        await self._desk.caller(request, "admin")
        rounds = self._desk.rounds
        if not await asyncio.to_thread(rounds.running):
            await attempt(rounds.start)
        return await self.refresh()

    async def refresh(self) -> list[Any]:
        """Everything the tab shows; counting what people said takes longer than the rest."""
        counts = await attempt(count, self._desk.chat.store)
        fixed = await attempt(self._fixed)
        return [self._counts(counts) + fixed, *await self.follow()]

    def _fixed(self) -> str:
        """What a round would not do for a program whose model was fixed at its start."""
        if self._desk.chat.fleet.follows:
            return ""
        current = Registry(self._desk.rounds.home).current
        return "\n\n" + self._say("round_fixed", base=current.name if current else EMBEDDED)

    async def follow(self) -> list[Any]:
        """How the round, the trial, and what commands make stand."""
        rounds = self._desk.rounds
        running = await asyncio.to_thread(rounds.running) or not rounds.ended()
        latest = await attempt(rounds.latest)
        made = await attempt(makings, rounds.home)
        label = self._say("round_running" if running else "round_start")
        unfinished = latest is not None and latest.outcome is None
        if unfinished and not running:
            label = self._say("round_continue")
        return [
            gr.update(value=label, interactive=not running),
            self._told(latest, running),
            "\n\n".join(self._made(one) for one in made),
            *(_plot(_curves(latest, running, made), name) for name, _ in CURVES),
            await self._on_trial(),
        ]

    def _counts(self, counts: dict[str, Any]) -> str:
        say = self._say
        kinds = counts["judgements"]
        head = say("given_head", conversations=counts["conversations"], allowed=counts["consented"])
        if not kinds:
            return f"{head}\n\n{say('given_none')}"
        named = ((say("kind_" + kind.replace(" ", "_")), number) for kind, number in kinds.items())
        rows = "".join(f"| {name} | {number} |\n" for name, number in named)
        table = f"| {say('given_kind')} | {say('given_number')} |\n|---|---|\n{rows}"
        usable = {shape: facts["rows"] for shape, facts in counts["rows"].items()}
        return f"{head}\n\n{table}\n{say('given_rows', **usable)}"

    def _told(self, latest: RoundView | None, running: bool) -> str:
        words = self._desk.rounds.last_words()
        if latest is None:
            return words
        lines = [f"### {latest.name}"]
        lines += self._steps(latest.steps)
        if latest.outcome:
            lines += ["", self._outcome(latest.outcome)]
        elif not running:
            lines += ["", self._say("round_interrupted")]
        if words and not running and self._desk.rounds.refused():
            lines += ["", words]
        return "\n".join(lines)

    def _made(self, making: Making) -> str:
        told = [] if making.running else ["", self._say("making_interrupted", name=making.name)]
        return "\n".join([f"### {making.name}", *self._steps(making.steps), *told])

    def _steps(self, steps: Sequence[Step]) -> list[str]:
        return [f"{MARKS[step.state]} {step.name}{self._pace(step)}  " for step in steps]

    def _pace(self, step: Step) -> str:
        if step.seconds is not None:
            return f" · {step.seconds:.0f} s"
        if step.state == "running" and step.progress:
            return " · " + self._say("round_progress", **step.progress)
        return ""

    def _outcome(self, outcome: dict[str, Any]) -> str:
        say = self._say
        rows = "".join(
            f"| {say('check_' + c['name'])} | {c['before']:.3g} | {c['after']:.3g} | "
            f"{_change(c)} | {self._remark(c)} |\n"
            for c in outcome["checks"]
        )
        head = say("check_head")
        state = "round_refused" if outcome["state"] == "refused" else "round_on_trial"
        told = say(state, name=outcome["candidate"], reasons="; ".join(outcome["reasons"]))
        return f"{told}\n\n{head}\n|---|---|---|---|---|\n{rows}"

    def _remark(self, check: dict[str, Any]) -> str:
        harm = self._say("check_harm") if check["harm"] else ""
        return f"{harm} {check['says'] if check['name'] == 'pair_accuracy' else ''}".strip()

    async def _on_trial(self) -> str:
        trial = await attempt(self._desk.pairs.trials.running)
        if trial is None:
            return ""
        told = trial_in_words(trial, await attempt(self._desk.pairs.standing, trial), self._say)
        fixed = "" if self._desk.chat.fleet.follows else self._say("trial_not_served")
        return f"{told} {fixed}"


def trial_in_words(trial: Trial, verdict: Verdict, say: Any) -> str:
    """How a running trial stands."""
    head = say("trial_head", candidate=trial.candidate, against=trial.against)
    if not verdict.votes:
        return f"{head} {say('trial_no_votes')}"
    score = say(
        "trial_score",
        votes=verdict.votes,
        rate=f"{verdict.win_rate:.0%}",
        lower=f"{verdict.lower:.0%}",
        upper=f"{verdict.upper:.0%}",
    )
    more = say("trial_more", more=verdict.more) if verdict.more else say("trial_open")
    return f"{head} {score} {more}"


def _change(check: dict[str, Any]) -> str:
    """The 95 % interval of a change; of the share itself for pairs, where chance is the start."""
    if check["name"] == "pair_accuracy":
        return f"{check['low']:.0%} … {check['high']:.0%}"
    if check["name"] == "perplexity":
        return f"{check['low']:+.1%} … {check['high']:+.1%}"
    return f"{check['low']:+.3g} … {check['high']:+.3g}"


def _curves(latest: RoundView | None, running: bool, made: Sequence[Making]) -> Curves:
    """Of what is being trained; of the last round where nothing is."""
    commands = {
        f"{making.name} {step}": curve
        for making in made
        if making.running
        for step, curve in making.curves.items()
    }
    of_round = latest.curves if latest and (running or not commands) else {}
    return commands | of_round


def _plot(curves: Curves, name: str) -> Any:
    points = [
        {"step": entry["step"], "value": entry[name], "stage": stage}
        for stage, curve in curves.items()
        for entry in curve
        if name in entry
    ]
    if not points:
        return gr.update(visible=False)
    return gr.update(value=pd.DataFrame(points), visible=True)
