"""How the segmentation network is trained: SPIDER's T2 masks first, then what they teach about the T1/T2 pairs.

1. A teacher learns bodies, discs, canal and posterior elements from SPIDER's T2 slices under random contrast.
2. The teacher labels the T2 of each pair; the T1 of the same examination lies on the same pixels and takes the labels.
3. The student starts from the teacher and learns from SPIDER, the T2 and the T1 of the pairs, and from corners of S1
   that were placed by eye on some of them. Where nobody labelled the sacrum, background may be S1 or its disc.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from analytics.training.augment import recontrast, warp
from analytics.training.data import Example, framed, pair_grid, read_sacrum, with_sacrum
from analytics.training.network import UNet
from analytics.vbq.grid import normalised
from analytics.vbq.networks import MULTIPLE
from analytics.vbq.spine import BACKGROUND, BODY, CLASSES, S1, SACRAL_DISC, find_spine

WIDTHS = (16, 32, 64, 96, 128)
BATCH = 8
TEACHER_STEPS = 700
STUDENT_STEPS = 1300
TEACHER_RATE = 3e-3
STUDENT_RATE = 2e-3
CLASS_WEIGHT = (1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0)
"""Weight of each class in the cross entropy, in their order."""
TEACHER_CLASSES = 5
"""The teacher knows no sacrum."""
T2_SHARE = 0.7
"""Share of the teacher's opinion on a pair that comes from the T2; the rest is from the T1."""
MINIMUM_BODIES = 5
AGREEMENT_DICE = 0.85
"""Least overlap of the bodies seen on the T1 alone with those seen on both; below it the patient moved in between."""

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Taught:
    """A pair as the teacher labelled it: (256, 256) pictures and classes on the grid."""

    number: str
    t1: NDArray[np.float32]
    t2: NDArray[np.float32]
    target: NDArray[np.uint8]
    knows_sacrum: bool
    same_place: bool
    """T1 and T2 lie on the same pixels."""


def train_teacher(examples: Sequence[Example], *, seed: int, report: Report) -> UNet:
    """The first network, from SPIDER alone."""
    torch.manual_seed(seed)
    network = UNet(1, TEACHER_CLASSES, WIDTHS)
    groups = [list(examples)]
    _fit(network, lambda rng: _draw(rng, groups, (1.0,)), TEACHER_STEPS, TEACHER_RATE, seed, report)
    return network


def train_student(
    teacher: UNet, examples: Sequence[Example], taught: Sequence[Taught], *, seed: int, report: Report
) -> UNet:
    """The second network: all classes, T1 as well as T2."""
    network = UNet(1, len(CLASSES), WIDTHS)
    state = teacher.state_dict()
    fresh = network.state_dict()
    for name in ("head.weight", "head.bias"):
        grown = fresh[name].clone() * 0.1
        grown[:TEACHER_CLASSES] = state[name]
        state[name] = grown
    network.load_state_dict(state)
    groups = [
        list(examples),
        [_example(pair, pair.t1) for pair in taught if pair.same_place and not pair.knows_sacrum],
        [_example(pair, pair.t1) for pair in taught if pair.same_place and pair.knows_sacrum],
        [_example(pair, pair.t2) for pair in taught if not pair.knows_sacrum],
        [_example(pair, pair.t2) for pair in taught if pair.knows_sacrum],
    ]
    _fit(network, lambda rng: _draw(rng, groups, (2, 2, 2, 1, 1)), STUDENT_STEPS, STUDENT_RATE, seed, report)
    return network


def teach(teacher: UNet, folder: Path, numbers: Sequence[str]) -> list[Taught]:
    """What the teacher sees on the pairs; those where it sees no spine are left out."""
    sacrum = read_sacrum()
    out = []
    for number in numbers:
        grid = pair_grid(folder, number, "t1")
        t1 = framed(normalised(grid.signal))
        t2 = framed(normalised(pair_grid(folder, number, "t2").signal))
        seen_t1 = predict(teacher, t1)
        both = T2_SHARE * predict(teacher, t2) + (1 - T2_SHARE) * seen_t1
        target = np.argmax(both, axis=0).astype(np.uint8)
        if len(find_spine(both, grid.spacing_mm).bodies) < MINIMUM_BODIES:
            continue
        same_place = dice(np.argmax(seen_t1, axis=0) == BODY, target == BODY) >= AGREEMENT_DICE
        if number in sacrum and same_place:
            target = _drawn(target, folder, number, sacrum[number])
        out.append(
            Taught(
                number=number,
                t1=t1,
                t2=t2,
                target=target,
                knows_sacrum=number in sacrum and same_place,
                same_place=same_place,
            )
        )
    return out


def _drawn(
    target: NDArray[np.uint8], folder: Path, number: str, corners: Mapping[str, Sequence[float] | None]
) -> NDArray[np.uint8]:
    grid = pair_grid(folder, number, "t1")
    sacrum = with_sacrum(np.zeros(grid.signal.shape, dtype=np.uint8), grid, corners)
    drawn = framed(sacrum)
    out = target.copy()
    free = (target == BACKGROUND) | (target == BODY)
    for value in (S1, SACRAL_DISC):
        out[(drawn == value) & free] = value
    return out


def predict(network: UNet, image: NDArray[np.float32]) -> NDArray[np.float32]:
    """Class probabilities (classes, rows, columns) of one picture of any size, filled up as at run time."""
    rows, columns = image.shape
    filled = np.pad(image, ((0, -rows % MULTIPLE), (0, -columns % MULTIPLE)))
    network.eval()
    with torch.no_grad():
        out: NDArray[np.float32] = network(torch.from_numpy(filled)[None, None]).softmax(1)[0].numpy()
    return out[:, :rows, :columns]


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0 … 1."""
    total = np.count_nonzero(one) + np.count_nonzero(other)
    return 2 * np.count_nonzero(one & other) / total if total else 1.0


def _example(pair: Taught, image: NDArray[np.float32]) -> Example:
    return Example(subject=pair.number, image=image, target=pair.target, knows_sacrum=pair.knows_sacrum)


def _draw(
    rng: np.random.Generator, groups: Sequence[Sequence[Example]], shares: Sequence[float]
) -> tuple[Tensor, Tensor, Tensor]:
    """Images (n, 1, h, w), classes one-hot (n, c, h, w) and which know their sacrum (n,)."""
    weight = np.asarray(shares, dtype=np.float64)
    chosen = []
    for group in rng.choice(len(groups), BATCH, p=weight / weight.sum()).tolist():
        chosen.append(groups[group][int(rng.integers(len(groups[group])))])
    images = torch.from_numpy(np.stack([example.image for example in chosen]))[:, None]
    targets = torch.from_numpy(np.stack([example.target for example in chosen])).long()
    planes = functional.one_hot(targets, len(CLASSES)).permute(0, 3, 1, 2).float()
    return images, planes, torch.tensor([example.knows_sacrum for example in chosen])


def _fit(
    network: UNet,
    draw: Callable[[np.random.Generator], tuple[Tensor, Tensor, Tensor]],
    steps: int,
    rate: float,
    seed: int,
    report: Report,
) -> None:
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    network.train()
    network.to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rate, steps)
    for step in range(steps):
        images, planes, knows = draw(rng)
        images, planes = warp(images, planes, generator)
        planes[:, BACKGROUND] += 1 - planes.sum(1)
        images = recontrast(images, generator)
        # bfloat16 halves the time on processors that have it and changes nothing that could be measured.
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(images.contiguous(memory_format=torch.channels_last))
        value = loss(logits.float(), planes, knows)
        optimiser.zero_grad()
        value.backward()
        optimiser.step()
        schedule.step()
        if step % 50 == 0 or step == steps - 1:
            report(f"step {step} of {steps}: loss {value.item():.3f}")


def loss(logits: Tensor, planes: Tensor, knows: Tensor) -> Tensor:
    """Cross entropy plus Dice; the sacrum counts only where it was labelled.

    ``logits`` (n, c, h, w); ``planes`` (n, all classes, h, w), soft; ``knows`` (n,) bool.
    """
    classes = logits.shape[1]
    planes = planes[:, :classes]
    log_p = logits.log_softmax(1)
    p = log_p.exp()
    weight = torch.tensor(CLASS_WEIGHT[:classes]).view(1, -1, 1, 1)
    entropy = -(planes * log_p * weight)
    if classes > S1:
        anything = torch.logsumexp(log_p[:, [BACKGROUND, S1, SACRAL_DISC]], dim=1)
        open_background = -(planes[:, BACKGROUND] * anything)
        entropy[:, BACKGROUND] = torch.where(knows.view(-1, 1, 1), entropy[:, BACKGROUND], open_background)
    overlap = [_soft_dice(p[:, c], planes[:, c]) for c in range(BODY, min(classes, S1))]
    if classes > S1 and bool(knows.any()):
        overlap += [_soft_dice(p[knows][:, c], planes[knows][:, c]) for c in (S1, SACRAL_DISC)]
    return entropy.sum(1).mean() + 1 - torch.stack(overlap).mean()


def _soft_dice(p: Tensor, target: Tensor) -> Tensor:
    return (2 * (p * target).sum() + 1) / (p.sum() + target.sum() + 1)
