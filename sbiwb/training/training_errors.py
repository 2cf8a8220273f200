"""What a training can fail of, in words; and which errors of torch mean that memory ran out."""

from __future__ import annotations

import torch

from sbiwb.errors import TrainingError

# of the CPU's allocator, and of the GPU's libraries when they are first used
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """Whether memory ran out, of a GPU or of the CPU.

    An illegal memory access, a file that cannot be mapped and the like are other failures.

    Example:
        >>> is_out_of_memory(RuntimeError("DefaultCPUAllocator: can't allocate memory"))
        True
        >>> is_out_of_memory(RuntimeError("CUDA error: an illegal memory access was encountered"))
        False
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    text = str(error)
    return isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


def out_of_memory(step: int, batch_size: int, device: str) -> TrainingError:
    """A batch is too large for the memory of a device.

    Args:
        step: Of training.
        batch_size: Pairs of all processes together.
        device: Whose memory.
    """
    return TrainingError(
        f"a batch of {batch_size:,} pairs needs more memory than there is on {device}",
        where=f"train step {step}",
        todo=f"Use train.batch_size: {max(1, batch_size // 2)} (with --fresh), or a smaller "
        "network.",
    )


def not_finite(step: int, what: str) -> TrainingError:
    """The loss became NaN or infinite."""
    return TrainingError(
        what,
        where=f"train step {step}",
        todo="Lower train.learning_rate, or add a transform such as log or standardize to the "
        "inputs.",
    )


def ranks_differ(step: int, world: int) -> TrainingError:
    """Processes that train together have not the same weights any more."""
    return TrainingError(
        f"the weights of the {world} processes came to differ",
        where=f"train step {step}",
        todo="Run the same command again from the last checkpoint; if it happens again, run on "
        "machines of one kind.",
    )
