"""Scenes for other programs: as a trimesh scene (glTF, PLY), and as one web page that needs no network.

The page is trimesh's viewer, which carries three.js inside; a script of ours adds what glTF does not have: labels,
the background, the size of points.
"""

from __future__ import annotations

import base64
import html
import json
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.data.cameras import invert_pose, swap_opencv_opengl
from nersemble_cli.core.scenes.drawing import view_of
from nersemble_cli.core.scenes.geometry import VIEW_ANGLE

if TYPE_CHECKING:
    import pyvista as pv
    import trimesh

_FLAT = "flat"  # begins the name of a material that light does not change
_UNLIT = "KHR_materials_unlit"

_STYLE = """
<style>
  .label { position: absolute; left: 0; top: 0; pointer-events: none; white-space: nowrap; }
  .label, #caption { font: 12px Arial, Helvetica, sans-serif; }
  #caption { position: absolute; left: 12px; bottom: 10px; }
  #inset { position: absolute; left: 0; top: 0; max-height: 38%; max-width: 30%; }
</style>
"""
# `scene`, `camera`, `controls`, `renderer` and `render` are the viewer's; `camera` is there once all is loaded.
_SCRIPT = """
<script>
(function () {
  const page = $PAGE;
  const spans = page.labels.map(function (label) {
    const span = document.createElement("span");
    span.className = "label";
    span.textContent = label.text;
    span.style.color = label.color;
    span.style.fontWeight = label.bold ? "bold" : "normal";
    document.body.appendChild(span);
    return span;
  });
  function placeLabels() {
    page.labels.forEach(function (label, i) {
      const place = new THREE.Vector3(...label.position).project(camera);
      const x = (place.x + 1) / 2 * window.innerWidth, y = (1 - place.y) / 2 * window.innerHeight;
      spans[i].style.display = place.z < 1 ? "" : "none";
      spans[i].style.transform = `translate(${x}px, ${y}px) translate(-50%, -50%)`;
    });
  }
  function fit() {  // a narrow window sees as much from side to side as the picture does
    const half = Math.tan(page.angle * Math.PI / 360) * Math.max(1, page.aspect / camera.aspect);
    camera.fov = Math.atan(half) * 360 / Math.PI;
    camera.updateProjectionMatrix();
    render();
    placeLabels();
  }
  function flat(material) {
    const map = material.map;
    if (map) {  // colours go through as they are
      map.encoding = THREE.LinearEncoding;
      map.anisotropy = 8;
      map.needsUpdate = true;
    }
    return new THREE.MeshBasicMaterial({ map: map, color: material.color, side: material.side });
  }
  function begin() {
    if (typeof controls === "undefined") { window.setTimeout(begin, 20); return; }
    scene.background = new THREE.Color(page.background);
    scene.add(new THREE.AmbientLight(0xffffff, 0.35));
    tracklight.intensity = 0.65;
    scene.traverse(function (thing) {
      if (thing.isPoints) thing.material.size = page.pointSize * window.devicePixelRatio;
      else if (thing.isMesh && thing.material.name.startsWith("flat")) thing.material = flat(thing.material);
    });
    camera.up.set(...page.up);
    camera.position.set(...page.position);
    controls.target.set(...page.focus);
    controls.update();
    controls.addEventListener("change", placeLabels);
    window.addEventListener("resize", fit);
    fit();
    document.body.dataset.ready = "yes";
  }
  begin();
})();
</script>
"""


def _linear(colors: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """sRGB as linear light, which is what glTF wants of colours outside of images. Source: IEC 61966-2-1."""
    values = colors / 255
    light = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    linear: NDArray[np.uint8] = (light * 255).round().astype(np.uint8)
    return linear


def to_trimesh(plotter: pv.Plotter, linear: bool = True) -> trimesh.Scene:
    """The first view of a plotter as a scene with its camera: surfaces, images and points, under their names.

    Colours of surfaces and points are `linear`, as glTF wants them, or as they are. Text stays behind.
    """
    import trimesh

    scene = trimesh.Scene()
    for name, actor in plotter.renderers[0].actors.items():
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

    if actor.mapper.scalar_visibility and dataset.n_verts == dataset.n_cells:
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
    """The scene as one glTF 2.0 file with everything inside: JSON, or binary (GLB)."""
    from trimesh.exchange import gltf

    def mark_unlit(tree: dict[str, Any]) -> None:
        materials = [m for m in tree.get("materials", []) if m.get("name", "").startswith(_FLAT)]
        for material in materials:
            material["extensions"] = {_UNLIT: {}}
        if materials:
            tree["extensionsUsed"] = sorted({*tree.get("extensionsUsed", []), _UNLIT})

    scene = to_trimesh(plotter)
    if binary:
        data: bytes = gltf.export_glb(scene, tree_postprocessor=mark_unlit)
        return data
    files: dict[str, bytes] = gltf.export_gltf(scene, tree_postprocessor=mark_unlit, embed_buffers=True)
    return files["model.gltf"]


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


def to_html(plotter: pv.Plotter, title: str) -> str:
    """The scene as one page that turns in any browser, without network."""
    from trimesh.viewer import scene_to_html

    view = view_of(plotter)
    first = plotter.renderers[0]
    sizes = [actor.prop.point_size for name, actor in first.actors.items() if name == "points"]
    page = {
        "labels": _labels_of(plotter),
        "background": plotter.background_color.hex_rgb,
        "pointSize": max(sizes, default=2),
        "position": view.position.tolist(),
        "focus": view.focus.tolist(),
        "up": view.up.tolist(),
        "angle": VIEW_ANGLE,
        "aspect": view.width / view.height,
    }
    ink = plotter.renderers[0].actors["caption"].prop.color.hex_rgb if "caption" in first.actors else "#000000"
    caption = f'<div id="caption" style="color: {ink}">{html.escape(title)} · drag to turn, scroll to zoom</div>'
    script = _SCRIPT.replace("$PAGE", json.dumps(page).replace("</", "<\\/"))
    document = scene_to_html(to_trimesh(plotter, linear=False))
    document = document.replace(
        "<title>trimesh: threejs viewer</title>", f"<title>{html.escape(title)}</title>", 1
    )
    before, end, after = document.rpartition("</body>")
    return before + _STYLE + caption + _inset_of(plotter) + script + end + after


def _labels_of(plotter: pv.Plotter) -> list[dict[str, Any]]:
    import pyvista as pv
    from vtkmodules.vtkRenderingCore import vtkBillboardTextActor3D

    return [
        {
            "text": actor.GetInput(),
            "position": list(actor.GetPosition()),
            "color": pv.Color(actor.GetTextProperty().GetColor()).hex_rgb,
            "bold": bool(actor.GetTextProperty().GetBold()),
        }
        for actor in plotter.renderers[0].actors.values()
        if isinstance(actor, vtkBillboardTextActor3D)
    ]


def _inset_of(plotter: pv.Plotter) -> str:
    """The picture in a plotter's second view, if it has one."""
    import cv2

    for renderer in list(plotter.renderers)[1:]:
        for actor in renderer.actors.values():
            if getattr(actor, "texture", None) is not None:
                rgb = np.asarray(actor.texture.to_array())[..., :3]
                _, data = cv2.imencode(".jpg", np.ascontiguousarray(rgb[..., ::-1]))
                return f'<img id="inset" src="data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}">'
    return ""
