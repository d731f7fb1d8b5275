"""Every knob of every stage, on one page; the defaults are the recipe."""

from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

AsJson = Annotated[bool, tyro.conf.arg(help="Print the outcome as JSON.")]


@dataclass(frozen=True)
class Job:
    """What a stage is asked for."""

    base: str = "current"
    """What to start from: `current`, a version's name, a folder, a hub name, or, to pretrain,
    `scratch`: random weights and a tokenizer learnt from the text."""
    data: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What to learn from: `feedback` (what people said here; the default), `new-feedback` or
    `old-feedback` (which the base has not, or has, learnt from), a file, a folder or a hub name;
    with shares as `NAME:WEIGHT`."""
    mix: Literal["rows", "tokens"] = "rows"
    """What the weights are shares of."""
    total: int | None = None
    """Rows or tokens of an epoch with weights; without it, as many as there are with none twice."""
    name: str | None = None
    """What to call the new version; without it, the stage and a number."""
    seed: int = 0
    """Everything random follows from it."""


@dataclass(frozen=True)
class Recipe:
    """What every stage has."""

    epochs: int = 2
    """How often every row is seen."""
    learning_rate: float = 2e-4
    """Highest step size; it falls along a cosine."""
    batch: int = 4
    """Rows behind one step of the optimizer."""
    micro_batch: int = 4
    """Rows computed at once; less needs less memory."""
    longest: int = 1024
    """Longest row in tokens, prompt included; longer ones are left out and counted."""
    rank: int = 16
    """Rank of the LoRA matrices on every linear layer; 0 trains all weights instead."""
    save_every: float = 30.0
    """Seconds of training between checkpoints, from which it goes on after a kill."""
    report_to: Literal["none", "tensorboard", "trackio"] = "none"
    """Where else the numbers of every step go; the curve is kept in any case."""

    @property
    def room(self) -> int:
        """Tokens that a row may have."""
        return self.longest

    @property
    def steps_at_once(self) -> int:
        """Steps between which no checkpoint is written."""
        return 1

    def as_facts(self) -> dict[str, Any]:
        """The knobs as they are noted on the version's card."""
        return asdict(self)


@dataclass(frozen=True)
class Speaking(Recipe):
    """What every stage has that ends in a version one can talk to."""

    anchor: float = 5.0
    """How strongly plain text is held to what the base thought of it; 0 holds nothing."""
    drift: float = 0.03
    """Most by which plain text may become less likely (its perplexity, as a share)."""


@dataclass(frozen=True)
class Pretrain(Recipe):
    """Learn to continue text as it was written (next-token prediction)."""

    epochs: int = 1
    learning_rate: float = 1e-3
    batch: int = 8
    longest: int = 512
    """Length of a block, in tokens; longer documents are cut into several."""
    rank: int = 0
    """Rank of the LoRA matrices on every linear layer; 0 trains all weights instead."""
    held_out: float = 0.05
    """Share of the documents that tell how good it is."""
    layers: int = 6
    """With `--base scratch`: how many."""
    width: int = 256
    """With `--base scratch`: values of a hidden state, a multiple of 64."""
    vocabulary: int = 4096
    """With `--base scratch`: tokens that the tokenizer learns, at most."""


@dataclass(frozen=True)
class SFT(Speaking):
    """Learn to imitate good answers: thumbs up, corrections, conversations."""

    packing: bool = False
    """Put short rows beside each other in blocks of `--longest` tokens, for rows of very different
    length; none sees another."""


@dataclass(frozen=True)
class DPO(Speaking):
    """Learn to prefer the better of two answers (Rafailov et al. 2023)."""

    epochs: int = 3
    learning_rate: float = 8e-4
    beta: float = 0.1
    """How closely to stay at the start; smaller moves further."""
    imitate: float = 0.2
    """Weight of also imitating the better answer, against both becoming unlikely."""
    loss: Literal["sigmoid", "sigmoid_norm", "ipo", "robust", "apo_zero", "apo_down"] = "sigmoid"
    """As TRL names them: DPO's, the same by token, IPO (Azar et al. 2024), robust to wrong votes
    (Chowdhury et al. 2024), APO (D'Oosterlinck et al. 2024)."""
    noise: float = 0.1
    """Share of votes thought to be wrong, by the robust loss."""
    ties: bool = False
    """Learn also that neither of two answers is better."""
    agree: bool = False
    """Make one row of what several people said of the same two answers; it counts as far as they
    agree."""
    floor: float = 30.0
    """Nats by which the better answers may become unlikelier, on average of ten steps; then
    training stops, and the card says so."""
    stretch: float = 4.0
    """Times by which the pairs' answers may come to end more readily, or less; then, too."""


@dataclass(frozen=True)
class Safety(DPO):
    """Learn to refuse what does harm, and to answer what only sounds like it."""

    epochs: int = 1
    answers: int = 2
    """Of the base's own to each request, beside which a refusal is better or worse."""
    measured: int = 3
    """Families of the shipped requests that are only measured on."""
    examine: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Files of requests (`prompt`, `label`: safe or unsafe) that are only measured on, too."""
    harmful: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """Files or hub names whose conversations begin with requests for harm, for the classifier."""
    harmless: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """And those whose conversations begin with other requests."""


@dataclass(frozen=True)
class KTO(Speaking):
    """Learn from verdicts on single answers, good and bad (Ethayarajh et al. 2024)."""

    learning_rate: float = 6e-4
    enough: int = 200
    """With so many rows each is seen once, whatever --epochs says: new ones teach more than the
    same again."""
    most: int | None = None
    """Most rows, which the seed draws; without it 300 on a CPU, so that a round ends, and all on a
    GPU. The rest is left for another round."""
    balance: int = 3
    """Most rows of one verdict for each of the other; the rest is left for another round."""
    beta: float = 0.1
    """How closely to stay at the start; smaller moves further."""


@dataclass(frozen=True)
class Reward(Recipe):
    """Learn to score answers as people judge them (Bradley & Terry 1952)."""

    epochs: int = 2
    learning_rate: float = 1e-3
    members: int = 3
    """Scorers of the ensemble; where they differ, none of them knows."""
    center: float = 0.01
    """How strongly scores are held around 0 (Eisenstein et al. 2023)."""
    margin: float = 0.0
    """How much further apart, in log-odds, scores are to be for each unit of a pair's `margin` or
    of the difference of `scores` or `ranks` (Touvron et al. 2023); 0 looks at none."""
    held_out: float = 0.1
    """Share of conversations that tell how good it is."""


@dataclass(frozen=True)
class RLHF(Speaking):
    """Learn from rewards for answers of one's own (RLOO, Ahmadian et al. 2024; GRPO)."""

    epochs: int = 1
    learning_rate: float = 2e-4
    anchor: float = 0.0
    """How strongly plain text is held, besides `beta`, which holds the answers."""
    batch: int = 32
    """Answers behind one step of the optimizer."""
    micro_batch: int = 8
    method: Literal["rloo", "grpo"] = "rloo"
    """RLOO compares an answer with the others to its prompt; GRPO divides by their spread, too."""
    reward: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What an answer is worth, as `NAME:WEIGHT`: a reward version, `verifier:NAME`, `length` (per
    100 tokens), `repetition`, or `FILE.py:FUNCTION`."""
    answers: int = 8
    """To each prompt."""
    phase: int = 32
    """Prompts that are answered before the engine gets new weights."""
    answer_tokens: int = 96
    """Longest answer."""
    beta: float = 0.02
    """How dearly it pays for leaving the base, in rewards by nat."""
    budget: float = 0.5
    """Nats by token that it may have left the base; then training stops, and the card says so."""
    apart: float = 2.0
    """Times by which its reward models may differ more than at first; then training stops, too."""
    longer: float = 3.0
    """Times by which answers may be longer than at first, or be cut off more often."""
    repeats: float = 0.2
    """By how much a larger share of an answer may repeat itself than at first."""
    held_out: str | None = None
    """Judgements (`feedback`, or a file of pairs) that nothing is learnt from; where it comes to
    prefer what people did not, training stops."""

    def as_facts(self) -> dict[str, Any]:
        """With the hashes of functions of one's own: changed, they are other rewards."""
        files = {Path(f"{said.partition('.py:')[0]}.py") for said in self.reward if ".py:" in said}
        hashes = {str(f): sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}
        return super().as_facts() | ({"files": hashes} if hashes else {})

    @property
    def steps_at_once(self) -> int:
        """Those of a phase: nothing is saved within one, since its answers are not."""
        return max(1, self.phase * self.answers // self.batch)

    @property
    def room(self) -> int:
        """Tokens that a prompt may have beside the longest answer."""
        return self.longest - self.answer_tokens


@dataclass(frozen=True)
class Round:
    """The knobs of a round: those of its stages, and where it starts."""

    base: str = "current"
    """What to start from."""
    seed: int = 0
    """Everything random follows from it."""
    replay: float = 0.0
    """Share of each stage's rows that the base has learnt from before, against forgetting them."""
    trainings: int | None = None
    """Trainings with other seeds whose weights are averaged; without it two where few rows were
    given, so that what each learns by chance cancels, and otherwise one."""
    sft: SFT = field(default_factory=SFT)
    """How corrections are imitated."""
    dpo: DPO = field(default_factory=DPO)
    """How pairs are learnt."""
    kto: KTO = field(default_factory=KTO)
    """How verdicts on single answers are learnt."""

    def recipe(self, stage: str) -> Recipe:
        """The recipe of one stage."""
        recipes: dict[str, Recipe] = {"sft": self.sft, "dpo": self.dpo, "kto": self.kto}
        return recipes[stage]
