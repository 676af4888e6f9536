"""The page of single-view reconstruction: an input image beside the user's posed and neutral meshes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.benchmarks import MESH_KINDS, ImageKey, MeshBenchmark, MeshSlot
from nersemble_cli.core.data.managers import SVFRDataManager
from nersemble_cli.core.errors import InvalidInputError, NersembleError
from nersemble_cli.core.formats.npy import read_npy
from nersemble_cli.core.formats.ply import read_ply
from nersemble_cli.core.submission.findings import Finding
from nersemble_cli.core.viewer.home import Home
from nersemble_cli.core.viewer.results import UserResults

if TYPE_CHECKING:
    import viser

_HEIGHT = 1.0  # what an image and a mesh are scaled to, as its unit is the user's
_APART = 0.75  # between the posed and the neutral mesh
_MIDDLE = -0.15  # between the left edge of the image and the right one of the meshes
_COLORS = {"posed": (230, 215, 200), "neutral": (200, 215, 230)}
_LANDMARK_COLOR = (255, 140, 0)
_FACING = (0.0, 1.0, 0.0, 0.0)  # quaternion (w, x, y, z): viser's images face away from +z
_ALL = "all images"


class MeshPage:
    """Image by image: what was given, and the meshes that were made of it with their NoW landmarks."""

    def __init__(
        self,
        server: viser.ViserServer,
        benchmark: MeshBenchmark,
        folder: Path,
        participant: int,
        results: UserResults,
    ) -> None:
        self._server, self._participant = server, participant
        self._meshes, self._findings = results.meshes, results.findings
        self._data = SVFRDataManager(folder, participant)
        self._keys = list(benchmark.image_keys[participant])
        self._server.scene.set_up_direction("+y")
        self.home = Home(np.array([_MIDDLE, 0.1, 2.9]), np.array([_MIDDLE, 0.0, 0.0]), np.array([0.0, 1.0, 0.0]))
        self.home.use(server)
        self._add_controls()
        self._show()

    def close(self) -> None:
        self._server.scene.reset()
        self._server.gui.reset()

    def _add_controls(self) -> None:
        gui = self._server.gui
        self._filter = gui.add_dropdown(
            "Show", (_ALL, "with findings"), initial_value=_ALL, visible=bool(self._findings)
        )
        self._filter.on_update(lambda _: self._apply_filter())
        names = tuple(key.to_key() for key in self._keys)
        self._choice: Any = gui.add_dropdown("Image", names, initial_value=names[0])
        self._choice.on_update(lambda _: self._show())
        self._buttons = gui.add_button_group("Go", ("previous", "next"))
        self._buttons.on_click(lambda _: self._go(1 if self._buttons.value == "next" else -1))
        self._text = gui.add_markdown("")

    def _apply_filter(self) -> None:
        wanted = [k for k in self._keys if self._filter.value == _ALL or self._findings_of(k)]
        if wanted:
            self._choice.options = tuple(key.to_key() for key in wanted)
            self._choice.value = wanted[0].to_key()

    def _go(self, by: int) -> None:
        names = list(self._choice.options)
        self._choice.value = names[(names.index(self._choice.value) + by) % len(names)]

    def _findings_of(self, key: ImageKey) -> list[Finding]:
        files = [name for kind in MESH_KINDS for name in MeshSlot(self._participant, key, kind).files]
        return [finding for name in files for finding in self._findings.get(name, ())]

    def _show(self) -> None:
        key = next(key for key in self._keys if key.to_key() == self._choice.value)
        lines = [f"⚠ {finding.code}: `{finding.message}`" for finding in self._findings_of(key)]
        self._server.scene.remove_by_name("/input")
        try:
            image = self._data.load_image(key)
            self._server.scene.add_image(
                "/input/image", image, _HEIGHT * image.shape[1] / image.shape[0], _HEIGHT, wxyz=_FACING,
                position=(-1.1, 0, 0), receive_shadow=False,
            )  # fmt: skip
            self._server.scene.add_label("/input/name", "input", position=(-1.1, 0.6, 0), anchor="center-center")
        except NersembleError as error:
            lines.append(f"⚠ `{error}`")
        for i, kind in enumerate(MESH_KINDS):
            slot = MeshSlot(self._participant, key, kind)
            self._server.scene.remove_by_name(f"/{kind}")
            if slot.path not in self._meshes:
                lines.append(f"No {kind} mesh.")
                continue
            try:
                self._add_mesh(slot, i * _APART + 0.05)
            except (InvalidInputError, OSError) as error:
                lines.append(f"⚠ {slot.path}: `{error}`")
        self._text.content = "\n\n".join(lines)

    def _add_mesh(self, slot: MeshSlot, x: float) -> None:
        mesh = read_ply(self._meshes[slot.path]())
        vertices = np.asarray(mesh.vertices, np.float64)
        finite = vertices[np.isfinite(vertices).all(1)]
        if not len(finite):
            raise InvalidInputError("no vertex is finite")
        low, high = finite.min(0), finite.max(0)
        scale = _HEIGHT / max(float((high - low).max()), 1e-9)

        def place(points: NDArray[Any]) -> NDArray[np.float32]:
            return np.asarray((points - (low + high) / 2) * scale + [x, 0, 0], np.float32)

        scene, root = self._server.scene, f"/{slot.kind}"
        scene.add_mesh_simple(
            f"{root}/mesh", place(np.nan_to_num(vertices)), np.asarray(mesh.faces), color=_COLORS[slot.kind],
            side="double",
            cast_shadow=False,
            receive_shadow=False,
        )  # fmt: skip
        scene.add_label(f"{root}/name", slot.kind, position=(x, 0.6, 0), anchor="center-center")
        if slot.landmarks_path in self._meshes:
            landmarks = read_npy(self._meshes[slot.landmarks_path]())
            for number, point in enumerate(place(np.asarray(landmarks, np.float64)), start=1):
                scene.add_icosphere(f"{root}/{number}", 0.008, _LANDMARK_COLOR, position=point)
                scene.add_label(f"{root}/{number}/label", str(number), anchor="bottom-left")
