from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from diag.errors import DiagError, InputError
from diag.replay.guard import ProbeError
from diag.replay.pretrained import Pretrained, require, resolve

Model = Callable[..., Path]


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What tried to reach the network; it must stay empty."""
    tried: list[Any] = []

    def refused(*arguments: Any, **options: Any) -> Any:
        tried.append(arguments)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "socket", refused)
    monkeypatch.setattr(socket, "create_connection", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)
    return tried


def loaded(folder: Path, classes: int = 0, seed: int = 0, shares: bool = False) -> torch.nn.Module:
    return Pretrained("tiny", folder).model(classes=classes, dtype=torch.float32, pad=0, seed=seed, shares=shares)


def test_a_model_that_is_not_here_is_not_fetched(no_network: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="not in the cache of the Hugging Face Hub; give its folder, or --allow-download to fetch it"):
        resolve("some-owner/some-model")
    assert no_network == []


def test_with_leave_it_is_asked_for_and_a_failure_is_one_line(
    no_network: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match="some-owner/some-model: cannot be fetched") as error:
        resolve("some-owner/some-model", allow_download=True)
    assert no_network and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["no/such/folder", "../x", "a b", "C:\\models\\x"])
def test_what_is_neither_a_folder_nor_an_id_is_said(name: str) -> None:
    with pytest.raises(InputError, match="does not exist; give a folder"):
        resolve(name)


def test_a_model_of_the_cache_is_found(tiny_model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_network: list[Any]) -> None:
    repository = tmp_path / "models--some-owner--some-model"
    shutil.copytree(tiny_model(), repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    folder = resolve("some-owner/some-model")
    assert Pretrained("some-owner/some-model", folder).positions == 2048
    assert no_network == []


def test_loading_needs_no_network(tiny_model: Model, no_network: list[Any]) -> None:
    loaded(tiny_model())
    Pretrained("tiny", tiny_model()).tokenizer()
    assert no_network == []


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model.safetensors": None}, "holds no weights"),
        ({"model.safetensors": None, "pytorch_model.bin": b"boom"}, r"holds pickled weights \(pytorch_model.bin\), which are never loaded"),
        ({"adapter_config.json": b"{}"}, "holds an adapter; give the model that it was trained on"),
        ({"config.json": None}, "holds no config.json"),
        ({"config.json": b"{"}, "holds a config.json that is not JSON"),
        ({"model.safetensors": b"boom"}, "the model of tiny cannot be loaded"),
        ({"config.json": b'{"model_type": "llama", "quantization_config": {"bits": 4}}'}, "holds quantized weights"),
        ({"config.json": b'{"model_type": "martian"}'}, "the config of tiny cannot be loaded"),
        ({"config.json": b"[]"}, "the config of tiny cannot be loaded"),
        (
            {"config.json": b'{"model_type": "martian", "auto_map": {"AutoConfig": "evil.Config"}}', "evil.py": b"raise SystemExit"},
            "needs code of its own",
        ),
    ],
)
def test_what_cannot_be_loaded_safely_is_refused(
    changes: dict[str, bytes | None], said: str, tiny_model: Model, tmp_path: Path, no_network: list[Any]
) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model(), folder)
    for name, content in changes.items():
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)
    with pytest.raises(DiagError, match=said) as error:
        loaded(folder)
    assert "\n" not in str(error.value) and error.value.exit_code == 2 and no_network == []


def test_a_pickle_beside_the_weights_is_not_opened(tiny_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model(), folder)
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    assert loaded(folder)


def test_weights_of_another_model_are_refused(tiny_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model(), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))
    with pytest.raises(ProbeError, match=r"the weights in tiny are not those of its config: model\.layers\.2\."):
        loaded(folder)


def test_a_masked_language_model_is_no_causal_one(tiny_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model("bert", "none"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "architectures": ["BertForMaskedLM"]}))
    with pytest.raises(ProbeError, match="tiny is no causal language model"):
        loaded(folder)


def test_copies_share_frozen_weights_and_nothing_else(tiny_model: Model) -> None:
    pretrained = Pretrained("tiny", tiny_model())
    options: dict[str, Any] = {"classes": 0, "dtype": torch.float32, "pad": 0, "seed": 0}
    own, other = pretrained.model(**options, shares=False), pretrained.model(**options, shares=False)
    shared, again = pretrained.model(**options, shares=True), pretrained.model(**options, shares=True)
    for a, b, c, d in zip(own.parameters(), other.parameters(), shared.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b) and torch.equal(b, c)
        assert c is d and a is not b and a is not c and a.requires_grad


def test_a_new_head_comes_from_the_seed(tiny_model: Model) -> None:
    first, same, other = (dict(loaded(tiny_model("bert", "none"), classes=3, seed=seed).named_parameters()) for seed in (1, 1, 2))
    assert first["classifier.weight"].shape == (3, 32)
    assert torch.equal(first["classifier.weight"], same["classifier.weight"])
    assert not torch.equal(first["classifier.weight"], other["classifier.weight"])
    assert 0.01 < float(first["classifier.weight"].detach().std()) < 0.03 and not first["classifier.bias"].any()
    assert torch.equal(first["bert.embeddings.word_embeddings.weight"], other["bert.embeddings.word_embeddings.weight"])


def test_a_head_for_other_classes_is_made_anew(tiny_model: Model) -> None:
    kept, same, anew = (
        dict(loaded(tiny_model("bert", "classifier"), classes=classes, seed=seed).named_parameters())["classifier.weight"]
        for classes, seed in ((2, 1), (2, 2), (5, 1))
    )
    assert torch.equal(kept, same) and (len(kept), len(anew)) == (2, 5)


def test_the_digest_follows_weights_and_tokenizer(tiny_model: Model, tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_model(), folder)
    digest = Pretrained("tiny", folder).digest
    assert Pretrained("tiny", folder).digest == digest
    (folder / "tokenizer_config.json").write_text((folder / "tokenizer_config.json").read_text() + " ")
    changed = Pretrained("tiny", folder).digest
    assert changed != digest
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes() + b" ")
    assert Pretrained("tiny", folder).digest != changed


def test_a_library_that_is_missing_names_the_extra() -> None:
    with pytest.raises(ProbeError, match=r"needs no_such_library; install it with: pip install 'diag\[hf\]'"):
        require("torch", "no_such_library")
