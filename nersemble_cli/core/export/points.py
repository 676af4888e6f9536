"""The points that a training starts from: the benchmark's point cloud, thinned out."""

from __future__ import annotations

import numpy as np

from nersemble_cli.core.data.managers import NVSDataManager
from nersemble_cli.core.data.pointcloud import PointCloud
from nersemble_cli.core.errors import MissingFileError
from nersemble_cli.core.export.selection import Selection


def source_timesteps(
    selection: Selection, sequence: str, wanted: tuple[int, ...], notes: list[str]
) -> dict[int, int] | None:
    """For each `wanted` timestep the one whose point cloud is used: its own, else the nearest that was downloaded.

    None without point clouds: none are wanted, or the benchmark has none. Raises `MissingFileError` if there could
    be some but none was downloaded. What is worth knowing is added to `notes`.
    """
    data = selection.data
    if selection.request.n_points == 0:
        return None
    if not isinstance(data, NVSDataManager):
        notes.append(
            f"{selection.benchmark.name} has no point clouds, so there are no points to start from: the Inria"
            " trainer cannot do without, gsplat can with --init_type random."
        )
        return None
    here = data.list_pointclouds(sequence)
    if not here:
        hint = data.fetch_hint("pointclouds", sequence=sequence, timestep=wanted[0])
        raise MissingFileError(
            f"No point cloud of {sequence} was downloaded.", f"{hint}\nTo do without points: --points 0"
        )
    nearest = {t: min(here, key=lambda other: abs(other - t)) for t in wanted}
    others = [t for t, source in nearest.items() if t != source]
    if others:
        notes.append(
            f"{len(others)} of {len(wanted)} timesteps have no point cloud here and start from the nearest one,"
            f" such as {others[0]} from {nearest[others[0]]}."
        )
    return nearest


def load_points(selection: Selection, sequence: str, timestep: int) -> PointCloud:
    """At most `n_points` finite points of a timestep, in the world, metres; the same ones every time."""
    data = selection.data
    assert isinstance(data, NVSDataManager)
    cloud = data.load_pointcloud(sequence, timestep)
    kept = np.flatnonzero(np.isfinite(cloud.points).all(axis=1))
    n_points = selection.request.n_points
    if len(kept) > n_points:
        kept = np.sort(np.random.default_rng(0).choice(kept, n_points, replace=False))
    return PointCloud(*(part[kept] if len(part) else part for part in cloud))
