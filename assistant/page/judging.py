"""Thumbs with reasons and a comment, and better answers written by people."""

from typing import Any

import gradio as gr

from assistant.feedback.records import REASONS, Message
from assistant.page.consent import ConsentPanel
from assistant.page.view import view
from assistant.page.visitor import EVENT, Desk, attempt

SURFACE = "chat"
CHOICES: dict[Any, str] = {True: "up", "Like": "up", False: "down", "Dislike": "down"}


class JudgingPanel:
    """Opens under the chat when an answer gets a thumb."""

    def __init__(self, desk: Desk, conversation: gr.State, leaf: gr.State) -> None:
        self._desk = desk
        self._say = desk.say
        self._conversation = conversation
        self._leaf = leaf
        self._answer = gr.State(None)  # id of the message being judged
        self._choice = gr.State(None)
        with gr.Column(visible=False, elem_id="judging", elem_classes="panel") as self.panel:
            self._thanks = gr.Markdown()
            self._reasons = gr.CheckboxGroup([], label=self._say("reasons"), elem_id="reasons")
            self._comment = gr.Textbox(label=self._say("comment"), lines=2, elem_id="comment")
            with gr.Row():
                self._save = gr.Button(self._say("save"), variant="primary", elem_id="save-thumb")
                self._better = gr.Button(self._say("write_better"), elem_id="write-better")
                self._close = gr.Button(self._say("close"), elem_id="close-judging")
        with gr.Column(
            visible=False, elem_id="correcting", elem_classes="panel"
        ) as self.correcting:
            self._text = gr.Textbox(
                label=self._say("better_label"),
                info=self._say("better_hint"),
                lines=6,
                elem_id="better-answer",
            )
            with gr.Row():
                self._keep = gr.Button(self._say("save"), variant="primary", elem_id="save-better")
                self._cancel = gr.Button(self._say("close"))
        self._consent = ConsentPanel(desk, conversation, "chat")

    def wire(self, chatbot: gr.Chatbot, consent_box: gr.Checkbox, refresh: Any) -> None:
        """Connect everything; `refresh` is the handler that shows a conversation's new leaf."""
        self._consent.wire(consent_box)
        opened = [self._answer, self._choice, self.panel, self._thanks, self._reasons]
        opened += [self._comment, self.correcting, self._consent.panel]
        chatbot.like(self.thumb, [self._conversation, self._leaf], opened, **EVENT)
        given = [self._answer, self._choice, self._reasons, self._comment]
        self._save.click(self.detail, given, [self.panel], **EVENT)
        self._better.click(self.begin, self._answer, [self.correcting, self._text], **EVENT)
        for button in (self._close, self._cancel):
            button.click(_hide_both, None, [self.panel, self.correcting], **EVENT)
        self._keep.click(
            self.correct,
            [self._answer, self._text],
            [self._leaf, self.panel, self.correcting, self._consent.panel],
            **EVENT,
        ).success(refresh[0], refresh[1], refresh[2], **EVENT)

    async def thumb(
        self, conversation: str, leaf: str, event: gr.LikeData, request: gr.Request
    ) -> list[Any]:
        """Store the thumb at once; the panel then asks why."""
        owner = (await self._desk.caller(request, "feedback")).owner
        answer = await self._judged(owner, conversation, leaf, event)
        choice = CHOICES.get(event.liked)
        if choice is None:
            await self._withdraw(owner, answer.id)
            return [None, None, *[gr.update(visible=False)] * 2, *[gr.update()] * 2, *_HIDDEN]
        judgements = self._desk.chat.store.judgements
        await attempt(judgements.thumb, owner, SURFACE, answer.id, choice)
        reasons = [(self._say(f"{choice}_{reason}"), reason) for reason in REASONS[choice]]
        return [
            answer.id,
            choice,
            gr.update(visible=True),
            gr.update(value=self._say(f"thanks_{choice}"), visible=True),
            gr.update(choices=reasons, value=[]),
            gr.update(value=""),
            gr.update(visible=False),
            await self._consent.asked(owner, conversation),
        ]

    async def detail(
        self, answer: str, choice: str, reasons: list[str], comment: str, request: gr.Request
    ) -> object:
        """Say the thumb again, with its reasons and comment; the latest one counts."""
        owner = (await self._desk.caller(request, "feedback")).owner
        judgements = self._desk.chat.store.judgements
        await attempt(judgements.thumb, owner, SURFACE, answer, choice, reasons, comment)
        gr.Info(self._say("saved"))
        return gr.update(visible=False)

    async def begin(self, answer: str, request: gr.Request) -> list[Any]:
        """Open the editor with the answer as it is."""
        store = self._desk.chat.store.conversations
        message = await attempt(store.message, answer, self._desk.owner(request))
        return [gr.update(visible=True), gr.update(value=message.content)]

    async def correct(self, answer: str, text: str, request: gr.Request) -> list[Any]:
        """Store a better answer; the chat goes on from it."""
        owner = (await self._desk.caller(request, "feedback")).owner
        store = self._desk.chat.store
        judgement = await attempt(store.judgements.correction, owner, SURFACE, answer, text)
        message = await attempt(store.conversations.message, answer, owner)
        gr.Info(self._say("saved"))
        asked = await self._consent.asked(owner, message.conversation_id)
        return [judgement.corrected_id, *[gr.update(visible=False)] * 2, asked]

    async def _judged(
        self, owner: str, conversation: str, leaf: str, event: gr.LikeData
    ) -> Message:
        """The message under the thumb, looked up on the server; the browser gives its place."""
        store = self._desk.chat.store.conversations
        await attempt(store.get, conversation, owner)
        shown = view(await attempt(store.tree, conversation), leaf).messages
        place = event.index if isinstance(event.index, int) else event.index[0]
        if place >= len(shown):  # what grows is stored, and can be named, once it is finished
            raise gr.Error(self._say("still_growing"), print_exception=False)
        return shown[place]

    async def _withdraw(self, owner: str, answer: str) -> None:
        judgements = self._desk.chat.store.judgements
        for judgement in await attempt(judgements.about, [answer], owner):
            if judgement.kind == "thumb":
                await attempt(judgements.withdraw, owner, SURFACE, judgement.id)
                gr.Info(self._say("withdrawn"))


_HIDDEN = [gr.update(visible=False), gr.update(visible=False)]


def _hide_both() -> list[Any]:
    return list(_HIDDEN)
