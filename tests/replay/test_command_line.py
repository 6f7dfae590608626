from __future__ import annotations

import re
from pathlib import Path

import pytest

from diag.errors import UsageError
from diag.replay.command_line import CommandLine


def words(text: str, here: Path, *overrides: str, **values: str) -> list[str]:
    return CommandLine(text, here).fill(values, overrides)


def test_placeholders_are_filled_in(tmp_path: Path) -> None:
    text = "prog --lr={learning_rate} {overrides} --steps {steps} '{{a}} b' '' {out}/x"
    filled = words(text, tmp_path, "--a", "1 2", "$(touch x)", learning_rate="0.1", steps="7", out="/o")
    assert filled == ["prog", "--lr=0.1", "--a", "1 2", "$(touch x)", "--steps", "7", "{a} b", "", "/o/x"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("prog 'x {overrides}", "no closing quotation"),
        ("prog", "has no {overrides}"),
        ("prog {seed} {steps}", "has no {overrides}"),
        ("prog {overides}", "did you mean 'overrides'?"),
        ("prog {learning_rates}", "did you mean 'learning_rate'?"),
        ("prog {} {overrides}", "unknown placeholder {}"),
        ("prog {seed:03} {overrides}", "unknown placeholder {seed}"),
        ("prog {seed.real} {overrides}", "unknown placeholder {seed.real}"),
        ("prog {x {overrides}", "write {{ and }} for braces"),
        ("prog x} {overrides}", "write {{ and }} for braces"),
        ("prog --x={overrides}", "must stand by itself"),
        ("cd x && prog {overrides}", "&& is for a shell"),
        ("prog {overrides} | tee log", "| is for a shell"),
        ("A=1 prog {overrides}", "write env in front"),
        ("prog --output_dir /runs/hot {overrides}", "one place for all trainings"),
        ("prog hydra.run.dir=/runs/hot {overrides}", "one place for all trainings"),
    ],
)
def test_every_mistake_is_one_line(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--command") as caught:
        CommandLine(text, tmp_path)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_what_is_read_is_named_in_full(tmp_path: Path) -> None:
    for name in ("train.py", "cfg.yaml", "data/train.txt", "llm/x", "train.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("")
    (tmp_path / "run.sh").write_text("")
    text = "./run.sh train.py finetune llm -c cfg.yaml --dir llm data/train.txt a.b=data --log_config=cfg.yaml -m llm {overrides} no.yaml"
    here = tmp_path
    assert words(text, here) == [
        f"{here}/run.sh",
        f"{here}/train.py",
        "finetune",
        "llm",  # a subcommand, rather than the folder of that name
        "-c",
        f"{here}/cfg.yaml",
        "--dir",
        f"{here}/llm",
        f"{here}/data/train.txt",
        f"a.b={here}/data",
        f"--log_config={here}/cfg.yaml",
        "-m",
        "llm",
        "no.yaml",
    ]


def test_what_is_written_to_stays_in_the_folder_of_the_training(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "train.log").write_text("")
    text = "prog --output_dir out --logging-dir=out -o out save.path=out --log_file train.log --dev /dev/null {overrides}"
    assert words(text, tmp_path) == text.split()[:-1]


def test_options_that_it_gives_itself(tmp_path: Path) -> None:
    line = CommandLine("prog --a 1 --max-steps {steps} --b={seed} --flag {overrides} +c=2 --d 3", tmp_path)
    assert [tuple(option) for option in line.options()] == [
        ("a", False, False),
        ("max_steps", True, False),
        ("b", True, False),
        ("flag", False, False),
        ("c", False, True),
        ("d", False, True),
    ]


def test_the_digest_follows_the_files(tmp_path: Path) -> None:
    (tmp_path / "cfg.yaml").write_text("lr: 1")
    line = CommandLine("prog -c cfg.yaml {overrides}", tmp_path)
    before = line.digest
    assert CommandLine("prog -c cfg.yaml {overrides}", tmp_path).digest == before
    assert CommandLine("prog -c cfg.yaml -x {overrides}", tmp_path).digest != before
    (tmp_path / "cfg.yaml").write_text("lr: 2")
    assert line.digest != before


def test_a_program_must_be_there(tmp_path: Path) -> None:
    CommandLine("python3 {overrides}", tmp_path).require_program()
    with pytest.raises(UsageError, match="no program pithon to run"):
        CommandLine("pithon {overrides}", tmp_path).require_program()


def test_the_commands_in_the_documentation(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "replay.md").read_text(encoding="utf-8")
    found = re.findall(r"`([^`\n]+ [^`\n]*\{overrides\}[^`\n]*)`", page)
    assert len(found) >= 8
    for text in found:
        assert CommandLine(text, tmp_path).has("overrides")
