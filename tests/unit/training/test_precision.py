"""Which precision products have while training: a flag of the process, set for a GPU and put back."""

from __future__ import annotations

import pytest
import torch

from raysynth.training.job import tensor_cores


@pytest.mark.parametrize(
    ("device", "exact", "expected"), [("cuda", False, "high"), ("cuda", True, "highest"), ("cpu", False, "highest")]
)
def test_tensor_cores_serve_a_gpu_without_a_budget_only(device: str, exact: bool, expected: str) -> None:
    before = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), tensor_cores(torch.device(device), exact=exact):
        assert torch.get_float32_matmul_precision() == expected
        raise KeyError
    assert torch.get_float32_matmul_precision() == before
