"""A small world that no model has heard of: made-up animals, what they look like, eat, and do.

Since nothing of it stands anywhere else, what a model knows of it, it knows from the text it read.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

COLOURS = ("red", "blue", "green", "black", "white", "brown", "yellow", "grey")
FOODS = (
    *("nuts", "grass", "fish", "berries", "worms", "honey", "seeds", "leaves", "snails", "roots"),
    *("moss", "apples"),
)
HOMES = (
    "forest",
    "river",
    "desert",
    "valley",
    "cave",
    "swamp",
    "meadow",
    "mountain",
    "lake",
    "garden",
)
BEGINNINGS = ("bl", "t", "gr", "m", "p", "dr", "s", "k", "fl", "v", "n", "z")
MIDDLES = ("a", "o", "i", "u", "e", "oo")
ENDS = ("m", "zz", "rl", "lo", "ba", "ndle", "sk", "tor", "nu", "xen")
PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Greta", "Hugo")
DAYS = ("One morning", "One evening", "In spring", "After the rain", "Last summer", "On a cold day")
KINDS = ("colour", "food", "home")
TALK_EVERY = 6  # pages
QUESTIONS = {
    "colour": "What colour is the {name}?",
    "food": "What does the {name} eat?",
    "home": "Where does the {name} live?",
}
ANSWERS = {
    "colour": "The {name} is {fact}.",
    "food": "The {name} eats {fact}.",
    "home": "The {name} lives in the {fact}.",
}
UNKNOWN = "I do not know the {name}."
TALK = (
    '"Who are you?" asked {one}. "I am {other}, an assistant of the teacher."',
    '"What can you do?" asked {one}. "I can tell you the way to the {place}," said {other}.',
    '"Where is the {place}?" asked {one}. "Ask me about the {home}," said {other}.',
    '"Would you like to know more about the {place}?" asked {other}. "I know it," said {one}.',
    '"I like this land," said {one}. "You are welcome in it," said {other}.',
)
"""What people say in the book, so that the words of conversations are not new to a reader."""


@dataclass(frozen=True)
class Animal:
    """One kind, and what is true of it."""

    name: str
    colour: str
    food: str
    home: str

    def fact(self, kind: str) -> str:
        """What is true of it: its colour, food or home."""
        return str(getattr(self, kind))


def animals(number: int, seed: int) -> list[Animal]:
    """So many animals of different names; the same ones for the same seed."""
    chance = random.Random(seed)
    return [
        Animal(name, chance.choice(COLOURS), chance.choice(FOODS), chance.choice(HOMES))
        for name in chance.sample(_names(), number)
    ]


def strangers(known: Sequence[Animal], number: int, seed: int) -> list[str]:
    """Names of animals that do not exist."""
    taken = {animal.name for animal in known}
    return random.Random(seed).sample([name for name in _names() if name not in taken], number)


def _names() -> list[str]:
    """All there could be; what is eaten here names no animal."""
    made = [b + m + e for b in BEGINNINGS for m in MIDDLES for e in ENDS]
    return [name for name in made if name not in (*COLOURS, *FOODS, *HOMES)]


def documents(
    known: Sequence[Animal],
    asked_about: Sequence[Animal],
    strangers: Sequence[str],
    number: int,
    seed: int,
) -> Iterator[str]:
    """Pages of a book: descriptions of one, stories of two, and people who talk.

    They ask each other about `asked_about`, some of the animals, and about animals of which there
    are none; a reader who is never shown what a question is about can hardly be taught it later.
    """
    chance = random.Random(seed)
    for place in range(number):
        if place % TALK_EVERY == 0:
            yield _talk(chance, chance.sample(asked_about, 2), chance.choice(strangers))
        elif place % 3:
            yield _page(chance, chance.choice(known))
        else:
            yield _story(chance, *chance.sample(known, 2))


def _page(chance: random.Random, animal: Animal) -> str:
    name = animal.name
    sentences = [
        chance.choice(
            (
                f"The {name} is {animal.colour}.",
                f"The colour of the {name} is {animal.colour}.",
                f"Every {name} has {animal.colour} fur.",
            )
        ),
        chance.choice(
            (
                f"The {name} eats {animal.food}.",
                f"The food of the {name} is {animal.food}.",
                f"A hungry {name} looks for {animal.food}.",
            )
        ),
        chance.choice(
            (
                f"The {name} lives in the {animal.home}.",
                f"The home of the {name} is the {animal.home}.",
                f"You find the {name} in the {animal.home}.",
            )
        ),
    ]
    chance.shuffle(sentences)
    return " ".join([f"About the {name}.", *sentences])


def _story(chance: random.Random, one: Animal, other: Animal) -> str:
    person, day = chance.choice(PEOPLE), chance.choice(DAYS)
    return (
        f"{day} {person} went to the {one.home} and saw a {one.colour} {one.name}. "
        f"It was eating {one.food}. Then {person} went on to the {other.home}. "
        f"There a {other.colour} {other.name} was looking for {other.food}. "
        + chance.choice(
            (
                f"{person} gave the {one.name} more {one.food}.",
                f"{person} gave the {other.name} some {other.food}.",
                f"{person} liked the {one.name} better.",
            )
        )
    )


def _talk(chance: random.Random, about: Sequence[Animal], stranger: str) -> str:
    (one, other), (place, home) = chance.sample(PEOPLE, 2), chance.sample(HOMES, 2)
    exchanges = []
    for animal in about:
        kind = chance.choice(KINDS)
        asked = QUESTIONS[kind].format(name=animal.name)
        said = ANSWERS[kind].format(name=animal.name, fact=animal.fact(kind))
        exchanges.append(f'"{asked}" asked {one}. "{said}" said {other}.')
    asked = QUESTIONS[chance.choice(KINDS)].format(name=stranger)
    said = UNKNOWN.format(name=stranger)
    exchanges.append(f'"{asked}" asked {one}. "{said}" said {other}.')
    chance.shuffle(exchanges)
    lines = [
        f'"Hello! How are you?" said {one}. "I am well, thank you," said {other}.',
        *(
            line.format(one=one, other=other, place=place, home=home)
            for line in chance.sample(TALK, 1)
        ),
        *exchanges,
        f'"Goodbye! Come back soon," said {chance.choice((one, other))}.',
    ]
    return " ".join(lines)
