"""The callback in real trainings of Lightning: ``lightning`` in this process, ``pytorch_lightning`` in one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

TRAIN = """
def train(package, folder, rate):
    import importlib, sys
    import torch
    L = importlib.import_module(package)
    from diag.integrations import LightningCallback

    class Module(L.LightningModule):
        def __init__(self, rate, width=16):
            super().__init__()
            self.save_hyperparameters()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 1))

        def loss(self, batch):
            return torch.nn.functional.mse_loss(self.net(batch[0]), batch[1])

        def training_step(self, batch, index):
            loss = self.loss(batch)
            self.log("train_loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch, index):
            self.log("val_loss", self.loss(batch))

        def configure_optimizers(self):
            kind, options = (torch.optim.AdamW, {"weight_decay": 0.02}) if self.hparams.rate < 1 else (torch.optim.SGD, {})
            optimizer = kind(self.parameters(), lr=self.hparams.rate, **options)
            return [optimizer], [torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, 8)]

    torch.manual_seed(0)
    x = torch.randn(256, 4)
    data = torch.utils.data.TensorDataset(x, x[:, :1] * 2 + 1 + 0.1 * torch.randn(256, 1))
    found = []
    watch = LightningCallback(
        stop_on="DIVERGED",
        on_finding=lambda finding, report: found.append([finding.code, finding.severity, report.run.ongoing]),
        write_report=folder + "/report.json",
    )
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(max_epochs=8, log_every_n_steps=4, default_root_dir=folder, callbacks=[watch], accelerator="cpu", **quiet)
    loaders = [torch.utils.data.DataLoader(data, batch_size=size) for size in (16, 64)]
    trainer.fit(Module(rate), *loaders)
    run = watch.session.report.run
    return {
        "step": trainer.global_step, "found": found, "verdict": watch.session.report.diagnosis.verdict, "planned": run.planned_steps,
        "points": {name: len(curve) for name, curve in run.curves.items()}, "dialect": run.dialect,
        "known": {name: entry.value for name, entry in run.hyperparameters.items()},
        "lightning": "lightning.pytorch" in sys.modules,
    }
"""
names: dict[str, Any] = {}
exec(compile(TRAIN, "train.py", "exec"), names)  # the same text is the script of the other process
train: Callable[[str, str, float], dict[str, Any]] = names["train"]


@pytest.fixture(autouse=True)
def without_advice() -> Any:
    """Lightning advises on workers and such in warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_a_healthy_training_is_not_stopped(tmp_path: Path) -> None:
    done = train("lightning.pytorch", str(tmp_path), 1e-2)
    assert (done["step"], done["planned"], done["dialect"]) == (128, 128, "lightning")
    assert [code for code, severity, ongoing in done["found"] if severity != "info" and ongoing] == []
    assert done["points"]["train/loss"] == 32
    assert done["points"]["eval/loss"] == 8
    assert done["points"]["lr"] >= 32
    assert done["known"] | {"learning_rate": 1e-2, "weight_decay": 0.02, "micro_batch_size": 16, "dataset_size": 256} == done["known"]
    assert done["known"]["optimizer"].startswith("adamw")
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["runs"][0]["verdict"] == done["verdict"]


def check_stopped(done: dict[str, Any]) -> None:
    assert done["step"] == 4
    assert done["verdict"] == "DIVERGED"
    assert done["found"][0][:2] == ["DIV001", "error"]


def test_a_training_that_diverges_is_stopped(tmp_path: Path) -> None:
    check_stopped(train("lightning.pytorch", str(tmp_path), 1e4))


def test_the_other_package_does_not_need_this_one(tmp_path: Path) -> None:
    script = TRAIN + "import json, sys\nprint(json.dumps(train('pytorch_lightning', sys.argv[1], 1e4)))\n"
    command = [sys.executable, "-W", "ignore", "-c", script, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)
    assert process.returncode == 0, process.stderr[-2000:]
    done = json.loads(process.stdout.splitlines()[-1])
    check_stopped(done)
    assert not done["lightning"]


def test_a_missing_library_is_one_clear_line() -> None:
    code = "import sys; sys.modules['lightning'] = sys.modules['pytorch_lightning'] = None\nfrom diag.integrations import LightningCallback"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (
        done.stderr.splitlines()[-1] == "ImportError: diag.integrations.lightning needs Lightning; install it with: pip install lightning"
    )
