"""Where the page is looked at from at first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import viser

_FIELD_OF_VIEW = 1.0  # radians, from top to bottom
_ASPECT = 0.9  # width : height of the narrowest window in which everything is seen from `position`
_RAISED = 0.27  # of the distance: on a phone everything moves up, as the controls cover the lower half


@dataclass(frozen=True)
class Home:
    """A place to look from: the eye's position, what it looks at, and the direction up, each (3,)."""

    position: NDArray[np.float64]
    target: NDArray[np.float64]
    up: NDArray[np.float64]

    def use(self, server: viser.ViserServer) -> None:
        """Starts new clients here, and moves connected ones here."""
        camera = server.initial_camera
        camera.position, camera.look_at, camera.up = self.position, self.target, self.up
        for client in server.get_clients().values():
            self.bring(client)

    def bring(self, client: viser.ClientHandle) -> None:
        """Puts a client's eye here; farther away in a narrow window, such as a phone's."""
        aspect = client.camera.aspect or _ASPECT
        farther = max(1.0, _ASPECT / aspect)
        away = farther * (self.position - self.target)
        shift = np.zeros(3)
        if aspect < _ASPECT:
            side = np.cross(away, self.up)
            shift = _RAISED * np.cross(away, side) / np.linalg.norm(side)
        with client.atomic():
            client.camera.fov = _FIELD_OF_VIEW
            client.camera.up_direction = self.up
            client.camera.position = self.target + away + shift
            client.camera.look_at = self.target + shift
