"""A regression in plain Python, to be trained by scripts in the manner of several frameworks. The same arguments, the same numbers."""

import math
import random
import time

SCALE = 30.0
"""Of the inputs: at a gradient norm clipped to 1, rates of 0.01 learn well and rates of 0.1 swing."""


def train(rate, steps, seed, *, batch=16, warmup=0, clip=1.0, decay=0, sleep=0.0):
    """Yield (step, loss, gradient norm, learning rate, held-out loss) of every step; ``decay`` is where a linear schedule ends."""
    task, draw = random.Random(0), random.Random(seed)
    truth = [task.gauss(0, 0.03) for _ in range(8)]

    def sample(source):
        x = [source.gauss(0, SCALE) for _ in truth]
        return x, sum(a * b for a, b in zip(x, truth)) + source.gauss(0, 0.5)

    def error(x, y):
        return sum(a * b for a, b in zip(x, weights)) - y

    held_out = [sample(task) for _ in range(64)]
    weights = [draw.gauss(0, 0.003) for _ in truth]
    for step in range(1, steps + 1):
        now = rate * min(1.0, step / max(warmup, 1)) * (max(0.0, 1 - (step - 1) / decay) if decay else 1.0)
        samples = [sample(draw) for _ in range(batch)]
        errors = [error(x, y) for x, y in samples]
        loss = sum(e * e for e in errors) / batch
        gradient = [sum(2 * e * x[i] for e, (x, _) in zip(errors, samples)) / batch for i in range(len(weights))]
        norm = math.sqrt(sum(g * g for g in gradient))
        shrink = min(1.0, clip / norm) if clip else 1.0
        weights = [w - now * shrink * g for w, g in zip(weights, gradient)]
        time.sleep(sleep)
        yield step, loss, norm, now, sum(error(x, y) ** 2 for x, y in held_out) / len(held_out)
