"""Where a class matrix starts: (n, d) rows drawn from a generator, on its device.

weight = class_matrix("lecun-uniform", 316_446, 64, torch.Generator().manual_seed(0))

In a cosine only a row's direction counts; but Adam moves every entry by about the learning rate, whatever its size, so
that it turns short rows further.
"""

from typing import Literal

import torch
from torch.nn import functional as F

from probe.heads import lecun_uniform, uniform, xavier_uniform

ClassInit = Literal["xavier", "lecun-uniform", "linear", "unit"]


def class_matrix(init: ClassInit, rows: int, dim: int, generator: torch.Generator) -> torch.Tensor:
    """n rows of length d, one a centre.

    `xavier`: U(±sqrt(6 / (d + n))), UniFEx's (Glorot and Bengio 2010, equation 16); the only one that depends on n.
    `lecun-uniform`: U(±sqrt(3 / d)), root mean square 1/sqrt(d): flax's, so UnED's and UDON's.
    `linear`: U(±1/sqrt(d)), root mean square 1/sqrt(3 d): PyTorch's for nn.Linear, so ILIAS's.
    `unit`: rows of length 1 in directions uniform over the sphere.
    """
    if init == "unit":
        return F.normalize(torch.randn(rows, dim, generator=generator, device=generator.device), dim=1)
    draw = {"xavier": xavier_uniform, "lecun-uniform": lecun_uniform, "linear": uniform}[init]
    return draw(dim, rows, generator)
