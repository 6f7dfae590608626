"""Speed of reading a W&B run: a ``.wandb`` of 100,000 rows to curves, against decoding its protobuf records alone.

Writes a run of the shape that a Hugging Face training leaves (5 metrics and the 3 keys that W&B adds a row, one summary
record after each history record, keys in the rotating order of the writer's map) from the library's own protobuf classes,
then times, in turn, in one process on one core (CPU seconds):

- ``records``: framing, and ``Record.ParseFromString`` for each record;
- ``diag``: the adapter, from the path to curves in the common frame.

Prints both and their ratio. Needs the ``wandb`` extra.
"""

from __future__ import annotations

import random
import struct
import sys
import tempfile
import time
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

from diag.adapters.wandb import ADAPTER

ROWS = 100_000
REPEATS = 5
BLOCK = 32_768
TARGET = 2.0
"""The ratio to stay under."""


def frame(payloads: list[bytes]) -> bytes:
    """The records in LevelDB log framing, as W&B writes it."""
    out = bytearray(b":W&B" + struct.pack("<HB", 0xBEE1, 0))
    for payload in payloads:
        rest, first = payload, True
        while True:
            room = BLOCK - len(out) % BLOCK
            if room < 7:
                out += bytes(room)
                continue
            piece, rest = rest[: room - 7], rest[room - 7 :]
            kind = (1 if not rest else 2) if first else (4 if not rest else 3)
            out += struct.pack("<IHB", zlib.crc32(bytes([kind]) + piece), len(piece), kind) + piece
            first = False
            if not rest:
                break
    return bytes(out)


def protobuf_classes() -> Any:
    """The library's generated module, whose classes are made at run time."""
    return import_module("wandb.proto.wandb_internal_pb2")


def write_run(path: Path, rows: int) -> None:
    """A run of ``rows`` history records."""
    pb = protobuf_classes()
    generator = random.Random(0)
    records = [pb.Record(header=pb.HeaderRecord()), pb.Record(run=pb.RunRecord(run_id="speed"))]
    records.append(pb.Record(metric=pb.MetricRecord(glob_name="*", step_metric="train/global_step")))
    for row in range(rows):
        values = {
            "train/loss": 2.0 + generator.random(),
            "train/grad_norm": generator.random(),
            "train/learning_rate": 1e-4 * (1 - row / rows),
            "train/epoch": row / 10_000,
            "train/global_step": row + 1,
            "_timestamp": 1.7e9 + row + generator.random(),
            "_runtime": row + generator.random(),
            "_step": row,
        }
        start = generator.randrange(len(values))
        items = list(values.items())
        record = pb.Record(num=row + 3)
        record.history.step.num = row
        for key, value in items[start:] + items[:start]:
            item = record.history.item.add(value_json=repr(value))
            item.nested_key.append(key)
        records.append(record)
        summary = pb.Record(num=row + 3)
        for key, value in items:
            item = summary.summary.update.add(value_json=repr(value))
            item.nested_key.append(key)
        records.append(summary)
    path.write_bytes(frame([record.SerializeToString() for record in records]))


def decode_records(path: Path) -> int:
    """What any reader that uses the protobuf classes must do: framing and one ``ParseFromString`` a record."""
    pb = protobuf_classes()
    data = path.read_bytes()
    unpack = struct.Struct("<4xHB").unpack_from
    position, size, count = 7, len(data), 0
    parts: list[bytes] = []
    while position + 7 <= size:
        room = BLOCK - position % BLOCK
        if room < 7:
            position += room
            continue
        length, kind = unpack(data, position)
        position += 7
        payload = data[position : position + length]
        position += length
        if kind != 1:
            parts.append(payload)
            if kind != 4:
                continue
            payload, parts = b"".join(parts), []
        record = pb.Record()
        record.ParseFromString(payload)
        count += 1
    return count


def read_curves(path: Path) -> int:
    """What diag does: from the path to curves."""
    source = ADAPTER.find_file(path)
    if source is None:
        raise SystemExit(f"{path} was not recognized")
    (run,) = ADAPTER.read(source)
    return len(run.curves["train/loss"])


def main() -> None:
    """Write the run, time both, print the ratio."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else ROWS
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run-20260101_000000-speed" / "run-speed.wandb"
        path.parent.mkdir()
        write_run(path, rows)
        size = path.stat().st_size
        times: dict[str, float] = {}
        for _ in range(REPEATS):
            for name, task, expected in (("records", decode_records, 2 * rows + 3), ("diag", read_curves, rows)):
                start = time.process_time()
                found = task(path)
                elapsed = time.process_time() - start
                if found != expected:
                    raise SystemExit(f"{name} found {found} of {expected}")
                times[name] = min(elapsed, times.get(name, elapsed))
    print(f"{rows} rows, {size / 1e6:.1f} MB, best of {REPEATS}")
    for name, seconds in times.items():
        print(f"{name:<8} {seconds:7.3f} s")
    print(f"ratio    {times['diag'] / times['records']:7.2f} (target: at most {TARGET})")


if __name__ == "__main__":
    main()
