"""Puts the page together, once per language, and mounts it beside the API."""

from typing import Any

import gradio as gr
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse

from assistant.page import signing_in
from assistant.page.align_tab import AlignTab
from assistant.page.chat_tab import ChatTab
from assistant.page.compare_tab import CompareTab
from assistant.page.identity import CookieMiddleware
from assistant.page.policy import PolicyMiddleware
from assistant.page.strings import LANGUAGES, preferred, words
from assistant.page.style import CSS, HEAD, THEME, TOGGLE_THEME
from assistant.page.versions_tab import VersionsTab
from assistant.page.visitor import AT_ONCE, Desk, Services

STATUS_SECONDS = 2
# Between two looks at the queue, and at progress bars, which we have none of: Gradio's 1 and 10 ms
# are some percent of a core, always.
QUEUE_SECONDS, PROGRESS_SECONDS = 0.05, 1.0


def mount(app: FastAPI, services: Services) -> None:
    """Serve the page at /en and /zh; / leads to the browser's language."""
    app.add_middleware(CookieMiddleware, identity=services.identity)
    app.add_middleware(PolicyMiddleware)
    door = services.pairs.chat.door
    if not door.free:
        signing_in.mount(app, door, services.signed_in)

    @app.get("/")
    async def home(request: Request) -> RedirectResponse:
        return RedirectResponse(f"/{preferred(request.headers.get('accept-language', ''))}/")

    for language in LANGUAGES:
        desk = Desk(services, language, words(language))
        gr.mount_gradio_app(
            app,
            page(desk),
            f"/{language}",
            theme=THEME,
            css=CSS,
            head=HEAD,
            show_error=False,
            run_history=False,
            enable_monitoring=False,
            mcp_server=False,
            ssr_mode=False,
            footer_links=[],
            allowed_paths=[],
            max_file_size=0,
        )


def page(desk: Desk) -> gr.Blocks:
    """The whole page in one language."""
    say = desk.say
    with gr.Blocks(title=say("title"), analytics_enabled=False, fill_height=True) as blocks:
        with gr.Row(elem_id="top"):
            gr.Markdown(f"# {say('title')}\n{say('tagline')}", elem_id="title")
            status = gr.Markdown(elem_id="status")
            with gr.Row(elem_id="switches"):
                for language, name in LANGUAGES.items():
                    if language != desk.language:
                        gr.Button(name, link=f"/{language}/", size="sm", elem_id="language")
                theme = gr.Button(say("theme"), size="sm", elem_id="theme")
        theme.click(None, None, None, js=TOGGLE_THEME)
        with gr.Tab(say("chat"), id="chat") as chat:
            chat_tab = ChatTab(desk)
        with gr.Tab(say("compare"), id="compare") as compare:
            compare_tab = CompareTab(desk)
        with gr.Tab(say("align"), id="align") as align:
            align_tab = AlignTab(desk)
        with gr.Tab(say("versions"), id="versions") as versions:
            versions_tab = VersionsTab(desk)
        compare_tab.wire(compare)
        align_tab.wire(align, [chat, compare, versions])
        versions_tab.wire(versions)
        chat_tab.wire(blocks)
        blocks.load(lambda: _status(desk), None, status, **AT_ONCE)
        gr.Timer(STATUS_SECONDS).tick(lambda: _status(desk), None, status, **AT_ONCE)
    blocks.queue(api_open=False, default_concurrency_limit=None, max_size=200)
    blocks._queue.sleep_when_free = QUEUE_SECONDS
    blocks._queue.progress_update_sleep_when_free = PROGRESS_SECONDS
    return blocks


def _status(desk: Desk) -> Any:
    served = desk.chat.fleet.served()
    status = desk.chat.fleet.status
    if status.state == "ready":
        names = " / ".join(s.version.name for s in served)
        waiting = sum(engine.turnstile.queued for engine in desk.chat.fleet.engines)
        queue = f" · {desk.say('status_waiting', count=waiting)}" if waiting else ""
        return "● " + desk.say("status_ready", name=names) + queue
    key = "status_failed" if status.state == "failed" else "status_loading"
    return "○ " + desk.say(key, detail=status.detail)
