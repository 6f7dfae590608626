"""The worked formulas of the guides: what a change of batch or GPUs does to the learning rate, and what things amount to."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

from diag.guides.profiles import square_root_factor

FULL_STATE_BYTES: Final = 13.5
"""Bytes a parameter of a checkpoint that can be resumed from: weights, and the optimizer's state in fp32 (S2-028)."""


class Shape(NamedTuple):
    """A decoder's sizes, as far as its linear layers go.

    Attributes:
        hidden: width of the residual stream.
        layers: number of layers.
        heads: query heads.
        shared: key and value heads.
        head: width of a head.
        inner: width of the MLP.
    """

    hidden: int
    layers: int
    heads: int
    shared: int
    head: int
    inner: int

    def linear(self, name: str) -> tuple[int, int]:
        """Inputs and outputs of a linear layer, by its usual name (``q_proj``).

        Raises:
            KeyError: there is no such layer.
        """
        queries, values = self.heads * self.head, self.shared * self.head
        return {
            "q_proj": (self.hidden, queries),
            "k_proj": (self.hidden, values),
            "v_proj": (self.hidden, values),
            "o_proj": (queries, self.hidden),
            "gate_proj": (self.hidden, self.inner),
            "up_proj": (self.hidden, self.inner),
            "down_proj": (self.inner, self.hidden),
        }[name]


ALL_LINEAR: Final = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""Linear layers of a decoder's layer; the guides' all-linear targets."""

SHAPES: Final = {
    "llama-2-7b": Shape(4096, 32, 32, 32, 128, 11008),
    "llama-2-13b": Shape(5120, 40, 40, 40, 128, 13824),
    "llama-2-70b": Shape(8192, 80, 64, 8, 128, 28672),
    "llama-3-8b": Shape(4096, 32, 32, 8, 128, 14336),
    "llama-3-70b": Shape(8192, 80, 64, 8, 128, 28672),
    "llama-3.2-1b": Shape(2048, 16, 32, 8, 64, 8192),
    "llama-3.2-3b": Shape(3072, 28, 24, 8, 128, 8192),
    "mistral-7b": Shape(4096, 32, 32, 8, 128, 14336),
    "qwen2.5-1.5b": Shape(1536, 28, 12, 2, 128, 8960),
    "qwen2.5-7b": Shape(3584, 28, 28, 4, 128, 18944),
    "qwen3-8b": Shape(4096, 36, 32, 8, 128, 12288),
}
"""Shapes of well-known models, from the ``config.json`` they are published with."""


def scaled_learning_rate(learning_rate: float, old_batch: float, new_batch: float) -> float:
    """The learning rate for another effective batch (samples a step): by the square root of the ratio, within 16 to 256 samples.

    Sources: S1-072, S3-043, S3-044, S3-196.
    """
    return learning_rate * square_root_factor(old_batch, new_batch)


def gpus_learning_rate(learning_rate: float, base_gpus: int, target_gpus: int) -> float:
    """The learning rate for another number of GPUs, each of which keeps its part of the batch: ``sqrt(target / base)`` times as much.

    1e-4 on one GPU becomes 2e-4 on four. It holds only where the effective batch grows with the GPUs (S3-180..182).

    Raises:
        ValueError: a number of GPUs is not positive.
    """
    if base_gpus < 1 or target_gpus < 1:
        raise ValueError(f"the number of GPUs must be positive, not {min(base_gpus, target_gpus)}")
    return learning_rate * math.sqrt(target_gpus / base_gpus)


def lora_parameters(rank: int, shapes: Iterable[tuple[int, int]]) -> int:
    """Trainable parameters of adapters: ``rank * (inputs + outputs)``, summed over the linear layers they stand on (S3-060).

    Args:
        rank: the adapters' rank.
        shapes: inputs and outputs of every adapted layer, one entry for each occurrence in the model.
    """
    return sum(rank * (inputs + outputs) for inputs, outputs in shapes)


def model_lora_parameters(rank: int, model: str, targets: Iterable[str] = ALL_LINEAR) -> int:
    """Trainable parameters of adapters on layers of a model in SHAPES.

    Rank 8 on ``q_proj`` and ``v_proj`` of ``mistral-7b`` is 3.4 million, 0.05% (S3-061 says about 4 million: it counts ``v_proj`` as wide
    as ``q_proj``); rank 64 is eight times that (S3-062).

    Raises:
        KeyError: the model, or one of the layers, is not known.
    """
    shape = SHAPES[model]
    return lora_parameters(rank, [shape.linear(target) for target in targets] * shape.layers)


def samples_between_evaluations(eval_steps: float, micro_batch_size: int, accumulation: int = 1, world_size: int = 1) -> float:
    """Samples trained on from one evaluation to the next: every 50 steps of 4 x 4 samples are 800 (S3-177)."""
    return eval_steps * micro_batch_size * accumulation * world_size


def evaluations(dataset_size: float, num_epochs: float, between: float) -> float:
    """Evaluations of a run with so many samples between them: 5,000 samples, 2 epochs and 800 are 12.5 (S3-178)."""
    return dataset_size * num_epochs / between


def unfrozen_dimensions(ratio: float, inputs: int, outputs: int) -> int:
    """Directions of a weight matrix that OSFT trains: ``ratio * min(inputs, outputs)`` (S2-035, S2-063)."""
    return math.floor(ratio * min(inputs, outputs))


def full_state_bytes(parameters: float) -> float:
    """Bytes of a checkpoint with the optimizer's state: 108 GB for 8 billion parameters (S2-028)."""
    return FULL_STATE_BYTES * parameters
