from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diag.errors import DiagError, UsageError
from diag.replay.guard import ProbeError
from diag.replay.probe import Probe, load, settle, write_template


def written(folder: Path, text: str) -> Path:
    path = folder / "my_probe.py"
    path.write_text(text)
    return path


def failure(spec: str) -> str:
    with pytest.raises(DiagError) as raised:
        load(spec)({}, 0)
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_the_template_loads_and_makes_a_probe(tmp_path: Path) -> None:
    write_template(tmp_path / "mine.py")
    assert "mine.py:probe" in (tmp_path / "mine.py").read_text()
    probe = load(f"{tmp_path / 'mine.py'}:probe")({"micro_batch_size": 64}, 0)
    assert isinstance(probe, Probe)
    assert len(next(probe.stream())) == 64
    with pytest.raises(UsageError, match="exists already"):
        write_template(tmp_path / "mine.py")


def test_the_function_is_called_probe_unless_named(tmp_path: Path) -> None:
    write_template(tmp_path / "mine.py")
    assert load(str(tmp_path / "mine.py")).digest == load(f"{tmp_path / 'mine.py'}:probe").digest


def test_a_module_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "package_of_probes").mkdir()
    write_template(tmp_path / "package_of_probes" / "small.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert isinstance(load("package_of_probes.small:probe")({}, 0), Probe)


def test_what_lies_beside_the_file_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "beside_the_probe.py").write_text("answer = 42\n")
    path = written(tmp_path, "from beside_the_probe import answer\ndef probe(hyperparameters, seed): return answer\n")
    assert "returned a int" in failure(f"{path}:probe")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("def prob(h, s): pass", "no function 'probe'; did you mean 'prob'?"),
        ("probe = 3", "something that is no function at 'probe'"),
        (
            "import no_such_thing",
            "importing it raised ModuleNotFoundError: No module named 'no_such_thing' (my_probe.py:1)",
        ),
        ("def probe(h, s)", "importing it raised SyntaxError"),
        ("import sys; sys.exit(3)", "importing it raised SystemExit: 3"),
        ("def probe(h, s):\n    return h['learning_rate']", "raised KeyError: 'learning_rate' (my_probe.py:2)"),
        ("def probe(h, s): pass", "returned None, not a diag.replay.Probe"),
        ("from diag.replay import Probe\ndef probe(h, s): return Probe(1, 2, 3)", "model is a int, not a torch.nn.Module"),
        (
            "import torch\nfrom diag.replay import Probe\ndef probe(h, s): return Probe(torch.nn.Linear(1, 1), [], print)",
            "batches is a list, not a function",
        ),
        (
            "import torch\nfrom diag.replay import Probe\n"
            "def probe(h, s): return Probe(torch.nn.Linear(1, 1), list, print, planned_steps=0)",
            "planned_steps is 0, not a positive whole number",
        ),
    ],
)
def test_every_failure_is_one_clear_line(tmp_path: Path, text: str, said: str) -> None:
    assert said in failure(f"{written(tmp_path, text)}:probe")


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("no_such_file.py:probe", "there is no file no_such_file.py; diag replay --init no_such_file.py writes one"),
        ("no.such.module:probe", "there is no module no.such.module"),
        ("a b:probe", "neither a .py file nor the name of a module"),
        (":probe", "write it as file.py:function or package.module:function"),
        ("file.py:", "write it as file.py:function or package.module:function"),
    ],
)
def test_a_spec_that_names_nothing(spec: str, said: str) -> None:
    assert said in failure(spec)


def test_an_empty_pass_is_an_error_rather_than_a_hang() -> None:
    import torch

    with pytest.raises(ProbeError, match="gave no batch"):
        next(Probe(torch.nn.Linear(1, 1), list, lambda model, batch: model(batch)).stream())


sizes = st.one_of(st.none(), st.integers(1, 512))


@given(sizes, sizes, sizes, sizes)
def test_settled_batch_sizes_agree(whole: int | None, micro: int | None, times: int | None, world: int | None) -> None:
    given_ = {"global_batch_size": whole, "micro_batch_size": micro, "gradient_accumulation_steps": times, "world_size": world}
    settled = settle({**given_, "learning_rate": 0.1})
    assert settled["learning_rate"] == 0.1 and "world_size" not in settled
    if whole or micro:
        assert settled["global_batch_size"] >= 1 and settled["micro_batch_size"] >= 1
        assert settled["micro_batch_size"] * settled["gradient_accumulation_steps"] == settled["global_batch_size"]
    if whole:
        assert settled["global_batch_size"] == whole
    assert settle(settled) == settled
