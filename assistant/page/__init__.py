"""The page: chat, compare and versions, in English and Chinese, on Gradio."""
