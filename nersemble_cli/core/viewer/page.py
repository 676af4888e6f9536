"""The page of a task with videos: its controls, and the clock that moves everything in step."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nersemble_cli.core.benchmarks import VideoBenchmark
from nersemble_cli.core.data.managers import open_data
from nersemble_cli.core.errors import NersembleError
from nersemble_cli.core.scenes.geometry import direction
from nersemble_cli.core.viewer.frames import Image, Source
from nersemble_cli.core.viewer.home import Home
from nersemble_cli.core.viewer.stage import OVERLAY, Kind, Stage

if TYPE_CHECKING:
    import viser

# (participant, sequence) → camera → the user's frames.
Renders = Mapping[tuple[int, str], Mapping[str, Source]]

_FREE = "free"
_SPEEDS = {"1×": 1.0, "½×": 0.5, "¼×": 0.25, "⅛×": 0.125}
_REFRESH = 1 / 20  # seconds between two looks at what has to be shown
_START = (24.0, 20.0)  # degrees to the right of the rig's front, and up
_DISTANCE = 1.7  # of that of the cameras
_NOTES = 4


class VideoPage:
    """The controls and the scene of one participant. All clients share them, but each has its own camera."""

    def __init__(
        self,
        server: viser.ViserServer,
        benchmark: VideoBenchmark,
        folder: Path,
        participant: int,
        sequence: str | None,
        renders: Renders,
    ) -> None:
        self._server, self._benchmark, self._renders = server, benchmark, renders
        self._data = open_data(benchmark, folder, participant)
        self._stage: Stage | None = None
        self._notes: list[str] = []
        self._closed = threading.Event()
        self._wake = threading.Event()
        self._playing = False
        self._overlay: Any = None
        self._overlay_at: tuple[Any, ...] | None = None
        self._looked_through: str | None = None
        self._flame_at: tuple[Any, ...] | None = None
        self._lock = threading.RLock()
        sequences = self._sequences()
        self._sequence = sequence or sequences[0]
        self._add_controls(sequences)
        self._open_sequence()
        self._thread = threading.Thread(target=self._run, name="viewer page", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed.set()
        self._wake.set()
        self._thread.join()
        with self._lock:
            if self._stage is not None:
                self._stage.close()
        self._server.gui.reset()

    def _sequences(self) -> list[str]:
        """What is here first, then the sequences of the renders."""
        here = self._data.list_sequences()
        rendered = [sequence for participant, sequence in self._renders if participant == self._data.participant]
        every = self._benchmark.sequences(self._data.participant)
        return list(dict.fromkeys([*here, *rendered])) or list(every[:1])

    def note(self, text: str) -> None:
        """Shows a message in the page."""
        if text not in self._notes:
            self._notes = [*self._notes, text][-_NOTES:]
            self._messages.content = "\n\n".join(f"⚠ `{note.replace('`', chr(39))}`" for note in self._notes)

    # Controls

    def _add_controls(self, sequences: list[str]) -> None:
        gui = self._server.gui
        self._choice = gui.add_dropdown("Sequence", tuple(sequences), initial_value=self._sequence)
        self._choice.on_update(lambda _: self._change_sequence())
        with gui.add_folder("Time"):
            self._slider: Any = gui.add_slider("Timestep", 0, 1, 1, 0)
            self._slider.on_update(lambda _: self._wake.set())
            self._steps = gui.add_button_group("Step", ("−10", "−1", "+1", "+10"))
            self._steps.on_click(lambda _: self._step(int(self._steps.value.replace("−", "-"))))
            self._play = gui.add_button("Play")
            self._play.on_click(lambda _: self._toggle())
            self._speed = gui.add_dropdown("Speed", tuple(_SPEEDS), initial_value="¼×")
        with gui.add_folder("Cameras"):
            self._through: Any = gui.add_dropdown("Look through", (_FREE,), initial_value=_FREE)
            self._through.on_update(lambda event: self._look_through(self._through.value, event.client))
            self._opacity = gui.add_slider("Image opacity", 0.0, 1.0, 0.05, 0.6)
            self._opacity.on_update(lambda _: self._wake.set())
            self._show: dict[Kind, Any] = {}
            kinds: tuple[Kind, ...] = ("images", "frustums", "labels")
            for kind in kinds:
                box = gui.add_checkbox(kind.capitalize(), True)
                box.on_update(lambda _: self._set_all_visible())
                self._show[kind] = box
            self._mode = gui.add_dropdown("Show", ("truth", "render", "difference"), visible=bool(self._renders))
            self._mode.on_update(lambda _: self._wake.set())
        with gui.add_folder("Point cloud", visible=self._benchmark.has_asset("pointclouds")):
            self._cloud = gui.add_checkbox("Point cloud", True)
            self._point_size = gui.add_slider("Point size (mm)", 0.5, 6.0, 0.5, 2.0)
        with gui.add_folder("FLAME", visible=self._benchmark.has_asset("flame2023_tracking_v2")):
            self._style: Any = gui.add_dropdown("Mesh", ("shaded", "wireframe", "transparent", "none"))
            self._version = gui.add_dropdown("Tracking", ("version 2", "version 1", "both"))
            self._landmarks = gui.add_checkbox("Landmarks", False)
            self._project = gui.add_checkbox("Vertices in the images", False)
        for control in (
            self._cloud, self._point_size, self._style, self._version, self._landmarks, self._project,
        ):  # fmt: skip
            control.on_update(lambda _: self._wake.set())
        self._beside = gui.add_image(_blank(), label="Camera", visible=False)
        self._messages = gui.add_markdown("")

    def _set_all_visible(self) -> None:
        with self._lock:
            if self._stage is not None:
                for kind, box in self._show.items():
                    self._stage.set_visible(kind, box.value)

    def _step(self, by: int) -> None:
        self._go_to(max(0, min(self._slider.value + by, self._last)))
        self._wake.set()

    def _go_to(self, timestep: int) -> None:
        self._slider.value = timestep

    @property
    def _last(self) -> int:
        return max(1, self._stage.n_timesteps - 1) if self._stage is not None else 1

    def _toggle(self) -> None:
        self._playing = not self._playing
        self._play.label = "Pause" if self._playing else "Play"
        self._wake.set()

    # Sequences

    def _change_sequence(self) -> None:
        with self._lock:
            self._sequence = self._choice.value
            self._notes = []
            self._messages.content = ""
            self._open_sequence()

    def _open_sequence(self) -> None:
        with self._lock:
            if self._stage is not None:
                self._stage.close()
            self._overlay = self._overlay_at = self._looked_through = self._flame_at = None
            renders = self._renders.get((self._data.participant, self._sequence), {})
            self._stage = stage = Stage(self._server, self._data, self._sequence, self.note, renders)
            stage.add_cameras(self._look_through)
            self._set_all_visible()
            self._slider.max = self._last
            self._go_to(min(self._slider.value, self._last))
            self._through.options = (_FREE, *stage.serials)
            target = stage.rig.target
            distance = max(
                float(((stage.calibration.cam_2_world(serial)[:3, 3] - target) ** 2).sum() ** 0.5)
                for serial in stage.serials
            )
            self.home = Home(target + _DISTANCE * distance * direction(stage.rig, *_START), target, stage.rig.up)
            self.home.use(self._server)
        self._wake.set()

    # Cameras

    def _look_through(self, serial: str, client: viser.ClientHandle | None) -> None:
        """Puts a client's eye at a camera, with the camera's field of view, and lays its image over the scene."""
        with self._lock:
            stage = self._stage
            if stage is None:
                return
            self._looked_through = None if serial == _FREE else serial
            if self._through.value != serial:
                self._through.value = serial
            if client is not None and serial == _FREE:
                self.home.bring(client)
            elif client is not None:
                pose = stage.calibration.cam_2_world(serial)
                with client.atomic():
                    client.camera.up_direction = -pose[:3, 1]
                    client.camera.position = pose[:3, 3]
                    client.camera.look_at = pose[:3, 3] + pose[:3, 2] * _depth_of(stage, pose)
                    client.camera.fov = stage.field_of_view(serial, client.camera.aspect or 1.0)
        self._wake.set()

    # The clock

    def _run(self) -> None:
        """Moves time on and shows what has changed, until the page is closed."""
        last = time.monotonic()
        position = 0.0
        while not self._closed.is_set():
            if not self._playing:
                self._wake.wait(0.3)
                self._wake.clear()
                position = float(self._slider.value)
            else:
                time.sleep(_REFRESH)
            now = time.monotonic()
            if self._playing:
                position += (now - last) * float(self._benchmark.fps) * _SPEEDS[self._speed.value]
                if abs(position - self._slider.value) > float(self._benchmark.fps):
                    position = float(self._slider.value)  # somebody dragged the slider
                position %= self._last + 1
                self._go_to(int(position))
            last = now
            try:
                self._refresh(int(self._slider.value))
            except NersembleError as error:
                self.note(str(error))

    def _refresh(self, timestep: int) -> None:
        with self._lock:
            stage = self._stage
            if stage is None:
                return
            versions = {"version 2": (2,), "version 1": (1,), "both": (2, 1)}[self._version.value]
            wants_flame = self._style.value != "none" or self._landmarks.value or self._project.value
            flame_at = (timestep, versions, self._style.value, self._landmarks.value)
            with self._server.atomic():
                if self._benchmark.has_asset("flame2023_tracking_v2") and flame_at != self._flame_at:
                    if wants_flame:
                        stage.load_flame(versions)
                    style = None if self._style.value == "none" else self._style.value
                    stage.show_flame(timestep, versions, style, self._landmarks.value)
                    self._flame_at = flame_at
                stage.show(timestep, self._mode.value, self._project.value)
                stage.show_cloud(timestep, self._cloud.value, self._point_size.value / 1000)
            self._show_overlay(stage, timestep)

    def _show_overlay(self, stage: Stage, timestep: int) -> None:
        """The image of the camera that is looked through, over the scene; it is decoded when time stands still."""
        serial = self._looked_through
        at = (serial, timestep, self._mode.value, self._opacity.value, self._project.value)
        if at == self._overlay_at or self._playing:
            return
        self._overlay_at = at
        if self._overlay is not None:
            self._overlay.remove()
            self._overlay = None
        self._beside.visible = False
        if serial is None:
            return
        picture = stage.picture(serial, timestep, self._mode.value, OVERLAY)
        if picture is None:
            self.note(f"Camera {serial} has no image: it is held out. nersemble view --renders shows yours there.")
            return
        if self._project.value:
            picture = stage.with_vertices(picture, serial, timestep)
        self._overlay = self._server.scene.add_image(
            "/looked through", _with_opacity(picture, self._opacity.value), **(stage.look_through(serial) or {}),
            cast_shadow=False, receive_shadow=False,
        )  # fmt: skip
        beside = stage.beside(serial, timestep)
        if beside is not None:
            self._beside.image, self._beside.visible = beside, True


def _blank() -> Any:
    return np.full((8, 8, 3), 255, np.uint8)


def _with_opacity(image: Image, opacity: float) -> Image:
    """(H, W, 4): the image with the same opacity all over."""
    alpha = np.full((*image.shape[:2], 1), round(255 * opacity), np.uint8)
    return np.concatenate([image, alpha], axis=-1)


def _depth_of(stage: Stage, pose: Any) -> float:
    """How far the point that the rig looks at is in front of a camera, in metres."""
    return max(0.1, float((stage.rig.target - pose[:3, 3]) @ pose[:3, 2]))
