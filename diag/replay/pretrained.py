"""A pretrained model as a folder on this machine: found, checked and loaded without the network and without running its code.

Only safetensors are loaded; pickled weights, adapters in place of models, and models with code of their own are refused.
"""

from __future__ import annotations

import copy
import hashlib
import importlib.util
import json
import os
import re
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from diag.errors import DiagError, InputError
from diag.replay.guard import ProbeError, describe

if TYPE_CHECKING:
    import torch
    from torch import nn

EXTRA: Final = "rebuilding a Hugging Face model needs {package}; install it with: pip install 'diag[hf]'"
HUB_ID: Final = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[\w.-]+)?")
FETCHED: Final = ("*.safetensors", "*.json", "*.txt", "*.model", "*.jinja")
"""Files of a repository that are fetched: weights without pickles, configs, tokenizers."""
NOT_FETCHED: Final = ("*/*", "consolidated*")
"""Copies of the weights in other layouts."""
PICKLED: Final = (".bin", ".pt", ".pth", ".ckpt")
SMALL_WEIGHTS: Final = 64 << 20
"""Bytes of weights up to which attention is computed step by step: about as fast while samples are short, and arms can be trained together,
which the fused kernels cannot be under ``torch.func.vmap``."""
INITIAL_STD: Final = 0.02
"""Standard deviation of new weights where the config names none, as in Transformers."""


def require(*packages: str) -> None:
    """Say how to install the libraries if one is not there.

    Raises:
        ProbeError: one is not.
    """
    for package in packages:
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            raise ProbeError(EXTRA.format(package=package))


@contextmanager
def offline(is_offline: bool = True) -> Iterator[None]:
    """Keep the Hugging Face libraries from the network."""
    if not is_offline:
        yield
        return
    from huggingface_hub import constants

    before, variable = constants.HF_HUB_OFFLINE, os.environ.get("HF_HUB_OFFLINE")
    constants.HF_HUB_OFFLINE, os.environ["HF_HUB_OFFLINE"] = True, "1"
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
        if variable is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = variable


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars, remarks or warnings of the libraries: what matters of them becomes an error or a note."""
    from transformers.utils import logging

    level, had_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if had_bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def checkpoint_activations(model: Any) -> None:
    """Have a model compute again what it would keep for the backward pass: the same numbers in less memory and more time."""
    enable = getattr(model, "activation_checkpointing_enable", None) or model.gradient_checkpointing_enable  # its name before 5.23
    with quiet():
        enable({"use_reentrant": False})


def resolve(model: str, *, allow_download: bool = False) -> Path:
    """The folder of a model: as named, or the local copy of a repository of the Hugging Face Hub.

    Raises:
        InputError: there is none, or it cannot be fetched.
    """
    path = Path(model).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise InputError(model, "is no folder", "give the folder that save_pretrained wrote")
    if not HUB_ID.fullmatch(model):
        raise InputError(model, "does not exist", "give a folder that save_pretrained wrote, or the id of a model on the Hugging Face Hub")
    from huggingface_hub import snapshot_download

    try:
        with quiet(), offline(not allow_download):
            options: dict[str, Any] = {"allow_patterns": list(FETCHED), "ignore_patterns": list(NOT_FETCHED)}
            return Path(snapshot_download(model, local_files_only=not allow_download, **options))
    except Exception as error:  # the hub's client has many, and the network more
        if allow_download:
            raise InputError(model, f"cannot be fetched ({describe(error)[:200]})") from error
        advice = "give its folder, or --allow-download to fetch it"
        raise InputError(model, "is no folder here, and not in the cache of the Hugging Face Hub", advice) from error


@dataclass
class Pretrained:
    """A model in a folder.

    Attributes:
        name: how the user named it.
        folder: where it is.
        config: its configuration, as Transformers has it.
    """

    name: str
    folder: Path
    config: Any = None
    _loaded: dict[tuple[str, int, Any], tuple[Any, frozenset[str]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._check()
        from transformers import AutoConfig

        self.config = self._call("config", AutoConfig.from_pretrained)

    def _call(self, what: str, function: Any, **options: Any) -> Any:
        """Call a ``from_pretrained``, without network and without code of the model's.

        Raises:
            ProbeError: it raises.
        """
        try:
            with quiet(), offline():
                return function(str(self.folder), local_files_only=True, trust_remote_code=False, **options)
        except (DiagError, MemoryError):
            raise
        except Exception as error:
            if "out of memory" in str(error).lower():
                raise
            if "trust_remote_code" in str(error):
                raise ProbeError(f"{self.name} needs code of its own (trust_remote_code), which is never run") from error
            raise ProbeError(f"the {what} of {self.name} cannot be loaded: {describe(error)[:300]}") from error

    def _check(self) -> None:
        """Refuse what is no model, or not one that can be loaded safely.

        Raises:
            InputError: it is.
        """
        names = {path.name for path in self.folder.iterdir() if path.is_file()}
        if "adapter_config.json" in names:
            raise InputError(self.name, "holds an adapter", "give the model that it was trained on")
        if "config.json" not in names:
            raise InputError(self.name, "holds no config.json", "give the folder that save_pretrained wrote")
        if not any(name.endswith(".safetensors") for name in names):
            pickled = sorted(name for name in names if name.endswith(PICKLED))
            if pickled:
                raise InputError(self.name, f"holds pickled weights ({pickled[0]}), which are never loaded", "save them as safetensors")
            raise InputError(self.name, "holds no weights", "give a folder with model.safetensors")
        try:
            described = json.loads((self.folder / "config.json").read_bytes())
        except (ValueError, RecursionError) as error:
            raise InputError(self.name, "holds a config.json that is not JSON") from error
        if isinstance(described, dict) and described.get("quantization_config"):
            raise InputError(self.name, "holds quantized weights", "give the model that they were made from")

    @property
    def weight_bytes(self) -> int:
        """Size of the weights on disk."""
        return sum(path.stat().st_size for path in self.folder.glob("*.safetensors"))

    @property
    def digest(self) -> str:
        """What the results depend on: the content of the small files, size and time of the weights."""
        hashed = hashlib.sha256()
        for path in sorted(self.folder.iterdir()):
            if path.suffix in (".json", ".txt", ".model", ".jinja") and path.is_file():
                hashed.update(path.name.encode() + path.read_bytes())
            elif path.suffix == ".safetensors":
                status = path.stat()
                hashed.update(f"{path.name} {status.st_size} {status.st_mtime_ns}".encode())
        return hashed.hexdigest()

    @property
    def dtype(self) -> str:
        """Of the weights on disk, as the config has it: ``bfloat16``, "" if it does not say."""
        return str(getattr(self.config.get_text_config(), "dtype", None) or "").removeprefix("torch.")

    @property
    def positions(self) -> int | None:
        """Most tokens that the model can read, None if it does not say."""
        found = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return found if isinstance(found, int) and found > 0 else None

    @property
    def is_classifier(self) -> bool:
        """Whether the folder holds a model with a classification head."""
        return any(str(name).endswith("ForSequenceClassification") for name in self.config.architectures or ())

    def tokenizer(self) -> Any:
        """Its tokenizer.

        Raises:
            ProbeError: it cannot be loaded.
        """
        from transformers import AutoTokenizer

        found = self._call("tokenizer", AutoTokenizer.from_pretrained)
        found.padding_side = found.truncation_side = "right"
        return found

    def model(self, *, classes: int, dtype: torch.dtype, pad: int | None, seed: int, shares: bool) -> nn.Module:
        """The model, loaded once and copied.

        Args:
            classes: of a classification head; 0 for a causal language model.
            dtype: of the weights.
            pad: token id that fills batches.
            seed: of the weights of a head that the folder does not hold.
            shares: whether all copies have the same weights, because they are frozen; a copy of its own, otherwise.

        Raises:
            ProbeError: it cannot be loaded, or is not of this kind.
        """
        base, new = self._base(classes, dtype, pad)
        memo: dict[int, Any] = {id(parameter): parameter for parameter in base.parameters()} if shares else {}
        for name, parameter in base.named_parameters():
            if name in new:
                memo.pop(id(parameter), None)
        model: nn.Module = copy.deepcopy(base, memo)
        for parameter in model.parameters():
            parameter.requires_grad_(True)
        self._initialize(model, new, seed)
        return model

    def _base(self, classes: int, dtype: torch.dtype, pad: int | None) -> tuple[nn.Module, frozenset[str]]:
        """The model as loaded, and the names of the weights that the folder does not hold."""
        key = ("classifier" if classes else "causal", classes, dtype)
        if key not in self._loaded:
            self._loaded[key] = self._load(classes, dtype, pad)
        return self._loaded[key]

    def _load(self, classes: int, dtype: torch.dtype, pad: int | None) -> tuple[nn.Module, frozenset[str]]:
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

        config = copy.deepcopy(self.config)
        for part in (config, config.get_text_config()):
            part.use_cache = False
            if classes and part.pad_token_id is None:
                part.pad_token_id = pad
        if classes:
            config.num_labels = classes
        elif getattr(config, "is_encoder_decoder", False) or any(str(name).endswith("MaskedLM") for name in config.architectures or ()):
            raise ProbeError(f"{self.name} is no causal language model ({', '.join(config.architectures or [])}), so it cannot be rebuilt")
        kind = AutoModelForSequenceClassification if classes else AutoModelForCausalLM
        options: dict[str, Any] = {"config": config, "dtype": dtype, "use_safetensors": True, "output_loading_info": True}
        if classes:
            options["ignore_mismatched_sizes"] = True  # a head for another number of classes is made anew
        attention = "eager" if self.weight_bytes <= SMALL_WEIGHTS else "sdpa"
        try:
            model, info = self._call("model", kind.from_pretrained, attn_implementation=attention, **options)
        except ProbeError as error:
            if attention == "eager" or "sdpa" not in str(error):
                raise
            model, info = self._call("model", kind.from_pretrained, attn_implementation="eager", **options)
        new = frozenset([*info["missing_keys"], *(key if isinstance(key, str) else key[0] for key in info["mismatched_keys"])])
        if new and not classes:
            raise ProbeError(f"the weights in {self.name} are not those of its config: {min(new)} is missing or of another shape")
        if not classes:
            model.config.pad_token_id = None  # some models look at every batch for padding, to warn of what does no harm here
        return model, new

    def _initialize(self, model: nn.Module, names: frozenset[str], seed: int) -> None:
        """New weights for a head: normal matrices, zero biases, and scales of one."""
        import torch

        std = getattr(self.config.get_text_config(), "initializer_range", None) or INITIAL_STD
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name not in names:
                    continue
                if parameter.ndim > 1:
                    parameter.copy_(torch.randn(parameter.shape, generator=random) * std)
                else:
                    parameter.fill_(0.0 if name.endswith("bias") else 1.0)
