"""The chat: streaming, stop, regenerate, edit, forks, and the side bar of conversations."""

import time
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import gradio as gr

from assistant.chat import Sampling
from assistant.errors import AssistantError, told
from assistant.feedback.records import Message
from assistant.page.judging import JudgingPanel
from assistant.page.view import bubbles, growing, latest_below, thumbs, view, waiting
from assistant.page.visitor import AT_ONCE, EVENT, Desk, attempt
from assistant.prompts import text_hash

FRAME_SECONDS = 0.05  # how often a growing answer is redrawn
QUESTION_LENGTH = 20_000
FOCUS = "() => document.querySelector('#question textarea').focus()"


class ChatTab:
    """Holds the components of the tab; its handlers keep nothing but ids in the browser."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._say = desk.say
        self._store = desk.chat.store.conversations
        self.conversation = gr.State(None)
        self.leaf = gr.State(None)
        self._side_bar()
        self._main()

    def _side_bar(self) -> None:
        say = self._say
        with gr.Sidebar(label=say("conversations"), open=False, elem_id="sidebar"):
            self.new = gr.Button(say("new_chat"), variant="primary", elem_id="new-chat")
            self.list = gr.Radio(
                [], label=say("conversations"), elem_id="conversations", interactive=True
            )
            self.consent = gr.Checkbox(label=say("consent_box"), elem_id="consent-box")
            with gr.Accordion(say("sampling"), open=False):
                self.temperature = gr.Slider(0, 1.5, 0.7, step=0.1, label=say("temperature"))
                self.length = gr.Slider(16, 2048, 512, step=16, label=say("length"))
            self.delete = gr.Button(say("delete"), size="sm", elem_id="delete")
            with gr.Column(visible=False, elem_classes="panel") as self.sure:
                gr.Markdown(say("delete_sure"))
                with gr.Row():
                    self.yes = gr.Button(say("delete_yes"), variant="stop", elem_id="delete-yes")
                    self.no = gr.Button(say("delete_no"))

    def _main(self) -> None:
        say = self._say
        self.chatbot = gr.Chatbot(
            elem_id="chat",
            show_label=False,
            label=say("chat"),
            editable="user",
            buttons=["copy"],
            allow_tags=False,
            feedback_options=("Like", "Dislike"),
            placeholder=say("empty_chat"),
            height="54dvh",
            layout="bubble",
        )
        self.forks = gr.Column(elem_id="forks")
        self.judging = JudgingPanel(self._desk, self.conversation, self.leaf)
        self.question = gr.Textbox(
            placeholder=say("ask_hint"),
            label=say("ask"),
            show_label=False,
            submit_btn=True,
            interactive=False,  # until it is known where this browser left off
            max_lines=8,
            max_length=QUESTION_LENGTH,
            elem_id="question",
        )

    def wire(self, page: gr.Blocks) -> None:
        """Connect the components to their handlers."""
        drawn = [self.temperature, self.length]
        place = [self.conversation, self.leaf]
        screen = [self.question, *place, self.chatbot, self.list, self.consent]
        sent = self.question.submit(self.send, [self.question, *place, *drawn], screen, **EVENT)
        again = self.chatbot.retry(self.regenerate, [*place, *drawn], screen, **EVENT)
        edited = self.chatbot.edit(self.edit, [*place, *drawn], screen, **EVENT)
        self.question.stop(None, cancels=[sent, again, edited], **EVENT).then(
            self.show_latest, self.conversation, screen, **EVENT
        )
        page.load(self.open_latest, None, screen, **EVENT).then(None, js=FOCUS)
        self.new.click(self.start_anew, None, screen, **EVENT)
        self.list.input(self.open, self.list, screen, **EVENT)
        self.consent.input(self.set_consent, [self.conversation, self.consent], None, **EVENT)
        self.delete.click(lambda: gr.update(visible=True), None, self.sure, **AT_ONCE)
        self.no.click(lambda: gr.update(visible=False), None, self.sure, **AT_ONCE)
        self.yes.click(self.erase, self.conversation, [self.sure, *screen], **EVENT)
        self.judging.wire(self.chatbot, self.consent, (self.show, place, screen))
        with self.forks:
            gr.render(inputs=place, show_progress="hidden")(self._draw_forks(screen))

    async def send(
        self,
        text: str,
        conversation: str | None,
        leaf: str | None,
        temperature: float,
        length: float,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        """Store a question and stream its answer."""
        if not text.strip():
            yield [gr.update()] * 6
            return
        owner = self._desk.owner(request)
        await attempt(self._desk.chat.require_hope)  # or the text stays where it was typed
        if conversation is None:
            conversation = (await attempt(self._store.start, owner, "chat")).id
        else:
            await attempt(self._store.get, conversation, owner)
        if leaf is not None:
            last = await attempt(self._store.message, leaf, owner)
            leaf = last.parent_id if last.role == "user" else leaf  # beside one without an answer
        ask = self._desk.chat.ask
        question = await ask(conversation, leaf, text[:QUESTION_LENGTH], self._desk.system_prompt)
        async for screen in self._answer(request, question, _sampling(temperature, length)):
            yield screen

    async def regenerate(
        self,
        conversation: str,
        leaf: str,
        temperature: float,
        length: float,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        """Answer the last question once more; the earlier answer stays as a sibling."""
        owner = self._desk.owner(request)
        shown = await self._shown(owner, conversation, leaf)
        question = next(m for m in reversed(shown) if m.role == "user")
        async for screen in self._answer(request, question, _sampling(temperature, length)):
            yield screen

    async def edit(
        self,
        conversation: str,
        leaf: str,
        temperature: float,
        length: float,
        event: gr.EditData,
        request: gr.Request,
    ) -> AsyncIterator[list[Any]]:
        """Ask a changed question beside the original one, and answer it."""
        owner = self._desk.owner(request)
        shown = await self._shown(owner, conversation, leaf)
        place = event.index if isinstance(event.index, int) else event.index[0]
        before = shown[place]
        text = str(event.value)[:QUESTION_LENGTH]
        question = await attempt(self._store.add, conversation, before.parent_id, "user", text)
        async for screen in self._answer(request, question, _sampling(temperature, length)):
            yield screen

    async def _answer(
        self, request: gr.Request, question: Message, sampling: Sampling
    ) -> AsyncIterator[list[Any]]:
        """The screen while an answer is waited for, while it grows, and once it is stored."""
        owner = self._desk.owner(request)
        path = view(await attempt(self._store.tree, question.conversation_id), question.id)
        before = bubbles(path.messages, self._say)
        stoppable = gr.update(value="", submit_btn=False, stop_btn=True)
        yield [stoppable, question.conversation_id, question.id, before, *[gr.update()] * 2]
        drawn_at, answered = 0.0, False
        try:
            async for detail in self._desk.chat.until_ready():
                yield _showing([*before, waiting(detail, self._say)])
            caller = await self._desk.admitted(request)
            async with aclosing(self._desk.chat.answer(question, sampling, caller)) as answers:
                async for draft in answers:
                    answered = answered or bool(draft.text or draft.message)
                    if time.monotonic() - drawn_at > FRAME_SECONDS:
                        drawn_at = time.monotonic()
                        yield _showing([*before, *growing(draft, self._say)])
        except AssistantError as error:
            gr.Warning(told(error))
        screen = await self._screen(owner, question.conversation_id, None)
        if not answered:
            screen[0] = gr.update(value=question.content, submit_btn=True, stop_btn=False)
        yield screen

    async def open_latest(self, request: gr.Request) -> list[Any]:
        """The screen of a fresh page: where this browser left off."""
        owner = self._desk.owner(request)
        known = await attempt(self._store.of, owner, "chat")
        return await self._screen(owner, known[0].id if known else None, None)

    async def open(self, conversation: str, request: gr.Request) -> list[Any]:
        """Show another conversation."""
        return await self._screen(self._desk.owner(request), conversation, None)

    async def show_latest(self, conversation: str | None, request: gr.Request) -> list[Any]:
        """Show where a conversation stands after an answer was stopped."""
        return await self._screen(self._desk.owner(request), conversation, None)

    async def show(
        self, conversation: str | None, leaf: str | None, request: gr.Request
    ) -> list[Any]:
        """Show a conversation at a given message."""
        return await self._screen(self._desk.owner(request), conversation, leaf)

    async def start_anew(self, request: gr.Request) -> list[Any]:
        """An empty conversation; it is stored once something is asked."""
        return await self._screen(self._desk.owner(request), None, None)

    async def set_consent(self, conversation: str | None, given: bool, request: gr.Request) -> None:
        """Change one's mind about training; before the first question, for new conversations."""
        notice = text_hash(self._desk.consent_notice)
        owner = self._desk.owner(request)
        await attempt(self._store.set_consent, owner, conversation, given, notice)
        gr.Info(self._say("consent_noted"))

    async def erase(self, conversation: str | None, request: gr.Request) -> list[Any]:
        """Delete the conversation shown."""
        owner = self._desk.owner(request)
        if conversation:
            await attempt(self._store.erase, conversation, owner)
        return [gr.update(visible=False), *await self._screen(owner, None, None)]

    async def _shown(self, owner: str, conversation: str, leaf: str) -> tuple[Message, ...]:
        await attempt(self._store.get, conversation, owner)
        return view(await attempt(self._store.tree, conversation), leaf).messages

    async def _screen(self, owner: str, conversation: str | None, leaf: str | None) -> list[Any]:
        idle = gr.update(interactive=True, submit_btn=True, stop_btn=False)
        known = await attempt(self._store.of, owner, "chat", "compare")
        titles = [(c.title or self._say("untitled"), c.id) for c in known]
        if conversation is None:
            return [idle, None, None, [], gr.update(choices=titles, value=None), False]
        await attempt(self._store.get, conversation, owner)
        path = view(await attempt(self._store.tree, conversation), leaf)
        ids = [message.id for message in path.messages]
        given = await attempt(self._desk.chat.store.judgements.about, ids, owner)
        chatbot = gr.update(
            value=bubbles(path.messages, self._say),
            feedback_value=thumbs(path.messages, given),
        )
        consent = await attempt(self._store.consent, owner, conversation)
        listed = gr.update(choices=titles, value=conversation)
        return [idle, conversation, path.leaf and path.leaf.id, chatbot, listed, bool(consent)]

    def _draw_forks(self, screen: list[Any]) -> Any:
        """A renderer of one row per place where the conversation has several versions."""

        def draw(conversation: str | None, leaf: str | None) -> None:
            tree = self._store.tree(conversation) if conversation else []
            for fork in view(tree, leaf).forks:
                kind = "turn_answer" if fork.role == "assistant" else "turn_question"
                count = len(fork.versions)
                text = self._say(kind, turn=fork.turn, which=fork.which + 1, of=count)
                with gr.Row(elem_classes="fork"):
                    for step, key in ((-1, "earlier"), (0, text), (1, "later")):
                        if step == 0:
                            gr.Markdown(text, elem_classes="fork-text")
                            continue
                        to = fork.which + step
                        button = gr.Button(
                            self._say(key), size="sm", interactive=0 <= to < count, min_width=90
                        )
                        if 0 <= to < count:
                            leaf_there = gr.State(latest_below(tree, fork.versions[to]))
                            button.click(
                                self.show, [self.conversation, leaf_there], screen, **EVENT
                            )

        return draw


def _showing(chat: list[dict[str, Any]]) -> list[Any]:
    """The screen with another chat on it."""
    return [*[gr.update()] * 3, chat, *[gr.update()] * 2]


def _sampling(temperature: float, length: float) -> Sampling:
    """The sliders' values, within bounds whatever a browser sends."""
    return Sampling(
        temperature=min(max(temperature, 0.0), 2.0), max_tokens=min(max(int(length), 1), 4096)
    )
