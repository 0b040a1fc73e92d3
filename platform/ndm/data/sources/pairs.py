"""PAIRS: 16 narrow Gaussians on a grid of pairs of pairs: two length scales in two dimensions.

p(x) = 1/16 sum_k N(x; c_k, 0.02^2 I), both coordinates of c_k in {-1.15, -0.85, 0.85, 1.15}. Clusters of a pair are 0.3
apart and pairs 2, so that no one multiplier of x is right for both. The density is known. The label of an example is
its k.
"""

from typing import ClassVar, Literal

import numpy as np

from ndm.data.sources._mixture import Mixture, MixtureConfig

COORDINATES = np.array([-1.15, -0.85, 0.85, 1.15])
LAW = Mixture("pairs", np.stack(np.meshgrid(COORDINATES, COORDINATES), axis=-1).reshape(-1, 2), sd=0.02)


class Config(MixtureConfig):
    kind: Literal["pairs"] = "pairs"
    law: ClassVar[Mixture] = LAW
