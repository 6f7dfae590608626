"""The pages of the findings that comparisons make."""

from __future__ import annotations

from typing import Any

from diag.check import Documented, Finding
from diag.vocabulary import ERROR


class WorseThanReference(Documented):
    """The best value of the run is worse than the best of its reference, beyond noise and tolerance.

    ## What it does
    Compares the best value of every evaluation loss and other evaluation metric with a known direction, and of the reward; of the training
    loss only where neither was evaluated. The difference has to exceed what one more run of the same setting may show by chance: the
    spread of several references, mixed with what is usual between seeds (1.2%, or the noise that the logs show). A relative difference
    of the tolerance (5%) or more is an error, of half of it a warning. A pace (tokens or samples a second, seconds a step) that is 1.5
    times slower than the reference's is a warning, 1.2 times a remark.

    ## Why is this bad?
    The checkpoint to keep is worse than the one that an earlier training of this kind gave.

    ## When it stays silent
    Where the difference is within chance: with a single reference that is 5 to 8% for a loss, with five some 2%. Where the run is
    shorter than planned, and as good as its reference was by then. It never changes the verdict of the run.

    ## What to do
    Look at the hyperparameters that differ from the reference, which the report lists, then at what the diagnosis says. If nothing
    differs, train once more with another seed, and give several references.

    ## References
    Guide rows S3-114 and S3-205: 5% of an evaluation loss is a problem. Prediction interval with a moderated variance: Smyth 2004,
    doi:10.2202/1544-6115.1027. Several metrics are corrected for by Holm's method (1979).
    """

    code = "GAT010"
    name = "worse-than-reference"
    severity = ERROR
    rules = ("S3-114", "S3-205")


class FallsBehindReference(Documented):
    """At the last common step the run is at a worse level than its reference, beyond noise and tolerance.

    ## What it does
    Lays the curves over each other and compares their mean levels over the last fifth of what they have in common: by optimizer step
    where the runs are equally long, by epoch where that makes them so, else by the share of the run; a run that is still going is
    compared at its own last step. The same noise and tolerance count as for the best value. A metric that ends in NaN or infinity, where
    the reference does not, is an error.

    ## Why is this bad?
    The best value can hide what came after it, and tells nothing of a run that is not through yet. One that is behind at the same step
    rarely catches up, least of all once the learning rate has decayed.

    ## When it stays silent
    Where the difference is within chance, and where the curves have no steps in common. It never changes the verdict of the run.

    ## What to do
    See from which step on the run was behind: what was logged around it, and the hyperparameters that differ, tell why.

    ## References
    Guide row S1-131: compare at the last common step. Guide rows S3-114 and S3-205 for the tolerance.
    """

    code = "GAT011"
    name = "falls-behind-reference"
    severity = ERROR
    rules = ("S1-131", "S3-114", "S3-205")


class BenchmarkRegression(Documented):
    """The tuned model does worse on a benchmark than the base model: it forgot something.

    ## What it does
    Compares results of lm-evaluation-harness task by task: where both have files of samples, sample by sample (McNemar's exact test for
    right and wrong, else the mean of the paired differences); otherwise by the standard errors that the results state. The mean over the
    tasks is one more comparison, which shows small losses that many tasks share. All of them together raise a false alarm in 5% of cases
    (Holm). A relative drop of the tolerance (5%) or more is an error, of half of it a warning.

    ## Why is this bad?
    Fine-tuning overwrites what the model knew (catastrophic forgetting), and no training log shows it: the loss is measured on the new
    data.

    ## When it stays silent
    Where the drop is within chance or below half of the tolerance; improvements are shown in the table. Tasks that were run differently
    on the two sides are not compared, and reported as such (GAT002).

    ## What to do
    In the order of the guides: train adapters instead of all weights, with about ten times the learning rate; with OSFT take an unfreeze
    ratio of 0.1 to 0.3; halve the learning rate; train one epoch less. Given the run as well, the report computes these from its own
    values. Mixing some general data into the training set helps, too.

    ## References
    Guide rows S1-137 (benchmark before and after), S1-215 (adapters against forgetting), S2-031 (unfreeze ratio). McNemar 1947,
    doi:10.1007/BF02295996; Holm 1979.
    """

    code = "GAT020"
    name = "benchmark-regression"
    severity = ERROR
    rules = ("S1-137", "S1-215", "S2-031")


def finding(page: type[Documented], message: str, *, severity: str | None = None, **details: Any) -> Finding:
    """A Finding with the page's code, name, usual severity and rules."""
    return Finding(page.code, page.name, severity or page.severity, message, rules=page.rules, **details)
