"""Reading NPY."""

from __future__ import annotations

import numpy as np
import pytest

from nersemble_cli.core.errors import InvalidInputError
from nersemble_cli.core.formats.npy import read_npy
from tests import made_up


def test_object_array_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Object arrays cannot be loaded"):
        read_npy(made_up.npy(np.array([None]), allow_pickle=True))
