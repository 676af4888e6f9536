"""Scenes for other programs: as a trimesh scene (glTF, PLY), and as one web page that needs no network.

The page is trimesh's viewer, which has three.js inside; `page.js` and `page.css` add what glTF does not carry.
"""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.cameras import invert_pose, swap_opencv_opengl
from nersemble_cli.core.scenes.drawing import view_of
from nersemble_cli.core.scenes.geometry import VIEW_ANGLE

if TYPE_CHECKING:
    import pyvista as pv
    import trimesh

_HERE = Path(__file__).parent
_FLAT = "flat"  # begins the name of a material that light does not change
_NEAR = 0.01  # metres from a camera, where glTF's cameras begin to see
_UNLIT = "KHR_materials_unlit"


def _linear(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """sRGB as linear light, which glTF expects of colours outside of images. Source: IEC 61966-2-1."""
    values = colors / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear: NDArray[np.uint8] = (light * 255).round().astype(np.uint8)
    return linear


def to_trimesh(plotter: pv.Plotter, linear: bool = True) -> trimesh.Scene:
    """The first view of a plotter as a scene with its camera: surfaces, images and points, under their names.

    Colours of surfaces and points are `linear`, as glTF expects, or as they are. Text is left out.
    """
    import trimesh

    scene = trimesh.Scene()
    for name, actor in plotter.renderers[0].actors.items():
        if name == "scale bar":  # it measures only in the picture that it was made for
            continue
        dataset = getattr(getattr(actor, "mapper", None), "dataset", None)
        if dataset is not None and dataset.n_points:
            scene.add_geometry(_to_geometry(name, actor, dataset, linear), node_name=name, geom_name=name)
    view = view_of(plotter)
    world_2_cam, _ = view.as_camera()
    aspect = view.width / view.height
    scene.camera = trimesh.scene.Camera(
        resolution=(view.width, view.height), fov=(VIEW_ANGLE * aspect, VIEW_ANGLE)
    )
    scene.camera_transform = swap_opencv_opengl(invert_pose(world_2_cam), is_cam_2_world=True)
    return scene


def _to_geometry(name: str, actor: Any, dataset: pv.PolyData, linear: bool) -> Any:
    import trimesh
    from PIL import Image
    from trimesh.visual.material import PBRMaterial

    def encoded(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return _linear(colors) if linear else colors

    if name == "points":
        return trimesh.PointCloud(np.asarray(dataset.points), encoded(np.asarray(dataset.active_scalars)[:, :3]))
    surface = dataset.triangulate()
    options: dict[str, Any] = {"metallicFactor": 0.0, "roughnessFactor": 1.0, "doubleSided": False}
    if actor.prop.culling == "none":
        options["doubleSided"] = True
    kind = "lit" if actor.prop.lighting else _FLAT
    uv = surface.active_texture_coordinates
    if actor.texture is not None and uv is not None:
        picture = Image.fromarray(np.asarray(actor.texture.to_array())[..., :3])
        material = PBRMaterial(name=f"{kind} {name}", baseColorTexture=picture, **options)
    else:
        color = np.array([*actor.prop.color.int_rgb], np.uint8)
        material = PBRMaterial(
            name=f"{kind} {name}", baseColorFactor=np.append(encoded(color), np.uint8(255)), **options
        )
        uv = None
    visual = trimesh.visual.TextureVisuals(uv=None if uv is None else np.asarray(uv), material=material)
    mesh = trimesh.Trimesh(
        np.asarray(surface.points), surface.regular_faces, visual=visual, process=False, validate=False
    )
    if kind != _FLAT:
        _ = mesh.vertex_normals  # once they are known they are exported, and the surface looks smooth
    return mesh


def to_gltf(plotter: pv.Plotter, binary: bool) -> bytes:
    """The scene as one glTF 2.0 file with everything inside: JSON, or binary (GLB).

    Each calibrated camera is a camera node that sees what the camera sees, but for the principal point, which glTF
    puts into the middle of the image.
    """
    from trimesh.exchange import gltf

    def finish(tree: dict[str, Any]) -> None:
        materials = [m for m in tree.get("materials", []) if m.get("name", "").startswith(_FLAT)]
        for material in materials:
            material["extensions"] = {_UNLIT: {}}
        if materials:
            tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), _UNLIT})
        for name, pose, angle, aspect in _cameras_of(plotter):
            perspective = {"yfov": angle, "aspectRatio": aspect, "znear": _NEAR}
            tree["cameras"].append({"name": name, "type": "perspective", "perspective": perspective})
            camera = len(tree["cameras"]) - 1
            tree["nodes"].append({"name": name, "camera": camera, "matrix": pose.T.reshape(-1).tolist()})
            tree["scenes"][0]["nodes"].append(len(tree["nodes"]) - 1)

    scene = to_trimesh(plotter)
    if binary:
        data: bytes = gltf.export_glb(scene, tree_postprocessor=finish)
        return data
    files: dict[str, bytes] = gltf.export_gltf(scene, tree_postprocessor=finish, embed_buffers=True)
    return files["model.gltf"]


def _cameras_of(plotter: pv.Plotter) -> Iterator[tuple[str, NDArray[np.float64], float, float]]:
    """The calibrated cameras of a scene: name, (4, 4) cam_2_world with OpenGL's axes, vertical field of view in
    radians, and width by height."""
    for name, actor in plotter.renderers[0].actors.items():
        if name.startswith("frustum "):
            data = actor.mapper.dataset.field_data
            height, width = (float(side) for side in data["size"])
            k = np.asarray(data["intrinsics"], np.float64)
            pose = invert_pose(np.asarray(data["world_2_cam"], np.float64))
            angle = 2 * np.arctan(height / 2 / k[1, 1])
            aspect = width / k[0, 0] / (height / k[1, 1])
            yield (
                name.replace("frustum", "camera"), swap_opencv_opengl(pose, is_cam_2_world=True),
                float(angle), float(aspect),
            )  # fmt: skip


def to_ply(plotter: pv.Plotter) -> bytes:
    """Surfaces and points of the scene as one binary PLY of coloured vertices; images are left out."""
    import trimesh

    vertices, colors, faces, n = [], [], [], 0
    for geometry in to_trimesh(plotter, linear=False).geometry.values():
        if isinstance(geometry, trimesh.PointCloud):
            color = np.asarray(geometry.colors)[:, :3]
        elif geometry.visual.material.baseColorTexture is None:
            color = np.tile(geometry.visual.material.baseColorFactor[:3], (len(geometry.vertices), 1))
            faces.append(geometry.faces + n)
        else:
            continue
        vertices.append(geometry.vertices)
        colors.append(color)
        n += len(geometry.vertices)
    mesh = trimesh.Trimesh(
        np.concatenate(vertices), np.concatenate(faces) if faces else np.empty((0, 3), int),
        vertex_colors=np.concatenate(colors), process=False, validate=False,
    )  # fmt: skip
    return cast(bytes, mesh.export(file_type="ply", vertex_normal=False))


def to_html(plotter: pv.Plotter, title: str, unit: str = "m") -> str:
    """The scene, in which lengths have a `unit`, as one page that any browser shows without network."""
    from trimesh.viewer import scene_to_html

    view = view_of(plotter)
    actors = plotter.renderers[0].actors
    radii = [actor.mapper.dataset["radius"] for name, actor in actors.items() if name == "points"]
    distance = float(np.linalg.norm(view.position - view.focus))
    page = {
        "title": title,
        "labels": _labels_of(plotter),
        "legend": [_text_of(actor) for name, actor in actors.items() if name.startswith("legend")],
        "ink": _text_of(actors["caption"])["color"] if "caption" in actors else "#000000",
        "unit": unit,
        "background": plotter.background_color.hex_rgb,
        "pointSize": 2 * float(np.percentile(radii[0], 90)) if radii else 0,
        "position": view.position.tolist(),
        "focus": view.focus.tolist(),
        "up": view.up.tolist(),
        "nearest": 0.02 * distance,
        "farthest": 20 * distance,
        "angle": VIEW_ANGLE,
        "aspect": view.width / view.height,
        "inset": _inset_of(plotter),
    }
    data = json.dumps(page).replace("<", "\\u003c")  # no text of a label can end the script
    document = scene_to_html(to_trimesh(plotter, linear=False))
    document = document.replace(
        "<title>trimesh: threejs viewer</title>", f"<title>{html.escape(title)}</title>", 1
    )
    before, end, after = document.rpartition("</body>")
    style, script = ((_HERE / name).read_text("utf-8") for name in ("page.css", "page.js"))
    added = (
        f"<style>\n{style}</style>\n"
        f'<script type="application/json" id="page-data">{data}</script>\n<script>\n{script}</script>\n'
    )
    return before + added + end + after


def _labels_of(plotter: pv.Plotter) -> list[dict[str, Any]]:
    """The texts that stand at a place in the world; not that of the scale bar, which belongs to the picture."""
    from vtkmodules.vtkRenderingCore import vtkBillboardTextActor3D

    return [
        {**_text_of(actor), "position": list(actor.GetPosition())}
        for name, actor in plotter.renderers[0].actors.items()
        if isinstance(actor, vtkBillboardTextActor3D) and name != "label scale bar"
    ]


def _text_of(actor: Any) -> dict[str, Any]:
    import pyvista as pv

    style = actor.GetTextProperty()
    return {
        "text": actor.GetInput(),
        "color": pv.Color(style.GetColor()).hex_rgb,
        "bold": bool(style.GetBold()),
    }


def _inset_of(plotter: pv.Plotter) -> str | None:
    """The picture in a plotter's second view as a data URL, if it has one."""
    import cv2

    for renderer in list(plotter.renderers)[1:]:
        for actor in renderer.actors.values():
            if getattr(actor, "texture", None) is not None:
                rgb = np.asarray(actor.texture.to_array())[..., :3]
                _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]))
                return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"
    return None
