from __future__ import annotations

import errno

import numpy as np
import pytest
import torch

from diag.replay.guard import OutOfMemory, ProbeError, is_out_of_memory, user_code

MORE_THAN_THERE_IS = 2**50


def real_cpu_error() -> RuntimeError:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(MORE_THAN_THERE_IS)
    return caught.value


def real_numpy_error() -> MemoryError:
    with pytest.raises(MemoryError) as caught:
        np.ones(MORE_THAN_THERE_IS // 8)
    return caught.value


def test_every_allocator_that_has_none_left_is_heard() -> None:
    errors: list[BaseException] = [
        real_cpu_error(),
        real_numpy_error(),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB, other allocations: 1.2 GB, max allowed: 18.1 GB)."),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ]
    assert [error for error in errors if not is_out_of_memory(error)] == []


def test_it_is_heard_through_an_error_that_was_raised_from_it() -> None:
    outer = ValueError("the forward pass failed")
    outer.__cause__ = real_cpu_error()
    assert is_out_of_memory(outer)


@pytest.mark.parametrize(
    "error", [RuntimeError("out of luck"), ValueError("out of memory"), OSError(errno.ENOSPC, "No space left"), KeyError(1)]
)
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)


def test_running_out_of_memory_is_an_error_of_its_own() -> None:
    with pytest.raises(OutOfMemory, match="the probe ran out of memory on cpu; halve micro_batch_size"), user_code("the probe"):
        torch.empty(MORE_THAN_THERE_IS)
    with pytest.raises(ProbeError) as caught, user_code("the probe"):
        raise ProbeError("its own words")
    assert str(caught.value) == "its own words"
