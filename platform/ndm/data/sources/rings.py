"""RING: 8 equal Gaussians of standard deviation 0.25 on a circle of radius 2, in two dimensions.

p(x) = 1/8 sum_k N(x; c_k, 0.25^2 I) with c_k = 2 (cos(pi k / 4), sin(pi k / 4)). The density is known, so a model's
bound and likelihood can be checked against it. The label of an example is its k.
"""

from typing import ClassVar, Literal

import numpy as np

from ndm.data.sources._mixture import Mixture, MixtureConfig

MODES = 8
RADIUS = 2.0

ANGLES = 2 * np.pi * np.arange(MODES) / MODES
LAW = Mixture("rings", RADIUS * np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=1), sd=0.25)


class Config(MixtureConfig):
    kind: Literal["rings"] = "rings"
    law: ClassVar[Mixture] = LAW
