"""The W&B adapter, on runs that the real library wrote offline, and on damaged ones."""

from __future__ import annotations

import json
import math
import struct
import subprocess
import sys
import textwrap
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.adapters import Adapter, Folder, decimals
from diag.adapters import wandb as wandb_adapter
from diag.adapters.wandb import ADAPTER, records_of
from diag.adapters.wandb_records import BLOCK, frames, read_log
from diag.errors import InputError, MissingExtraError
from diag.run import Run

WRITER = textwrap.dedent(
    """
    import math, os, sys
    import wandb

    def start(name, **config):
        return wandb.init(mode="offline", dir=os.path.join(sys.argv[1], name), project="p", name=name, config=config,
                          settings=wandb.Settings(console="off", silent=True, x_disable_stats=True))

    for name in ("hf", "calls", "odd"):
        os.makedirs(os.path.join(sys.argv[1], name))

    # as the Hugging Face callback: a defined step metric, the log call is not the step
    run = start("hf", learning_rate=2e-4, per_device_train_batch_size=4, num_train_epochs=3, max_steps=300, lr_scheduler_type="cosine",
                gradient_accumulation_steps=1, warmup_steps=10)
    run.define_metric("train/global_step")
    run.define_metric("*", step_metric="train/global_step", step_sync=True)
    for step in range(10, 301, 10):
        run.log({"train/loss": 1 / step, "train/grad_norm": 0.5, "train/learning_rate": 1e-4, "train/epoch": step / 100,
                 "train/global_step": step})
        if step % 50 == 0:
            run.log({"eval/loss": 2 / step, "train/epoch": step / 100, "train/global_step": step})
    run.finish()

    # a plain loop: _step counts from 0, some values are not finite, one is logged under a nested name
    run = start("odd", optimizer={"name": "adamw", "lr": 0.01})
    for step in range(40):
        run.log({"train_loss": math.nan if step == 5 else math.inf if step == 6 else -math.inf if step == 7 else 3.0 - step / 50,
                 "nested": {"a": {"b": step}}, "flag": True, "words": "text", "histogram": wandb.Histogram([1, 2, 3])})
    run.finish(exit_code=3)

    # two log calls for each step
    run = start("calls")
    for step in range(30):
        run.log({"loss": 3.0 - step / 50})
        run.log({"accuracy": step / 30})
    run.finish()
    """
)

KILLED = textwrap.dedent(
    """
    import os, signal, sys, time
    import wandb

    quiet = wandb.Settings(console="off", silent=True, x_disable_stats=True)
    run = wandb.init(mode="offline", dir=sys.argv[1], project="p", settings=quiet)
    for step in range(1, 2001):
        run.log({"loss": 1 / step}, step=step)
    time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)
    """
)


def run_script(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script, str(folder)], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the runs of WRITER, each in a folder of its name."""
    folder = tmp_path_factory.mktemp("wandb")
    done = run_script(WRITER, folder)
    assert done.returncode == 0, done.stderr
    return folder


def listing(path: Path) -> Folder:
    entries = sorted(path.iterdir())
    return Folder(path, tuple(e.name for e in entries if e.is_file()), tuple(e.name for e in entries if e.is_dir()))


def read(path: Path) -> Run:
    if path.is_dir():
        (source,) = ADAPTER.find(listing(path))
    else:
        found = ADAPTER.find_file(path)
        assert found is not None
        source = found
    (run,) = ADAPTER.read(source)
    return run


def frame(payloads: list[bytes]) -> bytes:
    """Records in the framing of the LevelDB log, written independently of the reader."""
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


def field(number: int, value: bytes | int) -> bytes:
    """One protobuf field, a varint or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def history(values: dict[str, str], step: int, key_field: int = 2) -> bytes:
    """A history record; values are JSON texts."""
    items = b"".join(field(1, field(key_field, key.encode()) + field(16, text.encode())) for key, text in values.items())
    return field(1, 7) + field(2, items + field(2, field(1, step)))


def save(folder: Path, payloads: list[bytes], name: str = "run-20260101_000000-abc") -> Path:
    path = folder / name / "run-abc.wandb"
    path.parent.mkdir(parents=True)
    path.write_bytes(frame(payloads))
    return path


# --- runs of the real library ---


def test_step_metric_of_hugging_face_is_the_axis(written: Path) -> None:
    run = read(written / "hf" / "wandb")
    loss = run.curves["train/loss"]
    assert loss.step.tolist() == list(range(10, 301, 10))
    assert loss.value.tolist() == [1 / step for step in range(10, 301, 10)]
    assert loss.epoch[-1] == pytest.approx(3.0)
    assert 1.6e9 < loss.wall_time[0] < 1e10
    assert run.curves["eval/loss"].step.tolist() == [50, 100, 150, 200, 250, 300]
    assert {"lr", "grad_norm"} <= set(run.curves)
    assert run.native_names["lr"] == "train/learning_rate"


def test_config_gives_hyperparameters_and_the_plan(written: Path) -> None:
    run = read(written / "hf" / "wandb")
    assert run.dialect == "hf"
    assert run.hyperparameter("learning_rate") == 2e-4
    assert run.hyperparameters["learning_rate"].key == "learning_rate"
    assert run.hyperparameters["learning_rate"].file.endswith(".wandb")
    assert run.planned_steps == 300
    assert run.finished is True


def test_folder_file_and_parent_give_the_same_run(written: Path) -> None:
    wandb_folder = written / "hf" / "wandb"
    run_folder = next(path for path in wandb_folder.iterdir() if path.name.startswith("offline-run-"))
    file = next(run_folder.glob("*.wandb"))
    runs = [read(path) for path in (wandb_folder, run_folder, file)]
    for run in runs[1:]:
        assert run.curves["train/loss"].value.tolist() == runs[0].curves["train/loss"].value.tolist()
        assert run.hyperparameters == runs[0].hyperparameters


def test_nonfinite_values_nested_keys_and_exit_code(written: Path) -> None:
    run = read(written / "odd" / "wandb")
    loss = run.curves["train/loss"]
    assert loss.step.tolist() == list(range(1, 41))  # the first log call is step 0, after one completed step
    assert math.isnan(loss.value[5])
    assert loss.value[6:8].tolist() == [math.inf, -math.inf]
    assert run.curves["nested.a.b"].value.tolist() == list(range(40))
    assert "words" not in run.curves
    assert run.finished is False
    assert any("exit code 3" in note for note in run.notes)
    assert run.hyperparameter("learning_rate") == 0.01


def test_two_log_calls_for_each_step_are_one_step(written: Path) -> None:
    run = read(written / "calls" / "wandb")
    assert run.curves["train/loss"].step.tolist() == list(range(1, 31))
    assert run.curves["train/accuracy"].step.tolist() == list(range(1, 31))


def test_killed_process_leaves_a_readable_run(tmp_path: Path) -> None:
    run_script(KILLED, tmp_path)
    run = read(tmp_path / "wandb")
    loss = run.curves["train/loss"]
    assert len(loss) > 1000
    assert loss.step.tolist() == list(range(1, len(loss) + 1))
    assert run.finished is None
    assert any("no exit record" in note for note in run.notes)


# --- records of older and newer writers ---


def test_older_key_field_and_one_record_for_each_scalar(tmp_path: Path) -> None:
    records = []
    for step in range(100):
        records.append(history({"Loss": repr(3 - step / 100), "_runtime": "1"}, 2 * step, key_field=1))
        records.append(history({"Iteration": str(step + 1)}, 2 * step + 1, key_field=1))
    run = read(save(tmp_path, records))
    assert run.curves["train/loss"].step.tolist() == list(range(1, 101))


def test_setup_record_before_training_does_not_shift_the_steps(tmp_path: Path) -> None:
    records = [history({"setup/grad_accum_steps": "1", "val/loss": "9.0"}, 0)]
    records += [history({"train/loss": "2.0"}, step) for step in range(1, 30)]
    run = read(save(tmp_path, records))
    assert run.curves["train/loss"].step[:3].tolist() == [1, 2, 3]
    assert run.curves["eval/loss"].step.tolist() == [0]


def test_lightning_counts_from_zero(tmp_path: Path) -> None:
    records = [history({"train_loss": "1.5", "trainer/global_step": str(step)}, index) for index, step in enumerate(range(49, 500, 50))]
    run = read(save(tmp_path, records))
    assert run.curves["train/loss"].step.tolist() == list(range(50, 501, 50))


def test_launches_of_one_run_id_are_joined(tmp_path: Path) -> None:
    first = [field(17, field(1, b"abc")), *(history({"loss": "2.0"}, step) for step in range(1, 101))]
    second = [field(17, field(1, b"abc") + field(14, 60) + field(18, 1)), *(history({"loss": "1.0"}, step) for step in range(60, 201))]
    save(tmp_path / "wandb", second, "run-20260102_000000-abc")
    save(tmp_path / "wandb", first, "run-20260101_000000-abc")
    run = read(tmp_path / "wandb")
    loss = run.curves["train/loss"]
    assert loss.step.tolist() == list(range(1, 201))
    assert loss.value[58] == 2.0
    assert loss.value[59] == 1.0
    assert [(jump.step_from, jump.step_to) for jump in run.overlaps] == [(100, 60)]


def test_runs_of_different_ids_stay_apart(tmp_path: Path) -> None:
    for name in ("abc", "xyz"):
        save(tmp_path, [history({"loss": "1.0"}, 1)], f"run-20260101_000000-{name}")
    assert len(list(ADAPTER.find(listing(tmp_path)))) == 2


def test_files_gathered_from_many_runs(tmp_path: Path) -> None:
    for name in ("abc", "xyz"):
        (tmp_path / f"run-{name}.wandb").write_bytes(frame([history({"loss": "1.0"}, 1)]))
    sources = list(ADAPTER.find(listing(tmp_path)))
    assert [source.files[0].name for source in sources] == ["run-abc.wandb", "run-xyz.wandb"]


def test_synced_run_without_history(tmp_path: Path) -> None:
    files = tmp_path / "run-20230101_000000-abc" / "files"
    files.mkdir(parents=True)
    config = "wandb_version: 1\n_wandb:\n  desc: null\n  value:\n    cli_version: 0.12\n"
    config += "learning_rate:\n  desc: null\n  value: 0.001\nbatch_size:\n  value: 16\n"
    (files / "config.yaml").write_text(config)
    (files / "wandb-summary.json").write_text(json.dumps({"loss": 0.25, "_step": 900, "_timestamp": 1.7e9, "_wandb": {"runtime": 1}}))
    run = read(tmp_path)
    assert run.curves["train/loss"].value.tolist() == [0.25]
    assert run.hyperparameter("learning_rate") == 0.001
    assert run.hyperparameters["learning_rate"].file == "files/config.yaml"
    assert any("no .wandb file" in note for note in run.notes)


def test_typed_and_quoted_values(tmp_path: Path) -> None:
    double = field(2, b"loss") + varint(6 << 3 | 1) + struct.pack("<d", 0.5)
    integer = field(2, b"count") + field(5, 7)  # zigzag: -4
    record = field(2, field(1, double) + field(1, integer) + field(1, field(2, b"lr") + field(16, b'"1e-4"')) + field(2, field(1, 3)))
    run = read(save(tmp_path, [record]))
    assert run.curves["train/loss"].value.tolist() == [0.5]
    assert run.curves["count"].value.tolist() == [-4]
    assert run.curves["lr"].value.tolist() == [1e-4]


def test_crash_lines_of_the_captured_console(tmp_path: Path) -> None:
    text = "step 3\ntorch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n"
    run = read(save(tmp_path, [history({"loss": "1.0"}, 1), field(13, field(3, text.encode())), field(18, field(1, 1))]))
    assert [event.kind for event in run.events] == ["out_of_memory"]


# --- damage ---


@pytest.fixture(scope="module")
def intact() -> bytes:
    """A file of three blocks, with a record that spans two."""
    records = [field(17, field(1, b"abc"))]
    for step in range(500):
        records.append(history({"loss": repr(3 - step / 500), "lr": "1e-4", "note": '"' + "x" * (step % 200) + '"'}, step))
    return frame([*records, history({"big": '"' + "y" * 60_000 + '"', "loss": "1.0"}, 500), field(18, field(2, 9))])


def test_every_cut_keeps_the_records_before_it(intact: bytes) -> None:
    whole = read_log(intact).history.columns["loss"][1]
    for size in [*range(7, 400), *range(BLOCK - 20, BLOCK + 20), *range(len(intact) - 30, len(intact))]:
        log = read_log(intact[:size])
        values = log.history.columns.get("loss", (None, np.empty(0)))[1]
        assert values.tolist() == whole[: values.size].tolist()
        assert log.exit_code is None
    assert whole.size == 501


@settings(max_examples=80, deadline=None)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=8), cut=st.floats(0, 1))
def test_flipped_bytes_never_crash(
    tmp_path_factory: pytest.TempPathFactory, intact: bytes, flips: list[tuple[float, int]], cut: float
) -> None:
    data = bytearray(intact[: max(7, int(cut * len(intact)))])
    for place, value in flips:
        if int(place * len(data)) >= 4:
            data[int(place * len(data))] = value
    path = tmp_path_factory.mktemp("flip") / "run-abc.wandb"
    path.write_bytes(data)
    run = read(path)
    assert all((np.diff(curve.step) > 0).all() for curve in run.curves.values())
    assert run.curves.get("train/loss") is None or len(run.curves["train/loss"]) <= 501


JSON_TEXTS = st.one_of(
    st.floats().map(json.dumps),
    st.integers(-(10**30), 10**30).map(str),
    st.sampled_from(
        ["null", "true", '"NaN"', '"1e999"', "1e999", "-Infinity", "{", '{"loss": {"a": 1}}', "[1]", "", "2" * 200, "1.5.2", "-"]
    ),
)


@settings(max_examples=80, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["loss", "val_loss", "epoch", "step", "_timestamp", "train/global_step"]), JSON_TEXTS), max_size=12
    )
)
def test_wild_values_never_crash(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, str]]) -> None:
    path = tmp_path_factory.mktemp("wild") / "run-abc.wandb"
    path.write_bytes(frame([history(row, (7 * index) % 5) for index, row in enumerate(rows)]))
    run = read(path)
    assert all((np.diff(curve.step) > 0).all() for curve in run.curves.values())


@settings(max_examples=100, deadline=None)
@given(payloads=st.lists(st.binary(max_size=60), max_size=20))
def test_records_of_noise_never_crash(payloads: list[bytes]) -> None:
    log = read_log(frame([prefix + payload for payload in payloads for prefix in (b"", b"\x12\x10", b"\x2a\x08", b"\x8a\x01\x08")]))
    assert log.history.rows >= 0


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(0, 100_000), max_size=12))
def test_framing_gives_back_every_record(sizes: list[int]) -> None:
    payloads = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    buffer, spans, note = frames(frame(payloads))
    assert [buffer[start:end] for start, end in zip(spans.start.tolist(), spans.end.tolist(), strict=True)] == payloads
    assert note == ""


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(
        st.one_of(
            st.floats(allow_nan=False, allow_infinity=False).map(repr),
            st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr),
            st.floats(-1e6, 1e6).map(lambda value: f"{value:.4f}"),
            st.floats(1e-12, 1e3).map(lambda value: f"{value:.3e}"),
            st.integers(-(10**20), 10**20).map(str),
            st.text("0123456789.-+eE", max_size=26),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_decimals_are_rounded_as_float_does(texts: list[str]) -> None:
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = ends - np.array([len(text) for text in texts])
    view = decimals.words(b",".join(text.encode() for text in texts) + bytes(decimals.PADDING + 1))
    values, good = decimals.parse(view, starts, ends)
    for text, value, converted in zip(texts, values.tolist(), good.tolist(), strict=True):
        if converted:
            assert struct.pack("<d", value) == struct.pack("<d", float(text)), text
        else:
            assert math.isnan(value)


def test_common_numbers_take_the_fast_path() -> None:
    texts = ["0.7219", "1.3030803203582764", "4.993333333333334e-05", "1732212921.8081508", "1.7322129218081508e+09", "12345", "-2.5", "0"]
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = ends - np.array([len(text) for text in texts])
    values, good = decimals.parse(decimals.words(",".join(texts).encode() + bytes(decimals.PADDING + 1)), starts, ends)
    assert good.all()
    assert values.tolist() == [float(text) for text in texts]


@pytest.mark.parametrize("content", [b"not a run", b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", b":W&"])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run-abc.wandb"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_one_damaged_launch_does_not_hide_the_other(tmp_path: Path) -> None:
    save(tmp_path, [history({"loss": "1.0"}, 1)], "run-20260101_000000-abc")
    bad = save(tmp_path, [], "run-20260102_000000-abc")
    bad.write_bytes(b"garbage")
    run = read(tmp_path)
    assert len(run.curves["train/loss"]) == 1
    assert any("passed over" in note for note in run.notes)


# --- remote runs ---


def test_adapter_keeps_the_protocol() -> None:
    adapter: Adapter = ADAPTER
    assert adapter.schemes == ("wandb",)


@pytest.mark.parametrize("uri", ["wandb://", "wandb://team/project", "wandb://team/project/run/extra"])
def test_uri_must_name_entity_project_and_run(uri: str) -> None:
    with pytest.raises(InputError, match="wandb://ENTITY/PROJECT/RUN_ID"):
        ADAPTER.find_uri(uri, None)


def test_no_login_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(InputError, match="needs a W&B login; run: wandb login"):
        ADAPTER.read(ADAPTER.find_uri("wandb://team/project/abc", None))


def test_unreachable_server_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(wandb_adapter, "TIMEOUT", 1)
    with pytest.raises(InputError, match="cannot be reached"):
        ADAPTER.read(ADAPTER.find_uri("wandb://team/project/runs/abc", None))


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'diag\[wandb\]'"):
        ADAPTER.read(ADAPTER.find_uri("wandb://team/project/abc", None))


def test_local_runs_need_no_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    blocked: ModuleType | None = None
    monkeypatch.setitem(sys.modules, "wandb", blocked)
    run = read(save(tmp_path, [history({"loss": "1.0"}, 1)]))
    assert len(run.curves["train/loss"]) == 1


def test_history_rows_of_the_public_api() -> None:
    rows = [
        {"_step": 0, "loss": 1.5, "media": {"_type": "image-file"}, "_timestamp": 1.7e9},
        {"_step": 1, "loss": "NaN", "eval": {"loss": 2.0}},
    ]
    records = records_of(rows)
    assert records.rows == 2
    assert records.columns["loss"][1][0] == 1.5
    assert math.isnan(records.columns["loss"][1][1])
    assert records.columns["eval.loss"][1].tolist() == [2.0]
    assert not any(key.startswith("media") for key in records.columns)
