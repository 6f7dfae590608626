"""Takes the options of TrainingArguments and writes trainer_state.json, as the Trainer does."""

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path

from regression import train

parser = argparse.ArgumentParser()
for name, default in {
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "warmup_steps": 0.0,
    "max_steps": 160,
    "num_train_epochs": 4.0,
    "per_device_train_batch_size": 16,
    "gradient_accumulation_steps": 1,
    "weight_decay": 0.0,
    "max_grad_norm": 1.0,
    "seed": 42,
    "logging_steps": 2,
    "eval_steps": 10,
    "output_dir": "out",
    # what goes wrong
    "sleep": 0.0,
    "fail_at": 0,
    "fail_above": math.inf,
    "nan_at": 0,
    "nap": "",  # file for the process id of a grandchild that sleeps and ignores SIGTERM
    "nap_arm": "",  # only in this arm of a replay
}.items():
    parser.add_argument(f"--{name}", type=type(default), default=default)
options = parser.parse_args()
if options.learning_rate > options.fail_above:
    raise SystemExit(f"learning_rate {options.learning_rate} is not supported")
if options.nap and options.nap_arm in ("", os.environ.get("DIAG_REPLAY_ARM")):
    ignore = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", ignore], stdout=subprocess.PIPE)
    child.stdout.readline()
    with Path(options.nap).open("a") as file:
        file.write(f"{child.pid}\n")
place = Path(options.output_dir)
place.mkdir(parents=True, exist_ok=True)
(place / "training_args.json").write_text(json.dumps(vars(options)))
state = {
    "global_step": 0,
    "max_steps": options.max_steps,
    "logging_steps": options.logging_steps,
    "eval_steps": options.eval_steps,
    "train_batch_size": options.per_device_train_batch_size,
    "log_history": [],
}
steps = train(
    options.learning_rate,
    options.max_steps,
    options.seed,
    batch=options.per_device_train_batch_size * options.gradient_accumulation_steps,
    warmup=options.warmup_steps,
    clip=options.max_grad_norm,
    decay=options.max_steps if options.lr_scheduler_type == "linear" else 0,
    sleep=options.sleep,
)
for step, loss, norm, rate, held_out in steps:
    if step == options.nan_at:
        loss = math.nan
    if step % options.logging_steps == 0 or step == options.nan_at:
        state["log_history"].append({"step": step, "loss": loss, "grad_norm": norm, "learning_rate": rate})
    if step % options.eval_steps == 0:
        state["log_history"].append({"step": step, "eval_loss": held_out})
    state["global_step"] = step
    new = place / "new.tmp"
    new.write_text(json.dumps(state))
    new.replace(place / "trainer_state.json")
    if step == options.nan_at:
        raise SystemExit("the loss is nan")
    if step == options.fail_at:
        raise SystemExit("RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB")
