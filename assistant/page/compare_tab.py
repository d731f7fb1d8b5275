"""Compare: one question, two answers side by side, judged blind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from assistant.chat import Draft
from assistant.errors import AssistantError, told
from assistant.feedback.records import PAIR_CHOICES, Message
from assistant.page.consent import ConsentPanel
from assistant.page.markdown import harmless
from assistant.page.view import growing, waiting
from assistant.page.visitor import AT_ONCE, EVENT, Desk, attempt
from assistant.pairs import PAIR_SAMPLING, Kind

SURFACE = "compare"


class CompareTab:
    """Holds the components of the tab. Which side is which stays on the server until the vote."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._say = say = desk.say
        self._conversation = gr.State(None)
        self._comparison = gr.State(None)
        gr.Markdown(say("compare_hint"))
        self._source = gr.Radio(
            [(say("source_samples"), "samples"), (say("source_versions"), "versions")],
            value="samples",
            label=say("source"),
            visible=False,
            elem_id="compare-source",
        )
        with gr.Row(equal_height=True):
            self._a = _side(say("answer_a"), "answer-a")
            self._b = _side(say("answer_b"), "answer-b")
        with gr.Row(visible=False, elem_id="votes") as self._votes:
            self._buttons = {
                choice: gr.Button(say(f"vote_{choice}"), elem_id=f"vote-{choice}", min_width=120)
                for choice in PAIR_CHOICES
            }
        self._revealed = gr.Markdown(visible=False, elem_id="revealed")
        self._consent = ConsentPanel(desk, self._conversation, "compare")
        self._question = gr.Textbox(
            placeholder=say("ask_hint"),
            label=say("ask"),
            show_label=False,
            submit_btn=True,
            max_lines=8,
            elem_id="compare-question",
        )

    def wire(self, tab: gr.Tab) -> None:
        """Connect the components to their handlers."""
        self._consent.wire()
        tab.select(self._choices, None, self._source, **AT_ONCE)
        shown = [self._conversation, self._comparison, self._a, self._b, self._votes]
        asked = self._question.submit(
            self.ask,
            [self._question, self._source],
            [self._question, *shown, self._revealed, self._consent.panel],
            **EVENT,
        )
        self._question.stop(_idle, None, self._question, cancels=[asked], **EVENT)
        for choice, button in self._buttons.items():
            button.click(
                self._vote(choice),
                self._comparison,
                [self._votes, self._revealed, self._consent.panel],
                **EVENT,
            )

    async def _choices(self) -> object:
        """Two versions can be compared where two are served; a trial asks for just that."""
        two = len(self._desk.chat.fleet.served()) > 1
        trial = await attempt(self._desk.pairs.trials.running)
        if two and trial:
            return gr.update(visible=True, value="versions")
        return gr.update(visible=two)

    async def ask(self, text: str, source: Kind, request: gr.Request) -> AsyncIterator[list[Any]]:
        """Stream two answers at one pace; the pair can be judged once both are whole."""
        if not text.strip():
            yield [gr.update()] * 8
            return
        owner = self._desk.owner(request)
        store, pairs = self._desk.chat.store, self._desk.pairs
        await attempt(self._desk.chat.require_hope)
        conversation = (await attempt(store.conversations.start, owner, SURFACE)).id
        prompt = self._desk.system_prompt
        question = await self._desk.chat.ask(conversation, None, text, prompt)
        asked = [{"role": "user", "content": harmless(text)}]
        hide = gr.update(visible=False)
        shown = [asked, asked]
        stoppable = gr.update(value="", submit_btn=False, stop_btn=True)
        yield [stoppable, conversation, None, *shown, hide, hide, hide]
        messages: tuple[Message | None, Message | None] = (None, None)
        try:
            async for detail in self._desk.chat.until_ready():
                shown = [[*asked, waiting(detail, self._say)]] * 2
                yield [gr.update(), conversation, None, *shown, *[gr.update()] * 3]
            caller = await self._desk.admitted(request)
            sides = await asyncio.to_thread(pairs.draw_sides, source)
            async with aclosing(pairs.stream(question, PAIR_SAMPLING, sides, caller)) as both:
                async for drafts in both:
                    shown = [[*asked, *self._bubbles(draft)] for draft in drafts]
                    messages = drafts[0].message, drafts[1].message
                    yield [gr.update(), conversation, None, *shown, *[gr.update()] * 3]
            drawn, _ = await pairs.note(*messages, sides)
            votes = gr.update(visible=True)
            yield [_idle(), conversation, drawn, *shown, votes, *[gr.update()] * 2]
        except AssistantError as error:
            gr.Warning(told(error))
            back = gr.update(value=text, submit_btn=True, stop_btn=False)
            yield [back, *[gr.update()] * 7]

    def _bubbles(self, draft: Draft) -> list[dict[str, Any]]:
        if draft.message:
            return [{"role": "assistant", "content": harmless(draft.message.content or "")}]
        return growing(draft, self._say)

    def _vote(self, choice: str) -> Any:
        async def vote(comparison: str | None, request: gr.Request) -> list[Any]:
            owner = (await self._desk.caller(request, "feedback")).owner
            store = self._desk.chat.store
            judgement = await attempt(store.judgements.compared, owner, SURFACE, comparison, choice)
            ids = [target.message_id for target in judgement.targets]
            pair = await attempt(store.conversations.messages, ids, owner)
            first, second = (m.generation.version if m.generation else "?" for m in pair)
            text = self._say("revealed", first=first, second=second)
            asked = await self._consent.asked(owner, pair[0].conversation_id)
            return [gr.update(visible=False), gr.update(value=text, visible=True), asked]

        return vote


def _side(label: str, name: str) -> gr.Chatbot:
    with gr.Column(min_width=260):
        gr.Markdown(f"**{label}**")
        return gr.Chatbot(
            label=label,
            show_label=False,
            elem_id=name,
            allow_tags=False,
            buttons=[],
            height="46dvh",
            feedback_options=None,
        )


def _idle() -> object:
    """The question box when nothing is being answered."""
    return gr.update(submit_btn=True, stop_btn=False)
