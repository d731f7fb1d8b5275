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
.gradio-container { max-width: 1080px !important; margin: 0 auto !important; }
#top { align-items: center; gap: .25rem 1.5rem; flex-wrap: wrap; }
#top > * { flex: 0 1 auto !important; width: auto !important; min-width: 0 !important; }
#title { margin-right: auto; }
#title h1 { font-size: 1.25rem; margin: 0; }
#title p, #status p { margin: 0; font-size: .85rem; opacity: .75; }
#switches { gap: .5rem; flex-wrap: nowrap; }
#switches > * { flex: 0 0 auto; width: auto; min-width: 0; }
#chat button[aria-label="Clear"] { display: none; }
.panel { padding: 1rem; border: 1px solid var(--border-color-primary);
  border-radius: var(--radius-lg); background: var(--block-background-fill); }
.panel { gap: .75rem !important; }
.fork { align-items: center; justify-content: center; gap: .5rem; }
.fork > * { flex: 0 0 auto !important; width: auto !important; min-width: 0 !important; }
.fork-text p { margin: 0; font-size: .85rem; }
#conversations .wrap, #version-list .wrap { flex-direction: column; align-items: stretch; }
#conversations label { overflow: hidden; }
#conversations label span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
@media (max-width: 640px) {
  #title p { display: none; }
  .gradio-container > main { padding: .5rem !important; }
}
"""

HEAD = '<meta name="viewport" content="width=device-width, initial-scale=1">'

TOGGLE_THEME = "() => { document.body.classList.toggle('dark'); }"
