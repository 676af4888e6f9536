"""FLAME: against smplx, against numerical gradients, and what its files may and may not hold."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from smplx.lbs import lbs
from torch import Tensor

from nersemble_cli.core.errors import InvalidInputError, MissingFileError, UsageError
from nersemble_cli.core.flame.layer import Flame, axis_angle_to_matrix
from nersemble_cli.core.flame.model import FlameModel, load_flame_model, unpickle
from nersemble_cli.core.flame.provider import FlameProvider
from nersemble_cli.core.flame.tracking import FlameTracking
from nersemble_cli.core.synthetic.benchmark import make_tracking, pose_vertices
from nersemble_cli.core.synthetic.head import make_flame_model
from tests.conftest import ROOT

N = 7


@pytest.fixture(scope="module")
def model() -> FlameModel:
    return make_flame_model()


@pytest.fixture(scope="module")
def tracking() -> FlameTracking:
    return make_tracking(393, "FREE", N)


@pytest.fixture(scope="module")
def provider(tracking: FlameTracking, model: FlameModel) -> FlameProvider:
    return FlameProvider(tracking, model)


def _random(*shape: int, scale: float = 0.5, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(scale=scale, size=shape))


def _smplx(model: FlameModel, betas: Tensor, pose: Tensor) -> Tensor:
    """The vertices by smplx's own skinning."""
    tensor = torch.from_numpy
    vertices: Tensor = lbs(
        betas,
        pose,
        tensor(model.v_template)[None],
        tensor(model.shapedirs),
        tensor(model.posedirs).reshape(-1, 36).T,
        tensor(model.joint_regressor),
        torch.tensor(model.parents),
        tensor(model.weights),
    )[0]
    return vertices


@pytest.mark.slow
def test_vertices_are_those_of_smplx(model: FlameModel) -> None:
    shape, expression = _random(5, 300), _random(5, 100, seed=1)
    rotation, neck, jaw, eyes = (_random(5, n, seed=2 + n) for n in (3, 4, 5, 6))
    neck, jaw = neck[:, :3], jaw[:, :3]
    vertices = Flame(model, torch.float64)(shape, expression, neck, jaw, eyes, rotation)
    expected = _smplx(model, torch.cat([shape, expression], 1), torch.cat([rotation, neck, jaw, eyes], 1))
    assert (vertices - expected).abs().max() < 1e-7


@pytest.mark.slow
def test_float32_is_within_a_hundredth_of_a_millimetre(model: FlameModel) -> None:
    parameters = [_random(3, n, seed=n) for n in (300, 100, 3, 3, 6)]
    exact = Flame(model, torch.float64)(*parameters)
    rounded = Flame(model)(*(p.float() for p in parameters))
    assert (rounded - exact).abs().max() < 1e-5


def test_zero_parameters_give_the_template(model: FlameModel) -> None:
    vertices = Flame(model, torch.float64)(torch.zeros(1, 300).double(), torch.zeros(1, 100).double())
    assert np.allclose(vertices[0], model.v_template)


@pytest.mark.slow
def test_one_shape_serves_a_batch(model: FlameModel) -> None:
    flame = Flame(model, torch.float64)
    shape, expression, jaw = _random(1, 300), _random(4, 100), _random(4, 3)
    together = flame(shape, expression, jaw=jaw)
    for i in range(4):
        alone = flame(shape, expression[i : i + 1], jaw=jaw[i : i + 1])
        assert torch.allclose(together[i], alone[0])


@pytest.mark.slow
def test_one_expression_serves_a_batch_of_poses(model: FlameModel) -> None:
    flame = Flame(model, torch.float64)
    shape, expression, jaw = _random(1, 300), _random(1, 100), _random(4, 3)
    assert torch.allclose(flame(shape, expression, jaw=jaw), flame(shape, expression.expand(4, -1), jaw=jaw))


@pytest.mark.slow
def test_fewer_coefficients_are_as_good_as_zeros(model: FlameModel) -> None:
    flame = Flame(model, torch.float64)
    shape, expression = _random(2, 10), _random(2, 5)
    padded = flame(torch.nn.functional.pad(shape, (0, 290)), torch.nn.functional.pad(expression, (0, 95)))
    assert torch.allclose(flame(shape, expression), padded)


def _small(model: FlameModel) -> FlameModel:
    """A model of few vertices, on which gradients can be checked one by one."""
    some = np.linspace(0, len(model.v_template) - 1, 12).astype(int)
    regressor = np.random.default_rng(0).dirichlet(np.ones(12), 5)
    return replace(
        model,
        v_template=model.v_template[some],
        shapedirs=100 * model.shapedirs[some],
        posedirs=100 * model.posedirs[some],
        weights=model.weights[some],
        joint_regressor=regressor,
    )


@pytest.mark.slow
def test_gradients_are_right_for_every_parameter(model: FlameModel) -> None:
    flame = Flame(_small(model), torch.float64)
    parameters = [_random(2, n, seed=n).requires_grad_() for n in (3, 4, 3, 3, 6, 3)]
    assert torch.autograd.gradcheck(flame, parameters)


@pytest.mark.slow
@pytest.mark.parametrize("scale", [0.0, 1e-8, 1e-3, 3.0])
def test_gradients_of_rotations_are_right_down_to_zero(scale: float) -> None:
    assert torch.autograd.gradcheck(axis_angle_to_matrix, _random(4, 3, scale=scale).requires_grad_())


@pytest.mark.slow
def test_a_zero_pose_has_finite_gradients(model: FlameModel) -> None:
    jaw = torch.zeros(1, 3, requires_grad=True)
    Flame(model)(torch.zeros(1, 300), torch.zeros(1, 100), jaw=jaw).sum().backward()
    assert jaw.grad is not None and jaw.grad.isfinite().all() and jaw.grad.abs().sum() > 0


# The provider


def test_vertices_are_those_of_plain_numpy(provider: FlameProvider, tracking: FlameTracking) -> None:
    """The made-up benchmark poses its heads without torch; images and point clouds are of those."""
    for t in (0, N - 1):
        assert np.abs(provider.get_vertices(t) - pose_vertices(tracking, t)).max() < 1e-5


@pytest.mark.slow
def test_the_rigid_motion_is_applied_outside_of_flame(
    provider: FlameProvider, tracking: FlameTracking, model: FlameModel
) -> None:
    t = 3
    parameters = (tracking.expression, tracking.neck, tracking.jaw, tracking.eyes)
    in_model = Flame(model, torch.float64)(
        torch.from_numpy(tracking.shape), *(torch.from_numpy(p[t : t + 1]) for p in parameters)
    )[0].numpy()
    turned = tracking.scale.item() * in_model @ tracking.rotation_matrices[t].T + tracking.translation[t]
    assert np.abs(provider.get_vertices(t) - turned).max() < 1e-5


def test_model_to_world_takes_points_where_vertices_are(provider: FlameProvider) -> None:
    points = torch.eye(3)
    pose = provider.get_model_to_world_transformation(2)
    moved = provider.apply_model_to_world_transformation(points, 2)
    assert np.allclose(moved, points.numpy() @ pose[:3, :3].T + pose[:3, 3], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("timesteps", "chosen"),
    [
        (slice(None), list(range(N))),
        (slice(1, 6, 2), [1, 3, 5]),
        ([4, 0, 4], [4, 0, 4]),
        (np.array([2]), [2]),
        ([], []),
    ],
)
def test_many_timesteps_at_once_are_each_of_them(
    provider: FlameProvider, timesteps: Any, chosen: list[int]
) -> None:
    vertices = provider.get_vertices(timesteps)
    assert vertices.shape == (len(chosen), 5023, 3) and vertices.dtype == np.float32
    for row, t in zip(vertices, chosen, strict=True):
        assert np.allclose(row, provider.get_vertices(t), atol=1e-6)


def test_more_timesteps_than_are_skinned_at_once(model: FlameModel) -> None:
    tracking = make_tracking(393, "FREE", 70)
    vertices = FlameProvider(tracking, model).get_vertices(slice(None))
    assert np.abs(vertices[69] - pose_vertices(tracking, 69)).max() < 1e-5


@pytest.mark.parametrize("timestep", [-1, N, [0, N]])
def test_a_timestep_that_does_not_exist_is_told_the_range(provider: FlameProvider, timestep: Any) -> None:
    with pytest.raises(UsageError, match=f"It has {N}: 0 to {N - 1}"):
        provider.get_vertices(timestep)


@pytest.mark.parametrize("timestep", [0.5, [[0, 1]], "x"])
def test_something_that_is_no_timestep_is_refused(provider: FlameProvider, timestep: Any) -> None:
    with pytest.raises(UsageError, match="not timesteps"):
        provider.get_vertices(timestep)


def test_has_mesh_knows_the_sequence(provider: FlameProvider) -> None:
    assert [provider.has_mesh(t) for t in (-1, 0, N - 1, N)] == [False, True, True, False]


def test_the_mesh_keeps_every_vertex_and_face(provider: FlameProvider, model: FlameModel) -> None:
    mesh = provider.get_mesh(1)
    assert np.array_equal(mesh.faces, model.faces)
    assert np.allclose(mesh.vertices, provider.get_vertices(1))


def test_landmarks_lie_on_the_face(provider: FlameProvider) -> None:
    landmarks, mesh = provider.get_landmarks(0), provider.get_mesh(0)
    assert landmarks.shape == (68, 3)
    nearest = np.linalg.norm(mesh.vertices[None] - landmarks[:, None], axis=-1).min(1)
    assert nearest.max() < 0.01


def test_landmarks_of_many_timesteps_are_each_of_them(provider: FlameProvider) -> None:
    together = provider.get_landmarks(slice(None))
    assert together.shape == (N, 68, 3)
    assert np.allclose(together[4], provider.get_landmarks(4), atol=1e-6)


def test_the_contour_follows_the_turn_of_the_neck(tracking: FlameTracking, model: FlameModel) -> None:
    necks = np.zeros((N, 3))
    necks[:, 1] = np.radians([0, 20, -20, 39, 60, -39, -60])
    turned = FlameProvider(replace(tracking, neck=necks), model)
    faces = turned._model.dynamic.faces  # type: ignore[union-attr]
    from nersemble_cli.core.flame.provider import _yaw_bins

    bins = _yaw_bins(necks)
    assert bins.tolist() == [0, 59, 20, 78, 78, 39, 39]
    assert len({tuple(faces[b]) for b in bins}) == 5


def test_now_landmarks_are_seven_of_the_68_in_the_benchmarks_order(provider: FlameProvider) -> None:
    seven = provider.get_now_landmarks(0)
    # Eye corners from the viewer's left to right, below the nose, mouth corners; the viewer's left is the person's
    # right, at smaller x.
    in_model = (seven - provider.get_model_to_world_transformation(0)[:3, 3]) @ (
        provider.get_model_to_world_transformation(0)[:3, :3]
    )
    x, y = in_model[:, 0], in_model[:, 1]
    assert (np.diff(x[:4]) > 0).all() and x[5] < x[4] < x[6]
    assert y[:4].min() > y[4] > y[5:].max()
    all_landmarks = provider.get_landmarks(0)
    assert np.allclose(seven, all_landmarks[17 + np.array([19, 22, 25, 28, 16, 31, 37])], atol=1e-6)


# The model's files


def test_a_model_pickled_as_flame_is_read_without_chumpy(flame_model: Path, model: FlameModel) -> None:
    assert b"chumpy.ch" in flame_model.read_bytes() and "chumpy" not in sys.modules
    loaded = load_flame_model(flame_model)
    for name in ("v_template", "shapedirs", "posedirs", "joint_regressor", "weights", "faces"):
        assert np.allclose(getattr(loaded, name), getattr(model, name), atol=1e-7), name
    assert loaded.parents == (-1, 0, 1, 1, 1)
    assert loaded.static is not None and model.static is not None
    assert np.array_equal(loaded.static.faces, model.static.faces)
    assert loaded.dynamic is not None and loaded.dynamic.barycentric.shape == (79, 17, 3)


class _Sparse:
    pass


class _Ch:
    """As chumpy's arrays do it: whatever is set marks them as dirty."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.x = state["x"]

    def __setattr__(self, name: str, value: Any) -> None:
        self._dirty_vars.add(name)
        self.__dict__[name] = value


def test_the_made_up_model_is_pickled_as_chumpy_and_numpy_1_load_it(flame_model: Path) -> None:
    asked: set[str] = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            asked.add(module)
            stand_ins = {"chumpy.ch": _Ch, "scipy.sparse.csc": _Sparse}
            return stand_ins.get(module) or super().find_class(module, name)

    for path in (flame_model, flame_model.parent / "flame_static_embedding.pkl"):
        with path.open("rb") as file:
            content = Unpickler(file, encoding="latin1").load()
            assert path != flame_model or content["v_template"].x.shape == (5023, 3)
    with (flame_model.parent / "flame_dynamic_embedding.npy").open("rb") as file:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        assert Unpickler(file, encoding="latin1").load()[()]["lmk_face_idx"].shape == (79, 17)
    assert "numpy.core.multiarray" in asked and not any(module.startswith("numpy._core") for module in asked)


def test_the_model_is_found_in_the_environment(
    flame_model: Path, tracking: FlameTracking, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NERSEMBLE_FLAME_MODEL", str(flame_model))
    assert FlameProvider(tracking).has_mesh(0)


def test_the_model_is_found_where_the_official_toolkit_looks(flame_model: Path, tracking: FlameTracking) -> None:
    place = Path.home() / ".cache" / "FLAME"
    place.mkdir(parents=True)
    (place / "flame2023.pkl").hardlink_to(flame_model)
    assert FlameProvider(tracking).has_mesh(0)


def test_without_the_model_it_is_said_where_to_get_it(tracking: FlameTracking) -> None:
    with pytest.raises(MissingFileError, match=r"(?s)No FLAME model at .*flame2023\.pkl.*flame\.is\.tue\.mpg\.de"):
        FlameProvider(tracking)


def test_without_embeddings_only_landmarks_are_missing(
    flame_model: Path, tracking: FlameTracking, tmp_path: Path
) -> None:
    alone = tmp_path / "flame2023.pkl"
    alone.hardlink_to(flame_model)
    provider = FlameProvider(tracking, alone)
    assert provider.get_vertices(0).shape == (5023, 3)
    with pytest.raises(MissingFileError, match=r"flame_static_embedding\.pkl"):
        provider.get_now_landmarks(0)
    with pytest.raises(MissingFileError, match="embedding"):
        provider.get_landmarks(0)


@pytest.fixture(scope="module")
def content(flame_model: Path) -> dict[str, Any]:
    with flame_model.open("rb") as file:
        loaded: dict[str, Any] = unpickle(file, flame_model)
    return loaded


def _save(path: Path, content: object) -> Path:
    path.write_bytes(pickle.dumps(content))
    return path


@pytest.mark.parametrize("protocol", range(6))
def test_a_model_saved_again_by_any_python_is_read(content: dict[str, Any], tmp_path: Path, protocol: int) -> None:
    small = {name: value for name, value in content.items() if name != "shapedirs"}
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(pickle.dumps(small, protocol=protocol))
    with pytest.raises(InvalidInputError, match="it lacks shapedirs"):
        load_flame_model(path)


def test_the_model_without_a_jaw_is_noticed_by_its_name(flame_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "flame2023_no_jaw.pkl"
    path.hardlink_to(flame_model)
    with pytest.raises(InvalidInputError, match="without a jaw"):
        load_flame_model(path)


def test_the_model_without_a_jaw_is_noticed_by_its_weights(content: dict[str, Any], tmp_path: Path) -> None:
    weights = content["weights"].copy()
    weights[:, 2] = 0
    with pytest.raises(InvalidInputError, match="without a jaw"):
        load_flame_model(_save(tmp_path / "flame2023.pkl", content | {"weights": weights}))


def test_another_flame_is_noticed_by_its_name(flame_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "generic_model.pkl"
    path.hardlink_to(flame_model)
    with pytest.warns(UserWarning, match="another FLAME than 2023"):
        load_flame_model(path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"v_template": np.zeros((6890, 3))}, r"v_template is \(6890, 3\), expected"),
        ({"shapedirs": np.zeros((5023, 3, 150))}, "shapedirs is"),
        ({"weights": np.full((5023, 5), np.nan)}, "weights is not finite"),
        ({"posedirs": "x"}, "posedirs is not an array"),
        ({"kintree_table": np.zeros((2, 24))}, r"kintree_table is \(2, 24\)"),
        ({"f": np.full((9976, 3), 5023)}, "f has values that are not whole numbers from 0 to 5022"),
        ({"f": np.full((9976, 3), -1)}, "f has values"),
        ({"kintree_table": np.array([[0, 4, 1, 1, 1], range(5)])}, "expected earlier joints"),
        ({"weights": np.full((5023, 5), 0.5)}, "not a share for each joint"),
        ({"f": np.full((10, 3), 5023)}, r"f is \(10, 3\)"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    content: dict[str, Any], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        load_flame_model(_save(tmp_path / "flame2023.pkl", content | change))


def test_a_list_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="not a dictionary"):
        load_flame_model(_save(tmp_path / "flame2023.pkl", [1, 2]))


class _Evil:
    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch pwned",), r"(posix|nt)\.system"),
        (eval, ("open('pwned', 'w')",), r"(builtins|__builtin__)\.eval"),
        (subprocess.check_output, (["touch", "pwned"],), r"(subprocess|commands)\.check_output"),
        (np.load, ("pwned",), r"numpy\.load"),
        (getattr, ("x", "upper"), r"(builtins|__builtin__)\.getattr"),
    ],
)
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_wants_more_is_refused_and_nothing_of_it_runs(
    tmp_path: Path, function: Callable[..., object], arguments: tuple[object, ...], name: str, protocol: int
) -> None:
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(pickle.dumps({"v_template": _Evil(function, *arguments)}, protocol=protocol))
    with pytest.raises(InvalidInputError, match=rf"(?s)would run {name}.*Nothing of it was run"):
        load_flame_model(path)
    assert not Path("pwned").exists()


def test_an_embedding_that_wants_more_is_refused(flame_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "flame2023.pkl"
    model.hardlink_to(flame_model)
    evil = np.empty((), object)
    evil[()] = {"lmk_face_idx": _Evil(os.system, "touch pwned")}
    np.save(tmp_path / "flame_dynamic_embedding.npy", evil, allow_pickle=True)
    with pytest.raises(InvalidInputError, match=r"would run (posix|nt)\.system"):
        load_flame_model(model)
    assert not Path("pwned").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x02", b"<html></html>", b"cbuiltins\nobject\n)\x81}b."])
def test_a_damaged_pickle_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"flame2023\.pkl"):
        load_flame_model(path)


def test_a_model_that_is_cut_short_is_refused(flame_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "flame2023.pkl"
    path.write_bytes(flame_model.read_bytes()[:100_000])
    with pytest.raises(InvalidInputError, match="is damaged"):
        load_flame_model(path)


def test_reconstruction_gives_nothing_but_stubs() -> None:
    hostile = b"ccopyreg\n_reconstructor\n(cnumpy\nndarray\ncbuiltins\nobject\nNtR."
    with pytest.raises(InvalidInputError, match=r"would run numpy\.ndarray"):
        unpickle(io.BytesIO(hostile), Path("x.pkl"))


def test_the_model_is_read_once(flame_model: Path) -> None:
    assert load_flame_model(flame_model) is load_flame_model(flame_model)


def test_without_torch_the_pip_command_is_told(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('no torch')")
    code = (
        "import nersemble_cli\n"
        "try:\n  nersemble_cli.FlameProvider(None)\n"
        "except nersemble_cli.NersembleError as error:\n  print(error)"
    )
    paths = os.pathsep.join([str(tmp_path), str(ROOT)])
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": paths}, capture_output=True, text=True, check=True
    )
    assert "pip install" in done.stdout and "[flame]" in done.stdout
