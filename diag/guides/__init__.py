"""The published guidance as data: ranges, defaults and rules, each with its id and source.

``band`` says where to start and how far to go with a parameter; ``rule`` looks an id up. Importing this reads no data file.
"""

from diag.guides.choices import Choice, choice, dataset_samples
from diag.guides.profiles import (
    PROFILES,
    SOURCES,
    Band,
    band,
    default_profile,
    disagreement,
    guarded_batch,
    method_factor,
    square_root_factor,
    starts_by_guide,
    warmup,
)
from diag.guides.register import Rule, cite, rule, rules

__all__ = [
    "PROFILES",
    "SOURCES",
    "Band",
    "Choice",
    "Rule",
    "band",
    "choice",
    "cite",
    "dataset_samples",
    "default_profile",
    "disagreement",
    "guarded_batch",
    "method_factor",
    "rule",
    "rules",
    "square_root_factor",
    "starts_by_guide",
    "warmup",
]
