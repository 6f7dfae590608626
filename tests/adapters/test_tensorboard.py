"""TensorBoard event files, written by the real writers and compared with TensorBoard's own reader."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_ndarray
from tensorboardX import SummaryWriter as SummaryWriterX
from torch.utils.tensorboard import SummaryWriter

from diag.adapters import Folder, Source
from diag.adapters.event_checksums import checksum, payload_checksums
from diag.adapters.event_columns import shortest
from diag.adapters.event_file import read_event_file
from diag.adapters.event_wire import MalformedEventError, parse_event
from diag.adapters.tensorboard import ADAPTER, VERIFY
from diag.errors import InputError
from diag.loading import load
from diag.run import Run


def event_file(folder: Path) -> Path:
    return next(path for path in sorted(folder.iterdir()) if path.is_file())


def folder_of(path: Path) -> Folder:
    entries = sorted(path.iterdir())
    return Folder(path, tuple(e.name for e in entries if e.is_file()), tuple(e.name for e in entries if e.is_dir()))


def read(path: Path, *options: tuple[str, str]) -> Run:
    (source,) = ADAPTER.find(folder_of(path)) if path.is_dir() else [ADAPTER.find_file(path)]
    assert source is not None
    (run,) = ADAPTER.read(Source(source.adapter, source.root, source.files, options=options))
    return run


def write_events(path: Path, events: list[Event]) -> Path:
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in (Event(wall_time=1.0, file_version="brain.Event:2"), *events):
            writer.write(event.SerializeToString())
    return path


def assert_same_as_tensorboard(path: Path) -> None:
    """Every scalar of the file, bit for bit in float32, as EventAccumulator reads it without sampling."""
    accumulator = EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0}, purge_orphaned_data=False)
    accumulator.Reload()
    theirs = {tag: [(e.step, e.wall_time, e.value) for e in accumulator.Scalars(tag)] for tag in accumulator.Tags()["scalars"]}
    for tag in accumulator.Tags()["tensors"]:
        if accumulator.SummaryMetadata(tag).plugin_data.plugin_name in ("scalars", ""):
            theirs[tag] = [(e.step, e.wall_time, make_ndarray(e.tensor_proto).item()) for e in accumulator.Tensors(tag)]
    ours = read_event_file(path).points
    assert sorted(ours) == sorted(theirs)
    for tag, points in theirs.items():
        steps, times, values = zip(*points, strict=True)
        assert np.array_equal(ours[tag].step, steps)
        assert np.array_equal(ours[tag].wall_time, times)
        assert np.array_equal(ours[tag].value.astype(np.float32), np.array(values, dtype=np.float32), equal_nan=True)


def log_everything(writer: SummaryWriter, steps: int) -> None:
    """Scalars of several tags and intervals, in both encodings, with all that is no scalar in between."""
    rng = np.random.default_rng(1)
    for step in range(steps):
        writer.add_scalar("train/loss", 1.0 / (step + 1), step)
        writer.add_scalar("tensor", float(rng.normal()), step, new_style=True)
        if step % 3 == 0:
            writer.add_scalar("lr", 0.0 if step % 2 else 1e-4, step)
        if step % 50 == 0:
            writer.add_scalar("eval/loss", math.nan if step % 100 else math.inf, step)
            writer.add_histogram("weights", rng.normal(size=100), step)
            writer.add_text("sample", f"text of step {step}", step)
        if step % 200 == 0:
            writer.add_image("picture", rng.random((3, 40, 40)), step)
        for layer in range(4):
            writer.add_scalar(f"grad_norm/layer{layer}", float(rng.random()), step)


def test_every_point_is_read_as_tensorboard_reads_it(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        log_everything(writer, 700)
    assert_same_as_tensorboard(event_file(tmp_path))


def test_tensorboardx_writes_the_same_format(tmp_path: Path) -> None:
    writer = SummaryWriterX(str(tmp_path))
    for step in range(300):
        writer.add_scalar("train/loss", math.exp(-step / 100), step * 1000)
        writer.add_scalar("eval/loss", step, step * 1000)
    writer.close()
    assert_same_as_tensorboard(event_file(tmp_path))
    assert len(read(tmp_path).curves["train/loss"]) == 300


def test_more_points_than_the_library_keeps(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(12_000):
            writer.add_scalar("loss", step, step + 1)
    curve = read(tmp_path).curves["train/loss"]
    assert np.array_equal(curve.step, np.arange(1, 12_001))
    assert np.array_equal(curve.value, np.arange(12_000))
    assert bool(np.isfinite(curve.wall_time).all())


@pytest.mark.parametrize(
    ("dtype", "value"),
    [
        (np.float32, 0.25),
        (np.float64, 1 / 3),
        (np.float16, 1.5),
        (np.int32, -7),
        (np.int64, 2**40),
        (np.bool_, True),
        (np.uint8, 200),
        (np.float32, 0.0),
    ],
)
@pytest.mark.parametrize("content", [False, True], ids=["fields", "tensor_content"])
def test_tensor_encodings(tmp_path: Path, dtype: type[np.generic], value: float, content: bool) -> None:
    from tensorboard.util.tensor_util import make_tensor_proto

    tensor = make_tensor_proto(np.array(value, dtype=dtype))
    if content:
        tensor = TensorProto(dtype=tensor.dtype, tensor_shape=tensor.tensor_shape, tensor_content=np.array(value, dtype=dtype).tobytes())
    events = [Event(wall_time=2.0, step=step, summary=Summary(value=[Summary.Value(tag="x", tensor=tensor)])) for step in range(1, 21)]
    points = read_event_file(write_events(tmp_path / "events.out.tfevents.1.host", events)).points["x"]
    assert points.value.tolist() == [float(dtype(value))] * 20
    assert points.step.tolist() == list(range(1, 21))


def test_tensors_that_are_no_scalars_are_left_out(tmp_path: Path) -> None:
    from tensorboard.util.tensor_util import make_tensor_proto

    values = [Summary.Value(tag="vector", tensor=make_tensor_proto(np.zeros(3))), Summary.Value(tag="loss", simple_value=1.0)]
    path = write_events(tmp_path / "events.out.tfevents.1.host", [Event(step=step, summary=Summary(value=values)) for step in range(30)])
    found = read_event_file(path)
    assert list(found.points) == ["loss"]
    assert found.points["loss"].step.tolist() == list(range(30))
    assert bool(np.isnan(found.points["loss"].wall_time).all())


def test_several_values_in_one_event(tmp_path: Path) -> None:
    def event(step: int) -> Event:
        return Event(
            wall_time=step, step=step, summary=Summary(value=[Summary.Value(tag=f"m{i}", simple_value=step + i) for i in range(5)])
        )

    found = read_event_file(write_events(tmp_path / "events.out.tfevents.1.host", [event(step) for step in range(1, 300)]))
    for i in range(5):
        assert found.points[f"m{i}"].value.tolist() == [float(step + i) for step in range(1, 300)]


def test_negative_and_huge_steps(tmp_path: Path) -> None:
    steps = [-1, 0, 1, 127, 128, 2**31, 2**40]
    events = [
        Event(wall_time=1.0, step=step, summary=Summary(value=[Summary.Value(tag="x", simple_value=1.0)]))
        for step in steps
        for _ in range(10)
    ]
    assert read_event_file(write_events(tmp_path / "events.out.tfevents.1.host", events)).points["x"].step.tolist() == [
        s for s in steps for _ in range(10)
    ]


@given(tags=st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=8, unique=True), data=st.data())
@settings(max_examples=30)
def test_any_tags_steps_and_values(tmp_path_factory: pytest.TempPathFactory, tags: list[str], data: st.DataObject) -> None:
    points = data.draw(
        st.lists(st.tuples(st.sampled_from(tags), st.integers(-(2**62), 2**62), st.floats(width=32)), min_size=1, max_size=60),
        label="points",
    )
    events = [
        Event(wall_time=9.0, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)])) for tag, step, value in points
    ]
    found = read_event_file(write_events(tmp_path_factory.mktemp("any") / "events.out.tfevents.1.host", events)).points
    for tag in {tag for tag, _, _ in points}:
        assert found[tag].step.tolist() == [step for name, step, _ in points if name == tag]
        expected = np.array([value for name, _, value in points if name == tag], dtype=np.float32)
        assert np.array_equal(found[tag].value.astype(np.float32), expected, equal_nan=True)


def test_learning_rates_come_back_as_they_were_written() -> None:
    logged = np.array([1e-4, 5e-5, 9.62963e-4, 3e-5, 0.1, 2.0, 0.0, -0.25, 1e-12, 123456.0, 2.5e9])
    assert shortest(logged.astype(np.float32)).tolist() == logged.tolist()
    odd = np.array([np.nan, np.inf, -np.inf, 1 / 3, 1e-45, 3.4028235e38], dtype=np.float32)
    assert np.array_equal(shortest(odd).astype(np.float32), odd, equal_nan=True)


@given(st.lists(st.floats(width=32), min_size=1))
def test_shortest_decimals_stand_for_the_same_float32(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    assert np.array_equal(shortest(array).astype(np.float32), array, equal_nan=True)


# --- damage ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("recorded")
    with SummaryWriter(str(folder)) as writer:
        log_everything(writer, 30)
    return event_file(folder).read_bytes()


def test_a_file_cut_anywhere_in_its_last_record_keeps_the_rest(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "whole")) as writer:
        for step in range(20):
            writer.add_scalar("train/loss", step, step + 1)
    data = event_file(tmp_path / "whole").read_bytes()
    path = tmp_path / "events.out.tfevents.1.host"
    last = 16 + parse_length(data)
    for cut in range(len(data) - last + 1, len(data)):
        path.write_bytes(data[:cut])
        run = read(path)
        assert run.curves["train/loss"].step.tolist() == list(range(1, 20))
        assert any("ends in the middle of a record" in note for note in run.notes)
    path.write_bytes(data[:-last])
    assert read(path).notes == []


def parse_length(data: bytes) -> int:
    """Payload length of the last record."""
    position = 0
    while True:
        length = int.from_bytes(data[position : position + 8], "little")
        if position + 16 + length >= len(data):
            return length
        position += 16 + length


@given(flips=st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 7)), min_size=1, max_size=6), cut=st.integers(0, 200))
@settings(max_examples=60)
def test_flipped_bits_never_raise(
    recorded: bytes, tmp_path_factory: pytest.TempPathFactory, flips: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(recorded)
    for place, bit in flips:
        data[place % len(data)] ^= 1 << bit
    path = tmp_path_factory.mktemp("flip") / "events.out.tfevents.1.host"
    path.write_bytes(bytes(data[: len(data) - cut]))
    for options in ((), (VERIFY,)):
        try:
            run = read(path, *options)
        except InputError:
            continue
        assert all(bool((np.diff(curve.step) > 0).all()) for curve in run.curves.values())


@given(st.binary(max_size=300))
def test_any_bytes_are_an_event_or_malformed(data: bytes) -> None:
    try:
        event = parse_event(data)
    except MalformedEventError:
        return
    assert len(event.mask) == len(data)


@given(st.binary(max_size=400))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "events.out.tfevents.1.host"
    path.write_bytes(data)
    try:
        run = read(path)
    except InputError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert run.notes


def test_reading_goes_on_after_a_damaged_stretch(tmp_path: Path, recorded: bytes) -> None:
    whole = len(recorded)
    data = bytearray(recorded)
    header = data.rfind(b"train/loss", 0, whole * 9 // 10) - 40  # begins in the record before, so that the header is hit as well
    data[header : header + 64] = bytes(64)
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(bytes(data))
    run = read(path)
    steps = run.curves["train/loss"].step
    assert steps[0] == 1 and steps[-1] == 30 and len(steps) >= 25
    assert any("damaged stretch skipped" in note or "malformed" in note for note in run.notes)


def test_checksums_are_verified_on_request(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "w")) as writer:
        for step in range(50):
            writer.add_scalar("train/loss", 1.5, step + 1)
    data = bytearray(event_file(tmp_path / "w").read_bytes())
    place = data.rfind(b"train/loss") + len("train/loss") + 2
    data[place] ^= 0x40
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(bytes(data))
    assert read(path).curves["train/loss"].value[-1] != 1.5
    checked = read(path, VERIFY)
    assert checked.curves["train/loss"].value.tolist() == [1.5] * 49
    assert any("1 record fails its checksum" in note for note in checked.notes)


def test_checksums_of_intact_files_hold(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        log_everything(writer, 210)
    assert read(tmp_path, VERIFY).notes == read(tmp_path).notes == []


LONG_BYTES = st.tuples(st.binary(min_size=1, max_size=50), st.integers(400, 900)).map(lambda pair: pair[0] * pair[1])


@given(st.one_of(st.binary(max_size=300), LONG_BYTES))
@settings(max_examples=25)
def test_both_ways_to_a_checksum_agree_with_tensorboard(data: bytes) -> None:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    expected = int(masked_crc32c(data))
    payload = np.frombuffer(data, dtype=np.uint8)
    assert int(payload_checksums(payload.reshape(1, -1))[0]) == expected
    assert checksum(payload) == expected


def test_a_header_alone_is_a_run_with_a_note(tmp_path: Path) -> None:
    SummaryWriter(str(tmp_path)).close()
    run = read(tmp_path)
    assert run.curves == {}
    assert run.notes == ["nothing was logged but the header"]


def test_images_alone_are_a_run_with_a_note(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_image("picture", np.zeros((3, 8, 8)), 1)
    assert read(tmp_path).notes == ["no scalar was logged"]


def test_a_git_lfs_pointer_and_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n")
    with pytest.raises(InputError, match="Git LFS pointer"):
        read(path)
    path.write_text("step,loss\n" * 10)
    with pytest.raises(InputError, match="not a TensorBoard event file"):
        read(path)


def test_one_broken_file_among_several_is_passed_over(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("loss", 1.0, 1)
    (tmp_path / "events.out.tfevents.1.host").write_text("nonsense " * 20)
    run = read(tmp_path)
    assert len(run.curves["train/loss"]) == 1
    assert any("was passed over" in note for note in run.notes)


def test_an_event_file_is_known_under_any_name(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "w")) as writer:
        writer.add_scalar("loss", 1.0, 1)
    other = tmp_path / "log.bin"
    shutil.copy(event_file(tmp_path / "w"), other)
    assert ADAPTER.find_file(other) is not None
    (tmp_path / "plain.txt").write_text("loss: 1")
    assert ADAPTER.find_file(tmp_path / "plain.txt") is None


# --- what belongs to one run ----------------------------------------------------------------------------------------------


def test_a_resumed_run_continues_in_a_second_file(tmp_path: Path) -> None:
    for start, name in ((1, "100"), (51, "200")):
        with SummaryWriter(str(tmp_path / name)) as writer:
            for step in range(start, start + 70):
                writer.add_scalar("train/loss", 1000.0 * (name == "200") + step, step)
        shutil.move(event_file(tmp_path / name), tmp_path / f"events.out.tfevents.{name}.host")
        (tmp_path / name).rmdir()
    run = read(tmp_path)
    curve = run.curves["train/loss"]
    assert curve.step.tolist() == list(range(1, 121))
    assert curve.value[49] == 50.0 and curve.value[50] == 1051.0
    assert [(o.metric, o.step_from, o.step_to) for o in run.overlaps] == [("train/loss", 70, 51)]


def test_purge_step_takes_points_back(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path / "a"), filename_suffix=".0") as writer:
        for step in range(1, 11):
            writer.add_scalar("train/loss", 1.0, step)
            writer.add_scalar("only/before", 1.0, step)
    shutil.move(event_file(tmp_path / "a"), tmp_path / "events.out.tfevents.1.host")
    (tmp_path / "a").rmdir()
    with SummaryWriter(str(tmp_path / "b"), purge_step=6) as writer:
        writer.add_scalar("train/loss", 2.0, 6)
    shutil.move(event_file(tmp_path / "b"), tmp_path / "events.out.tfevents.2.host")
    (tmp_path / "b").rmdir()
    run = read(tmp_path)
    assert run.curves["train/loss"].step.tolist() == [1, 2, 3, 4, 5, 6]
    assert run.curves["train/loss"].value.tolist() == [1.0] * 5 + [2.0]
    assert run.curves["only/before"].step.tolist() == [1, 2, 3, 4, 5]


def test_add_hparams_gives_the_parents_hyperparameters(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 6):
            writer.add_scalar("eval/loss", 1.0 / step, step)
        writer.add_hparams({"lr": 0.003, "batch_size": 16, "optimizer": "adamw", "bf16": True}, {"eval/loss": 0.2, "hparam/accuracy": 0.9})
    runs = load(tmp_path)
    assert len(runs) == 1
    run = runs[0]
    assert run.hyperparameter("learning_rate") == 0.003
    assert run.hyperparameter("optimizer") == "adamw"
    assert run.config["batch_size"].value == 16
    assert run.hyperparameters["learning_rate"].key == "lr"
    assert run.curves["eval/loss"].step.tolist() == [1, 2, 3, 4, 5]
    assert run.curves["hparam/accuracy"].value.tolist() == pytest.approx([0.9])


def test_add_scalars_belongs_to_the_run(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 6):
            writer.add_scalars("loss", {"train": 1.0 / step, "val": 2.0 / step}, step)
    (run,) = load(tmp_path)
    assert run.curves["train/loss"].value.tolist() == pytest.approx([1.0, 0.5, 1 / 3, 0.25, 0.2])
    assert run.curves["eval/loss"].value.tolist() == pytest.approx([2.0, 1.0, 2 / 3, 0.5, 0.4])


def write_keras(folder: Path) -> None:
    """What the Keras callback writes: tensor scalars in train/ and validation/, one point an epoch from 0."""
    for split, shift in (("train", 0.0), ("validation", 1.0)):
        with SummaryWriter(str(folder / split)) as writer:
            for epoch in range(5):
                writer.add_scalar("epoch_loss", shift + epoch, epoch, new_style=True)
                if split == "train":
                    writer.add_scalar("epoch_learning_rate", 0.01, epoch, new_style=True)


def test_keras_train_and_validation_are_one_run(tmp_path: Path) -> None:
    write_keras(tmp_path / "logs")
    (run,) = load(tmp_path)
    assert run.curves["train/loss"].value.tolist() == [0, 1, 2, 3, 4]
    assert run.curves["eval/loss"].value.tolist() == [1, 2, 3, 4, 5]
    assert run.curves["lr"].value.tolist() == [0.01] * 5
    assert run.curves["train/loss"].step.tolist() == run.curves["train/loss"].epoch.tolist() == [1, 2, 3, 4, 5]
    assert any("steps are epochs" in note for note in run.notes)


def test_keras_batches_and_epochs_share_one_axis(tmp_path: Path) -> None:
    write_keras(tmp_path / "logs")
    with SummaryWriter(str(tmp_path / "logs" / "train"), filename_suffix=".batches") as writer:
        for batch in range(50):
            writer.add_scalar("batch_loss", 1.0, batch, new_style=True)
    (run,) = load(tmp_path)
    assert run.curves["eval/loss"].step.tolist() == [10, 20, 30, 40, 50]
    assert run.curves["eval/loss"].epoch.tolist() == [1, 2, 3, 4, 5]
    assert run.steps == 50


def test_a_validation_file_alone_is_evaluation(tmp_path: Path) -> None:
    write_keras(tmp_path)
    assert list(read(event_file(tmp_path / "validation")).curves) == ["eval/loss"]


def test_a_tree_of_runs_stays_apart(tmp_path: Path) -> None:
    for name in ("exp_a", "exp_b"):
        with SummaryWriter(str(tmp_path / "runs" / name)) as writer:
            writer.add_scalar("loss", 1.0, 1)
    with SummaryWriter(str(tmp_path / "runs")) as writer:
        writer.add_scalar("other", 1.0, 1)
    assert len(load(tmp_path, adapter="tensorboard")) == 3


def hugging_face_log(folder: Path) -> None:
    arguments = {
        "learning_rate": 5e-5,
        "per_device_train_batch_size": 4,
        "max_steps": 40,
        "lr_scheduler_type": "linear",
        "warmup_steps": 4,
        "optim": "adamw_torch",
    }
    with SummaryWriter(str(folder)) as writer:
        writer.add_text("args", json.dumps(arguments, indent=2))
        for step in range(10, 41, 10):
            writer.add_scalar("train/loss", 40.0 / step, step)
            writer.add_scalar("train/grad_norm", 1.0, step)
            writer.add_scalar("train/learning_rate", 5e-5, step)
            writer.add_scalar("train/epoch", step / 20, step)
            writer.add_scalar("eval/loss", float(step), step)
        writer.add_scalar("train/train_runtime", 3.0, 40)
        writer.add_scalar("eval/loss", 10.0, 40)


def test_hugging_face_logs(tmp_path: Path) -> None:
    hugging_face_log(tmp_path / "out" / "runs" / "Nov21_10-00-00_host")
    run = read(tmp_path / "out" / "runs" / "Nov21_10-00-00_host")
    assert run.dialect == "hf"
    assert run.hyperparameter("learning_rate") == 5e-5
    assert run.planned_steps == 40
    assert run.finished is True
    assert run.curves["lr"].value.tolist() == [5e-5] * 4
    assert run.curves["train/loss"].epoch.tolist() == [0.5, 1.0, 1.5, 2.0]
    assert run.curves["eval/loss"].value.tolist() == [10.0, 20.0, 30.0, 40.0], (
        "the evaluation of the reloaded best model is not the last one"
    )
    assert any("after the end of training" in note for note in run.notes)


def test_lightning_counts_from_zero_and_its_placeholder_is_ignored(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("hp_metric", -1, 0)
        for step in range(4, 50, 5):
            writer.add_scalar("train_loss", 1.0, step)
            writer.add_scalar("epoch", step // 10, step)
    run = read(tmp_path)
    assert run.curves["train/loss"].step.tolist() == list(range(5, 51, 5))
    assert "hp_metric" not in run.curves
    assert run.curves["train/loss"].epoch[-1] == 5.0


def test_the_twins_of_megatron_that_count_samples_are_left_out(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 11):
            writer.add_scalar("lm loss", 1.0, step)
            writer.add_scalar("lm loss vs samples", 1.0, step * 512)
    run = read(tmp_path)
    assert run.steps == 10
    assert run.native_names["train/loss"] == "lm loss"


def test_deepspeed_counts_samples(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 21):
            writer.add_scalar("Train/Samples/train_loss", 1.0, step * 64)
            writer.add_scalar("Train/Samples/lr", 1e-4, step * 64)
    run = read(tmp_path)
    assert run.curves["train/loss"].step.tolist() == list(range(1, 21))
    assert any("64 samples a step" in note for note in run.notes)


def test_points_without_steps_are_counted(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(6):
            writer.add_scalar("loss", float(step))
    run = read(tmp_path)
    assert run.curves["train/loss"].step.tolist() == [1, 2, 3, 4, 5, 6]
    assert any("logged without steps" in note for note in run.notes)


def test_points_without_steps_are_placed_by_their_time(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        for step in range(1, 31):
            writer.add_scalar("train/loss", 1.0, step, walltime=1000.0 + step)
            if step % 10 == 0:
                writer.add_scalar("eval/loss", 1.0, walltime=1000.5 + step)
    run = read(tmp_path)
    assert run.curves["eval/loss"].step.tolist() == [10, 20, 30]
    assert any("placed by wall time" in note for note in run.notes)


def test_megatron_logs_its_arguments_as_texts(tmp_path: Path) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        writer.add_scalar("lm loss", 1.0, 1)
        arguments = {"lr": 0.00015, "seed": 1234, "weight_decay": 0.1, "clip_grad": 1.0, "global_batch_size": 512}
        for name, value in {**arguments, **{f"option_{i}": i for i in range(20)}}.items():
            writer.add_text(name, str(value))
    run = read(tmp_path)
    assert run.hyperparameter("learning_rate") == 0.00015
    assert run.hyperparameter("weight_decay") == 0.1


@pytest.mark.parametrize("tag", ["loss\x1b[31m", "<script>", "a/b/../c", "\u202e"])
def test_hostile_tags_are_kept_as_names(tmp_path: Path, tag: str) -> None:
    events = [Event(wall_time=1.0, step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=1.0)])) for step in range(1, 4)]
    run = read(write_events(tmp_path / "events.out.tfevents.1.host", events))
    assert tag in run.native_names.values()
