"""Codes reach a device as the numbers that they were, the largest too."""

from __future__ import annotations

import numpy as np
import torch

from raysynth.running.device_copies import codes_to_device, to_device


def test_codes_are_what_they_were() -> None:
    codes = np.array([[0, 1, 255], [32_767, 32_768, 65_535]], np.uint16)
    there = codes_to_device(codes, "cpu")
    assert there.dtype == torch.int32
    np.testing.assert_array_equal(there.numpy(), codes)


def test_codes_in_any_order_of_memory() -> None:
    codes = np.arange(12, dtype=np.uint16).reshape(3, 4)
    np.testing.assert_array_equal(codes_to_device(np.asfortranarray(codes)[1:], "cpu").numpy(), codes[1:])


def test_a_gpu_gets_its_copy_from_page_locked_memory_and_the_host_does_not_wait(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """No GPU is needed to see what it would be asked for."""
    asked: list[tuple[str, object]] = []

    class Recorder:
        def pin_memory(self) -> Recorder:
            asked.append(("pin", None))
            return self

        def to(self, device: object, non_blocking: bool = False) -> Recorder:
            asked.append((str(device), non_blocking))
            return self

    monkeypatch.setattr(torch, "from_numpy", lambda array: Recorder())
    to_device(np.zeros(3, np.float32), torch.device("cuda", 0))
    assert asked == [("pin", None), ("cuda:0", True)]
