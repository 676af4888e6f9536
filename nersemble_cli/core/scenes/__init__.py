"""Scenes of the data with pyvista: `build.py` makes them, `export.py` writes them to files."""

from nersemble_cli.core.scenes.build import COLORS as COLORS
from nersemble_cli.core.scenes.build import cameras_scene as cameras_scene
from nersemble_cli.core.scenes.build import flame_frames as flame_frames
from nersemble_cli.core.scenes.build import flame_scene as flame_scene
from nersemble_cli.core.scenes.build import mesh_scene as mesh_scene
from nersemble_cli.core.scenes.build import pointcloud_frames as pointcloud_frames
from nersemble_cli.core.scenes.build import pointcloud_scene as pointcloud_scene
from nersemble_cli.core.scenes.build import title as title
from nersemble_cli.core.scenes.build import turntable_frames as turntable_frames
from nersemble_cli.core.scenes.drawing import PictureOptions as PictureOptions
from nersemble_cli.core.scenes.overlay import OVERLAYS as OVERLAYS
