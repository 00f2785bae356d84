"""``python -m analytics.training --data FOLDER --out FOLDER``: the networks, from the data to the ONNX files.

``--data`` holds ``spider-t2-masks`` and ``lumbar-t1-t2-pairs``. The same data, seed, machine and versions give the same
files. About half an hour on two cores.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from analytics.training.data import pair_ids, spider
from analytics.training.evaluate import HELD_OUT_SUBJECTS, held_out_pairs, report_on
from analytics.training.export import to_onnx
from analytics.training.fluid import train_fluid, windows
from analytics.training.network import Mean
from analytics.training.segmentation import predict, teach, train_student, train_teacher

SEED = 3
FLUID_NETWORKS = 3


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, export, and say how good the networks are on what they were not shown."""
    parser = argparse.ArgumentParser(prog="python -m analytics.training", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of spider-t2-masks and lumbar-t1-t2-pairs")
    parser.add_argument("--out", type=Path, required=True, help="folder of the ONNX files and training.json")
    parser.add_argument("--threads", type=int, default=2, help="cores to use (default: 2)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    options.out.mkdir(parents=True, exist_ok=True)
    folder = options.data / "lumbar-t1-t2-pairs"
    numbers = pair_ids(folder)
    unseen = held_out_pairs(numbers)
    shown = [number for number in numbers if number not in unseen]
    examples = list(spider(options.data / "spider-t2-masks"))
    known = [example for example in examples if example.subject not in HELD_OUT_SUBJECTS]

    teacher = train_teacher(known, seed=SEED, report=_say)
    taught = teach(teacher, folder, shown)
    _say(f"{len(taught)} of {len(shown)} pairs were labelled by the teacher")
    student = train_student(teacher, known, taught, seed=SEED, report=_say)
    to_onnx(student, channels=1, file=options.out / "segmentation.onnx")
    cut = windows(folder, shown, lambda picture: predict(student, picture))
    fluid = Mean(train_fluid(cut, seed=SEED + number, report=_say) for number in range(FLUID_NETWORKS))
    to_onnx(fluid, channels=2, file=options.out / "fluid.onnx")
    unseen_examples = [example for example in examples if example.subject in HELD_OUT_SUBJECTS]
    measured = report_on(student, unseen_examples)
    (options.out / "training.json").write_text(json.dumps(measured, indent=2) + "\n", encoding="utf-8")
    _say(json.dumps(measured))


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    main()
