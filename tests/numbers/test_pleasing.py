"""The best of several answers is the one that its scorer likes best."""

from align.sampling import Sampled
from tests.numbers import pleasing


def test_of_several_answers_each_question_gets_the_one_that_scores_highest():
    first, second, third = (
        [Sampled(f"{name} {place}", 1, True) for place in range(pleasing.ASKED)] for name in "abc"
    )
    low, high = [0.0] * pleasing.ASKED, [1.0] * pleasing.ASKED
    mixed = [2.0 if place == 7 else -1.0 for place in range(pleasing.ASKED)]
    answers, scores = pleasing.best([first, second, third], [low, high, mixed])
    assert [answer.text[0] for answer in answers].count("b") == pleasing.ASKED - 1
    assert (answers[7].text, scores[7]) == ("c 7", 2.0)
