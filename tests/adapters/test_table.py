"""CSV and JSON-lines logs: what the real loggers write, what is documented, and what is broken."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.adapters import Adapter, Folder
from diag.adapters.records import fractional_epochs, is_loss, is_reward, unrolled
from diag.adapters.table import CSV, JSONL, TableAdapter
from diag.adapters.table_rows import read_csv, read_jsonl
from diag.errors import InputError
from diag.run import Run


def listing(path: Path) -> Folder:
    entries = sorted(path.iterdir())
    return Folder(path, tuple(e.name for e in entries if e.is_file()), tuple(e.name for e in entries if e.is_dir()))


def runs_in(path: Path) -> list[Run]:
    """What a search finds and reads in one folder."""
    return [run for adapter in (CSV, JSONL) for source in adapter.find(listing(path)) for run in adapter.read(source)]


def only_run(path: Path) -> Run:
    (run,) = runs_in(path)
    return run


def named(path: Path) -> Run:
    """What is read when the user names the file."""
    for adapter in (CSV, JSONL):
        if (source := adapter.find_file(path)) is not None:
            return adapter.read(source)[0]
    raise AssertionError(path)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(textwrap.dedent(text).lstrip("\n").encode(encoding))
    return path


def write_lines(path: Path, records: Iterable[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# --- Lightning ---


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_lightning_csv_logger(tmp_path: Path) -> None:
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger(str(tmp_path), name="lightning_logs", flush_logs_every_n_steps=1)
    logger.log_metrics({"val_loss": 2.5, "epoch": 0}, step=-1)  # the sanity check before training
    for step in range(4, 100, 5):
        logger.log_metrics({"lr-SGD": 0.01}, step=step)
        logger.log_metrics({"train_loss": math.nan if step == 49 else 2 - step / 100, "epoch": step // 50}, step=step)
    logger.log_metrics({"val_loss": math.inf, "epoch": 0}, step=49)
    logger.log_metrics({"val_loss": 1.25, "epoch": 1}, step=99)
    logger.log_hyperparams({"lr": 0.01})
    logger.save()
    run = only_run(tmp_path / "lightning_logs" / "version_0")
    loss = run.curves["train/loss"]
    assert loss.step.tolist() == list(range(5, 101, 5))
    assert loss.epoch[-1] == pytest.approx(2.0)
    assert loss.epoch[0] == pytest.approx(0.1)
    assert math.isnan(loss.value[9])
    assert np.isfinite(np.delete(loss.value, 9)).all()
    assert run.curves["eval/loss"].step.tolist() == [0, 50, 100]
    assert run.curves["eval/loss"].value.tolist() == [2.5, math.inf, 1.25]
    assert run.curves["lr"].step.tolist() == loss.step.tolist()


def test_lightning_checkpoints_are_named_by_their_last_step(tmp_path: Path) -> None:
    write(tmp_path / "version_3" / "metrics.csv", "epoch,step,train_loss,val_loss\n0,9,1.0,\n0,9,,1.5\n1,19,0.5,\n1,19,,1.2\n")
    folder = tmp_path / "version_3" / "checkpoints"
    folder.mkdir()
    (folder / "epoch=0-step=10.ckpt").write_bytes(b"never opened")
    run = only_run(tmp_path / "version_3")
    assert [(checkpoint.step, checkpoint.path) for checkpoint in run.checkpoints] == [(10, "checkpoints/epoch=0-step=10.ckpt")]


# --- Keras ---


@pytest.mark.slow
def test_keras_csv_logger(tmp_path: Path) -> None:
    script = """
        import sys
        import numpy as np
        import keras
        model = keras.Sequential([keras.layers.Input((2,)), keras.layers.Dense(1)])
        model.compile(optimizer=keras.optimizers.SGD(0.01), loss="mse", metrics=["mae"])
        x = np.random.default_rng(0).normal(size=(32, 2)); y = x.sum(axis=1, keepdims=True)
        log = keras.callbacks.CSVLogger(sys.argv[1])
        model.fit(x, y, epochs=4, validation_data=(x, y), validation_freq=2, verbose=0, callbacks=[log])
        again = keras.callbacks.CSVLogger(sys.argv[1], append=True)
        model.fit(x, y * np.nan, epochs=2, validation_data=(x, y), verbose=0, callbacks=[again])
    """
    path = tmp_path / "training_log.csv"
    environment = {**os.environ, "KERAS_BACKEND": "torch"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    loss = run.curves["train/loss"]
    assert loss.step.tolist() == [1, 2]  # the second fit starts again at epoch 0 and is the newer one
    assert np.isnan(loss.value).all()
    assert any(jump.step_to == 1 for jump in run.overlaps)
    assert any("epochs" in note for note in run.notes)


def test_keras_missing_validation_is_no_value(tmp_path: Path) -> None:
    write(tmp_path / "history.csv", "epoch,loss,val_loss\n0,1.0,NA\n1,nan,0.9\n2,0.8,NA\n")
    run = only_run(tmp_path)
    assert run.curves["eval/loss"].step.tolist() == [2]
    assert math.isnan(run.curves["train/loss"].value[1])


# --- other tables ---


def test_ultralytics_padded_header_and_summed_loss(tmp_path: Path) -> None:
    write(
        tmp_path / "results.csv",
        """
                      epoch,   train/box_loss,   train/cls_loss, metrics/precision,  val/box_loss,    val/cls_loss,    lr/pg0
                          0,              1.5,              2.5,               0.1,           1.7,             2.8,    0.0001
                          1,              1.0,              2.0,               0.2,           1.6,             2.7,    0.0002
        """,
    )
    run = only_run(tmp_path)
    assert run.curves["train/loss"].value.tolist() == [4.0, 3.0]
    assert run.curves["eval/loss"].value.tolist() == [4.5, pytest.approx(4.3)]
    assert run.curves["train/loss"].step.tolist() == [1, 2]
    assert run.curves["lr"].value.tolist() == [0.0001, 0.0002]
    assert any("sum of" in note for note in run.notes)


def test_deepspeed_monitor_files_are_one_run(tmp_path: Path) -> None:
    for tag in ("train_loss", "lr", "loss_scale"):
        rows = "".join(f"{32 * step},{step / 10}\n" for step in range(1, 11))
        write(tmp_path / f"Train_Samples_{tag}.csv", f"step,{tag}\n{rows}")
    run = only_run(tmp_path)
    assert {"train/loss", "lr", "loss_scale"} <= set(run.curves)
    assert run.curves["train/loss"].step.tolist() == list(range(1, 11))
    assert any("32 samples a step" in note for note in run.notes)


def test_wandb_chart_export_has_a_run_for_each_column(tmp_path: Path) -> None:
    header = (
        '"Step","a - train/loss","a - train/loss__MIN","a - train/loss__MAX","b - train/loss","b - train/loss__MIN","b - train/loss__MAX"'
    )
    write(tmp_path / "export.csv", header + "\n10,1.0,0.9,1.1,2.0,1.9,2.1\n20,0.8,0.7,0.9,,,\n")
    first, second = runs_in(tmp_path)
    assert first.curves["train/loss"].value.tolist() == [1.0, 0.8]
    assert second.curves["train/loss"].step.tolist() == [10]
    assert set(first.curves) == {"train/loss"}


def test_tensorboard_chart_exports_are_joined_by_run(tmp_path: Path) -> None:
    for tag, value in (("train_loss", 1.0), ("eval_loss", 1.5)):
        write(tmp_path / f"run-exp1-tag-{tag}.csv", f"Wall time,Step,Value\n1700000000.0,100,{value}\n1700000010.0,200,{value / 2}\n")
    run = only_run(tmp_path)
    assert run.curves["train/loss"].value.tolist() == [1.0, 0.5]
    assert run.curves["eval/loss"].step.tolist() == [100, 200]
    assert run.curves["train/loss"].wall_time[0] == 1.7e9


def test_reinforcement_learning_progress(tmp_path: Path) -> None:
    write(
        tmp_path / "progress.csv",
        "rollout/ep_rew_mean,time/total_timesteps,train/loss,train/n_updates\n10.5,2048,,\n12.5,4096,0.3,10\n14.0,6144,0.2,20\n",
    )
    run = only_run(tmp_path)
    assert run.curves["reward"].step.tolist() == [2048, 4096, 6144]
    write(tmp_path / "sub" / "monitor.csv", '#{"t_start": 1700000000.0, "env_id": "CartPole-v1"}\nr,l,t\n1.5,20,0.1\n2.5,30,0.2\n')
    assert only_run(tmp_path / "sub").curves["reward"].value.tolist() == [1.5, 2.5]


def test_batch_counter_that_starts_again_in_every_epoch(tmp_path: Path) -> None:
    rows = "".join(f"{epoch},{batch},{3 - epoch / 5}\n" for epoch in range(1, 6) for batch in range(20, 101, 20))
    write(tmp_path / "log.csv", "epoch,step,loss\n" + rows)
    run = only_run(tmp_path)
    assert run.curves["train/loss"].step.tolist() == list(range(20, 501, 20))
    assert not run.overlaps


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1", "utf-16"])
def test_delimiters_and_encodings(tmp_path: Path, delimiter: str, encoding: str) -> None:
    lines = [["step", "loss", "Qualität"], ["10", "1.5", "0.5"], ["20", "1.25", "0.6"]]
    (tmp_path / "log.csv").write_bytes("\r\n".join(delimiter.join(line) for line in lines).encode(encoding))
    run = only_run(tmp_path)
    assert run.curves["train/loss"].value.tolist() == [1.5, 1.25]


def test_decimal_commas(tmp_path: Path) -> None:
    run = only_run(write(tmp_path / "log.csv", "step;loss\n10;1,5\n20;1,25e-1\n").parent)
    assert run.curves["train/loss"].value.tolist() == [1.5, 0.125]


def test_repeated_header_and_ragged_rows(tmp_path: Path) -> None:
    write(tmp_path / "log.csv", "step,loss,lr\n10,2.0,0.1\n20,1.5\n30,1.2,0.1,surplus\nstep,loss,lr\n20,1.4,0.1\n30,1.1,0.1\n")
    run = only_run(tmp_path)
    assert run.curves["train/loss"].value.tolist() == [2.0, 1.4, 1.1]
    assert [(jump.step_from, jump.step_to) for jump in run.overlaps if jump.metric == "train/loss"] == [(30, 20)]
    assert any("repeated" in note for note in run.notes)


def test_cut_off_last_row_is_left_out(tmp_path: Path) -> None:
    run = only_run(write(tmp_path / "log.csv", "step,loss,lr\n10,2.0,0.1\n20,1.").parent)
    assert run.curves["train/loss"].step.tolist() == [10]
    assert any("cut off" in note for note in run.notes)


def test_nan_in_every_spelling_is_a_value(tmp_path: Path) -> None:
    spellings = ["nan", "NaN", "-nan", "inf", "-Infinity", "1.#QNAN", '"NaN"', ""]
    rows = "".join(f"{10 * (index + 1)},{text}\n" for index, text in enumerate(spellings))
    loss = only_run(write(tmp_path / "log.csv", "step,loss\n" + rows).parent).curves["train/loss"]
    assert loss.step.tolist() == [10, 20, 30, 40, 50, 60, 70]
    assert np.isnan(loss.value[[0, 1, 2, 5, 6]]).all()
    assert loss.value[3:5].tolist() == [math.inf, -math.inf]


def test_training_row_at_step_zero_means_counting_from_zero(tmp_path: Path) -> None:
    write(tmp_path / "from0" / "log.csv", "step,loss\n" + "".join(f"{step},1.0\n" for step in range(0, 100, 10)))
    write(tmp_path / "eval0" / "log.csv", "step,loss,eval_loss\n0,,2.0\n" + "".join(f"{step},1.0,\n" for step in range(10, 100, 10)))
    write(tmp_path / "ends" / "log.csv", "step,loss\n" + "".join(f"{step},1.0\n" for step in range(9, 100, 10)))
    assert only_run(tmp_path / "from0").curves["train/loss"].step[:3].tolist() == [1, 11, 21]
    assert only_run(tmp_path / "eval0").curves["train/loss"].step[:3].tolist() == [10, 20, 30]
    assert only_run(tmp_path / "ends").curves["train/loss"].step[:3].tolist() == [10, 20, 30]


# --- JSON lines ---


def test_llamafactory(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [
        {
            "current_steps": step,
            "total_steps": 50,
            "loss": 2 - step / 50,
            "lr": 1e-4,
            "epoch": step / 25,
            "percentage": 2 * step,
            "elapsed_time": "0:00:19",
        }
        for step in range(5, 51, 5)
    ]
    records += [
        {"current_steps": 25, "total_steps": 50, "eval_loss": 1.6, "epoch": 1.0},
        {"current_steps": 50, "total_steps": 50, "epoch": 2.0},
    ]
    run = only_run(write_lines(tmp_path / "trainer_log.jsonl", records).parent)
    assert run.planned_steps == 50
    assert run.finished is True
    assert run.curves["eval/loss"].step.tolist() == [25]
    assert run.curves["train/loss"].epoch[-1] == 2.0
    assert "elapsed_time" not in run.curves


def automodel_record(step: int, loss: float) -> dict[str, Any]:
    return {
        "step": step,
        "epoch": 0,
        "timestamp": f"2026-01-01T00:{step // 60:02d}:{step % 60:02d}.000Z",
        "loss": loss,
        "grad_norm": 1.5,
        "lr": 1e-5,
        "mem": 1.0,
        "tps": 100.0,
        "tps_per_gpu": 100.0,
        "mfu": None,
        "num_label_tokens": 5,
    }


def test_automodel_train_and_validation_are_one_run(tmp_path: Path) -> None:
    train = [automodel_record(step, 3 - step / 100) for step in range(60)] + [automodel_record(step, 1.0) for step in range(40, 80)]
    write_lines(tmp_path / "training.jsonl", train)
    for name in ("validation.jsonl", "validation_math.jsonl"):
        write_lines(
            tmp_path / name,
            [{"step": step, "epoch": 0, "val_loss": 2.0, "lr": 9.0, "num_label_tokens": 9, "mem": 1.0} for step in (19, 39)],
        )
    (tmp_path / "epoch_0_step_39").mkdir()
    for run in (only_run(tmp_path), named(tmp_path / "training.jsonl")):
        loss = run.curves["train/loss"]
        assert loss.step.tolist() == list(range(1, 81))
        assert loss.value[40] == 1.0  # the newest launch counts
        assert loss.wall_time[1] - loss.wall_time[0] == 1.0
        assert run.curves["eval/loss"].step.tolist() == [20, 40]
        assert run.curves["eval/math/loss"].step.tolist() == [20, 40]
        assert set(run.curves["lr"].value.tolist()) == {1e-5}
        assert [(checkpoint.step, checkpoint.path) for checkpoint in run.checkpoints] == [(40, "epoch_0_step_39")]
        assert run.overlaps


def test_automodel_losses_of_checkpoints_where_the_validation_log_is_empty(tmp_path: Path) -> None:
    write_lines(tmp_path / "training.jsonl", [automodel_record(step, 2.0) for step in range(100)])
    (tmp_path / "validation.jsonl").touch()
    for step, loss in ((49, 1.5), (99, 1.4)):
        write(tmp_path / f"epoch_0_step_{step}" / "losses.json", json.dumps({"train_loss": 1.0, "val_loss": loss}))
    run = only_run(tmp_path)
    assert run.curves["eval/loss"].step.tolist() == [50, 100]
    assert run.curves["eval/loss"].value.tolist() == [1.5, 1.4]


def test_instructlab_parameters_and_the_lowest_rank(tmp_path: Path) -> None:
    parameters = {"learning_rate": 2e-5, "num_epochs": 3, "effective_batch_size": 64, "model_name_or_path": "m", "warmup_steps": 10}
    steps = [
        {
            "epoch": 0,
            "step": step,
            "rank": 0,
            "overall_throughput": 3.0,
            "lr": 1e-5,
            "avg_loss": 2 - step / 50,
            "total_loss": 9.0,
            "gradnorm": None if step == 1 else 0.5,
        }
        | {"samples_seen": 64 * step, "num_loss_counted_tokens": 900, "num_epoch_steps": 20, "timestamp": "2026-01-01T00:00:01"}
        for step in range(1, 31)
    ]
    steps.append({"val_loss": 1.25, "val_num_tokens": 10, "step": 30, "timestamp": "2026-01-01T00:10:01"})
    write_lines(tmp_path / "training_params_and_metrics_global0.jsonl", [parameters, *steps])
    write_lines(tmp_path / "training_params_and_metrics_global1.jsonl", [{**steps[0], "avg_loss": 77.0}])
    (tmp_path / "hf_format" / "samples_640").mkdir(parents=True)
    run = only_run(tmp_path)
    assert run.native_names["train/loss"] == "avg_loss"
    assert run.curves["train/loss"].step.tolist() == list(range(1, 31))
    assert run.curves["eval/loss"].value.tolist() == [1.25]
    assert len(run.curves["grad_norm"]) == 29
    assert run.hyperparameter("learning_rate") == 2e-5
    assert run.hyperparameters["learning_rate"].line == 1
    assert run.dialect == "training_hub"
    assert run.planned_steps == 60
    assert [(checkpoint.step, checkpoint.path) for checkpoint in run.checkpoints] == [(10, "hf_format/samples_640")]


def test_mini_trainer_counts_real_evaluations_only(tmp_path: Path) -> None:
    records = []
    for step in range(1, 41):
        record: dict[str, Any] = {
            "step": step,
            "epoch": 0,
            "steps_per_epoch": 40,
            "lr": 1e-5,
            "grad_norm": 0.5,
            "loss": 2.0,
            "num_loss_counted_tokens": 9,
            "grad_accum": 1,
        }
        record["val_loss"] = None if step < 10 else 1.5 - (step // 10) / 10
        if step % 10 == 0:
            record |= {"val_num_samples": 8, "val_num_loss_counted_tokens": 80, "val_num_batches": 2}
        records.append(record)
    run = only_run(write_lines(tmp_path / "training_metrics_0.jsonl", records).parent)
    assert run.curves["eval/loss"].step.tolist() == [10, 20, 30, 40]
    assert run.curves["train/loss"].epoch[-1] == 1.0


def test_carried_evaluation_of_an_unknown_writer(tmp_path: Path) -> None:
    records = [{"step": step, "train_loss": 1.0 / step, "val_loss": 2.0 / (1 + step // 10)} for step in range(1, 41)]
    run = only_run(write_lines(tmp_path / "log.jsonl", records).parent)
    assert run.curves["eval/loss"].step.tolist() == [1, 10, 20, 30, 40]
    assert len(run.curves["train/loss"]) == 40


def test_nested_objects_and_quoted_numbers(tmp_path: Path) -> None:
    records = [{"step": str(step), "train": {"loss": "1.5", "lr": 1e-4}, "eval": {"loss": None}, "note": "text"} for step in (10, 20)]
    run = only_run(write_lines(tmp_path / "log.jsonl", records).parent)
    assert run.curves["train/loss"].step.tolist() == [10, 20]
    assert run.curves["lr"].value.tolist() == [1e-4, 1e-4]
    assert "eval/loss" not in run.curves


def test_bare_nan_joined_objects_and_a_half_written_tail(tmp_path: Path) -> None:
    text = '{"step": 1, "loss": NaN}\n{"step": 2, "loss": nan}\n{"step": 3, "loss": -Infinity}{"step": 4, "loss": 0.5}\n'
    text += 'noise\n{"step": 5, "loss": 0.4}\n{"step": 6, "lo'
    run = named(write(tmp_path / "log.jsonl", text))
    loss = run.curves["train/loss"]
    assert loss.step.tolist() == [1, 2, 3, 4, 5]
    assert math.isnan(loss.value[0])
    assert math.isnan(loss.value[1])
    assert loss.value[2] == -math.inf
    assert any("not JSON objects" in note for note in run.notes)


def test_long_tables_and_streams(tmp_path: Path) -> None:
    rows = [(step, name, step / value) for step in (10, 20, 30) for name, value in (("train/loss", 1), ("lr", 1000))]
    write(
        tmp_path / "a" / "history.csv",
        "step,metric,value,epoch\n" + "".join(f"{step},{name},{value},{step / 30}\n" for step, name, value in rows),
    )
    write_lines(
        tmp_path / "b" / "history.jsonl", [{"step": step, "metric": name, "value": value, "epoch": step / 30} for step, name, value in rows]
    )
    for folder in ("a", "b"):
        run = only_run(tmp_path / folder)
        assert run.curves["train/loss"].step.tolist() == [10, 20, 30]
        assert run.curves["train/loss"].value.tolist() == [10.0, 20.0, 30.0]
        assert run.curves["lr"].value.tolist() == [0.01, 0.02, 0.03]
        assert run.curves["lr"].epoch[-1] == 1.0


def test_split_column(tmp_path: Path) -> None:
    write(tmp_path / "a" / "log.csv", "epoch,phase,loss,acc\n1,train,2.0,50%\n1,val,2.2,45%\n2,train,1.5,60%\n2,val,1.8,55%\n")
    rows = [(1, "train", 2.0), (1, "val", 2.2), (2, "train", 1.5), (2, "val", 1.8)]
    write_lines(tmp_path / "b" / "log.jsonl", [{"mode": split, "epoch": epoch, "loss": loss, "lr": 0.1} for epoch, split, loss in rows])
    for folder in ("a", "b"):
        run = only_run(tmp_path / folder)
        assert run.curves["train/loss"].value.tolist() == [2.0, 1.5]
        assert run.curves["eval/loss"].value.tolist() == [2.2, 1.8]
        assert run.curves["eval/loss"].step.tolist() == [1, 2]
    assert only_run(tmp_path / "a").curves["eval/accuracy"].value.tolist() == [45.0, 55.0]


def test_text_files_that_are_json_lines_or_tables(tmp_path: Path) -> None:
    write_lines(
        tmp_path / "log.txt", [{"train_lr": 1e-4, "train_loss": 2.0 - epoch / 10, "test_loss": 2.0, "epoch": epoch} for epoch in range(5)]
    )
    write(tmp_path / "t" / "train.log", "epoch,train_loss,val_loss\n1,2.0,2.1\n2,1.5,1.7\n3,1.2,1.6\n")
    write(tmp_path / "c" / "console.log", "epoch 1, loss 2.0\nepoch 2, loss 1.5\n{'loss': 1.0, 'epoch': 3}\ndone\n")
    assert only_run(tmp_path).curves["train/loss"].step.tolist() == [1, 2, 3, 4, 5]
    assert only_run(tmp_path / "t").curves["eval/loss"].value.tolist() == [2.1, 1.7, 1.6]
    assert runs_in(tmp_path / "c") == []


def test_evaluation_before_training_without_a_step(tmp_path: Path) -> None:
    records: list[dict[str, Any]] = [{"val_loss": 3.0, "val_num_tokens": 5}]
    records += [{"step": step, "train_loss": 2.0} for step in range(1, 11)] + [{"step": 10, "val_loss": 1.5}]
    run = only_run(write_lines(tmp_path / "log.jsonl", records).parent)
    assert run.curves["eval/loss"].step.tolist() == [0, 10]


def test_train_and_eval_files_of_any_name_are_one_run(tmp_path: Path) -> None:
    write_lines(tmp_path / "train_metrics.jsonl", [{"step": step, "loss": 1.0} for step in range(1, 21)])
    write_lines(tmp_path / "eval_metrics.jsonl", [{"step": step, "loss": 1.5} for step in (10, 20)])
    run = only_run(tmp_path)
    assert run.curves["eval/loss"].step.tolist() == [10, 20]
    assert set(run.curves["train/loss"].value.tolist()) == {1.0}


# --- what is no log ---


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("data.jsonl", '{"messages": [{"role": "user", "content": "hi"}], "loss": 1.0}\n' * 5),
        ("data.jsonl", '{"prompt": "a", "completion": "b", "reward": 1.0, "step": 3}\n' * 5),
        ("data.jsonl", '{"id": 1, "label": 0}\n' * 5),
        ("train.csv", "text,label\nhello,1\nworld,0\n"),
        ("train.csv", "id,stock,price\n1,a,3.5\n2,b,4.5\n"),
        ("results.csv", "model,loss,accuracy\nbert,0.5,0.9\ngpt,0.4,0.95\n"),
        ("samples.csv", "step,prompt,completion,loss\n1,a,b,0.5\n2,c,d,0.4\n"),
        ("numbers.csv", "1,2,3\n4,5,6\n"),
        ("empty.csv", ""),
        ("lfs.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n"),
    ],
)
def test_data_sets_are_not_logs(tmp_path: Path, name: str, text: str) -> None:
    write(tmp_path / name, text)
    assert runs_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "name,price\nx,1\n", "does not look like a training log"),
        ("a.jsonl", '{"text": "hello"}\n', "does not look like a training log"),
        ("a.jsonl", "plain\ntext\n", "not JSON objects"),
        ("a.csv", "\n", "is empty"),
        ("a.csv", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer"),
    ],
)
def test_a_named_file_that_is_no_log_is_refused_in_one_line(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        named(write(tmp_path / name, text))
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_adapters_keep_the_protocol() -> None:
    adapters: list[Adapter] = [CSV, JSONL]
    assert [adapter.name for adapter in adapters] == ["csv", "jsonl"]
    with pytest.raises(InputError, match="files only"):
        CSV.find_uri("csv:x", None)


# --- properties ---


def safe_read(adapter: TableAdapter, path: Path) -> None:
    source = adapter.find_file(path)
    assert source is not None
    list(adapter.find(listing(path.parent)))
    try:
        runs = adapter.read(source)
    except InputError:
        return
    for run in runs:
        for curve in run.curves.values():
            assert (np.diff(curve.step) > 0).all()


@settings(max_examples=150, deadline=None)
@given(data=st.one_of(st.binary(max_size=300), st.text("steploch,;\t\n\"'{}[]:0123456789.eE+-naNinf#", max_size=300).map(str.encode)))
def test_noise_raises_nothing_but_input_errors(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("noise")
    for adapter, name, head in ((CSV, "log.csv", b"step,loss,epoch\n"), (JSONL, "log.jsonl", b'{"step": 1, "loss": 2}\n')):
        for prefix in (b"", head):
            (folder / name).write_bytes(prefix + data)
            safe_read(adapter, folder / name)


WILD: st.SearchStrategy[Any] = st.one_of(
    st.floats(),
    st.integers(-(10**30), 10**30),
    st.integers(-3, 30),
    st.sampled_from(
        [None, True, "NaN", "1e999", "-inf", "", "0x10", [], {}, {"a": {"loss": 1}}, "2026-01-01T00:00:00Z", 1e15, 2**53, -(2**63)]
    ),
)


@settings(max_examples=200, deadline=None)
@given(
    rows=st.lists(
        st.dictionaries(st.sampled_from(["step", "epoch", "loss", "eval_loss", "lr", "timestamp", "max_steps"]), WILD), max_size=12
    )
)
def test_wild_numbers_raise_nothing_but_input_errors(tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("wild")
    write_lines(folder / "log.jsonl", rows)
    safe_read(JSONL, folder / "log.jsonl")
    keys = ["epoch", "eval_loss", "loss", "lr", "step", "timestamp"]
    write(folder / "metrics.csv", ",".join(keys) + "\n" + "".join(",".join(str(row.get(key, "")) for key in keys) + "\n" for row in rows))
    safe_read(CSV, folder / "metrics.csv")


def test_every_cut_reads_or_is_refused(tmp_path: Path) -> None:
    table = b'epoch,step,train_loss,val_loss\r\n0,9,2.5,\r\n0,9,,2.4\r\n1,19,nan,\r\n1,19,,"inf"\r\n'
    lines = b'{"step": 1, "loss": 2.5, "eval": {"loss": NaN}}\n{"step": 2, "loss": 1e-3}\n'
    for adapter, name, data in ((CSV, "metrics.csv", table), (JSONL, "log.jsonl", lines)):
        for size in range(len(data) + 1):
            (tmp_path / name).write_bytes(data[:size])
            safe_read(adapter, tmp_path / name)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.floats(width=64), min_size=1, max_size=40), step=st.integers(1, 1000))
def test_what_was_written_is_read_back(values: list[float], step: int) -> None:
    steps = [step * (index + 1) for index in range(len(values))]
    table = read_csv("step,loss\n" + "".join(f"{at},{value!r}\n" for at, value in zip(steps, values, strict=True)), "x")
    lines = read_jsonl("".join(json.dumps({"step": at, "loss": value}) + "\n" for at, value in zip(steps, values, strict=True)), "x")
    for result in (table, lines):
        np.testing.assert_array_equal(result.records.columns["loss"][1], np.array(values))
        np.testing.assert_array_equal(result.records.columns["step"][1], np.array(steps, dtype=float))


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 500), epochs=st.integers(2, 20), every=st.integers(1, 50), first=st.integers(0, 1))
def test_whole_epochs_become_fractions_that_end_where_epochs_end(size: int, epochs: int, every: int, first: int) -> None:
    step = np.unique(np.concatenate([np.arange(every, size * epochs + 1, every), size * np.arange(1, epochs + 1)]))
    fraction = fractional_epochs(step, (step - 1) // size + float(first))
    np.testing.assert_allclose(fraction, step / size)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(2, 50), epochs=st.integers(2, 10), first=st.integers(0, 1))
def test_batch_counters_are_counted_on(size: int, epochs: int, first: int) -> None:
    batch = np.tile(np.arange(size) + first, epochs)
    running = unrolled(batch, np.repeat(np.arange(epochs, dtype=float), size))
    assert running is not None
    np.testing.assert_array_equal(running, np.arange(size * epochs) + first)


@pytest.mark.parametrize("name", ["loss", "train/loss", "val_box_loss", "trainLoss", "loss_q0", "Loss/train", "eval.loss", "perplexity"])
def test_names_of_losses(name: str) -> None:
    assert is_loss(name)


@pytest.mark.parametrize("name", ["loss_scale", "lossless", "glossary", "accuracy"])
def test_names_that_are_no_losses(name: str) -> None:
    assert not is_loss(name)


@pytest.mark.parametrize("name", ["reward", "rollout/ep_rew_mean", "episode_reward_mean", "rewards/accuracy/mean"])
def test_names_of_rewards(name: str) -> None:
    assert is_reward(name)
