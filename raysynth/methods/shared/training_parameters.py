"""Parameters that several neural methods share, with one meaning and one range each."""

from __future__ import annotations

import math
from typing import Annotated

from raysynth.methods.parameters import Parameter

FEWEST_EPOCHS = 3


def shown_by_default(n_rows: int, rows_to_see: int) -> tuple[int, int | None]:
    """Epochs of a table that three passes show more than `rows_to_see` rows of, and the rows that each shows at most.

    The rows seen grow with the root of the table's from there on, in epochs of a third of `rows_to_see`: 10^7 rows are
    not seen three times, but as many as a larger table can teach the same network; and what watches epochs (scores of
    rows held back, patience) comes as often as in a small table. (epochs, None) where the table is smaller: whole ones.
    """
    most = rows_to_see // FEWEST_EPOCHS
    if n_rows <= most:
        return -(-rows_to_see // max(n_rows, 1)), None
    return math.ceil(FEWEST_EPOCHS * math.sqrt(n_rows / most)), most


CheckpointEvery = Annotated[
    int,
    Parameter("epochs between checkpoints, where `run_config.storage_path` says where to put them", at_least=1),
]
Schedule = Annotated[str, Parameter("of the learning rates", one_of=("constant", "cosine"))]
ClipNorm = Annotated[
    float,
    Parameter(
        "with differential privacy: largest L2 norm of the gradient of one row (one sequence)", above=0, at_most=1e6
    ),
]
CompileStep = Annotated[
    bool,
    Parameter(
        "take a step's arithmetic through `torch.compile`, on a GPU as CUDA graphs: the same model up to rounding "
        "(`training/compiled.py`; measured by `bench_training.py step`: compiling takes a minute, which a fit on a CPU "
        "does not win back). Not under a budget"
    ),
]
Accumulation = Annotated[
    int,
    Parameter(
        "parts in which a batch goes through the networks before one update: the same batch in less memory; under a "
        "budget DP-SGD divides its batches itself",
        at_least=1,
    ),
]
CalibrateMarginals = Annotated[
    bool,
    Parameter(
        "after training, correct every column's own distribution by the released one (see "
        "`methods/shared/neural.py`); rows are not looked at again"
    ),
]
ValidationShare = Annotated[
    float,
    Parameter(
        "share of the rows (sequences) held back to choose the best weights; 0: none, and the last weights are kept, "
        "as always under a budget",
        at_least=0,
        at_most=0.5,
    ),
]
Patience = Annotated[
    int,
    Parameter(
        "epochs without a better score on what is held back after which training ends; 0, or nothing held back: never",
        at_least=0,
    ),
]
WeightDecay = Annotated[float, Parameter("of AdamW", at_least=0, at_most=10)]
Temperature = Annotated[
    float,
    Parameter(
        "of sampling: below 1 rows are more typical, above 1 more diverse; may be changed after the fit",
        above=0,
        at_most=100,
    ),
]
Width = Annotated[int, Parameter("numbers of a context", at_least=1, tried=(32, 64, 128))]
Hidden = Annotated[int, Parameter("units of a residual layer", at_least=1, tried=(16, 32, 64))]
Layers = Annotated[int, Parameter("residual layers of each column", at_least=1)]
Dropout = Annotated[
    float, Parameter("share of units dropped in training", at_least=0, at_most=0.95, tried=(0.1, 0.2, 0.35))
]
