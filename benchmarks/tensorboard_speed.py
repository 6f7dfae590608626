"""How fast and how lean event files are read, against TensorBoard's own EventAccumulator in the same process.

    python benchmarks/tensorboard_speed.py [--scalars 1000000] [--repeats 5]

Writes event files of several layouts with ``SummaryWriter``, reads every point of them with both readers, checks that they
agree, and prints the ratios. Wanted: 25 times faster, peak memory under 8 times the file.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import _timing
import numpy as np

WANTED_RATIO = 25.0
WANTED_MEMORY = 8.0
MEMORY_CODE = (
    "import sys; from pathlib import Path; from diag.adapters.event_file import read_event_file; read_event_file(Path(sys.argv[1]))"
)
BASE_CODE = "import sys, numpy; from diag.adapters.event_file import read_event_file"
HF_TAGS = ("train/loss", "train/grad_norm", "train/learning_rate", "train/epoch")
INTERVALS = (("train/loss", 1), ("lr", 1), ("train/accuracy_top5", 3), ("grad_norm", 7), ("memory/reserved_gb", 10), ("eval/loss", 50))


def one_tag(count: int) -> Iterator[tuple[str, int]]:
    """One tag, every step."""
    yield from (("loss", step) for step in range(count))


def hugging_face(count: int) -> Iterator[tuple[str, int]]:
    """Four tags in turn, every ten steps."""
    yield from ((tag, 10 * row) for row in range(1, count // len(HF_TAGS) + 1) for tag in HF_TAGS)


def mixed(count: int) -> Iterator[tuple[str, int]]:
    """Six tags of different lengths, each at its own interval."""
    written = step = 0
    while written < count:
        step += 1
        for tag, interval in INTERVALS:
            if step % interval == 0 and written < count:
                written += 1
                yield tag, step


def layers(count: int) -> Iterator[tuple[str, int]]:
    """A gradient norm for each of 48 layers, every step."""
    yield from ((f"grad_norm/layers.{layer:02}.weight", step) for step in range(count // 48) for layer in range(48))


LAYOUTS: dict[str, tuple[Callable[[int], Iterator[tuple[str, int]]], bool]] = {
    "one tag": (one_tag, False),
    "4 tags in turn": (hugging_face, False),
    "tensors": (one_tag, True),
    "6 tags, own intervals": (mixed, False),
    "48 layers": (layers, False),
}


def write(folder: Path, points: Iterator[tuple[str, int]], *, tensors: bool) -> Path:
    """Write the points with torch's SummaryWriter; the event file."""
    from torch.utils.tensorboard import SummaryWriter

    values = np.random.default_rng(0)
    with SummaryWriter(str(folder), max_queue=10_000) as writer:
        for tag, step in points:
            writer.add_scalar(tag, float(values.random()), step, new_style=tensors)
    return next(folder.iterdir())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scalars", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--peer-repeats", type=int, default=1, help="turns of the slow reader, which takes most of the time")
    options = parser.parse_args()
    _timing.one_core()

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.util.tensor_util import make_ndarray

    from diag.adapters import Source
    from diag.adapters.event_file import read_event_file
    from diag.adapters.tensorboard import ADAPTER, VERIFY

    met = True
    with tempfile.TemporaryDirectory() as scratch:
        for number, (name, (points, tensors)) in enumerate(LAYOUTS.items()):
            path = write(Path(scratch) / str(number), points(options.scalars), tensors=tensors)
            found = read_event_file(path)
            accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
            peer = _timing.timed(accumulator.Reload, 1)
            for tag, ours in found.points.items():
                theirs = accumulator.Tensors(tag) if tensors else accumulator.Scalars(tag)
                values = [make_ndarray(one.tensor_proto).item() if tensors else one.value for one in theirs]
                same = np.array_equal(ours.step, [one.step for one in theirs]) and np.array_equal(
                    ours.value.astype(np.float32), np.array(values, dtype=np.float32)
                )
                if not same:
                    print(f"{name}: {tag} differs from EventAccumulator")
                    met = False
            del accumulator
            for _ in range(options.peer_repeats - 1):
                again = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
                peer = _timing.Times((*peer.turns, *_timing.timed(again.Reload, 1).turns))
                del again
            source = Source(ADAPTER.name, path.parent, (path,))
            ours_times = _timing.timed(lambda source=source: ADAPTER.read(source), options.repeats)
            met &= _timing.report(f"{name}, {options.scalars:,} scalars", ours_times, "EventAccumulator", peer, WANTED_RATIO)
            strict = Source(ADAPTER.name, path.parent, (path,), options=(VERIFY,))
            checked = _timing.timed(lambda source=strict: ADAPTER.read(source), max(1, options.repeats // 2))
            _timing.report(f"{name}, checksums verified", checked, "EventAccumulator", peer, 1.0)
            size = path.stat().st_size
            used = _timing.peak_memory(MEMORY_CODE, str(path)) - _timing.peak_memory(BASE_CODE)
            lean = used <= WANTED_MEMORY * size
            met &= lean
            said = f"{used / size:.1f} times the {size / 1e6:.0f} MB file"
            print(f"{name}: peak memory {said}; wanted at most {WANTED_MEMORY:g}: {'yes' if lean else 'NO'}", flush=True)
            path.unlink()
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
