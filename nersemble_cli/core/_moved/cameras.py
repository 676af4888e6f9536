"""Moved: import these from `nersemble_cli`. Goes with 0.3."""

from nersemble_cli.core.data.calibration import CameraCalibration as CameraCalibration
from nersemble_cli.core.data.cameras import crop_intrinsics as crop_intrinsics
from nersemble_cli.core.data.cameras import invert_pose as invert_pose
from nersemble_cli.core.data.cameras import project_points as project_points
from nersemble_cli.core.data.cameras import rescale_intrinsics as rescale_intrinsics
from nersemble_cli.core.data.cameras import swap_opencv_opengl as swap_opencv_opengl
from nersemble_cli.core.data.cameras import unproject_pixels as unproject_pixels
from nersemble_cli.core.data.cameras import visible_points as visible_points
