"""Camera matrices that know what they mean: `Pose` and `Intrinsics`, arrays with the methods of dreifus.

The official toolkit hands out the classes of dreifus 0.1.28. These have the methods that start from a calibration,
so that code moves over without dreifus. They are NumPy arrays: whatever computes with them gets plain arrays.
"""

from __future__ import annotations

import math
from enum import Enum
from typing import Any, Literal, Self, TypeVar, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nersemble_cli.core.data.cameras import crop_intrinsics, invert_pose, is_rigid, rescale_intrinsics
from nersemble_cli.core.errors import UsageError, unknown_name

_Order = Literal["K", "A", "C", "F"] | None
_E = TypeVar("_E", bound="_Named")


class _Named(Enum):
    """Equal to the members of dreifus's enumeration of the same name, and found by name."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Enum):
            return NotImplemented
        return type(other).__name__ == type(self).__name__ and other.name == self.name

    __hash__ = Enum.__hash__

    @classmethod
    def named(cls: type[_E], member: Any) -> _E:
        """The member that is given as such, by its name, or as dreifus's."""
        name = str(getattr(member, "name", member))
        if name not in cls.__members__:
            raise unknown_name(cls.__name__, name, cls.__members__)
        return cls[name]


class PoseType(_Named):
    """Which way a pose maps."""

    WORLD_2_CAM = "world → camera"
    CAM_2_WORLD = "camera → world"
    CAM_2_CAM = "camera → camera"


_INVERSES = {
    PoseType.WORLD_2_CAM: PoseType.CAM_2_WORLD,
    PoseType.CAM_2_WORLD: PoseType.WORLD_2_CAM,
    PoseType.CAM_2_CAM: PoseType.CAM_2_CAM,
}


class AxisDirection(_Named):
    """A direction along one axis of a camera."""

    X = (1, 0, 0)
    Y = (0, 1, 0)
    Z = (0, 0, 1)
    NEG_X = (-1, 0, 0)
    NEG_Y = (0, -1, 0)
    NEG_Z = (0, 0, -1)

    def sign(self) -> float:
        """1 along the axis, -1 against it."""
        return float(sum(self.value))


class CameraCoordinateConvention(_Named):
    """Where a camera's axes point. The values are x, y and z along OpenCV's right, down and forward."""

    OPEN_CV = (1, 1, 1)
    OPEN_GL = (1, -1, -1)
    DIRECT_X = (1, -1, 1)
    PYTORCH_3D = (-1, -1, 1)

    @property
    def forward_direction(self) -> AxisDirection:
        """The axis along which the camera looks."""
        return AxisDirection((0, 0, self.value[2]))

    @property
    def up_direction(self) -> AxisDirection:
        """The axis that points up in the image."""
        return AxisDirection((0, -self.value[1], 0))


class _Matrix(np.ndarray[Any, np.dtype[np.float32]]):
    """A float32 array of which only the whole is special: whatever is computed from it is a plain array."""

    def numpy(self) -> NDArray[np.float32]:
        """The same values as a plain array, in memory of its own."""
        return np.array(self)

    def copy(self, order: _Order = "C") -> Self:
        """The same in memory of its own."""
        return super().copy(order)

    def _changed(self, values: NDArray[Any], inplace: bool) -> Self:
        changed = self if inplace else self.copy()
        changed[...] = values
        return changed

    def __array_wrap__(self, array: Any, context: Any = None, return_scalar: bool = False) -> Any:
        if array is self:
            return self  # computed in place
        return np.asarray(array)[()] if return_scalar else np.asarray(array)

    def __array_function__(self, func: Any, types: Any, args: Any, kwargs: Any) -> Any:
        return _plain(super().__array_function__(func, types, args, kwargs))

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key]

    @property
    def T(self) -> Any:  # noqa: N802
        return np.asarray(self).T

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: Any) -> Self:
        return self.copy()


def _plain(result: Any) -> Any:
    return np.asarray(result) if isinstance(result, _Matrix) else result


def _make_plain(name: str) -> None:
    """Lets a method of arrays that would return the subclass return a plain array."""
    method = getattr(np.ndarray, name)

    def plain(self: _Matrix, *arguments: Any, **options: Any) -> Any:
        return method(np.asarray(self), *arguments, **options)

    plain.__name__, plain.__doc__ = name, method.__doc__
    setattr(_Matrix, name, plain)


for _name in (
    "astype", "byteswap", "clip", "compress", "conj", "conjugate", "cumprod", "cumsum", "diagonal", "dot",
    "flatten", "ravel", "repeat", "reshape", "round", "squeeze", "swapaxes", "take", "transpose",
):  # fmt: skip
    _make_plain(_name)


class Pose(_Matrix):
    """A (4, 4) float32 rigid transform between world and camera, in metres.

    `pose_type` says which way it maps, `camera_coordinate_convention` where the camera's axes point. Methods that
    change a pose do so in place, as those of dreifus, unless `inplace=False`; `invert` only with `inplace=True`.
    """

    pose_type: PoseType
    camera_coordinate_convention: CameraCoordinateConvention

    def __new__(
        cls,
        matrix_or_rotation: ArrayLike | None = None,
        translation: ArrayLike | None = None,
        camera_coordinate_convention: Any = CameraCoordinateConvention.OPEN_CV,
        pose_type: Any = PoseType.WORLD_2_CAM,
        disable_rotation_check: bool = False,
    ) -> Self:
        """From a (4, 4) matrix, or from a (3, 3) rotation and a (3,) translation; the identity by default.

        Raises `UsageError` for another shape or, unless `disable_rotation_check`, if it is not rigid to 1e-3.
        """
        matrix = np.eye(4, dtype=np.float32)
        if matrix_or_rotation is not None:
            given = np.asarray(matrix_or_rotation, np.float32)
            if given.shape != ((4, 4) if translation is None else (3, 3)):
                raise UsageError(
                    f"A pose cannot be made of {given.shape}.",
                    "Give a matrix (4, 4), or a rotation (3, 3) and a translation.",
                )
            matrix[: len(given), : len(given)] = given
        if translation is not None:
            matrix[:3, 3] = np.asarray(translation, np.float32)
        if not disable_rotation_check and not is_rigid(matrix):
            raise UsageError(
                f"The matrix is not a rigid transform: its determinant is {np.linalg.det(matrix[:3, :3]):.4g}.",
                "Rotations have determinant 1. Of a matrix with a scale, pass disable_rotation_check=True.",
            )
        pose = matrix.view(cls)
        pose.pose_type = PoseType.named(pose_type)
        pose.camera_coordinate_convention = CameraCoordinateConvention.named(camera_coordinate_convention)
        return pose

    def __array_finalize__(self, source: Any) -> None:
        self.pose_type = getattr(source, "pose_type", PoseType.WORLD_2_CAM)
        self.camera_coordinate_convention = getattr(
            source, "camera_coordinate_convention", CameraCoordinateConvention.OPEN_CV
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.numpy(), None, self.camera_coordinate_convention, self.pose_type, True)

    def __repr__(self) -> str:
        values = np.array2string(np.asarray(self), prefix="Pose(", separator=", ")
        return f"Pose({values}, {self.pose_type.name}, {self.camera_coordinate_convention.name})"

    def get_rotation_matrix(self) -> NDArray[np.float32]:
        """(3, 3) float32, in memory of its own."""
        return self[:3, :3].copy()  # type: ignore[no-any-return]

    def get_translation(self) -> NDArray[np.float32]:
        """(3,) float32 metres, in memory of its own. Of `CAM_2_WORLD`, the camera's centre."""
        return self[:3, 3].copy()  # type: ignore[no-any-return]

    def set_rotation_matrix(self, rotation_matrix: ArrayLike) -> None:
        """Replaces the rotation, (3, 3), in place."""
        self[:3, :3] = rotation_matrix

    def set_translation(self, x: Any = None, y: float | None = None, z: float | None = None) -> None:
        """Replaces the translation in place: all of it by (3,) values, or those of x, y and z that are given."""
        self[:3, 3] = _replaced(self.get_translation(), x, y, z)

    def move(self, x: Any = None, y: float | None = None, z: float | None = None, inplace: bool = True) -> Self:
        """Adds to the translation: (3,) values, or those of x, y and z that are given."""
        moved = self if inplace else self.copy()
        moved[:3, 3] += _replaced(np.zeros(3, np.float32), x, y, z)
        return moved

    def invert(self, inplace: bool = False) -> Self:
        """The pose that maps back: `WORLD_2_CAM` ↔ `CAM_2_WORLD`."""
        inverse = self._changed(invert_pose(self) if is_rigid(self) else np.linalg.inv(self), inplace)
        inverse.pose_type = _INVERSES[inverse.pose_type]
        return inverse

    def change_pose_type(self, new_pose_type: Any, inplace: bool = True) -> Self:
        """The same camera as `CAM_2_WORLD` or `WORLD_2_CAM`: inverted where it is the other one.

        Raises `UsageError` for `CAM_2_CAM`, which says nothing of the world.
        """
        wanted = PoseType.named(new_pose_type)
        if PoseType.CAM_2_CAM in (wanted, self.pose_type):
            raise UsageError(
                f"A pose cannot change from {self.pose_type.name} to {wanted.name}.",
                "Only WORLD_2_CAM and CAM_2_WORLD are two ways to say the same.",
            )
        if wanted != self.pose_type:
            return self.invert(inplace)
        return self if inplace else self.copy()

    def change_camera_coordinate_convention(
        self, new_camera_coordinate_convention: Any, inplace: bool = True
    ) -> Self:
        """The same camera with its axes in another convention; the world stays as it is.

        Raises `UsageError` for `CAM_2_CAM`, whose two cameras may differ. dreifus has this for `CAM_2_WORLD` only.
        """
        wanted = CameraCoordinateConvention.named(new_camera_coordinate_convention)
        if self.pose_type == PoseType.CAM_2_CAM:
            raise UsageError("CAM_2_CAM has axes of two cameras.", "Change the poses that it was made of.")
        flip = np.ones(4, np.float32)
        flip[:3] = np.multiply(self.camera_coordinate_convention.value, wanted.value)
        if self.pose_type == PoseType.WORLD_2_CAM:
            flip = flip[:, None]
        changed = self._changed(self * flip, inplace)
        changed.camera_coordinate_convention = wanted
        return changed

    def _axis(self, direction: tuple[int, int, int]) -> NDArray[np.float32]:
        """(3,) in the world: a direction that is given along OpenCV's axes."""
        cam_2_world = self.change_pose_type(PoseType.CAM_2_WORLD, inplace=False)
        flipped = np.multiply(direction, self.camera_coordinate_convention.value).astype(np.float32)
        return cam_2_world[:3, :3] @ flipped  # type: ignore[no-any-return]

    def get_look_direction(self) -> NDArray[np.float32]:
        """(3,) float32 unit vector in the world: where the camera looks."""
        return self._axis((0, 0, 1))

    def get_up_direction(self) -> NDArray[np.float32]:
        """(3,) float32 unit vector in the world: up in the image."""
        return self._axis((0, -1, 0))

    def calculate_rigid_transformation_to(self, other: Pose) -> Pose:
        """The motion in the world that brings this camera to where `other` is, as a pose that maps world → world.

        Its `pose_type` is `CAM_2_CAM`, as in dreifus.
        """
        here, there = (pose.change_pose_type(PoseType.CAM_2_WORLD, inplace=False) for pose in (self, other))
        return Pose(there @ here.invert(), pose_type=PoseType.CAM_2_CAM, disable_rotation_check=True)


def _replaced(vector: NDArray[np.float32], x: Any, y: float | None, z: float | None) -> NDArray[np.float32]:
    """A (3,) vector with the coordinates that are given; `x` may be all three."""
    if np.ndim(x):
        return np.asarray(x, np.float32)
    given = (x, y, z)
    return np.array([old if new is None else new for old, new in zip(vector, given, strict=True)], np.float32)


class Intrinsics(_Matrix):
    """A (3, 3) float32 pinhole camera, in pixels: camera → image.

    `rescale` and `crop` change it in place, as those of dreifus, unless `inplace=False`.
    """

    def __new__(
        cls,
        matrix_or_fx: ArrayLike | None = None,
        fy: float | None = None,
        cx: float | None = None,
        cy: float | None = None,
        s: float | None = None,
    ) -> Self:
        """From a (3, 3) matrix, or from focal lengths, principal point and skew; without either, the identity.

        Raises `UsageError` for another shape.
        """
        if np.ndim(matrix_or_fx):  # type: ignore[arg-type]
            matrix = np.array(matrix_or_fx, np.float32)
        else:
            fx = 1.0 if matrix_or_fx is None else cast("float", matrix_or_fx)
            rows = [[fx, s or 0, cx or 0], [0, fx if fy is None else fy, cy or 0], [0, 0, 1]]
            matrix = np.array(rows, np.float32)
        if matrix.shape != (3, 3):
            raise UsageError(f"Intrinsics cannot be made of {matrix.shape}.", "Give (3, 3), or fx, fy, cx and cy.")
        return matrix.view(cls)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.numpy(),)

    @property
    def fx(self) -> float:
        """The horizontal focal length in pixels."""
        return float(self[0, 0])

    @property
    def fy(self) -> float:
        """The vertical focal length in pixels."""
        return float(self[1, 1])

    @property
    def cx(self) -> float:
        """The principal point's column."""
        return float(self[0, 2])

    @property
    def cy(self) -> float:
        """The principal point's row."""
        return float(self[1, 2])

    @property
    def s(self) -> float:
        """The skew."""
        return float(self[0, 1])

    def get_fovx(self, width: float) -> float:
        """The horizontal field of view in radians, of an image that wide and centred on the principal point."""
        return 2 * math.atan(width / (2 * self.fx))

    def get_fovy(self, height: float) -> float:
        """The vertical field of view in radians, of an image that high and centred on the principal point."""
        return 2 * math.atan(height / (2 * self.fy))

    def rescale(self, scale_factor: float, scale_factor_y: float | None = None, inplace: bool = True) -> Self:
        """For images resized by a factor, or by one for each axis.

        As in dreifus, the principal point is multiplied, which is right if the image begins at 0. In the benchmark
        it begins at -0.5, half a pixel before the centre of the first one: `rescale_intrinsics` is exact there.
        """
        return self._changed(rescale_intrinsics(self, scale_factor, scale_factor_y, pixel_center=0.5), inplace)

    def crop(self, crop_left: float = 0, crop_top: float = 0, inplace: bool = True) -> Self:
        """For images of which that many columns and rows were cut off at the left and the top."""
        return self._changed(crop_intrinsics(self, crop_left, crop_top), inplace)

    def homogenize(self, invert: bool = False) -> NDArray[np.float64]:
        """(4, 4) float64: the matrix, or its inverse, that can be multiplied with a pose."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.linalg.inv(self.astype(np.float64)) if invert else self
        return matrix

    def invert(self) -> NDArray[np.float32]:
        """(3, 3) float32: pixels → rays at depth 1."""
        return np.linalg.inv(self)
