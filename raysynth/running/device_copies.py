"""Arrays on their way to a device: compact, and without making the host wait.

A copy to a GPU from ordinary (pageable) memory first waits for all that the GPU was asked to do before; one from
page-locked memory is queued behind it, and the host goes on to the next launches. The page-locked memory comes from
torch's own cache, which keeps it until the copy is done.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def to_device(array: np.ndarray, device: str | torch.device) -> Tensor:
    """A tensor of an array's numbers on a device; on a CPU it shares the array's memory.

    Args:
        array: of a type that torch has, contiguous and writable.
        device: where to.
    """
    here = torch.from_numpy(array)
    if torch.device(device).type != "cuda":
        return here.to(device)
    return here.pin_memory().to(device, non_blocking=True)


def codes_to_device(codes: np.ndarray, device: str | torch.device) -> Tensor:
    """Codes (uint16) as int32 on a device: two bytes of each travel, and are widened there.

    As int16, whose low bits are kept: of uint16 torch has few operations on a GPU.
    """
    return to_device(codes.astype(np.uint16, copy=False).view(np.int16), device).int() & 0xFFFF
