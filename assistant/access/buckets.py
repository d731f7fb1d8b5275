"""What a key may still use: token buckets that fill up within a minute."""

import math
from dataclasses import dataclass

from assistant.access.keys import Limits
from assistant.errors import TooMuch

MINUTE = 60_000

Headers = dict[str, str]


@dataclass
class Bucket:
    """How much of a limit per minute is left; it fills up evenly."""

    name: str
    limit: int
    left: float

    def fill(self, ms: int) -> None:
        """Let time pass; a clock that was set back takes nothing away."""
        self.left = min(self.limit, self.left + self.limit * max(0, ms) / MINUTE)

    def seconds_until(self, amount: float) -> float:
        """How long until it holds that much."""
        return max(0.0, (amount - self.left) * 60 / self.limit)

    @property
    def headers(self) -> Headers:
        """As OpenAI's API tells it."""
        return {
            f"x-ratelimit-limit-{self.name}": str(self.limit),
            f"x-ratelimit-remaining-{self.name}": str(max(0, math.floor(self.left))),
            f"x-ratelimit-reset-{self.name}": f"{self.seconds_until(self.limit):.3f}s",
        }


@dataclass
class Allowance:
    """What a key may still use at a moment `at`, in milliseconds; None where it has no limit."""

    requests: Bucket | None
    tokens: Bucket | None
    at: int

    @classmethod
    def of(
        cls, limits: Limits, at: int, requests: float | None = None, tokens: float | None = None
    ) -> "Allowance":
        """What is left under these limits; all of it unless said otherwise."""

        def bucket(name: str, limit: int | None, left: float | None) -> Bucket | None:
            return None if limit is None else Bucket(name, limit, limit if left is None else left)

        return cls(
            bucket("requests", limits.requests_per_minute, requests),
            bucket("tokens", limits.tokens_per_minute, tokens),
            at,
        )

    @property
    def left(self) -> tuple[float | None, float | None]:
        """Requests and tokens."""
        requests = self.requests.left if self.requests else None
        return requests, self.tokens.left if self.tokens else None

    @property
    def headers(self) -> Headers:
        """Of the limits there are."""
        buckets = [bucket for bucket in (self.requests, self.tokens) if bucket]
        return {name: value for bucket in buckets for name, value in bucket.headers.items()}

    def wait_until(self, now: int) -> None:
        """Let time pass."""
        for bucket in (self.requests, self.tokens):
            if bucket:
                bucket.fill(now - self.at)
        self.at = now

    def give_back(self, tokens: int) -> None:
        """Of a request that used fewer than were taken for it; or more, if negative."""
        if self.tokens:
            self.tokens.left = min(self.tokens.limit, self.tokens.left + tokens)

    def take(self, tokens: int) -> None:
        """One request that may use up to `tokens`. Raises TooMuch, with nothing taken.

        A request for more tokens than a minute's is let in when the bucket is full.
        """
        wanted = [(b, n) for b, n in ((self.requests, 1), (self.tokens, tokens)) if b]
        for bucket, amount in wanted:
            if wait := bucket.seconds_until(min(amount, bucket.limit)):
                raise TooMuch(
                    f"This key may use {bucket.limit} {bucket.name} a minute; there is room "
                    f"for this request in {math.ceil(wait)} s.",
                    *(wait, self.headers),
                )
        for bucket, amount in wanted:
            bucket.left -= amount


def require_place(running: int, most: int | None, headers: Headers) -> None:
    """Raises TooMuch where as many requests run as may at once."""
    if most is not None and running >= most:
        raise TooMuch(
            f"This key may have {most} requests answered at once; please wait for one of them.",
            *(1.0, headers),
        )
