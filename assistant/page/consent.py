"""Asking for consent in plain words, once a judgement makes it matter."""

import gradio as gr

from assistant.page.visitor import EVENT, Desk, attempt
from assistant.prompts import text_hash


class ConsentPanel:
    """The question, its three answers, and nothing else."""

    def __init__(self, desk: Desk, conversation: gr.State, name: str) -> None:
        self._desk = desk
        self._conversation = conversation
        with gr.Column(
            visible=False, elem_id=f"{name}-consent", elem_classes="panel"
        ) as self.panel:
            gr.Markdown(desk.consent_notice)
            with gr.Row():
                self.this = gr.Button(desk.say("consent_this"), variant="primary")
                self.every = gr.Button(desk.say("consent_all"))
                self.no = gr.Button(desk.say("consent_no"))

    def wire(self, box: gr.Checkbox | None = None) -> None:
        """Connect the buttons, and the side bar's box if this panel has one."""
        outputs = [self.panel] + ([box] if box else [])

        def answer(given: bool, *, always: bool) -> object:
            async def handler(conversation: str | None, request: gr.Request) -> list[object]:
                await self._note(self._desk.owner(request), conversation, given)
                if always:
                    await self._note(self._desk.owner(request), None, given)
                gr.Info(self._desk.say("consent_noted"))
                return [gr.update(visible=False)] + ([gr.update(value=given)] if box else [])

            return handler

        for button, given, always in (
            (self.this, True, False),
            (self.every, True, True),
            (self.no, False, False),
        ):
            button.click(answer(given, always=always), self._conversation, outputs, **EVENT)

    async def asked(self, owner: str, conversation: str) -> object:
        """An update that shows the question if it was never answered for this conversation."""
        consent = await attempt(self._desk.chat.store.conversations.consent, owner, conversation)
        return gr.update(visible=consent is None)

    async def _note(self, owner: str, conversation: str | None, given: bool) -> None:
        notice = text_hash(self._desk.consent_notice)
        store = self._desk.chat.store.conversations
        await attempt(store.set_consent, owner, conversation, given, notice)
