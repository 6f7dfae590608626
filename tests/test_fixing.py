"""From findings to changes: order, conflicts, refusals, and where one change ends and the next begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from linting import plan, violations

from diag.analysis import analyze
from diag.dialects import Overrides
from diag.documents import PYTHON, SHELL, YAML, parse
from diag.documents.editing import REMOVE, Rename, Rewrite
from diag.errors import InputError, NothingToJudgeError
from diag.fixes import DISPLAY, SAFE, UNSAFE, Fix
from diag.fixing import (
    Prescription,
    as_run,
    changes,
    flattened,
    in_tuning_order,
    in_words_of,
    limits,
    of_plan,
    of_report,
    plan_in,
    rewritten,
    same_document,
    settled,
)
from diag.lint import Violation
from diag.plan import Options, Plan

HF = """\
model_name_or_path: meta-llama/Llama-2-7b-hf
output_dir: out
use_peft: true
lora_r: 8
lora_alpha: 16
learning_rate: 0.01
num_train_epochs: 2
per_device_train_batch_size: 4
"""


def fix(parameter: str, new: Any = 1, *, key: str = "", rank: int = 1, applicability: str = UNSAFE, **rest: Any) -> Fix:
    return Fix(parameter, None, new, None, rank, "CFG998", "Because.", (), applicability, key=key, **rest)


def violation(code: str, severity: str, *fixes: Fix) -> Violation:
    return Violation(code, "name", severity, f"{code}.", fixes=fixes)


def prescription(made: Plan, *fixes: Fix, config: dict[str, Any] | None = None) -> Prescription:
    return Prescription("x", made.dialect, fixes, Overrides(made.dialect, [], config or {}), {}, plan=made)


class TestOrder:
    def test_the_guides_tune_the_rate_first_and_regularization_last(self) -> None:
        names = ["weight_decay", "num_epochs", "dropout", "lora_rank", "data", "max_grad_norm", "learning_rate", "global_batch_size"]
        ordered = [f.parameter for f in in_tuning_order(fix(name) for name in names)]
        assert ordered == [
            "max_grad_norm",
            "learning_rate",
            "lora_rank",
            "global_batch_size",
            "num_epochs",
            "weight_decay",
            "dropout",
            "data",
        ]

    def test_repairs_come_first_and_later_ranks_last(self) -> None:
        fixes = [fix("learning_rate", rank=2), fix("weight_decay"), fix("seed", key="seed")]
        assert [f.parameter for f in in_tuning_order(fixes)] == ["seed", "weight_decay", "learning_rate"]


class TestOfPlan:
    def test_two_findings_do_not_change_one_key_each_their_way(self) -> None:
        made = plan(HF)
        found = [
            violation("CFG901", "warning", fix("learning_rate", 1e-3)),
            violation("CFG902", "error", fix("learning_rate", 1e-5)),
            violation("CFG903", "error", fix("x", 2, key="learning_rate")),
        ]
        chosen = of_plan(made, violations=found)
        assert [(f.parameter, f.new) for f in chosen.fixes] == [("learning_rate", 1e-5)]
        assert chosen.overrides.config == {"learning_rate": 1e-5}

    def test_nor_one_that_another_is_renamed_to(self) -> None:
        made = plan(HF.replace("num_train_epochs", "num_train_epoch"))
        renamed = fix("num_train_epoch", "num_train_epochs", key="num_train_epoch", action="rename", applicability=SAFE)
        found = [violation("CFG901", "warning", fix("num_epochs", 1)), violation("CFG902", "error", renamed)]
        assert [f.new for f in of_plan(made, violations=found).fixes] == ["num_train_epochs"]
        text, rounds = settled(made)
        assert "num_train_epochs: 2\n" in text
        assert rounds

    def test_fixes_of_one_finding_stay_together(self) -> None:
        found = [
            violation("CFG901", "error", fix("learning_rate", 1e-5)),
            violation("CFG902", "warning", fix("learning_rate", 1e-6), fix("warmup_steps", 10)),
        ]
        assert [f.parameter for f in of_plan(plan(HF), violations=found).fixes] == ["learning_rate"]

    def test_level_and_safety(self) -> None:
        found = [
            violation("CFG901", "error", fix("learning_rate", 1e-5)),
            violation("CFG902", "warning", fix("weight_decay", 0.0, applicability=SAFE)),
            violation("CFG903", "info", fix("seed", 42, applicability=SAFE), fix("data", None, applicability=DISPLAY)),
        ]
        made = plan(HF)
        assert {f.parameter for f in of_plan(made, violations=found).fixes} == {"learning_rate", "weight_decay"}
        assert {f.parameter for f in of_plan(made, violations=found, level="error").fixes} == {"learning_rate"}
        assert {f.parameter for f in of_plan(made, violations=found, level="info").fixes} == {
            "learning_rate",
            "weight_decay",
            "seed",
            "data",
        }
        assert {f.parameter for f in of_plan(made, violations=found, level="info", safe_only=True).fixes} == {"weight_decay", "seed"}

    def test_because_holds_the_messages(self) -> None:
        found = of_plan(plan(HF))
        assert found.because["CFG001"].startswith("The learning rate 0.01")
        assert (found.run, found.name, found.dialect) == (None, "config.yaml", "hf")


class TestChanges:
    def test_every_action(self) -> None:
        made = plan(f"{HF}seed: 1\nbf16: true\n")
        wanted = changes(
            prescription(
                made,
                fix("seed", None, key="seed", action="remove"),
                fix("bf16", "fp16", key="bf16", action="rename"),
                fix("lora_r", 8, key="lora_r", action="rewrite"),
                config={"learning_rate": 1e-5},
            ),
            made.document,
        )
        assert wanted == {"learning_rate": 1e-5, "seed": REMOVE, "bf16": Rename("fp16"), "lora_r": Rewrite(8)}

    def test_sections_become_dotted_keys_and_items_of_lists_keep_their_place(self) -> None:
        text = "a:\n  b: 1\nitems:\n  - x: 1\n  - x: 2\n"
        document = parse(text, name="x.yaml", form=YAML)[0]
        assert flattened({"a": {"b": 2, "c": {"d": 3}}, "e": [1, 2]}, document) == {"a.b": 2, "a.c.d": 3, "e": [1, 2]}
        assert flattened({"items": [{"x": 5}]}, document) == {"items.0.x": 5}
        assert flattened({"items": {"1": {"x": 5}}}, document) == {"items.1.x": 5}

    def test_a_mapping_stays_whole_in_a_call(self) -> None:
        document = parse("f(output_dir='x', learning_rate=1e-5)\n", name="x.py", form=PYTHON)
        assert document == []
        document = parse("SFTConfig(output_dir='x', learning_rate=1e-5)\n", name="x.py", form=PYTHON)
        assert flattened({"kwargs": {"a": 1}}, document[0], keep=True) == {"kwargs": {"a": 1}}


class TestRefusals:
    def test_a_change_that_brings_an_error(self) -> None:
        made = plan(f"{HF}eval_strategy: epoch\nsave_strategy: epoch\nload_best_model_at_end: true\n")
        assert violations(made, "CFG062") == []
        with pytest.raises(InputError, match="the change would bring CFG062: lr_scheduler_type"):
            rewritten(prescription(made, config={"lr_scheduler_type": "cosin"}), made.document)

    def test_an_error_that_was_there_does_not_stop_another_change(self) -> None:
        made = plan(f"{HF}lr_scheduler_type: cosin\n")
        assert "seed: 1\n" in rewritten(prescription(made, config={"seed": 1}), made.document)

    def test_a_computed_value(self) -> None:
        made = plan("SFTConfig(output_dir='x', learning_rate=rate(), num_train_epochs=2)\n", PYTHON)
        with pytest.raises(InputError, match="learning_rate"):
            rewritten(prescription(made, config={"learning_rate": 1e-5}), made.document)
        made = plan('trl sft --model_name_or_path a/b --output_dir x --learning_rate "$RATE"\n', SHELL)
        with pytest.raises(InputError, match="learning_rate"):
            rewritten(prescription(made, config={"learning_rate": 1e-5}), made.document)

    def test_a_section_is_not_a_value(self) -> None:
        made = plan("recipe: X\nstep_scheduler:\n  num_epochs: 2\noptimizer:\n  lr: 1.0e-5\n", dialect="automodel")
        with pytest.raises(InputError, match="optimizer"):
            rewritten(prescription(made, config={"optimizer": 5}), made.document)

    def test_an_alias_would_change_another_key(self) -> None:
        made = plan("a: &rate 0.01\nlearning_rate: *rate\noutput_dir: x\nmodel_name_or_path: a/b\n", dialect="hf")
        try:
            text = rewritten(prescription(made, config={"learning_rate": 1e-5}), made.document)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            after = parse(text, name="x", form=YAML)[0].flat()
            assert (after["a"], after["learning_rate"]) == (0.01, 1e-5)


class TestSettled:
    def test_findings_that_lean_on_each_other(self) -> None:
        """What one round changes moves what the next one finds; errors in between are no reason to refuse."""
        made = plan(f"{HF}max_steps: 1000\neval_strategy: steps\neval_steps: 400\nsave_steps: 500\n")
        text, rounds = settled(made, level="info")
        after = parse(text, name="config.yaml", form=YAML)[0].flat()
        assert len(rounds) > 1
        assert after["save_steps"] % after["eval_steps"] == 0
        assert settled(plan(text), level="info")[0] == text

    def test_nothing_to_do(self) -> None:
        made = plan(HF.replace("0.01", "1.0e-4") + "eval_strategy: epoch\nsave_strategy: epoch\nload_best_model_at_end: true\n")
        text, rounds = settled(made)
        assert text == made.document.text
        assert len(rounds) == 1

    def test_options_are_kept_from_round_to_round(self) -> None:
        made = plan(HF, method="qlora", dataset_size=300, model_parameters=7e10)
        text, _ = settled(made)
        assert violations(text, "CFG001", method="qlora", dataset_size=300, model_parameters=7e10) == []

    def test_a_file_with_several_configs_changes_only_the_one(self) -> None:
        text = "trl sft --model_name_or_path a/b-7b --use_peft --lora_r 8 --learning_rate 0.01 --output_dir x\n"
        documents = parse(text * 2, name="x.sh", form=SHELL)
        new, _ = settled(Plan(documents[1], "hf"))
        assert new.splitlines()[0] == text.strip()
        assert new.splitlines()[1] != text.strip()


class TestPlanIn:
    def write(self, folder: Path, name: str, text: str) -> Path:
        path = folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def test_one(self, tmp_path: Path) -> None:
        assert plan_in(self.write(tmp_path, "a.yaml", HF), None, Options()).dialect == "hf"

    def test_none(self, tmp_path: Path) -> None:
        with pytest.raises(NothingToJudgeError, match="is not recognized as a training config"):
            plan_in(self.write(tmp_path, "a.yaml", "a: 1\n"), None, Options())
        with pytest.raises(InputError, match="does not exist"):
            plan_in(tmp_path / "gone.yaml", None, Options())

    def test_several(self, tmp_path: Path) -> None:
        text = "trl sft --model_name_or_path a/b --learning_rate 1e-5 --output_dir x\nlitgpt pretrain pythia-14m --train.epochs 2\n"
        path = self.write(tmp_path, "a.sh", text)
        with pytest.raises(InputError, match=r"holds 2 training configs \(lines 1, 2\)"):
            plan_in(path, None, Options())
        assert plan_in(path, 2, Options()).dialect == "litgpt"
        assert plan_in(path, None, Options(), "hf").document.line == 1
        with pytest.raises(InputError, match=r"begins on line 7 \(but on 1, 2\)"):
            plan_in(path, 7, Options())

    def test_the_same_document_after_an_edit(self) -> None:
        text = "trl sft --model_name_or_path a/b --learning_rate 1e-5 --output_dir x\n"
        before = parse(text * 2, name="x.sh", form=SHELL)
        after = parse("# new\n" + text * 2, name="x.sh", form=SHELL)
        assert same_document(after, before[1]).line in (2, 3)
        with pytest.raises(InputError, match="holds no training config any more"):
            same_document([], before[0])


class TestRuns:
    def test_in_the_words_of_a_config(self, fixtures: Path) -> None:
        (entry,) = analyze(fixtures / "hf-lr-too-high").runs
        config = plan("base_model: a/b-7b\nadapter: lora\nlora_r: 8\nmicro_batch_size: 1\nsequence_len: 512\nlearning_rate: 0.003\n")
        assert config.dialect == "axolotl"
        run = in_words_of(entry.run, config)
        assert (run.dialect, run.hyperparameter("learning_rate"), run.hyperparameters["learning_rate"].key) == (
            "axolotl",
            0.004,
            "learning_rate",
        )
        found = of_report(entry, config)
        assert found.dialect == "axolotl"
        assert found.overrides.config["learning_rate"] == 8e-4
        text = rewritten(found, config.document)
        assert text.startswith(config.document.text.replace("0.003", "0.0008"))

    def test_of_the_run_itself(self, fixtures: Path) -> None:
        (entry,) = analyze(fixtures / "hf-lr-too-high").runs
        found = of_report(entry)
        assert (found.dialect, found.plan, found.run) == ("hf", None, entry.run)
        assert all(f.rank == 1 for f in found.fixes)
        assert found.because["DIV002"].startswith("The training loss rises")

    def test_a_config_as_a_run(self) -> None:
        made = plan(HF)
        run = as_run(made)
        assert (run.hyperparameter("learning_rate"), run.config["learning_rate"].line, run.dialect) == (0.01, 6, "hf")

    def test_limits(self, fixtures: Path) -> None:
        made = plan(HF)
        band = limits(fix("learning_rate"), prescription(made))
        assert band is not None
        assert band.clip_low < 1e-4 < band.clip_high
        assert limits(fix("unheard_of"), prescription(made)) is None
        (entry,) = analyze(fixtures / "hf-lr-too-high").runs
        assert limits(fix("learning_rate"), of_report(entry)) is None  # how it was trained is not known
