"""A callback for Lightning, of the package ``lightning`` as well as of ``pytorch_lightning``."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diag.adapters.aliases import canonical_names
from diag.adapters.repairs import repair
from diag.configs import from_mapping
from diag.inference import infer
from diag.integrations.session import OnFinding, Session, holds_nonfinite, known, parameters, samples
from diag.run import Column, Hyperparameter, Run, make_curves

PACKAGES = ("lightning.pytorch", "pytorch_lightning")
"""The names under which the same library is published."""
SOURCE = "Trainer"
"""What hyperparameters are reported to be read from."""


def _callback_base() -> type:
    """The ``Callback`` class of the package that is in use: the one imported already, else the first that is installed.

    Raises:
        ImportError: none is.
    """
    for package in sorted(PACKAGES, key=lambda name: name not in sys.modules):
        try:
            base: type = import_module(package).Callback
        except ImportError:
            continue
        return base
    raise ImportError("diag.integrations.lightning needs Lightning; install it with: pip install lightning")


if TYPE_CHECKING:
    from lightning.pytorch import Callback, LightningModule, Trainer
else:
    Callback = _callback_base()


class Rows:
    """What a training logged, name by name, in the order in which it was logged."""

    def __init__(self) -> None:
        self._entries: dict[str, list[tuple[int, float, float, float]]] = {}

    def add(self, metrics: Mapping[str, float], step: int, epoch: float) -> None:
        """Take down what was logged at a step."""
        now = time.time()
        for name, value in metrics.items():
            self._entries.setdefault(name, []).append((step, value, epoch, now))

    def columns(self) -> dict[str, Column]:
        """The columns as an adapter would have read them."""
        return {name: Column(*map(list, zip(*entries, strict=True))) for name, entries in self._entries.items()}


class DiagCallback(Callback):
    """Judges the training from what it logs, tells new findings to the logger ``diag``, and stops it if asked to.

        trainer = Trainer(..., callbacks=[DiagCallback(stop_on="DIVERGED")])

    It reads ``trainer.logged_metrics`` every ``log_every_n_steps`` steps, after each epoch and after each validation, and the learning
    rate of the first optimizer. In a distributed training the process of rank 0 judges, and all stop at the same step.

    Args:
        stop_on: what to stop on: a verdict such as ``"DIVERGED"``, a severity such as ``"error"``, codes of checks, or several of
            these; None to go on whatever is found.
        on_finding: called as ``on_finding(finding, report)`` with each new finding.
        write_report: file for the report, its format by the end of the name (``.json``, ``.txt``, …).
        settings: ``select``, ``ignore``, ``method``, ``model_parameters``, ``dataset_size``, ``dialect``, ``profile``, ``thresholds`` of
            ``diag.analyze``.

    Raises:
        UsageError: an argument is wrong.
    """

    def __init__(
        self,
        *,
        stop_on: str | Iterable[str] | None = None,
        on_finding: OnFinding | None = None,
        write_report: str | Path | None = None,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.session = Session(stop_on=stop_on, on_finding=on_finding, write_report=write_report, **settings)
        self._begin()

    def _begin(self) -> None:
        self._rows = Rows()
        self._metrics: Mapping[str, Any] = {}
        self._root = Path()
        self._taken: dict[str, tuple[int, str]] = {}
        self._step = -1
        self._hyperparameters: dict[str, Hyperparameter] = {}
        self._config: dict[str, Any] = {}
        self._planned: int | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take down what the training is told to do."""
        self._begin()
        self._root = Path(trainer.log_dir or trainer.default_root_dir).absolute()  # rank 0 tells the others where it is
        self.session.begin()
        self.session.guarded(lambda: self._describe(trainer, pl_module))

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *arguments: Any, **named: Any) -> None:
        """Look at what was logged at this step, where the loggers do."""
        step, every = trainer.global_step, log_interval(trainer)
        if step == self._step or not every or step % every:
            return
        self._step = step
        self._look(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what was logged of the whole epoch."""
        self._look(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at what the validation logged."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking:
            self._look(trainer)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what only the end can show."""
        if trainer.is_global_zero:
            self.session.ended(self._run)

    def _look(self, trainer: Trainer) -> None:
        stop = False
        metrics = dict(trainer.logged_metrics)  # in all processes: what is logged with sync_dist is gathered when it is first asked for
        if trainer.is_global_zero:
            fresh: dict[str, float] = {}
            self.session.guarded(lambda: fresh.update(self._take(trainer, metrics)))
            stop = self.session.logged(self._run, nonfinite=holds_nonfinite(fresh))
        if self.session.can_stop:
            trainer.should_stop |= trainer.strategy.reduce_boolean_decision(stop, all=False)

    def _take(self, trainer: Trainer, metrics: Mapping[str, Any]) -> dict[str, float]:
        """The metrics that were logged since they were last taken: what stands there still is the same tensor."""
        fresh = {name: float(value) for name, value in metrics.items() if self._metrics.get(name) is not value}
        self._metrics = metrics
        step = trainer.global_step
        # Lightning makes the tensors of a batch anew at its end: the same value at the same step is the same.
        fresh = {name: value for name, value in fresh.items() if self._taken.get(name) != (step, str(value))}
        self._taken.update({name: (step, str(value)) for name, value in fresh.items()})
        if fresh and trainer.optimizers and self._taken.get("lr", (-1, ""))[0] != step:
            self._taken["lr"] = (step, "")
            fresh.setdefault("lr", float(trainer.optimizers[0].param_groups[0]["lr"]))
        batches = float(trainer.num_training_batches)
        done = trainer.fit_loop.epoch_loop.batch_idx + 1 if math.isfinite(batches) and batches else 0
        epoch = trainer.current_epoch + (min(done / batches, 1.0) if done else 0.0)
        self._rows.add(fresh, step, epoch)
        return fresh

    def _describe(self, trainer: Trainer, module: LightningModule) -> None:
        """Hyperparameters from the trainer, the module, its optimizer and the data."""
        self._config = native(trainer, module)
        _, self._hyperparameters = from_mapping(self._config, file=SOURCE)
        loader = trainer.train_dataloader
        self._hyperparameters |= known(
            world_size=int(trainer.world_size), model_parameters=parameters(module), dataset_size=samples(loader)
        )
        planned = float(trainer.estimated_stepping_batches)
        self._planned = int(planned) if math.isfinite(planned) and planned > 0 else None

    def _run(self) -> Run:
        """The training so far in the common frame."""
        columns = self._rows.columns()
        curves, overlaps, native_names = make_curves(columns, canonical_names(columns))
        root = str(self._root)
        run = Run(
            id=self._root.name, path=root, adapter="lightning", curves=curves, overlaps=overlaps, native_names=native_names, root=root
        )
        run.dialect, run.planned_steps = "lightning", self._planned
        run.hyperparameters = dict(self._hyperparameters)
        run.config = {key: Hyperparameter(value, file=SOURCE, key=key) for key, value in self._config.items()}
        infer(run)
        repair(run)
        return run


def log_interval(trainer: Trainer) -> int:
    """Optimizer steps between two logs, 0 for none."""
    return int(getattr(trainer, "log_every_n_steps", 0))


def native(trainer: Trainer, module: LightningModule) -> dict[str, Any]:
    """What a LightningCLI file of this training would hold, as far as the objects tell."""
    config: dict[str, Any] = {
        "trainer.max_epochs": trainer.max_epochs,
        "trainer.max_steps": trainer.max_steps,
        "trainer.accumulate_grad_batches": trainer.accumulate_grad_batches,
        "trainer.gradient_clip_val": trainer.gradient_clip_val or 0.0,
        "trainer.precision": str(trainer.precision),
        "trainer.log_every_n_steps": log_interval(trainer),
        **{f"model.init_args.{name}": value for name, value in dict(module.hparams).items() if isinstance(value, (bool, int, float, str))},
        "data.init_args.batch_size": getattr(trainer.train_dataloader, "batch_size", None),
    }
    for optimizer in trainer.optimizers[:1]:
        kind = type(getattr(optimizer, "optimizer", optimizer))
        config["optimizer.class_path"] = f"torch.optim.{kind.__name__}" if kind.__module__.startswith("torch.optim") else kind.__name__
        first = {**optimizer.defaults, **{key: value for key, value in optimizer.param_groups[0].items() if key == "initial_lr"}}
        config["optimizer.init_args.lr"] = first.get("initial_lr", first.get("lr"))
        config["optimizer.init_args.weight_decay"] = first.get("weight_decay")
    return {key: value for key, value in config.items() if value is not None and value != -1}
