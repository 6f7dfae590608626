"""Makes trainings fit into memory: where there was none left, smaller micro-batches and more accumulation, the same global batch."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple, TypeVar

from diag.replay.guard import OutOfMemory, ProbeError
from diag.replay.probe import Probe, settle

Function = Callable[[Mapping[str, Any], int], Probe]
T = TypeVar("T")

RULES: Final = "S0-046, S0-047"
"""The guides' fix for running out of memory: a smaller batch per device, more accumulation, the effective batch unchanged."""


class Extent(NamedTuple):
    """How large a batch is.

    Attributes:
        samples: the leading dimension of its first tensor; where it has no tensor, its length.
        elements: numbers in all of its tensors; where it has none, its length.
    """

    samples: int
    elements: int


def extent(batch: Any) -> Extent | None:
    """How large a batch is, None where it holds nothing that can be counted."""
    tensors = list(_tensors(batch))
    if tensors:
        return Extent(int(tensors[0].shape[0]) if tensors[0].dim() else 1, sum(int(tensor.numel()) for tensor in tensors))
    return Extent(len(batch), len(batch)) if isinstance(batch, (list, tuple)) else None


def _tensors(batch: Any) -> Iterator[Any]:
    import torch

    if isinstance(batch, torch.Tensor):
        yield batch
    elif isinstance(batch, (list, tuple, Mapping)):
        for value in batch.values() if isinstance(batch, Mapping) else batch:
            yield from _tensors(value)


def halved(size: int) -> int:
    """The largest divisor of a micro-batch that is at most half of it, so that whole micro-batches still make the global batch."""
    return next(part for part in range(size // 2, 0, -1) if size % part == 0)


class Fitting:
    """Trains a probe with what fits into memory; what did not fit once is not tried again.

    Args:
        function: makes the probe.
        device: ``cpu``, ``cuda`` or ``mps``.
    """

    def __init__(self, function: Function, device: str) -> None:
        self.function, self.device = function, device
        self.largest: int | None = None
        """The micro-batch that trainings begin with where theirs is larger; None while all have fitted."""
        self._unnamed: int | None = None
        self._batch: Extent | None = None

    def run(self, hyperparameters: Mapping[str, Any], attempt: Callable[[Function, dict[str, Any]], T]) -> tuple[T, tuple[str, ...]]:
        """Train, each time with a smaller micro-batch than before, until it fits.

        Args:
            hyperparameters: canonical names to values.
            attempt: trains with a probe function and settled hyperparameters, from the start.

        Returns:
            What ``attempt`` gave, and what to know of how.

        Raises:
            ProbeError: it does not fit with a micro-batch of one sample, or the probe does not follow ``micro_batch_size``.
        """
        asked = settle(hyperparameters)
        values = self.reduced(asked)
        before: Extent | None = None
        while True:
            self._batch = None
            try:
                return attempt(self._watched, values), self.notes(asked, values)
            except OutOfMemory as error:
                self.largest = self._smaller(values, before, error)
            # Not before here: the error holds the frames of the training, and these its tensors.
            free_memory(self.device)
            before, values = self._batch, self.reduced(asked)

    def _watched(self, hyperparameters: Mapping[str, Any], seed: int) -> Probe:
        """The probe; the size of its first batch is noted."""
        probe = self.function(hyperparameters, seed)

        def batches() -> Iterator[Any]:
            for batch in probe.batches():
                if self._batch is None:
                    self._batch = extent(batch)
                yield batch

        return replace(probe, batches=batches)

    def _smaller(self, values: Mapping[str, Any], before: Extent | None, error: OutOfMemory) -> int:
        """The micro-batch to try after one did not fit.

        Raises:
            ProbeError: there is none.
        """
        size, now = values.get("micro_batch_size"), self._batch
        if size is None:
            if now is None:
                raise error
            size = self._unnamed = now.samples
        if size <= 1:
            raise ProbeError(
                f"the probe ran out of memory on {self.device} even with micro_batch_size 1;"
                " make it smaller: the model, the length of its samples, or its held-out batches"
            ) from error
        if before is not None and now is not None and now.elements >= before.elements and now.samples > size:
            raise ProbeError(
                f"the probe ran out of memory on {self.device}, and its batches do not follow micro_batch_size ({now.samples} samples at"
                f" {size}); let its batches() take hyperparameters['micro_batch_size'] samples, or make the probe smaller"
            ) from error
        return halved(size)

    def reduced(self, values: dict[str, Any]) -> dict[str, Any]:
        """Settled hyperparameters with a micro-batch that is not known to be too large."""
        size = whole = values.get("micro_batch_size") or self._unnamed
        if self.largest is None or size is None or whole is None or size <= self.largest:
            return values
        while size > self.largest:
            size = halved(size)
        times = int(values.get("gradient_accumulation_steps") or 1)
        return {
            **values,
            "global_batch_size": whole * times,
            "micro_batch_size": size,
            "gradient_accumulation_steps": whole // size * times,
        }

    def notes(self, asked: Mapping[str, Any], values: Mapping[str, Any]) -> tuple[str, ...]:
        """What to know of a training that was made to fit: hyperparameters as they were asked for, and as they were."""
        whole, size = asked.get("micro_batch_size") or self._unnamed, values.get("micro_batch_size")
        if whole is None or size is None or size == whole:
            return ()
        return (
            f"out of memory at micro_batch_size {whole} on {self.device}: probed with {size} and {whole // size} times the"
            f" gradient_accumulation_steps, the same global batch, which is also the fix for a run that runs out of memory ({RULES})",
        )


def free_memory(device: str) -> None:
    """Give back what nothing holds any more."""
    import torch

    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    elif device == "mps":
        torch.mps.empty_cache()
