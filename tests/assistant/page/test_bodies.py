"""What is sent to the page is not read without end."""

import contextlib
from collections.abc import Iterator

import gradio as gr
import httpx
from fastapi import FastAPI

from assistant.api import bounded_http
from tests.serving import served

JOIN = "/en/gradio_api/queue/join"
MORE = 50 * 2**20


def test_a_body_for_the_page_is_cut_off_early():
    with gr.Blocks() as blocks:
        gr.Textbox()
    sent = 0

    def pieces() -> Iterator[bytes]:
        nonlocal sent
        yield b'{"data": ["'
        while sent < MORE:
            sent += 2**16
            yield b"a" * 2**16
        yield b'"]}'

    with served(gr.mount_gradio_app(FastAPI(), blocks, "/en")) as url:
        with contextlib.suppress(httpx.TransportError):  # it may close while we still send
            headers = {"Content-Type": "application/json"}
            refused = httpx.post(url + JOIN, content=pieces(), headers=headers, timeout=30)
            assert refused.status_code == 413
        assert bounded_http.BODY_BYTES < sent < MORE / 2
        assert httpx.get(url + "/en/").status_code == 200
