"""What ends a run from outside: too little memory, a loader's worker or a process that died."""

import torch
import torch.distributed as dist

from adapt.errors import Stopped

STATUS = 4
"""Exit status of a run that was ended so."""

UNREACHABLE = ("gloo", "pair closure", "NCCL")
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")
"""What PyTorch says of a full machine or GPU, CUDA of one that another process fills, and cuDNN and
cuBLAS of their own buffers."""


def explained(error: RuntimeError | MemoryError, doing: str = "") -> Stopped | None:
    """What happened, in a line, and what to do; None for an error of another kind.

    `doing` says what the run was at: step, batch and samples.
    """
    if isinstance(error, Stopped):
        return error
    text = str(error).strip().split("\n")[0]
    what = f"{doing}: " if doing else ""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or any(w in text for w in NO_MEMORY):
        text = text.rstrip(".") or "the machine's memory is full"
        return Stopped(f"{what}out of memory: {text}. A smaller batch or crop needs less", STATUS)
    if text.startswith("DataLoader worker"):
        return Stopped(
            f"{what}{text.split(' Details')[0].rstrip('.')}. Most often it was killed for memory: "
            "fewer workers or a smaller batch need less",
            STATUS,
        )
    if isinstance(error, dist.DistError) or any(word in text for word in UNREACHABLE):
        reason = text.rpartition("] ")[2] if text.startswith("[/") else text
        return Stopped(
            f"{what}another process of this run has failed or is gone "
            f"({reason.split('. ')[0]}); its own message has the cause. The same command resumes",
            STATUS,
        )
    return None
