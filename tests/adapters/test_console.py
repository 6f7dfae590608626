"""Console logs in the formats of the frameworks, as the adapter reads them."""
# ruff: noqa: E501 - lines of logs stand as they are printed

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diag.adapters import Folder
from diag.adapters.console import ADAPTER
from diag.adapters.console_events import find_events
from diag.adapters.console_text import clean, strip_prefix
from diag.adapters.json_history import ADAPTER as HISTORY
from diag.errors import InputError
from diag.run import Run


def read(tmp_path: Path, text: str, name: str = "train.log", encoding: str = "utf-8") -> Run:
    """The run that the adapter reads from a file with this text."""
    path = tmp_path / name
    path.write_bytes(text.encode(encoding))
    source = ADAPTER.find_file(path)
    assert source is not None
    (run,) = ADAPTER.read(source)
    return run


def points(run: Run, metric: str) -> list[tuple[int, Any]]:
    """``(step, value)`` of a curve; NaN as None would compare unequal, so it is written as -1."""
    curve = run.curves[metric]
    return [(int(s), -1.0 if math.isnan(v) else float(v)) for s, v in zip(curve.step, curve.value, strict=True)]


FORMATS: dict[str, tuple[str, dict[str, list[tuple[int, float]]]]] = {
    "nanogpt": (
        "step 0: train loss 4.2874, val loss 4.2823\niter 0: loss 4.2654, time 345.12ms, mfu -100.00%\niter 10: loss 3.2101, time 41.00ms, mfu 7.12%\n"
        "step 20: train loss 2.5, val loss 2.6\niter 20: loss 2.5512, time 40.00ms, mfu 7.20%\n",
        {
            "train/loss": [(1, 4.2654), (11, 3.2101), (21, 2.5512)],
            "eval/loss": [(1, 4.2823), (21, 2.6)],
            "step_time": [(1, 0.34512), (11, 0.041), (21, 0.04)],
        },
    ),
    "numbered words": (
        "0 val 10.95\n0 train 10.96\n1 train 10.5\n2 train 10.1\n2 val 10.0\n",
        {"train/loss": [(1, 10.96), (2, 10.5), (3, 10.1)], "eval/loss": [(1, 10.95), (3, 10.0)]},
    ),
    "llm.c main.log": (
        "s:0 tel:11.0087\ns:0 eval:0.2441\ns:1 trl:10.9500 lr:8.6e-07 norm:14.2\ns:2 trl:10.7100 lr:1.7e-06 norm:12.0\n",
        {
            "train/loss": [(1, 10.95), (2, 10.71)],
            "eval/loss": [(0, 11.0087)],
            "lr": [(1, 8.6e-07), (2, 1.7e-06)],
            "grad_norm": [(1, 14.2), (2, 12.0)],
        },
    ),
    "llm.c console": (
        "step    1/19560 | train loss 11.009 | norm 15.3 | lr 8.57e-07 | (3056.36 ms | 42.6% bf16 MFU | 171000 tok/s)\n"
        "step    2/19560 | train loss 10.966 | norm 15.0 | lr 1.71e-06 | (2000.36 ms | 42.6% bf16 MFU | 172000 tok/s)\n",
        {"train/loss": [(1, 11.009), (2, 10.966)], "lr": [(1, 8.57e-07), (2, 1.71e-06)], "grad_norm": [(1, 15.3), (2, 15.0)]},
    ),
    "nemo automodel": (
        "2025-08-22 02:40:34 | INFO | root | step 0 | epoch 0 | loss 2.4827 | grad_norm 1.8828 | lr 1.00e-05 | mem 30.58 GiB | tps 14611.54(7305.77/gpu) | num_label_tokens 65536\n"
        "2025-08-22 02:40:37 | INFO | root | step 1 | epoch 0 | loss 2.3554 | grad_norm 1.9922 | lr 9.00e-06 | mem 32.39 GiB | tps 20321.85(10160.9/gpu) | num_label_tokens 65536\n"
        '2025-08-22 02:40:38 | INFO | root | [val] name "default" | step 1 | epoch 0 | loss 2.2469 | lr 9.00e-06 | num_label_tokens 100\n'
        '2025-08-22 02:40:39 | INFO | root | [val] name "code" | step 1 | epoch 0 | loss 1.5 | lr 9.00e-06 | num_label_tokens 100\n',
        {
            "train/loss": [(1, 2.4827), (2, 2.3554)],
            "eval/loss": [(2, 2.2469)],
            "eval/code/loss": [(2, 1.5)],
            "grad_norm": [(1, 1.8828), (2, 1.9922)],
            "gpu_memory": [(1, 30.58), (2, 32.39)],
            "tokens_per_second": [(1, 14611.54), (2, 20321.85)],
        },
    ),
    "megatron": (
        " [2024-05-01 10:00:00.123456] iteration      100/    1000 | consumed samples:        25600 | elapsed time per iteration (ms): 512.5 | learning rate: 1.000000E-04 |"
        " global batch size:   256 | lm loss: 6.500000E+00 | loss scale: 65536.0 | grad norm: 1.250 | number of skipped iterations:   1 | number of nan iterations:   0 |\n"
        "-----------------------------------------------------------------------------------------------\n"
        " validation loss at iteration 100 | lm loss value: 6.400000E+00 | lm loss PPL: 6.018450E+02 | \n"
        "-----------------------------------------------------------------------------------------------\n"
        " [2024-05-01 10:01:00.123456] iteration      200/    1000 | consumed samples:        51200 | elapsed time per iteration (ms): 512.5 | learning rate: 9.000000E-05 |"
        " global batch size:   256 | loss scale: 32768.0 | grad norm: nan | number of skipped iterations:   0 | number of nan iterations:   3 |\n",
        {
            "train/loss": [(100, 6.5), (200, -1.0)],
            "eval/loss": [(100, 6.4)],
            "loss_scale": [(100, 65536.0), (200, 32768.0)],
            "grad_norm": [(100, 1.25), (200, -1.0)],
            "step_time": [(100, 0.5125), (200, 0.5125)],
        },
    ),
    "torchtune": (
        "Step 1 | loss:1.25 lr:2e-05 tokens_per_second_per_gpu:310.5 grad_norm:3.5 peak_memory_active:12.5 \nStep 2 | loss:1.20 lr:3e-05 tokens_per_second_per_gpu:311 grad_norm:3.25 peak_memory_active:12.5 \n",
        {"train/loss": [(1, 1.25), (2, 1.2)], "lr": [(1, 2e-05), (2, 3e-05)], "grad_norm": [(1, 3.5), (2, 3.25)]},
    ),
    "litgpt": (
        "Epoch 1 | iter 2 step 1 | loss train: 2.500, val: n/a | iter time: 500.25 ms (step)\nEpoch 1 | iter 4 step 2 | loss train: 2.250, val: n/a | iter time: 400.00 ms (step)\n"
        "iter 4: val loss 2.1000, val time: 900.00 ms\nEpoch 1 | iter 6 step 3 | loss train: 2.125, val: 2.100 | iter time: 400.00 ms (step)\n",
        {"train/loss": [(1, 2.5), (2, 2.25), (3, 2.125)], "eval/loss": [(2, 2.1)]},
    ),
    "composer": (
        "[batch=1/3]:\n\t Train time/epoch: 0\n\t Train loss/train/total: 2.5000\n\t Train lr-DecoupledAdamW/group0: 0.0001\n[batch=2/3]:\n\t Train loss/train/total: 2.2500\n[batch=3/3]:\n"
        "\t Train loss/train/total: 2.1250\n[eval batch=1/8] Eval on eval data:\n[batch=3/3]:\n\t Eval metrics/eval/LanguageCrossEntropy: 2.5000\n",
        {"train/loss": [(1, 2.5), (2, 2.25), (3, 2.125)], "eval/loss": [(3, 2.5)]},
    ),
    "keras": (
        "Epoch 1/2\n1/2 [==>...] - ETA: 0s - loss: 0.9000 - mae: 0.7\r2/2 [======] - 0s 45ms/step - loss: 0.5070 - mae: 0.6040 - val_loss: 0.4523 - learning_rate: 0.0010\n"
        "Epoch 2/2\n2/2 - 0s - 45ms/step - loss: 0.4070 - mae: 0.5040 - val_loss: 0.4423 - learning_rate: 0.0010\n",
        {"train/loss": [(1, 0.507), (2, 0.407)], "eval/loss": [(1, 0.4523), (2, 0.4423)], "lr": [(1, 0.001), (2, 0.001)]},
    ),
    "keras 3 bar": (
        "Epoch 1/2\n\x1b[1m1/2\x1b[0m \x1b[32m━━━━━━━━━━\x1b[0m\x1b[37m━━━━━━━━━━\x1b[0m \x1b[1m0s\x1b[0m 45ms/step - loss: 0.9\x08\x08\x08\r\x1b[1m2/2\x1b[0m \x1b[32m━━━━━━━━━━━━━━━━━━━━\x1b[0m\x1b[37m\x1b[0m "
        "\x1b[1m0s\x1b[0m 45ms/step - loss: 0.5070 - val_loss: nan\nEpoch 2/2\n2/2 ━━━━━━━━━━━━━━━━━━━━ 0s 4ms/step - loss: 0.4070 - val_loss: 0.4\n",
        {"train/loss": [(1, 0.507), (2, 0.407)], "eval/loss": [(1, -1.0), (2, 0.4)]},
    ),
    "pytorch tutorial": (
        "Epoch [1/2], Step [100/200], Loss: 2.5000\nEpoch [1/2], Step [200/200], Loss: 2.2500\nEpoch [2/2], Step [100/200], Loss: 2.1250\nEpoch [2/2], Step [200/200], Loss: 2.0\n",
        {"train/loss": [(100, 2.5), (200, 2.25), (300, 2.125), (400, 2.0)]},
    ),
    "imagenet example": (
        "Epoch: [0][  0/100]\tTime  1.234 ( 1.234)\tData  0.500 ( 0.500)\tLoss 6.9000e+00 (6.9000e+00)\tAcc@1   0.00 (  0.00)\n"
        "Epoch: [0][ 50/100]\tTime  0.234 ( 0.300)\tData  0.001 ( 0.010)\tLoss 6.5000e+00 (6.7000e+00)\tAcc@1   1.00 (  0.50)\n"
        "Test: [ 0/10]\tTime  0.9 ( 0.9)\tLoss 6.0000e+00 (6.0000e+00)\tAcc@1   2.00 (  2.00)\nTest: [ 9/10]\tTime  0.9 ( 0.9)\tLoss 7.0000e+00 (6.4000e+00)\tAcc@1   2.00 (  2.00)\n"
        "Epoch: [1][  0/100]\tTime  1.234 ( 1.234)\tData  0.500 ( 0.500)\tLoss 6.2000e+00 (6.2000e+00)\tAcc@1   0.00 (  0.00)\n"
        "Epoch: [1][ 50/100]\tTime  0.234 ( 0.300)\tData  0.001 ( 0.010)\tLoss 6.1000e+00 (6.1500e+00)\tAcc@1   1.00 (  0.50)\n",
        {"train/loss": [(1, 6.9), (51, 6.5), (101, 6.2), (151, 6.1)], "eval/loss": [(51, 6.4)]},
    ),
    "epoch lines": (
        "Epoch 1/3: train_loss=0.9000 val_loss=0.9500 lr=0.001\nEpoch 2/3: train_loss=0.7000 val_loss=0.8000 lr=0.001\nEpoch 3/3: train_loss=0.6000 val_loss=0.7900 lr=0.0005\n",
        {
            "train/loss": [(1, 0.9), (2, 0.7), (3, 0.6)],
            "eval/loss": [(1, 0.95), (2, 0.8), (3, 0.79)],
            "lr": [(1, 0.001), (2, 0.001), (3, 0.0005)],
        },
    ),
    "phases in words": (
        "Epoch 1\nTrain: loss 0.9 acc 0.5 | Val: loss 0.95 acc 0.45\nEpoch 2\nTrain: loss 0.7 acc 0.6 | Val: loss 0.85 acc 0.55\n",
        {
            "train/loss": [(1, 0.9), (2, 0.7)],
            "eval/loss": [(1, 0.95), (2, 0.85)],
            "train/accuracy": [(1, 0.5), (2, 0.6)],
            "eval/accuracy": [(1, 0.45), (2, 0.55)],
        },
    ),
    "detectron2 console": (
        "[01/18 10:00:00 d2.utils.events]:  eta: 0:10:00  iter: 19  total_loss: 4.5  loss_cls: 2.0  loss_box_reg: 2.5  time: 0.5  data_time: 0.01  lr: 1.9e-05  max_mem: 5000M\n"
        "[01/18 10:00:10 d2.utils.events]:  eta: 0:09:00  iter: 39  total_loss: 4.0  loss_cls: 1.8  loss_box_reg: 2.2  time: 0.5  data_time: 0.01  lr: 3.9e-05  max_mem: 5000M\n"
        "[01/18 10:00:20 d2.utils.events]:  eta: 0:08:00  iter: 59  total_loss: 3.5  loss_cls: 1.5  loss_box_reg: 2.0  time: 0.5  data_time: 0.01  lr: 5.9e-05  max_mem: 5000M\n",
        {"train/loss": [(20, 4.5), (40, 4.0), (60, 3.5)], "lr": [(20, 1.9e-05), (40, 3.9e-05), (60, 5.9e-05)]},
    ),
    "key=value with nan": ("step=1 loss=2.5\nstep=2 loss=nan\nstep=3 loss=inf\n", {"train/loss": [(1, 2.5), (2, -1.0), (3, math.inf)]}),
    "verl": (
        "(TaskRunner pid=1234) step:1 - actor/pg_loss:0.01 - critic/rewards/mean:0.2\n(TaskRunner pid=1234) step:2 - actor/pg_loss:-0.02 - critic/rewards/mean:0.3\n",
        {"actor/pg_loss": [(1, 0.01), (2, -0.02)]},
    ),
    "deepspeed": (
        "[2024-05-01 10:00:00,123] [INFO] [logging.py:96:log_dist] [Rank 0] step=10, skipped=2, lr=[1e-05, 1e-05], mom=[[0.9, 0.999]]\nstep 10 loss: 2.5\n"
        "[2024-05-01 10:00:10,123] [INFO] [logging.py:96:log_dist] [Rank 0] step=20, skipped=2, lr=[2e-05, 2e-05], mom=[[0.9, 0.999]]\nstep 20 loss: 2.25\n",
        {"train/loss": [(10, 2.5), (20, 2.25)], "lr": [(10, 1e-05), (20, 2e-05)]},
    ),
    "stable-baselines table": (
        "".join(
            f"---------------------------------\n| rollout/           |          |\n|    ep_rew_mean     | {reward}      |\n| time/              |          |\n|    total_timesteps | {step}     |\n"
            f"| train/             |          |\n|    loss            | 0.5      |\n---------------------------------\n"
            for step, reward in ((2048, 1.5), (4096, 2.5), (6144, 3.5))
        ),
        {"reward": [(2048, 1.5), (4096, 2.5), (6144, 3.5)], "train/loss": [(2048, 0.5), (4096, 0.5), (6144, 0.5)]},
    ),
    "hf numbers": (
        "{'loss': 2.5, 'grad_norm': 1.5, 'learning_rate': 5e-05, 'epoch': 0.5}\r 33%|###  | 5/15 [00:01<00:02,  4.5it/s]\n"
        "{'loss': 2.25, 'grad_norm': nan, 'learning_rate': 3e-05, 'epoch': 1.0}\r 67%|#### | 10/15 [00:02<00:01,  4.5it/s]\n{'eval_loss': 2.4, 'eval_runtime': 0.5, 'epoch': 1.0}\n"
        "{'loss': 2.0, 'grad_norm': 1.0, 'learning_rate': 1e-05, 'epoch': 1.5}\r100%|#####| 15/15 [00:03<00:00,  4.5it/s]\n{'train_runtime': 3.0, 'train_loss': 2.25, 'epoch': 1.5}\n",
        {"train/loss": [(5, 2.5), (10, 2.25), (15, 2.0)], "eval/loss": [(10, 2.4)], "grad_norm": [(5, 1.5), (10, -1.0), (15, 1.0)]},
    ),
    "hf quoted": (
        " 17%|##   | 5/30 [00:01<00:05,  4.5it/s]\r{'loss': '3.675', 'grad_norm': '0.7019', 'learning_rate': '0.000963', 'epoch': '0.3333'}\n 33%|##   | 10/30 [00:02<00:05,  4.5it/s]\r"
        "{'loss': 'nan', 'grad_norm': 'nan', 'learning_rate': '0.0005', 'epoch': '0.6667'}\n",
        {"train/loss": [(5, 3.675), (10, -1.0)], "lr": [(5, 0.000963), (10, 0.0005)]},
    ),
    "mlperf": (
        ':::MLLOG {"namespace": "", "time_ms": 1000, "event_type": "POINT_IN_TIME", "key": "submission_benchmark", "value": "llama2_70b_lora", "metadata": {}}\n'
        ':::MLLOG {"namespace": "", "time_ms": 1000, "event_type": "POINT_IN_TIME", "key": "global_batch_size", "value": 8, "metadata": {}}\n'
        ':::MLLOG {"namespace": "", "time_ms": 2000, "event_type": "POINT_IN_TIME", "key": "train_loss", "value": 3.5, "metadata": {"samples_count": 80}}\n'
        ':::MLLOG {"namespace": "", "time_ms": 3000, "event_type": "POINT_IN_TIME", "key": "train_loss", "value": 2.5, "metadata": {"samples_count": 160}}\n'
        ':::MLLOG {"namespace": "", "time_ms": 3500, "event_type": "POINT_IN_TIME", "key": "eval_accuracy", "value": 0.94, "metadata": {"samples_count": 160}}\n',
        {"train/loss": [(10, 3.5), (20, 2.5)], "eval/loss": [(20, 0.94)]},
    ),
}


@pytest.mark.parametrize("name", FORMATS)
def test_format(name: str, tmp_path: Path) -> None:
    text, expected = FORMATS[name]
    run = read(tmp_path, text)
    assert {metric: points(run, metric) for metric in expected if metric in run.curves} == {
        metric: [(step, pytest.approx(value)) for step, value in rows] for metric, rows in expected.items()
    }


def test_every_line_prefix_of_launchers_is_taken_off(tmp_path: Path) -> None:
    prefixes = {
        "[rank0]: ": "0",
        "[default0]:": "0",
        "(RayTrainWorker pid=123, ip=10.0.0.1) ": "RayTrainWorker",
        "2025-04-15 17:48:40,564 - INFO - __main__ - ": "",
        "04/13/2025 01:52:24 - INFO - trainer.val - ": "",
        "[2024-05-01 10:00:00,123] [INFO] [train.py:12:main] ": "",
        "INFO:root:": "",
        "\x1b[32m2025-01-01 00:00:00 | INFO     | root | \x1b[0m": "",
    }
    for prefix, rank in prefixes.items():
        line = strip_prefix(1, clean(prefix + "step 4 | loss 1.5"), False)
        assert (line.text.strip(), line.rank) == ("step 4 | loss 1.5", rank), prefix


def test_numbered_ranks_are_told_from_steps(tmp_path: Path) -> None:
    ranks = "".join(f"{rank}: step {step} loss {3.0 / step + 0.1 * rank:.4f}\n" for step in range(1, 11) for rank in range(4))
    run = read(tmp_path, ranks)
    assert points(run, "train/loss") == [(step, pytest.approx(3.0 / step, abs=1e-4)) for step in range(1, 11)]
    assert any("4 processes" in note for note in run.notes)
    run = read(tmp_path, "".join(f"{step}: loss {3.0 / step:.4f}\n" for step in range(1, 11)), name="steps.log")
    assert len(run.curves["train/loss"]) == 10


def test_interleaved_ranks_give_one_curve(tmp_path: Path) -> None:
    text = "".join(f"[rank{rank}]: step {step} | loss {4 - 0.1 * step + rank:.3f} | lr 1e-4\n" for step in range(1, 6) for rank in (1, 0))
    assert points(read(tmp_path, text), "train/loss") == [(step, pytest.approx(4 - 0.1 * step)) for step in range(1, 6)]


def test_progress_bar_with_postfix(tmp_path: Path) -> None:
    bars = [
        f"Epoch {epoch}: {10 * n:3d}%|#####     | {n}/10 [00:0{n % 10}<00:01, 8.5it/s, v_num=0, train_loss={2.0 - 0.1 * epoch - 0.01 * n:.3f}"
        + (f", val_loss={1.9 - 0.1 * epoch:.3f}]" if epoch else "]")
        for epoch in range(3)
        for n in range(1, 11)
    ]
    run = read(tmp_path, "\r".join(bars) + "\n")
    assert len(run.curves["train/loss"]) == 30
    assert run.steps == 30
    assert len(run.curves["eval/loss"]) == 2, "a value that a bar repeats is one evaluation"


def test_bars_that_do_not_move_are_not_believed(tmp_path: Path) -> None:
    """Output buffered apart from the progress bar: rows come in bursts, so the bar's position says nothing."""
    bars = "".join(f"\r {n}/100 [00:01<00:01, 4.5it/s]" for n in range(101))
    rows = "".join(f"{{'loss': {3 - 0.01 * n:.3f}, 'learning_rate': 1e-05, 'epoch': {n / 50}}}\n" for n in range(10, 101, 10))
    run = read(
        tmp_path, f"Num examples = 50 | Num Epochs = 2 | Total steps = 100\n{bars}\n{rows}{{'train_runtime': 3.0, 'train_loss': 1.0}}\n"
    )
    assert [step for step, _ in points(run, "train/loss")] == list(range(10, 101, 10))
    assert run.finished is True


def test_steps_from_the_logging_interval(tmp_path: Path) -> None:
    rows = "".join(f"{{'loss': {2 - 0.1 * n:.3f}, 'grad_norm': 1.0, 'learning_rate': 1e-05, 'epoch': {0.25 * n}}}\n" for n in range(1, 9))
    run = read(
        tmp_path,
        "TrainingArguments(\nlearning_rate=5e-05,\nlogging_steps=50,\nfp16=True,\nnum_train_epochs=2.0,\nper_device_train_batch_size=8,\n)\n"
        + rows,
    )
    assert [step for step, _ in points(run, "train/loss")] == list(range(50, 401, 50))
    assert run.planned_steps == 400
    assert run.hyperparameter("learning_rate") == 5e-05
    assert run.hyperparameter("precision") == "fp16"
    assert run.hyperparameters["learning_rate"].line == 2
    assert run.dialect == "hf"


def test_steps_printed_with_three_digits_are_restored(tmp_path: Path) -> None:
    rows = "".join(
        f"------------------------\n| loss      | {10 / (1 + n):.3g}    |\n| step      | {20 * n:.3g} |\n------------------------\n"
        for n in range(200)
    )
    run = read(tmp_path, rows)
    assert len(run.curves["train/loss"]) == 200
    assert list(run.curves["train/loss"].step[:3]) == [1, 21, 41]


def test_resumed_log_keeps_the_newest_rows(tmp_path: Path) -> None:
    first = "".join(f"step {step} loss {5 - 0.01 * step:.3f}\n" for step in range(10, 201, 10))
    second = "".join(f"step {step} loss {4 - 0.01 * step:.3f}\n" for step in range(160, 301, 10))
    run = read(tmp_path, first + second)
    assert run.curves["train/loss"].value[run.curves["train/loss"].step == 160] == pytest.approx(2.4)
    assert [(o.step_from, o.step_to) for o in run.overlaps if o.metric == "train/loss"] == [(200, 160)]


def test_timestamps_become_wall_time(tmp_path: Path) -> None:
    run = read(tmp_path, "2025-01-01 00:00:01,500 - INFO - root - step 1 loss 2.0\n2025-01-01 00:00:03 - INFO - root - step 2 loss 1.9\n")
    assert list(run.curves["train/loss"].wall_time) == [1735689601.5, 1735689603.0]


SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "namespace": (
        "Namespace(lr=0.001, batch_size=32, epochs=3, optimizer='sgd', model='mlp (big)', fp16=False)",
        {"learning_rate": 0.001, "num_epochs": 3.0, "optimizer": "sgd"},
    ),
    "megatron dump": (
        "------------------------ arguments ------------------------\n  lr .............................................. 0.0003\n  global_batch_size ............................... 256\n"
        "  clip_grad ....................................... 1.0\n-------------------- end of arguments ---------------------",
        {"learning_rate": 0.0003, "global_batch_size": 256},
    ),
    "table": (
        "| Parameter | Value |\n|---|---|\n| learning_rate | 0.0003 |\n| weight_decay | 0.1 |",
        {"learning_rate": 0.0003, "weight_decay": 0.1},
    ),
    "banner": (
        "   \\\\   /|    Num examples = 1,000 | Num Epochs = 3 | Total steps = 375\nO^O/ Batch size per device = 2 | Gradient accumulation steps = 4\n\\ Data Parallel GPUs = 1 | Total batch size (2 x 4 x 1) = 8",
        {"dataset_size": 1000, "global_batch_size": 8, "max_steps": 375, "gradient_accumulation_steps": 4},
    ),
    "yaml block": (
        "2025-01-01 00:00:00 | INFO | root | Recipe config:\nstep_scheduler:\n  global_batch_size: 64\n  local_batch_size: 8\n  num_epochs: 2\noptimizer:\n  _target_: torch.optim.AdamW\n  lr: 1.0e-5\nclip_grad_norm:\n  max_norm: 1.0\n2025-01-01 00:00:01 | INFO | root | go",
        {"learning_rate": 1e-5, "global_batch_size": 64, "num_epochs": 2.0},
    ),
    "command": (
        "+ python train.py --learning_rate 2e-4 --num_train_epochs 3 --per_device_train_batch_size 4 --optim adamw_torch",
        {"learning_rate": 2e-4, "num_epochs": 3.0},
    ),
}


@pytest.mark.parametrize("name", SETTINGS)
def test_printed_settings_become_hyperparameters(name: str, tmp_path: Path) -> None:
    text, expected = SETTINGS[name]
    run = read(tmp_path, text + "\nstep 1 loss 2.0\nstep 2 loss 1.9\nstep 3 loss 1.8\n")
    assert {key: run.hyperparameter(key) for key in expected} == expected
    assert run.hyperparameters[next(iter(expected))].file == "train.log"


EVENTS = {
    "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB of which 1.00 GiB is free.": "out_of_memory",
    "RuntimeError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 7.79 GiB total capacity; 6.5 GiB already allocated)": "out_of_memory",
    "torch.OutOfMemoryError: HIP out of memory. Tried to allocate 1.00 GiB": "out_of_memory",
    "RuntimeError: [enforce fail at alloc_cpu.cpp:83] DefaultCPUAllocator: can't allocate memory: you tried to allocate 800 bytes": "host_out_of_memory",
    "slurmstepd: error: Detected 1 oom_kill event in StepId=1.batch. Some of the step tasks have been OOM Killed.": "host_out_of_memory",
    "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE, Timeout(ms)=600000) ran for 600123 milliseconds before timing out.": "nccl_timeout",
    "Loss is nan, stopping training": "nonfinite_loss",
    "Batch 12: Invalid loss, terminating training": "nonfinite_loss",
    "ValueError: The loss returned in `training_step` is nan.": "nonfinite_loss",
    "WARNING: non-finite loss, ending training": "nonfinite_loss",
    "NOTE: gradient overflow detected, ignoring gradient, setting loss scale to: 64.0": "loss_scale_overflow",
    "Gradient overflow.  Skipping step, loss scaler 0 reducing loss scale to 32768.0": "loss_scale_overflow",
    "[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, reducing to 32768": "loss_scale_overflow",
    "Exception: Current loss scale already at minimum - cannot decrease scale anymore. Exiting run.": "loss_scale_exhausted",
    "slurmstepd: error: *** JOB 12 ON node1 CANCELLED AT 2024-01-01T00:00:00 DUE TO TIME LIMIT ***": "killed",
    "  exitcode  : -9 (pid: 1234)": "killed",
}


@pytest.mark.parametrize("line", EVENTS)
def test_crash_lines(line: str) -> None:
    (event,) = find_events(f"step 41 loss 2.0\nstep 42 loss 2.0\n{line}\n")
    assert (event.kind, event.step, event.line) == (EVENTS[line], 42, 3)


def test_traceback_carries_its_last_line_and_is_not_counted_beside_its_own_cause() -> None:
    traceback = 'step 7 loss 1.0\nTraceback (most recent call last):\n  File "train.py", line 3, in <module>\n    main()\n{}\n'
    (event,) = find_events(traceback.format("ValueError: bad batch"))
    assert (event.kind, event.text, event.step) == ("traceback", "ValueError: bad batch", 7)
    (event,) = find_events(traceback.format("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."))
    assert event.kind == "out_of_memory"
    (event,) = find_events(traceback.format("KeyboardInterrupt"))
    assert event.kind == "killed"


def test_repeated_events_are_counted() -> None:
    overflow = "[deepspeed] OVERFLOW! Rank 0 Skipping step. Attempted loss scale: 65536, reducing to 32768\n"
    events = find_events(f"step 1 loss 2.0\n{overflow * 3}step 2 loss 2.0\n{overflow}")
    assert [(event.step, event.count) for event in events] == [(1, 3), (2, 1)]


def test_crash_at_the_end_means_not_finished(tmp_path: Path) -> None:
    rows = "".join(f"step {step}/100 loss 2.0\n" for step in range(1, 51))
    run = read(tmp_path, rows + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n")
    assert run.finished is False
    assert run.planned_steps == 100
    assert [(event.kind, event.step, event.file, event.line) for event in run.events] == [("out_of_memory", 50, "train.log", 51)]


def test_standard_error_beside_standard_output_belongs_to_the_run(tmp_path: Path) -> None:
    (tmp_path / "job.out").write_text("".join(f"step {step} loss {2 - 0.01 * step}\n" for step in range(1, 20)))
    (tmp_path / "job.err").write_text("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.\n")
    (source,) = ADAPTER.find(Folder(tmp_path, ("job.err", "job.out"), ()))
    (run,) = ADAPTER.read(source)
    assert [event.kind for event in run.events] == ["out_of_memory"]
    assert len(run.curves["train/loss"]) == 19


NO_LOGS = {
    "requirements.txt": "torch==2.0\nnumpy==1.26\n",
    "notes.txt": "The loss went down nicely in epoch 3.\nTodo: try lr = 0.1\n",
    "config.txt": "smooth_l1_loss_beta: 0.1\nfocal_loss_gamma: 2.0\nloss_weight: 1.0\n",
    "server.log": "2024-01-01 00:00:00 - INFO - request took 0.5 s\nTraceback (most recent call last):\nValueError: x\n",
    "data.txt": "packet loss is a problem\n5 apples\n",
}


@pytest.mark.parametrize("name", NO_LOGS)
def test_text_without_training_is_no_log(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(NO_LOGS[name])
    assert list(ADAPTER.find(Folder(tmp_path, (name,), ()))) == []


def test_a_folder_of_captions_is_not_read_as_logs(tmp_path: Path) -> None:
    for index in range(201):
        (tmp_path / f"{index}.txt").write_text("step 1 loss 2.0\nstep 2 loss 1.0\n")
    assert list(ADAPTER.find(Folder(tmp_path, tuple(sorted(p.name for p in tmp_path.iterdir())), ()))) == []


def test_other_suffixes_and_binary_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("train.py", "results.csv", "README.md"):
        (tmp_path / name).write_text("step 1 loss: 2.0\nstep 2 loss: 1.0\n")
        assert ADAPTER.find_file(tmp_path / name) is None
    (tmp_path / "model.log").write_bytes(b"loss: 1.0\x00\x01\x02step 1" * 10)
    assert ADAPTER.find_file(tmp_path / "model.log") is None


def test_a_file_that_stopped_being_a_log_is_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("step 1 loss 2.0\n")
    source = ADAPTER.find_file(path)
    assert source is not None
    path.write_text("nothing here\n")
    with pytest.raises(InputError, match="names a loss"):
        ADAPTER.read(source)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1"])
def test_encodings(encoding: str, tmp_path: Path) -> None:
    run = read(tmp_path, "Début\nstep 1 loss 2.0\nstep 2 loss 1.5\n", encoding=encoding)
    assert points(run, "train/loss") == [(1, 2.0), (2, 1.5)]


def test_checkpoints_that_were_announced(tmp_path: Path) -> None:
    (tmp_path / "checkpoint-20").mkdir()
    run = read(
        tmp_path,
        "step 10 loss 2\nSaving model checkpoint to /data/me/out/checkpoint-10\nstep 20 loss 1\nSaving model checkpoint to /data/me/out/checkpoint-20\n",
    )
    assert [(c.step, c.path, c.exists) for c in run.checkpoints] == [(10, "checkpoint-10", False), (20, "checkpoint-20", True)]


@given(
    rows=st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(1e-9, 1.0)), min_size=1, max_size=30),
    form=st.sampled_from(
        ["step {} | loss {} | lr {}", "iter={} loss={:.6e}, lr={:.6e}", "[INFO] Step {}: train_loss: {:.6f} - lr: {:.6e}"]
    ),
)
@settings(max_examples=60)
def test_written_values_are_read_back(rows: list[tuple[float, float]], form: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    text = "".join(form.format(index + 1, loss, lr) + "\n" for index, (loss, lr) in enumerate(rows))
    run = read(tmp_path_factory.mktemp("log"), text)
    assert np.allclose(run.curves["train/loss"].value, [loss for loss, _ in rows], rtol=1e-5, atol=1e-6)
    assert np.allclose(run.curves["lr"].value, [lr for _, lr in rows], rtol=1e-5)


@given(
    junk=st.text(max_size=400),
    start=st.sampled_from(
        [
            "step 1 loss ",
            "{'loss': ",
            "Epoch 1/2\n1/1 - 0s - loss: ",
            ":::MLLOG {",
            "iteration 1/ 2 | lm loss: ",
            "| loss | ",
            "Traceback (most recent call last):\n",
        ]
    ),
)
@settings(max_examples=150)
def test_no_text_makes_it_fail(junk: str, start: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("log") / "x.log"
    path.write_bytes((start + junk + "\nstep 3 loss 2.0\n" + junk).encode("utf-8", "surrogatepass"))
    source = ADAPTER.find_file(path)
    if source is not None:
        for run in ADAPTER.read(source):
            assert all(np.all(np.diff(curve.step) > 0) for curve in run.curves.values())


def test_long_lines_do_not_stall(tmp_path: Path) -> None:
    """A line of a megabyte costs no more than its first part: with an expression that backtracks over it this would not end."""
    lines = [
        "loss " * 200_000,
        "a=" * 300_000,
        "|" * 500_000,
        "{'" * 300_000,
        "x" * 1_000_000 + " loss: 1.0",
        "step " * 100_000,
        "1/1 [" * 100_000,
        " " * 500_000 + "loss: 1",
    ]
    run = read(tmp_path, "\n".join([*lines, "step 1 loss 2.0", "step 2 loss 1.0"]))
    assert points(run, "train/loss")[-1] == (2, 1.0)


TABLES: dict[str, str] = {
    "fastai": "epoch     train_loss  valid_loss  accuracy  time    \n0         2.3         2.1         0.3       00:10     \n1         2.0         1.9         0.4       00:10     \n",
    "skorch": "  epoch    train_loss    valid_acc    valid_loss     dur\n-------  ------------  -----------  ------------  ------\n      1           2.3       0.5500           2.1  0.0521\n      2           2.0       0.5600           1.9  0.0521\n",
    "notebook": "Epoch\tTraining Loss\tValidation Loss\n1\t2.3\t2.1\n2\t2.0\t1.9\n",
    "markdown": "| Epoch | Train Loss | Val Loss |\n|---|---|---|\n| 1 | 2.3 | 2.1 |\n| 2 | 2.0 | 1.9 |\n",
}


@pytest.mark.parametrize("name", TABLES)
def test_table_with_a_header(name: str, tmp_path: Path) -> None:
    run = read(tmp_path, TABLES[name])
    assert points(run, "train/loss") == [(1, 2.3), (2, 2.0)]
    assert points(run, "eval/loss") == [(1, 2.1), (2, 1.9)]


def test_detector_rows_take_their_names_from_the_header(tmp_path: Path) -> None:
    row = "        {}/2      3.2G     {:.4f}    0.0600    0.03000         30        640: 100%|##########| 2/2 [00:03<00:00]\n"
    run = read(
        tmp_path,
        "      Epoch    GPU_mem   box_loss   obj_loss   cls_loss  Instances       Size\n" + row.format(0, 0.105) + row.format(1, 0.095),
    )
    assert points(run, "train/box_loss") == [(1, 0.105), (2, 0.095)]
    assert points(run, "train/obj_loss") == [(1, 0.06), (2, 0.06)]


@pytest.mark.slow
def test_hugging_face_trainer_as_it_prints(tmp_path: Path) -> None:
    """Standard output and error of a real training in one file: steps, evaluations and settings come back exactly."""
    script = tmp_path / "train.py"
    script.write_text(
        "import torch\n"
        "from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments\n"
        "torch.manual_seed(0)\n"
        "rows = [{'input_ids': torch.arange(i, i + 8) % 32, 'labels': torch.arange(i, i + 8) % 32} for i in range(64)]\n"
        "model = LlamaForCausalLM(LlamaConfig(vocab_size=32, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1))\n"
        f"args = TrainingArguments(output_dir={str(tmp_path / 'out')!r}, max_steps=30, logging_steps=5, eval_strategy='steps', eval_steps=10,\n"
        "    save_strategy='no', per_device_train_batch_size=4, learning_rate=1e-3, report_to=[], use_cpu=True)\n"
        "print(args)\n"
        "trainer = Trainer(model, args, train_dataset=rows, eval_dataset=rows[:8])\n"
        "trainer.train()\n"
        "trainer.save_state()\n"
    )
    with (tmp_path / "train.log").open("wb") as log:
        subprocess.run([sys.executable, str(script)], stdout=log, stderr=subprocess.STDOUT, check=True, timeout=300)
    source = ADAPTER.find_file(tmp_path / "train.log")
    assert source is not None
    (run,) = ADAPTER.read(source)
    state = json.loads((tmp_path / "out" / "trainer_state.json").read_text())
    for metric, key in (("train/loss", "loss"), ("eval/loss", "eval_loss"), ("lr", "learning_rate"), ("grad_norm", "grad_norm")):
        logged = [(row["step"], pytest.approx(row[key], rel=1e-3)) for row in state["log_history"] if key in row]
        assert points(run, metric) == logged, metric
    assert (run.planned_steps, run.finished) == (30, True)
    assert (run.hyperparameter("learning_rate"), run.hyperparameter("micro_batch_size")) == (1e-3, 4)


@pytest.mark.slow
def test_keras_as_it_prints(tmp_path: Path) -> None:
    """Both ways in which Keras prints an epoch: a bar drawn over and over, and one line."""
    script = tmp_path / "fit.py"
    script.write_text(
        "import contextlib, json, keras, numpy as np\n"
        "x = np.random.default_rng(0).random((64, 4)).astype('float32')\n"
        "model = keras.Sequential([keras.layers.Dense(1)])\n"
        "model.compile(loss='mse', optimizer='adam', metrics=['mae'])\n"
        "for verbose in (1, 2):\n"
        "    with open(f'fit{verbose}.log', 'w') as log, contextlib.redirect_stdout(log):\n"
        "        fit = model.fit(x, x.sum(1), epochs=3, validation_split=0.25, verbose=verbose)\n"
        "    json.dump(fit.history, open(f'history{verbose}.json', 'w'))\n"
    )
    subprocess.run([sys.executable, str(script)], cwd=tmp_path, check=True, timeout=300, env={**os.environ, "KERAS_BACKEND": "torch"})
    for verbose in (1, 2):
        source = ADAPTER.find_file(tmp_path / f"fit{verbose}.log")
        assert source is not None
        (run,) = ADAPTER.read(source)
        history = json.loads((tmp_path / f"history{verbose}.json").read_text())
        for metric, key in (("train/loss", "loss"), ("eval/loss", "val_loss")):
            assert points(run, metric) == [(epoch, pytest.approx(value, rel=1e-3)) for epoch, value in enumerate(history[key], 1)]
        written = HISTORY.find_file(tmp_path / f"history{verbose}.json")
        assert written is not None
        (exact,) = HISTORY.read(written)
        assert points(exact, "eval/loss") == list(enumerate(history["val_loss"], 1))


@pytest.mark.slow
def test_lightning_bar_as_it_prints(tmp_path: Path) -> None:
    """The bar repeats old values, restarts with every epoch and has the validation bar drawn into it."""
    script = tmp_path / "fit.py"
    script.write_text(
        "import lightning as L, torch\n"
        "from lightning.pytorch.callbacks import TQDMProgressBar\n"
        "class Model(L.LightningModule):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.layer = torch.nn.Linear(4, 1)\n"
        "    def loss(self, batch):\n"
        "        return ((self.layer(batch[0]) - 1) ** 2).mean()\n"
        "    def training_step(self, batch, index):\n"
        "        loss = self.loss(batch)\n"
        "        self.log('train_loss', loss, prog_bar=True)\n"
        "        return loss\n"
        "    def validation_step(self, batch, index):\n"
        "        self.log('val_loss', self.loss(batch), prog_bar=True)\n"
        "    def configure_optimizers(self):\n"
        "        return torch.optim.SGD(self.parameters(), 1e-2)\n"
        "torch.manual_seed(0)\n"
        "data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.randn(200, 4)), batch_size=10)\n"
        "trainer = L.Trainer(max_epochs=3, logger=False, enable_checkpointing=False, accelerator='cpu', callbacks=[TQDMProgressBar(refresh_rate=5)])\n"
        "trainer.fit(Model(), data, data)\n"
    )
    with (tmp_path / "fit.log").open("wb") as log:
        subprocess.run([sys.executable, str(script)], cwd=tmp_path, stdout=log, stderr=subprocess.STDOUT, check=True, timeout=300)
    source = ADAPTER.find_file(tmp_path / "fit.log")
    assert source is not None
    (run,) = ADAPTER.read(source)
    assert list(run.curves["train/loss"].step) == list(range(5, 61, 5))
    assert list(run.curves["eval/loss"].step) == [20, 40, 60]
    assert np.all(np.diff(run.curves["eval/loss"].value) < 0)
