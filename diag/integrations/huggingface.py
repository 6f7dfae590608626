"""A callback for ``transformers.Trainer`` and what derives from it (TRL's trainers, Axolotl, LLaMA-Factory)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diag.adapters.repairs import repair
from diag.adapters.trainer_state import read_state
from diag.configs import from_mapping
from diag.inference import infer
from diag.integrations.session import OnFinding, Session, holds_nonfinite, known, parameters, samples
from diag.run import Hyperparameter, Run

try:
    from transformers import TrainerCallback
except ImportError:
    raise ImportError("diag.integrations.huggingface needs transformers; install it with: pip install 'diag[hf]'") from None

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

ARGUMENTS = "TrainingArguments"
"""What hyperparameters are reported to be read from."""


class DiagCallback(TrainerCallback):
    """Judges the training from what it logs, tells new findings to the logger ``diag``, and stops it if asked to.

        trainer = Trainer(..., callbacks=[DiagCallback(stop_on="DIVERGED")])

    In a distributed training the process of rank 0 judges, and all stop at the same logged step.

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
        self.session = Session(stop_on=stop_on, on_finding=on_finding, write_report=write_report, **settings)
        self._hyperparameters: dict[str, Hyperparameter] = {}
        self._config: dict[str, Any] = {}
        self._dialect = "hf"
        self._is_log_due = False

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take down what the training is told to do."""
        self.session.begin()
        self.session.guarded(lambda: self._describe(args, kwargs.get("model"), kwargs.get("train_dataloader")))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Remember whether the Trainer will log now: in all processes alike."""
        self._is_log_due = control.should_log

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """As at the end of a step."""
        self._is_log_due |= control.should_log

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> None:
        """Look at what was logged, and stop the training if that was asked for."""
        stop = False
        if state.is_world_process_zero:
            stop = self.session.logged(lambda: self._run(args, state), nonfinite=holds_nonfinite(logs or {}))
        if self.session.can_stop and args.world_size > 1:
            # Rank 0 alone has judged. Only where the Trainer logs by itself is it sure that all processes are here.
            stop, self._is_log_due = self._is_log_due and from_rank_zero(stop, args.device), False
        if stop:
            control.should_training_stop = True

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Say what only the end can show."""
        if state.is_world_process_zero:
            self.session.ended(lambda: self._run(args, state))

    def _describe(self, args: TrainingArguments, model: Any, loader: Any) -> None:
        """Hyperparameters from the arguments, the adapters, the model and the data."""
        native: dict[str, Any] = args.to_dict()  # type: ignore[no-untyped-call]
        self._config = native
        self._dialect, self._hyperparameters = from_mapping(native, file=ARGUMENTS)
        self._dialect = "hf" if self._dialect == "generic" else self._dialect
        for adapter in (getattr(model, "peft_config", None) or {}).values():
            self._hyperparameters = {**from_mapping(adapter.to_dict(), file="peft_config")[1], **self._hyperparameters}
        self._hyperparameters |= known(world_size=int(args.world_size), model_parameters=parameters(model), dataset_size=samples(loader))

    def _run(self, args: TrainingArguments, state: TrainerState) -> Run:
        """The training so far in the common frame."""
        root = Path(args.output_dir or ".").absolute()
        told = dict(vars(state))
        is_filtered = args.logging_nan_inf_filter and not args.fp16
        if is_filtered:
            told["log_history"] = [unfiltered(row) for row in state.log_history]
        run = read_state(told, root / "trainer_state.json", root)
        if is_filtered and told["log_history"] != state.log_history:
            run.notes.append("the loss beside a gradient norm of NaN is a mean of others (logging_nan_inf_filter) and was read as NaN")
        run.id, run.path = str(args.run_name or root.name), str(args.output_dir or ".")
        run.dialect = self._dialect
        run.hyperparameters |= self._hyperparameters
        run.config = {key: Hyperparameter(value, file=ARGUMENTS, key=key) for key, value in self._config.items()}
        infer(run)
        repair(run)
        return run


def unfiltered(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row with the loss as it was where the Trainer put an average in the place of a NaN.

    With ``logging_nan_inf_filter`` a loss that is not finite is logged as the mean of those before it. A gradient norm of NaN beside it
    tells: without a loss scaler, which would have left the step out, the weights are NaN from there on.
    """
    norm = row.get("grad_norm")
    if isinstance(norm, float) and math.isnan(norm) and math.isfinite(row.get("loss", math.nan)):
        return {**row, "loss": math.nan}
    return row


def from_rank_zero(value: bool, device: Any) -> bool:
    """What the process of rank 0 says, in every process; False where no process group was made (XLA)."""
    import torch

    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return False
    told = torch.tensor(int(value), device=device)
    torch.distributed.broadcast(told, src=0)
    return bool(told.item())
