"""Callbacks that judge a training from within: ``HuggingFaceCallback`` for ``transformers.Trainer``, ``LightningCallback`` for Lightning.

    from diag.integrations import HuggingFaceCallback

Each needs its own library only, which is imported when the name is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from diag.integrations.huggingface import DiagCallback as HuggingFaceCallback
    from diag.integrations.lightning import DiagCallback as LightningCallback

__all__ = ["HuggingFaceCallback", "LightningCallback"]

_MODULES: Final = {"HuggingFaceCallback": "huggingface", "LightningCallback": "lightning"}


def __getattr__(name: str) -> Any:
    """Import a callback when it is first asked for.

    Raises:
        AttributeError: there is none of that name.
        ImportError: its library is not installed.
    """
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return import_module(f"{__name__}.{_MODULES[name]}").DiagCallback
