"""Takes ``-c cfg.yaml --a.b value`` and writes training.jsonl and validation.jsonl, as NeMo AutoModel does."""

import json
import sys
from pathlib import Path

import yaml
from regression import train

words = sys.argv[1:]
config = yaml.safe_load(Path(words[words.index("-c") + 1]).read_text())
pairs = [word for index, word in enumerate(words) if word != "-c" and words[index - 1] != "-c"]
for key, value in zip(pairs[::2], pairs[1::2], strict=True):
    *parents, leaf = key.removeprefix("--").split(".")
    section = config
    for parent in parents:
        section = section.setdefault(parent, {})
    section[leaf] = yaml.safe_load(value)
assert Path(config["dataset"]["path_or_dataset_id"]).read_text() == "samples\n"  # relative, as the config says it
place = Path(config["checkpoint"]["checkpoint_dir"])
(place / "epoch_0_step_1").mkdir(parents=True, exist_ok=True)
(place / "epoch_0_step_1" / "config.yaml").write_text(yaml.safe_dump(config))
schedule = config.get("lr_scheduler", {})
length = config["step_scheduler"]["max_steps"]
if length in (None, "none"):
    length = 160 * config["step_scheduler"]["num_epochs"]
steps = train(
    float(config["optimizer"]["lr"]),
    length,
    config["seed"],
    batch=config["step_scheduler"]["global_batch_size"],
    warmup=schedule.get("lr_warmup_steps", 0),
    clip=config["clip_grad_norm"]["max_norm"],
    decay=schedule.get("lr_decay_steps", length),
)
with (place / "training.jsonl").open("w") as training, (place / "validation.jsonl").open("w") as validation:
    for step, loss, norm, rate, held_out in steps:
        print(json.dumps({"step": step - 1, "epoch": 0, "loss": loss, "grad_norm": norm, "lr": rate}), file=training, flush=True)
        if step % config["step_scheduler"]["val_every_steps"] == 0:
            print(json.dumps({"step": step - 1, "epoch": 0, "val_loss": held_out, "lr": rate}), file=validation, flush=True)
