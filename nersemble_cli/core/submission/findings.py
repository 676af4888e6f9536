"""What can be wrong with a submission: the table of finding codes, and the report of a check."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from nersemble_cli.core.benchmarks import FLAME_VERTEX_COUNT


class Code(NamedTuple):
    """`severity` is "error" (the server rejects it, or it spoils the score) or "warning" (worth a look)."""

    severity: str
    meaning: str
    hint: str


ERROR, WARNING = "error", "warning"
_RERENDER = "Render the frame again, or pack again if your source frames are fine."

# What the comparison with the training data and of the files with each other finds
COMPARISON_CODES: dict[str, Code] = {
    "duplicate_video": Code(
        ERROR, "Two videos of different names are equal.", "Render each camera and sequence by itself."
    ),
    "wrong_participant": Code(
        WARNING, "Another participant explains it clearly better.", "Check which participant was rendered."
    ),
    "wrong_sequence": Code(
        WARNING, "Another sequence explains the video clearly better.", "Check which sequence was rendered."
    ),
    "wrong_camera": Code(
        WARNING, "Another camera explains the video clearly better.", "Check which serial was rendered."
    ),
    "mirrored_video": Code(
        WARNING, "The video looks mirrored.", "Check the sign of the x axis in your camera convention."
    ),
    "rotated_render": Code(
        WARNING, "The frames look rotated or upside down.", "Check the sign of the y axis: OpenCV's points down."
    ),
    "wrong_framing": Code(
        WARNING,
        "The head is shifted, or larger or smaller than it should be.",
        "Render with the intrinsics of camera_params.json: cx, cy and the full resolution.",
    ),
    "time_shift": Code(
        WARNING, "The video is ahead of or behind its timesteps.", "Render timestep 0 as the first frame."
    ),
    "reversed_video": Code(WARNING, "The video runs backwards.", "Sort the frames by timestep."),
    "disordered_frames": Code(
        WARNING, "Frames are out of order, repeated or lost in the middle.", "Sort the frames by timestep."
    ),
    "swapped_channels": Code(
        WARNING, "Red and blue look swapped.", "OpenCV writes BGR: convert with cv2.COLOR_RGB2BGR before imwrite."
    ),
    "wrong_tone": Code(
        WARNING,
        "Brightness or tint differs from all training views.",
        "Save sRGB values: neither linear light nor a gamma applied twice.",
    ),
    "missing_subject": Code(
        WARNING, "The head is missing, transparent or has large holes.", "Look at the frames before you upload."
    ),
    "blurred_video": Code(
        WARNING,
        "The video is as blurred as if enlarged from a smaller render.",
        "Render at the full resolution.",
    ),
    "duplicate_mesh": Code(WARNING, "Meshes of different images are equal.", "Reconstruct each image by itself."),
    "swapped_subtasks": Code(
        WARNING,
        "A person's neutral meshes differ more than the posed ones.",
        "Check that posed and neutral are not swapped.",
    ),
    "inside_out_mesh": Code(WARNING, "The faces point inwards.", "Reverse the order of each face's vertices."),
    "mirrored_mesh": Code(WARNING, "The mesh is mirrored.", "Check the sign of the x axis."),
    "foreign_landmarks": Code(
        WARNING, "The landmarks fit another mesh better.", "Save each mesh with its own landmarks."
    ),
    "incomplete_mesh": Code(
        WARNING, "Parts of the head are missing, collapsed or torn.", "Look at the mesh: nersemble visualize mesh"
    ),
}

CODES: dict[str, Code] = {
    # The zip itself
    "not_a_zip": Code(ERROR, "The file is not a zip, or its end is missing.", "Pack it again, or copy it again."),
    "unknown_benchmark": Code(
        ERROR,
        "Nothing in the zip belongs to a submission of any of the three tasks.",
        "Name the task with --benchmark to see which files are missing.",
    ),
    "wrong_benchmark": Code(
        ERROR,
        "The zip holds a submission to another task than the one you named.",
        "Name the right task with --benchmark, or leave it out.",
    ),
    "wrapper_folder": Code(
        ERROR,
        "Everything is inside an extra folder; the rest is checked as if it were not.",
        "Zip the contents of the folder, not the folder: cd FOLDER && zip -0 -r ../out.zip .",
    ),
    "duplicate_file": Code(
        ERROR, "Two files have the same name; readers differ in which one they take.", "Keep one of them."
    ),
    "unsafe_path": Code(
        ERROR,
        "An entry of the zip has an absolute path, leads out of the folder, is a link or has no name.",
        "Zip with relative paths: 388/GLASSES/…",
    ),
    "encrypted_file": Code(ERROR, "A file in the zip is encrypted.", "Zip it without a password."),
    "unsupported_compression": Code(
        ERROR, "A file uses a compression method that Python's zipfile cannot read.", "Store it: zip -0."
    ),
    "damaged_file": Code(
        ERROR,
        "A file in the zip cannot be read, or does not match its checksum.",
        "Pack it again, or copy it again.",
    ),
    "suspicious_size": Code(
        ERROR,
        "A file's size is implausible (damage, or a zip bomb); it is not opened.",
        "Pack it again from the original files.",
    ),
    "junk_file": Code(
        WARNING,
        "An operating system or a tool left this file behind.",
        "Remove it: zip -d SUBMISSION.zip '__MACOSX/*' '*.DS_Store' 'Thumbs.db'",
    ),
    "unexpected_file": Code(
        WARNING,
        "A file is not part of the submission.",
        "Remove it, or rename it.",
    ),
    "missing_file": Code(ERROR, "A video is missing.", "Render it and pack again."),
    # Videos
    "unreadable_video": Code(
        ERROR,
        "The file cannot be opened as a video.",
        "Encode it again, and copy it only after the encoder has finished.",
    ),
    "damaged_video": Code(ERROR, "The header is fine, but frames do not decode.", "Encode it again."),
    "wrong_frame_count": Code(
        ERROR,
        "The frame count differs from the sequence's.",
        "Render every timestep once, from the first to the last.",
    ),
    "wrong_resolution": Code(
        ERROR,
        "The resolution is not the benchmark's.",
        "Render with the intrinsics of camera_params.json, unscaled.",
    ),
    "blank_frames": Code(ERROR, "Frames are one solid colour.", _RERENDER),
    "wrong_color_tags": Code(
        ERROR,
        "The video is not BT.601 in limited range, or not tagged as such; every colour would shift.",
        "Encode without colour options: ffmpeg -framerate 73 -i %05d.png -an -c:v libx264 -pix_fmt yuv420p"
        " -crf 14 out.mp4 (mono: -framerate 24.3)",
    ),
    "rotated_video": Code(
        ERROR,
        "The video tells players to rotate it, and not all of them do.",
        "Encode it without rotation metadata.",
    ),
    "wrong_fps": Code(
        WARNING,
        "The frame rate is not the benchmark's.",
        "Encode with -framerate before -i, so that ffmpeg drops no frame.",
    ),
    "wrong_container": Code(
        ERROR, "The file is a video, but not an mp4.", "Encode it to a file that ends in .mp4."
    ),
    "wrong_codec": Code(
        ERROR,
        "The video is not h264; the official reader finds no frames in some other codecs.",
        "Encode with -c:v libx264 -crf 14.",
    ),
    "wrong_pixel_format": Code(WARNING, "The pixel format is not yuv420p.", "Encode with -pix_fmt yuv420p."),
    "second_video_track": Code(WARNING, "The file has more than one video track.", "Encode with -map 0:v:0."),
    "audio_track": Code(WARNING, "The video has sound.", "Encode with -an."),
    "frozen_video": Code(
        WARNING,
        "At least half of the video is one still picture.",
        "Check that each frame is rendered at its own timestep.",
    ),
    "background_not_white": Code(
        WARNING, "The upper corners are not white, unlike the ground truth.", "Composite on white before packing."
    ),
    # Meshes
    "missing_task": Code(
        ERROR,
        "The zip has neither posed nor neutral meshes.",
        "Add mesh_posed.ply or mesh_neutral.ply (or both) for each of the 391 images.",
    ),
    "missing_mesh": Code(
        ERROR,
        "The subtask is incomplete: one of its 391 meshes is missing.",
        "Add it, or leave the whole subtask out.",
    ),
    "unreadable_mesh": Code(
        ERROR,
        "The file is not a PLY, or does not match its header.",
        "Export it again: binary PLY with triangles.",
    ),
    "empty_mesh": Code(ERROR, "The mesh has no vertices or no faces.", "Export the reconstructed surface."),
    "non_finite_vertices": Code(
        ERROR,
        "Vertices are NaN or infinite; the server drops those.",
        "Find out where the reconstruction diverged.",
    ),
    "face_index_out_of_range": Code(
        ERROR, "A face refers to a vertex that does not exist.", "Export vertices and faces of the same mesh."
    ),
    "zero_vertices": Code(
        WARNING,
        "Many vertices are exactly (0, 0, 0), as in a file that was only partly written.",
        "Export the mesh again.",
    ),
    "non_triangle_faces": Code(
        WARNING,
        "Faces are not triangles: the server's reader splits them, or fails if a file mixes both (an error).",
        "Pack the meshes with nersemble pack, which splits faces into triangles.",
    ),
    "lost_vertices": Code(
        ERROR,
        "A FLAME mesh that the server does not recognise: it does not have (or keep) 5023 vertices.",
        "Load and export with trimesh's process=False; if vertices coincide, add a (7, 3) landmark file.",
    ),
    "missing_landmarks": Code(
        ERROR,
        "A mesh without FLAME topology has no landmark file.",
        "Add landmarks_posed.npy or landmarks_neutral.npy, the 7 NoW landmarks, shape (7, 3).",
    ),
    "wrong_landmarks": Code(
        ERROR,
        "A landmark file is not a plain (7, 3) array of numbers.",
        "np.save(path, landmarks.astype('float32'))",
    ),
    "non_finite_landmarks": Code(ERROR, "Landmarks are NaN or infinite.", "Compute them from the mesh again."),
    "landmarks_off_mesh": Code(
        ERROR,
        "A landmark is far from the mesh.",
        "Landmarks are in the mesh's own space: transform them as you transformed the vertices.",
    ),
    "landmarks_mirrored": Code(
        ERROR,
        "Left and right are swapped, or the landmarks are in the wrong order.",
        "Order them: 4 eye corners from the viewer's left to right, the point below the nose, 2 mouth corners.",
    ),
    **COMPARISON_CODES,
    # Renders, before they are packed
    "unreadable_image": Code(
        ERROR, "A PNG cannot be read or does not decode.", "Render it again, or change its permissions."
    ),
    "frame_gap": Code(ERROR, "A frame number is missing.", "Render the missing timesteps."),
    "unnumbered_frame": Code(
        ERROR, "A frame's name has no number.", "Name frames by timestep: 00000.png, 00001.png, …"
    ),
    "duplicate_frame": Code(
        ERROR,
        "Two frames have the same number.",
        "Rename the frames to 00000.png, 00001.png, … by timestep, and keep one run per folder.",
    ),
    "ambiguous_order": Code(
        ERROR,
        "The names of the frames have several numbers, or numbers that can be read in two ways.",
        "Rename the frames to 00000.png, 00001.png, … by timestep, or say which number is the frame's: "
        "--pattern '{participant}/{sequence}/cam_{serial}/{frame}_*.png'",
    ),
}


@dataclass(frozen=True)
class Finding:
    """One flaw. `path` is a name in the zip or among the renders; None is the zip itself.

    `hint` and `severity` are those of the code unless given. `evidence` has the numbers behind a comparison.
    """

    code: str
    path: str | None
    message: str
    expected: Any = None
    actual: Any = None
    hint: str = ""
    severity: str = ""
    evidence: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.hint:
            object.__setattr__(self, "hint", CODES[self.code].hint)
        if not self.severity:
            object.__setattr__(self, "severity", CODES[self.code].severity)

    def as_json(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "severity": self.severity,
            "path": self.path,
            "message": self.message,
            "expected": self.expected,
            "actual": self.actual,
            "hint": self.hint,
            **({"evidence": dict(self.evidence)} if self.evidence else {}),
        }


def damaged_file(path: str, error: BaseException) -> Finding:
    """The finding that a file cannot be read to its end."""
    message = f"It cannot be read: {str(error).rstrip('.') or type(error).__name__}."
    return Finding("damaged_file", path, message, expected="readable bytes", actual=type(error).__name__)


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.severity == ERROR for finding in findings)


@dataclass(frozen=True)
class VideoReport:
    """The facts about a video. What could not be determined is None."""

    path: str
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    codec: str | None = None
    pixel_format: str | None = None
    num_frames_from_header: int | None = None
    num_frames_from_content: int | None = None
    findings: tuple[Finding, ...] = ()

    @property
    def num_frames(self) -> int | None:
        """The number of decoded frames, else what the header says."""
        if self.num_frames_from_content is not None:
            return self.num_frames_from_content
        return self.num_frames_from_header


@dataclass(frozen=True)
class MeshReport:
    """The facts about a mesh."""

    path: str
    num_vertices: int | None = None
    num_faces: int | None = None
    has_landmarks: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def is_flame(self) -> bool:
        """Whether the server takes it for a FLAME mesh."""
        return self.num_vertices == FLAME_VERTEX_COUNT


@dataclass
class Report:
    """The result of `validate_submission`.

    `checked` is "full" or "quick". `compared` says whether the submission was compared with the data in the
    benchmark folder: "full", "partly" or "skipped", and `notes` why.
    """

    submission: str
    benchmark: str | None
    checked: str
    findings: list[Finding] = field(default_factory=list)
    videos: dict[str, VideoReport] = field(default_factory=dict)
    meshes: dict[str, MeshReport] = field(default_factory=dict)
    frame_counts_from: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    compared: str = "skipped"

    def sort(self) -> None:
        """Orders the findings: errors first, then in the order of `CODES`, then by path."""
        order = list(CODES)
        self.findings.sort(key=lambda f: (f.severity != ERROR, order.index(f.code), f.path or ""))

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == ERROR]

    @property
    def warnings(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == WARNING]

    def is_valid(self, strict: bool = False) -> bool:
        """Whether there is no error, and with `strict` no warning either."""
        return not (self.findings if strict else self.errors)

    @property
    def valid(self) -> bool:
        return self.is_valid()

    def as_json(self, strict: bool = False) -> dict[str, Any]:
        return {
            "schema_version": 1,
            "submission": self.submission,
            "benchmark": self.benchmark,
            "valid": self.is_valid(strict),
            "checked": self.checked,
            "compared": self.compared,
            "frame_counts_from": list(self.frame_counts_from),
            "notes": list(self.notes),
            "findings": [finding.as_json() for finding in self.findings],
        }
