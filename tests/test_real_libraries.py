"""Trainings run here and now by the libraries that are installed, and what is read of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import healthy

import diag
from diag.writeback import Written, write_back

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]

EXAMPLES, BATCH = 64, 8
PER_EPOCH = EXAMPLES // BATCH


class Trained:
    """A regression by transformers.Trainer in a folder of its own."""

    def __init__(
        self, folder: Path, *, epochs: int = 4, resume: bool = False, patience: int = 0, poison: bool = False, **options: Any
    ) -> None:
        import torch
        from transformers import EarlyStoppingCallback, Trainer, TrainingArguments

        class Regression(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.layer = torch.nn.Linear(4, 1)

            def forward(self, inputs: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
                return {"loss": torch.nn.functional.mse_loss(self.layer(inputs).squeeze(-1), labels)}

        torch.manual_seed(0)
        inputs = torch.randn(EXAMPLES + 16, 4)
        labels = inputs.sum(-1) + 0.1 * torch.randn(EXAMPLES + 16)
        if poison:
            labels[EXAMPLES // 2] = float("nan")
        rows = [{"inputs": x, "labels": y} for x, y in zip(inputs, labels, strict=True)]
        options = {
            "learning_rate": 0.05,
            "logging_steps": 2,
            "eval_strategy": "steps",
            "eval_steps": 4,
            "save_steps": 8,
            "seed": 1,
            **options,
        }
        args = TrainingArguments(
            str(folder), num_train_epochs=epochs, per_device_train_batch_size=BATCH, report_to=[], disable_tqdm=True, **options
        )
        callbacks: list[Any] = [EarlyStoppingCallback(patience)] if patience else []
        self.trainer = Trainer(Regression(), args, train_dataset=rows[:EXAMPLES], eval_dataset=rows[EXAMPLES:], callbacks=callbacks)
        self.trainer.train(resume_from_checkpoint=resume)

    def logged(self, key: str) -> dict[int, float]:
        return {int(row["step"]): row[key] for row in self.trainer.state.log_history if key in row}


def read(path: Path) -> diag.Run:
    (run,) = diag.load(path)
    return run


def points(run: diag.Run, metric: str) -> dict[int, float]:
    curve = run.curve(metric)
    assert curve is not None
    return dict(zip(curve.step.tolist(), curve.value.tolist(), strict=True))


class TestTransformers:
    def test_every_row_is_read(self, tmp_path: Path) -> None:
        trained = Trained(tmp_path / "out")
        run = read(tmp_path / "out")
        for metric, key in (("train/loss", "loss"), ("eval/loss", "eval_loss"), ("lr", "learning_rate"), ("grad_norm", "grad_norm")):
            assert points(run, metric) == trained.logged(key)
        assert run.adapter == "trainer_state"
        assert run.dialect == "hf"
        assert run.planned_steps == run.steps == 4 * PER_EPOCH

    def test_the_checkpoints_on_disk_are_found(self, tmp_path: Path) -> None:
        Trained(tmp_path / "out", save_total_limit=2)
        run = read(tmp_path / "out")
        assert [(point.step, point.exists) for point in run.checkpoints if point.exists] == [(24, True), (32, True)]

    def test_a_resumed_run_is_one_run_with_the_whole_history(self, tmp_path: Path) -> None:
        Trained(tmp_path / "out", epochs=2).trainer.save_state()
        trained = Trained(tmp_path / "out", epochs=4, resume=True)
        run = read(tmp_path / "out")
        assert run.steps == 4 * PER_EPOCH
        assert points(run, "train/loss") == trained.logged("loss")
        assert min(points(run, "train/loss")) == 2

    def test_early_stopping_is_known_from_the_state(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {
            "load_best_model_at_end": True,
            "metric_for_best_model": "eval_loss",
            "save_steps": 4,
            "learning_rate": 0.5,
        }
        trained = Trained(tmp_path / "out", epochs=50, patience=2, **options)
        assert trained.trainer.state.global_step < 50 * PER_EPOCH
        run = read(tmp_path / "out")
        assert run.hyperparameter("early_stopping_patience") == 2
        (report,) = diag.analyze(tmp_path / "out").to_dict()["runs"]
        best = min(trained.logged("eval_loss").items(), key=lambda item: item[1])[0]
        assert report["best_checkpoint"] == {"step": best, "path": f"checkpoint-{best}", "exists": True}

    @pytest.mark.parametrize("hidden", [True, False])
    def test_nan_is_seen_with_and_without_the_filter(self, tmp_path: Path, hidden: bool) -> None:
        trained = Trained(tmp_path / "out", epochs=12, poison=True, logging_nan_inf_filter=hidden)
        assert np.isfinite(list(trained.logged("loss").values())).all() == hidden
        (report,) = diag.analyze(tmp_path / "out").to_dict()["runs"]
        assert report["verdict"] == "DIVERGED"

    def test_several_evaluation_sets(self, tmp_path: Path) -> None:
        trained = Trained(tmp_path / "out")
        trained.trainer.eval_dataset = {"old": trained.trainer.eval_dataset, "new": trained.trainer.eval_dataset}
        trained.trainer.train()
        trained.trainer.save_state()
        assert {"eval/old/loss", "eval/new/loss"} <= set(read(tmp_path / "out" / "trainer_state.json").curves)


def test_lightning_counts_from_zero_and_is_read_from_one(fixtures: Path, tmp_path: Path) -> None:
    import lightning
    import torch
    from lightning.pytorch.loggers import CSVLogger, MLFlowLogger, TensorBoardLogger
    from torch.utils.data import DataLoader, TensorDataset

    class Regression(lightning.LightningModule):
        def __init__(self, learning_rate: float) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.layer = torch.nn.Linear(4, 1)

        def training_step(self, batch: Any, _: int) -> torch.Tensor:
            loss = torch.nn.functional.mse_loss(self.layer(batch[0]).squeeze(-1), batch[1])
            self.log("train_loss", loss)
            return loss

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("val_loss", torch.nn.functional.mse_loss(self.layer(batch[0]).squeeze(-1), batch[1]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=self.hparams["learning_rate"])

    store = f"sqlite:///{shutil.copy(fixtures / 'mlflow-sqlite' / 'mlflow.db', tmp_path)}"
    lightning.seed_everything(0)
    inputs = torch.randn(EXAMPLES, 4)
    loader = DataLoader(TensorDataset(inputs, inputs.sum(-1)), batch_size=BATCH)
    trainer = lightning.Trainer(
        max_epochs=4,
        log_every_n_steps=2,
        logger=[
            CSVLogger(str(tmp_path), name="csv"),
            TensorBoardLogger(str(tmp_path), name="events"),
            MLFlowLogger("pl", tracking_uri=store, artifact_location=str(tmp_path / "artifacts")),
        ],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Regression(0.01), loader, loader)
    written_back = diag.analyze("mlflow:pl", tracking_uri=store)
    assert all(isinstance(outcome, Written) for outcome in write_back(written_back, ["mlflow"]))
    (stored,) = diag.load("mlflow:pl", tracking_uri=store)
    for run in (read(tmp_path / "csv"), read(tmp_path / "events"), stored):
        assert sorted(points(run, "train/loss")) == list(range(2, 33, 2))
        assert sorted(points(run, "eval/loss")) == [8, 16, 24, 32]
        assert run.hyperparameter("learning_rate") == 0.01


def test_keras_history_and_csv_agree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KERAS_BACKEND", "torch")
    import keras  # type: ignore[import-untyped,unused-ignore]

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse")
    inputs = np.random.default_rng(0).standard_normal((EXAMPLES, 4))
    (tmp_path / "csv").mkdir()
    logger = keras.callbacks.CSVLogger(str(tmp_path / "csv" / "training.csv"))
    history = model.fit(inputs, inputs.sum(1), epochs=6, validation_split=0.25, callbacks=[logger], verbose=0)
    (tmp_path / "history.json").write_text(json.dumps(history.history))
    table, kept = read(tmp_path / "csv"), read(tmp_path / "history.json")
    for metric, key in (("train/loss", "loss"), ("eval/loss", "val_loss")):
        assert list(points(table, metric).values()) == pytest.approx(history.history[key])
        assert list(points(kept, metric).values()) == pytest.approx(history.history[key])


def test_a_run_that_is_still_being_written(tmp_path: Path) -> None:
    """What the writer has flushed so far is judged; nothing is locked, changed or waited for."""
    from torch.utils.tensorboard import SummaryWriter

    builder = healthy(n=200, evals=20).lr().blow_up(0.3, to=6.0)
    seen = []
    with SummaryWriter(str(tmp_path)) as writer:
        evals = dict(zip(builder.eval_step.tolist(), builder.eval.tolist(), strict=True))
        for row, step in enumerate(builder.step.tolist()):
            writer.add_scalar("train/loss", builder.train[row], step)
            if step in evals:
                writer.add_scalar("eval/loss", evals[step], step)
            if row in (40, 150):
                writer.flush()
                (report,) = diag.analyze(tmp_path).to_dict()["runs"]
                seen.append((report["steps"], report["verdict"]))
    assert seen[0] == (205, "HEALTHY") or seen[0] == (205, "UNDERFIT")
    assert seen[1] == (755, "DIVERGED")
