"""The batch test: the largest micro-batch that fits into memory, and the one from which larger ones are hardly faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from diag.dialects import Overrides, render
from diag.errors import UsageError
from diag.fixes import Fix
from diag.replay.batch_trial import Measured, Request, Trials
from diag.replay.fitting import Extent
from diag.replay.probe import ProbeFunction, settle
from diag.replay.training import pick_device

if TYPE_CHECKING:
    from diag.run import Run

FIRST: Final = 2
"""Where the sizes begin: batch normalization cannot train on one sample. One is tried if two do not fit."""
MOST: Final = 1024
"""Largest size that is tried where neither the run nor the user says how far; the time of a trial doubles with its size."""
RESOLUTION: Final = 16
"""What did not fit and what did are brought this near to each other, a sixteenth of the size: more than that is spared by the limit."""
WORTH: Final = 0.05
"""A size pays while it trains more samples a second than smaller ones by more than this share; less is lost in the noise of a trial."""
ACCUMULATED: Final = 2
"""Micro-batches of a step in a trial: from the second one on, gradients of the one before take memory, and more of them take no more."""
RULES: Final = ("S1-071", "S0-047")

MEMORY: Final = "memory"
DATA: Final = "data"
BOUND: Final = "bound"
IGNORED: Final = "ignored"


@dataclass(frozen=True, slots=True)
class Trial:
    """One size.

    Attributes:
        size: the micro-batch.
        fits: whether its training fits into the memory.
        memory: most bytes that it took, None where it did not fit.
        rate: samples a second, the update of the weights among them; None where it did not fit.
        why: why it does not fit, "" if it does.
    """

    size: int
    fits: bool
    memory: int | None
    rate: float | None
    why: str


@dataclass(frozen=True, slots=True)
class BatchTest:
    """A batch test and what it says.

    Attributes:
        device: what was trained on.
        limit: bytes that a training may take, None where the first trial did not get so far.
        trials: what was tried, by size.
        largest: the largest micro-batch that fits, None where none does or the sizes mean nothing.
        pays: the smallest one from which larger ones are faster by no more than WORTH; None as above.
        suggested: what to train with, None as above.
        accumulation: steps of accumulation that keep the run's global batch with it, None where that is unknown.
        ended: why no larger size was tried: MEMORY, DATA (a pass holds no larger batch), BOUND or IGNORED.
        bound: the largest size that was to be tried.
        reason: why there is no suggestion, "" if there is one.
        share: samples of an optimizer step on each device of the run, None if unknown.
        recorded: the run's own micro-batch and accumulation, None where unknown.
        overrides: the change in the words of the run's framework, None where nothing is to be changed.
        notes: what was not done as the run did it.
    """

    device: str
    limit: int | None
    trials: tuple[Trial, ...]
    largest: int | None
    pays: int | None
    suggested: int | None
    accumulation: int | None
    ended: str
    bound: int
    reason: str = ""
    share: int | None = None
    recorded: tuple[int | None, int | None] = (None, None)
    overrides: Overrides | None = None
    notes: tuple[str, ...] = ()


def batch_test(
    probe: ProbeFunction,
    run: Run | None = None,
    *,
    most: int | None = None,
    limit: int | None = None,
    device: str = "auto",
    on_trial: Callable[[int], None] | None = None,
    attempt: Callable[[Request], Measured] | None = None,
) -> BatchTest:
    """Find out how large a micro-batch can be, and how large it should be.

    Each size is trained for a few optimizer steps in another process; nothing is trained in this one.

    Args:
        probe: what ``diag.replay.probe.load`` gives.
        run: whose hyperparameters the probe gets, and in whose words the change is said; None for none.
        most: largest size to try; by default what an optimizer step of the run takes on each device, else MOST.
        limit: bytes that a training may take; by default most of what is free.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        on_trial: told each size before it is tried.
        attempt: tries a size; by default in another process.

    Raises:
        UsageError: ``most`` or ``limit`` is not positive.
        ProbeError: the probe cannot be trained, for a reason other than memory.
    """
    if (most is not None and most < 1) or (limit is not None and limit < 1):
        raise UsageError(f"the largest size and the memory limit must be at least 1, not {most} and {limit}")
    known = {} if run is None else {name: entry.value for name, entry in run.hyperparameters.items()}
    share = share_of(known)
    place, bound = pick_device(device), most or share or MOST
    with Trials() as trials:
        search = _Search(probe.spec, settle(known), share, bound, limit, place, on_trial or (lambda size: None), attempt or trials)
        ended = search.grow()
        refusal = search.refusal(ended)
        fitting = [trial for trial in search.trials() if trial.fits and not refusal]
        pays = worthwhile(fitting) if fitting else None
        suggested = search.suggest(fitting[-1].size, pays) if pays else None
    recorded = (_whole(known, "micro_batch_size"), _whole(known, "gradient_accumulation_steps"))
    accumulation = None if share is None or suggested is None else share // suggested
    return BatchTest(
        device=place,
        limit=search.limit,
        trials=search.trials(),
        largest=fitting[-1].size if fitting else None,
        pays=pays,
        suggested=suggested,
        accumulation=accumulation,
        ended=ended,
        bound=bound,
        reason=refusal,
        share=share,
        recorded=recorded,
        overrides=None if run is None or suggested is None else _overrides(run, recorded, suggested, accumulation),
        notes=tuple(dict.fromkeys(note for found in search.measured.values() for note in found.notes)),
    )


def share_of(hyperparameters: dict[str, Any]) -> int | None:
    """Samples of an optimizer step on each device, None if unknown."""
    micro, times = _whole(hyperparameters, "micro_batch_size"), _whole(hyperparameters, "gradient_accumulation_steps")
    whole, devices = _whole(hyperparameters, "global_batch_size"), _whole(hyperparameters, "world_size") or 1
    if micro and times:
        return micro * times
    if whole:
        return max(round(whole / devices), 1)
    return micro


def _whole(hyperparameters: dict[str, Any], name: str) -> int | None:
    value = hyperparameters.get(name)
    return round(value) if isinstance(value, (int, float)) and value >= 1 else None


def worthwhile(trials: list[Trial]) -> int:
    """The smallest size whose rate is within WORTH of the best."""
    best = max(trial.rate or 0.0 for trial in trials)
    return min(trial.size for trial in trials if (trial.rate or 0.0) >= (1 - WORTH) * best)


def follows(smaller: Extent, larger: Extent) -> bool:
    """Whether a batch grew with the size that was asked for; one of a single packed sample grows in length."""
    if not larger.elements:
        return True  # nothing to count in it
    return larger.samples > smaller.samples or (larger.samples == smaller.samples == 1 and larger.elements > smaller.elements)


class _Search:
    """Tries sizes, each once."""

    def __init__(
        self,
        spec: str,
        hyperparameters: dict[str, Any],
        share: int | None,
        most: int,
        limit: int | None,
        device: str,
        on_trial: Callable[[int], None],
        attempt: Callable[[Request], Measured],
    ) -> None:
        self.spec, self.hyperparameters, self.share, self.most = spec, hyperparameters, share, most
        self.limit, self.device, self.on_trial, self.attempt = limit, device, on_trial, attempt
        self.measured: dict[int, Measured] = {}

    def measure(self, size: int) -> Measured:
        if size not in self.measured:
            self.on_trial(size)
            times = ACCUMULATED if self.share is None or self.share >= ACCUMULATED * size else 1
            batch = {"micro_batch_size": size, "gradient_accumulation_steps": times, "global_batch_size": size * times}
            seed = int(self.hyperparameters.get("seed") or 0)
            self.measured[size] = self.attempt(Request(self.spec, {**self.hyperparameters, **batch}, seed, self.device, self.limit))
            self.limit = self.limit or self.measured[size].limit
        return self.measured[size]

    def grow(self) -> str:
        """Try twice the size until it does not fit, then what is between; why no larger one was tried."""
        size, before = min(FIRST, self.most), 0
        while (now := self.measure(size)).fits:
            if before and not follows(self.measured[before].batch, now.batch):
                if before == min(self.measured):
                    return IGNORED
                del self.measured[size]
                return DATA
            if size == self.most:
                return BOUND
            before, size = size, min(2 * size, self.most)
        if not before and size > 1:
            before = 1 if self.measure(1).fits else 0
        if before:
            self.bisect(before, size)
        return MEMORY

    def bisect(self, fits: int, fails: int) -> None:
        while fails - fits > max(fits // RESOLUTION, 1):
            middle = (fits + fails) // 2
            if self.measure(middle).fits:
                fits = middle
            else:
                fails = middle

    def trials(self) -> tuple[Trial, ...]:
        """What was tried, by size."""
        return tuple(
            Trial(size, found.fits, found.memory if found.fits else None, self.rate(size, found) if found.fits else None, found.why)
            for size, found in sorted(self.measured.items())
        )

    def rate(self, size: int, found: Measured) -> float:
        """Samples a second where an update comes once for all samples of a step."""
        return 1 / (found.seconds / size + found.update_seconds / max(self.share or size, size))

    def refusal(self, ended: str) -> str:
        """Why the trials say nothing, "" if they do."""
        sizes = sorted(self.measured)
        seen = [self.measured[size].batch for size in sizes]
        if ended == IGNORED or (not any(found.fits for found in self.measured.values()) and len(sizes) > 1 and _stays(seen)):
            return (
                f"the batches do not follow micro_batch_size: they hold {seen[0].samples} samples at {sizes[0]} and {seen[1].samples} at"
                f" {sizes[1]}; let the probe's batches() take hyperparameters['micro_batch_size'] samples"
            )
        if not any(found.fits for found in self.measured.values()):
            return f"not even a micro-batch of {sizes[0]} fits ({self.measured[sizes[0]].why}); take a smaller model or shorter samples"
        return ""

    def suggest(self, largest: int, pays: int) -> int:
        """The size to train with: the smallest that pays, of those that divide the step's samples where these are known."""
        if self.share is None:
            return pays
        parts = [part for part in range(1, min(largest, self.share) + 1) if self.share % part == 0]
        wanted = [*(part for part in parts if part >= pays), *(part for part in reversed(parts) if part < pays)]
        return next((part for part in wanted if self.measure(part).fits), 1)


def _stays(batches: list[Extent]) -> bool:
    return batches[0].samples > FIRST and not follows(batches[0], batches[1])


def _overrides(run: Run, recorded: tuple[int | None, int | None], size: int, accumulation: int | None) -> Overrides | None:
    """The change in the words of the run's framework, None where there is none."""
    micro, times = recorded
    fixes = []
    if size != micro:
        reason = f"A micro-batch of {size} is what fits and pays."
        fixes.append(Fix("micro_batch_size", micro, size, None, 1, "", reason, RULES))
    if accumulation is not None and accumulation != (times or 1):
        reason = f"With {accumulation} accumulation steps the effective batch stays the same."
        fixes.append(Fix("gradient_accumulation_steps", times, accumulation, None, 1, "", reason, RULES))
    return render(run.dialect, run, fixes) if fixes else None
