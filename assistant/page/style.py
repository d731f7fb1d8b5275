"""How the page looks: a theme with fonts that ship with Gradio, and a little CSS."""

import gradio as gr

THEME = gr.themes.Soft(
    primary_hue="teal",
    secondary_hue="teal",
    neutral_hue="slate",
    font=["ui-sans-serif", "system-ui", "Noto Sans", "Noto Sans CJK SC", "sans-serif"],
    font_mono=["ui-monospace", "Menlo", "monospace"],
)

CSS = """
.gradio-container { max-width: min(1080px, 100vw) !important; margin: 0 auto !important; }
.gradio-container main, .gradio-container .column, .gradio-container .tabs { min-width: 0; }
#top { align-items: center; gap: .25rem 1.5rem; flex-wrap: wrap; }
#top > * { flex: 0 1 auto !important; width: auto !important; min-width: 0 !important; }
#title { margin-right: auto; }
#title h1 { font-size: 1.25rem; margin: 0; }
#title p, #status p { margin: 0; font-size: .85rem; opacity: .75; }
#switches { gap: .5rem; flex-wrap: nowrap; }
#switches > * { flex: 0 0 auto; width: auto; min-width: 0; }
#chat .top-panel, #answer-a .top-panel, #answer-b .top-panel { display: none; }
.message, .message * { overflow-wrap: anywhere; min-width: 0; }
.message pre, .message table { max-width: 100%; overflow-x: auto; }
#round-state th { white-space: nowrap; }
.panel { padding: 1rem; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); background: var(--block-background-fill); }
.panel { gap: .75rem !important; }
.fork { align-items: center; justify-content: center; gap: .5rem; }
.fork > * { flex: 0 0 auto !important; width: auto !important; min-width: 0 !important; }
.fork-text p { margin: 0; font-size: .85rem; }
#version-card :is(th, td):first-child { white-space: nowrap; } /* else its words are broken */
[data-testid="status-tracker"]:has(> .error) { display: none !important; } /* a toast tells it */
#conversations .wrap, #version-list .wrap { flex-direction: column; align-items: stretch; }
#conversations label { overflow: hidden; }
#conversations label span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 640px) {
  #title p { display: none; }
  .gradio-container > main { padding: .5rem !important; }
}
"""

ICON = (
    "data:image/svg+xml,<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'>"
    "<path d='M2 3h12v8H7l-3 3v-3H2z' fill='%230d9488'/></svg>"
)

HEAD = f"""
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="{ICON}">
"""

TOGGLE_THEME = "() => { document.body.classList.toggle('dark'); }"
