"""What the networks were not shown, and how good they are on it."""

import random
from collections.abc import Sequence

import numpy as np

from analytics.training.data import Example, read_sacrum
from analytics.training.network import UNet
from analytics.training.segmentation import dice, predict
from analytics.vbq.spine import BODY, CLASSES, POSTERIOR

HELD_OUT_SUBJECTS = frozenset({"005", "035", "078", "129", "166", "234"})
"""SPIDER subjects that no network was shown."""
READ_BY_EYE = (2026, 20261125)
"""Seeds by which the sixty pairs that most readers read were drawn; they stay unseen: readings check the result.
The slices of readers G and H came later, and some of them were shown."""
READ_AT_A_TIME = 30
FURTHER_UNSEEN = 40


def held_out_pairs(numbers: Sequence[str]) -> frozenset[str]:
    """The pairs that no network was shown: the sixty that were read by eye, and 40 more without corners of S1."""
    read: set[str] = set()
    for seed in READ_BY_EYE:
        rest = [number for number in numbers if number not in read]
        read |= set(random.Random(seed).sample(rest, READ_AT_A_TIME))  # noqa: S311  # a draw, no secret
    labelled = read_sacrum()
    further = [number for number in numbers if number not in read and number not in labelled]
    return frozenset(read | set(random.Random(5).sample(further, FURTHER_UNSEEN)))  # noqa: S311  # a draw, no secret


def report_on(network: UNet, examples: Sequence[Example]) -> dict[str, float]:
    """Dice of the classes that SPIDER labels, over all pixels of the examples."""
    seen = np.stack([np.argmax(predict(network, example.image), axis=0) for example in examples])
    truth = np.stack([example.target for example in examples])
    return {CLASSES[c]: round(dice(seen == c, truth == c), 4) for c in range(BODY, POSTERIOR + 1)}
