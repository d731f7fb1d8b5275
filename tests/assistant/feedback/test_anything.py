"""Random histories with crashes: whatever happens, the store holds what a simple model says."""

from dataclasses import dataclass, field, replace

import hypothesis.strategies as st
import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from assistant.errors import Invalid, NotFound
from assistant.feedback.judgements import in_effect
from assistant.feedback.records import Judgement
from assistant.feedback.rows import build
from assistant.feedback.store import FeedbackStore
from tests.assistant.feedback.crashing import CrashingStore
from tests.assistant.feedback.said import ANN, BOB, NOTICE

OWNERS = st.sampled_from([ANN, BOB])
TEXTS = st.text("ab\n好", min_size=1, max_size=4).filter(str.strip)
CHOICES = st.sampled_from(["first", "second", "tie", "both_bad"])
THUMBS = st.sampled_from(["up", "down"])
SELDOM = st.integers(0, 7).map(lambda number: number == 7)
MOMENTS = st.sampled_from([0, 0.0005, 0.001, 0.002, 0.004, 0.008])


@dataclass(frozen=True)
class Said:
    """What the model remembers of a message."""

    conversation: str
    owner: str
    parent: str | None
    content: str | None


@dataclass(frozen=True)
class Judged:
    """What the model remembers of a judgement."""

    owner: str
    kind: str
    choice: str | None
    targets: tuple[str, ...]
    withdraws: str | None = None


@dataclass
class Model:
    """Everything that was acknowledged, in plain dictionaries."""

    messages: dict[str, Said] = field(default_factory=dict)
    judgements: dict[str, Judged] = field(default_factory=dict)
    consent: dict[str, bool] = field(default_factory=dict)

    def counts(self, judgement_id: str) -> bool:
        """Whether a judgement is in effect: the last of its kind on its subject, not withdrawn."""
        this = self.judgements[judgement_id]
        if this.kind == "withdrawal":
            return False
        later = list(self.judgements)[list(self.judgements).index(judgement_id) + 1 :]
        return not any(
            other.withdraws == judgement_id
            or (
                (other.owner, other.kind) == (this.owner, this.kind)
                and set(other.targets) == set(this.targets)
            )
            for other in (self.judgements[i] for i in later)
        )

    def trains(self, judgement_id: str) -> bool:
        """Whether rows may be made of a judgement: it counts, agreed to, and nothing is erased."""
        named = [self.messages[i] for i in self.judgements[judgement_id].targets]
        return self.counts(judgement_id) and all(
            m.content is not None and self.consent.get(m.conversation, False) for m in named
        )


class History(RuleBasedStateMachine):
    """Owners talk, judge, take back, agree, erase; and the program is killed now and then."""

    new_url: staticmethod
    questions, answers, judgements = Bundle("questions"), Bundle("answers"), Bundle("judgements")

    @initialize()
    def open(self):
        url = self.new_url()
        self.model = Model()
        self.store = CrashingStore(url)
        self.reader = FeedbackStore(url)

    def teardown(self):
        self.store.close()
        self.reader.close()

    @rule(target=questions, owner=OWNERS, text=TEXTS)
    def ask(self, owner, text):
        conversation = self.store.call("conversations", "start", owner, "chat").id
        return self._add(conversation, owner, None, "user", text)

    @rule(target=answers, question=questions, text=TEXTS)
    def answer(self, question, text):
        at = self.model.messages[question]
        if at.content is None:
            with pytest.raises(NotFound):
                self._add(at.conversation, at.owner, question, "assistant", text)
            return multiple()
        return self._add(at.conversation, at.owner, question, "assistant", text)

    @rule(target=questions, answer=answers, text=TEXTS)
    def go_on(self, answer, text):
        at = self.model.messages[answer]
        if at.content is None:
            return multiple()
        return self._add(at.conversation, at.owner, answer, "user", text)

    @rule(target=judgements, answer=answers, stranger=SELDOM, choice=THUMBS)
    def thumb(self, answer, stranger, choice):
        return self._judge([answer], self._owner(answer, stranger), "thumb", choice)

    @rule(target=judgements, answer=answers, stranger=SELDOM, choice=THUMBS)
    def change_a_thumb(self, answer, stranger, choice):
        self.thumb(answer, stranger, choice)
        return self.thumb(answer, stranger, "down" if choice == "up" else "up")

    @rule(target=judgements, one=answers, other=answers, stranger=SELDOM, choice=CHOICES)
    def pair_any(self, one, other, stranger, choice):
        return self._judge([one, other], self._owner(one, stranger), "pair", choice)

    @rule(target=judgements, one=answers, which=st.integers(0, 9), choice=CHOICES)
    def pair_siblings(self, one, which, choice):
        parent = self.model.messages[one].parent
        siblings = [i for i, m in self.model.messages.items() if m.parent == parent]
        other = siblings[which % len(siblings)]
        return self._judge([other, one], self._owner(one, False), "pair", choice)

    @rule(target=answers, answer=answers, text=TEXTS)
    def correct(self, answer, text):
        at = self.model.messages[answer]
        if at.content in (None, text):
            return multiple()
        given = self.store.call("judgements", "correction", at.owner, "chat", answer, text)
        self.model.judgements[given.id] = Judged(at.owner, "correction", None, (answer,))
        self.model.messages[given.corrected_id] = replace(at, content=text)
        return given.corrected_id

    @rule(judgement=judgements)
    def withdraw(self, judgement):
        owner = self.model.judgements[judgement].owner
        given = self.store.call("judgements", "withdraw", owner, "chat", judgement)
        self.model.judgements[given.id] = Judged(owner, "withdrawal", None, (), judgement)

    @rule(question=questions, given=st.booleans())
    def consent(self, question, given):
        at = self.model.messages[question]
        if at.content is not None:
            self.store.call(
                *("conversations", "set_consent", at.owner, at.conversation, given, NOTICE)
            )
            self.model.consent[at.conversation] = given

    @rule(question=consumes(questions))
    def erase(self, question):
        at = self.model.messages[question]
        if at.content is not None:
            self.store.call("conversations", "erase", at.conversation, at.owner)
            self._blank(at.conversation)

    @rule(answer=answers, moment=MOMENTS)
    def crash_while_judging(self, answer, moment):
        owner = self.model.messages[answer].owner
        self.store.crash_during("judgements", "thumb", owner, "chat", answer, "up", after=moment)
        for given in self.reader.judgements.all():
            if given.id not in self.model.judgements:  # done, though nobody heard of it
                self.model.judgements[given.id] = Judged(owner, "thumb", "up", (answer,))

    @rule(question=consumes(questions), moment=MOMENTS)
    def crash_while_erasing(self, question, moment):
        at = self.model.messages[question]
        self.store.crash_during(
            *("conversations", "erase", at.conversation, at.owner), after=moment
        )
        if self.reader.conversations.message(question, at.owner).content is None:
            self._blank(at.conversation)

    @precondition(lambda self: hasattr(self, "model"))
    @invariant()
    def the_store_holds_what_the_model_says(self):
        snapshot = self.reader.snapshot()
        assert {
            m.id: (m.conversation_id, m.parent_id, m.content) for m in snapshot.messages.values()
        } == {i: (m.conversation, m.parent, m.content) for i, m in self.model.messages.items()}
        assert {j.id: _said(j) for j in snapshot.judgements} == self.model.judgements
        assert snapshot.consented == {c for c, given in self.model.consent.items() if given}
        counting = [i for i in self.model.judgements if self.model.counts(i)]
        assert [j.id for j in in_effect(snapshot.judgements)] == counting
        trained = {i for r in build("unpaired", snapshot).rows for i in r.judgement_ids}
        assert trained == {
            i
            for i, j in self.model.judgements.items()
            if self.model.trains(i) and j.choice in ("up", "down", "tie", "both_bad")
        }
        for row in build("preference", snapshot).rows:
            assert all(self.model.trains(i) for i in row.judgement_ids)
            assert row.data["chosen"] != row.data["rejected"]

    def _add(self, conversation, owner, parent, role, text):
        message = self.store.call("conversations", "add", conversation, parent, role, text)
        self.model.messages[message.id] = Said(conversation, owner, parent, text)
        return message.id

    def _owner(self, message, stranger):
        owner = self.model.messages[message].owner
        return (BOB if owner == ANN else ANN) if stranger else owner

    def _judge(self, targets, owner, kind, choice):
        said = [self.model.messages[i] for i in targets]
        allowed = (
            len(set(targets)) == len(targets)
            and all(m.owner == owner and m.content is not None for m in said)
            and len({self._prompt(i) for i in targets}) == 1
        )
        if not allowed:
            with pytest.raises((Invalid, NotFound)):
                self.store.call("judgements", kind, owner, "chat", *targets, choice)
            return multiple()
        given = self.store.call("judgements", kind, owner, "chat", *targets, choice)
        self.model.judgements[given.id] = Judged(owner, kind, choice, tuple(targets))
        return given.id

    def _prompt(self, message: str) -> tuple[str | None, ...]:
        turns, parent = [], self.model.messages[message].parent
        while parent is not None:
            turns.append(self.model.messages[parent].content)
            parent = self.model.messages[parent].parent
        return tuple(turns)

    def _blank(self, conversation):
        for message_id, message in self.model.messages.items():
            if message.conversation == conversation:
                self.model.messages[message_id] = replace(message, content=None)


def _said(judgement: Judgement) -> Judged:
    return Judged(
        *(judgement.owner, judgement.kind, judgement.choice),
        tuple(t.message_id for t in judgement.targets),
        judgement.withdraws_id,
    )


def test_any_history_with_crashes_leaves_what_was_acknowledged(new_database):
    class HistoryHere(History):
        new_url = staticmethod(new_database)

    # Not shrunk: a crash falls elsewhere each time, so a shorter history would be another one.
    asked = settings(max_examples=8, stateful_step_count=40, phases=[Phase.generate])
    run_state_machine_as_test(HistoryHere, settings=asked)
