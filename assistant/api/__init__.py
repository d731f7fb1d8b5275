"""The OpenAI-compatible API: a gateway that relays to the engines and keeps what it is asked to."""
