"""A result as one web page that needs nothing else, and as a video: render, truth and error side by side."""

from __future__ import annotations

import base64
import html
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nersemble_cli.core.errors import UsageError
from nersemble_cli.core.score.document import LOWER_IS_BETTER, NOTICE, Score, VideoScore, badness
from nersemble_cli.core.score.metrics import Image
from nersemble_cli.core.score.sources import Job, frames
from nersemble_cli.core.threads import NullProgress, Progress
from nersemble_cli.core.video.encode import encode_video

NAMES: Mapping[str, str] = {
    "psnr": "PSNR", "ssim": "SSIM", "ms_ssim": "MS-SSIM", "lpips": "LPIPS", "jod": "JOD", "mse": "MSE",
    "akd": "AKD", "akd_face": "AKD face", "csim": "CSIM",
}  # fmt: skip
UNITS: Mapping[str, str] = {"psnr": "dB", "akd": "px", "akd_face": "px"}
ERROR_SCALE = 0.5
"""The error map's upper end: the sum over the channels of |render - truth|, of values from 0 to 1."""
_CURVES = ("psnr", "ssim", "lpips")
_DIGITS = {"psnr": 2, "jod": 3, "mse": 6, "akd": 2, "akd_face": 2}
_CHART = (360, 110)  # of a curve's drawing area
_MARGIN = (52, 10, 12, 26)  # left, top, right, bottom
_LEGEND_STEPS = 12
_JPEG_QUALITY = 90

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
  body { margin: 0 auto; max-width: 76rem; padding: 1rem; color: #1a1a19; background: #fcfcfb;
         font: 15px/1.45 system-ui, "Segoe UI", Helvetica, Arial, sans-serif; }
  h1 { font-size: 1.5rem; margin: .2rem 0 .6rem; } h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
  h3 { font-size: 1rem; margin: 1rem 0 .3rem; overflow-wrap: anywhere; }
  .notice { border-left: 4px solid #b26a00; background: #fff6e5; padding: .6rem .8rem; margin: 0 0 .8rem; }
  .bad { border-left: 4px solid #b3261e; background: #fdecea; padding: .6rem .8rem; margin: .5rem 0; }
  .scroll { overflow-x: auto; }
  table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
  th, td { padding: .3rem .5rem; text-align: right; border-bottom: 1px solid #e3e2de; white-space: nowrap; }
  th:first-child, td:first-child { text-align: left; padding-left: 0; }
  thead th { color: #555450; font-weight: 600; } .mean td { font-weight: 600; }
  .small, figcaption, .axis { color: #63625d; font-size: .85rem; }
  .better { color: #15703a; } .worse { color: #b3261e; }
  .charts { display: flex; flex-wrap: wrap; gap: .5rem 1rem; } .charts svg { width: 23.5rem; max-width: 100%; }
  .worst { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: .5rem; margin: .3rem 0 1rem; }
  figure { margin: 0; } button.picture { all: unset; cursor: zoom-in; display: block; width: 100%; }
  button.picture:focus-visible { outline: 3px solid #2a78d6; } img { display: block; width: 100%; height: auto; }
  .scale { display: flex; height: .9rem; max-width: 24rem; } .scale span { flex: 1; }
  .ends { display: flex; justify-content: space-between; max-width: 24rem; }
  dialog { padding: 0; border: 0; background: #000d; max-width: 100vw; max-height: 100vh; width: 100vw; height:
  100vh; } dialog img { width: 100%; height: 100%; object-fit: contain; cursor: zoom-out; }
  ul { padding-left: 1.2rem; } li { overflow-wrap: anywhere; }
</style>
<h1>$title</h1>
<p class="notice">$notice</p>
$body
<dialog aria-label="Enlarged picture"><img alt=""></dialog>
<script>
  const dialog = document.querySelector("dialog"), large = dialog.querySelector("img");
  for (const button of document.querySelectorAll("button.picture")) button.onclick = () => {
    const small = button.querySelector("img");
    large.src = small.src; large.alt = small.alt; dialog.showModal();
  };
  dialog.onclick = () => dialog.close();
</script>
</html>
""")


def number(name: str, value: float | None) -> str:
    """A metric's value with as many digits as mean something; `∞` and `–` if it is infinite or missing."""
    if value is None or math.isnan(value):
        return "–"
    return "∞" if math.isinf(value) else f"{value:.{_DIGITS.get(name, 4)}f}"


def change(name: str, value: float) -> str:
    """A difference of two values of a metric, with its sign."""
    return f"{value:+.{_DIGITS.get(name, 4)}f}" if math.isfinite(value) else "–"


def error_map(render: Image, truth: Image) -> Image:
    """(H, W, 3) uint8 RGB: where two images differ, from dark blue (equal) to dark red (`ERROR_SCALE` and
    more)."""
    total = np.abs(render.astype(np.int16) - truth).sum(axis=2) / (255 * ERROR_SCALE)
    return _colors((total.clip(0, 1) * 255).round().astype(np.uint8))


def _colors(levels: NDArray[np.uint8]) -> Image:
    import cv2

    colored: Image = np.ascontiguousarray(cv2.applyColorMap(levels, cv2.COLORMAP_TURBO)[..., ::-1])
    return colored


def worst_frames(videos: Sequence[VideoScore], n: int) -> list[tuple[VideoScore, dict[str, float]]]:
    """The n worst frames of all videos, the worst one first."""
    every = [(video, row) for video in videos for row in video.frames]
    return sorted(every, key=lambda item: badness(item[1]), reverse=True)[:n]


def make_page(score: Score, jobs: Sequence[Job], n_worst: int, baseline: Score | None = None) -> str:
    """The page. Pictures of the `n_worst` worst frames are read from `jobs`; without them it has none."""
    videos = sorted(score.videos, key=lambda video: video.path)
    body = [
        _settings(score),
        *(f'<p class="bad">{html.escape(text)}</p>' for text in _problems(score)),
        "<h2>Scores</h2>",
        _table(score, videos, baseline),
        _notes(score, videos),
        "<h2>Over time</h2>",
        _curves(videos),
        _pictures(videos, jobs, n_worst),
    ]
    title = f"Scores of {score.benchmark}"
    return _PAGE.substitute(title=html.escape(title), notice=html.escape(NOTICE), body="\n".join(body))


def _settings(score: Score) -> str:
    conventions = score.conventions
    versions = ", ".join(f"{name} {version}" for name, version in conventions.get("versions", {}).items())
    codec = "PNGs as they are" if score.crf is None else f"PNGs encoded at CRF {score.crf} as for an upload"
    parts = [
        codec,
        f"batches of {conventions.get('batch')} frames",
        f"SSIM's border {conventions.get('ssim_border')}",
        *(["only inside the alpha maps, which the benchmark does not do"] if conventions.get("masked") else []),
        *(
            [f"AlexNet {conventions['lpips_weights_sha256'][:12]}…"]
            if "lpips_weights_sha256" in conventions
            else []
        ),
        versions,
    ]
    return f'<p class="small">{html.escape("; ".join(parts))}.</p>'


def _problems(score: Score) -> Iterator[str]:
    if score.incomplete:
        yield "Incomplete: the run was interrupted."
    for path, findings in sorted(score.failed.items()):
        for finding in findings:
            yield f"{path} was not scored: {finding['message']}"


def _table(score: Score, videos: Sequence[VideoScore], baseline: Score | None) -> str:
    if not videos:
        return "<p>No video was scored.</p>"
    summaries = [video.summary() for video in videos]
    names = [name for name in NAMES if any(name in batches for batches, _ in summaries)]
    before = {} if baseline is None else {v.path: v.summary()[0] for v in baseline.videos}
    unit = {name: f" ({UNITS[name]})" if name in UNITS else "" for name in names}
    arrow = {name: "↓" if name in LOWER_IS_BETTER else "↑" for name in names}
    head = "".join(f"<th>{NAMES[name]}{unit[name]} {arrow[name]}</th>" for name in names)
    rows = []
    for video, (batches, means) in zip(videos, summaries, strict=True):
        worst = video.worst()
        last = "–" if worst is None else f"{int(worst['timestep'])}"
        count = f"{len(video.frames):,}{' (incomplete)' if video.incomplete else ''}"
        old = before.get(video.path, {})
        rows.append(_row(video.path, "batches", count, names, batches, last, old))
        rows.append(_row("", "frames", "", names, means, "", {}))
    batches, means = score.mean(), score.mean(frame_means=True)
    old = {} if baseline is None else baseline.mean()
    rows.append(_row("Mean over videos", "batches", "", names, batches, "", old, "mean"))
    rows.append(_row("", "frames", "", names, means, "", {}, "mean"))
    return (
        f'<div class="scroll"><table><thead><tr><th>Video</th><th>Average</th><th>Frames</th><th>Worst</th>{head}'
        f"</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
        '<p class="small">batches: as the benchmark\'s author averages, over batches of 16 frames; frames: the'
        f" plain mean over frames.{' In brackets: the change to the baseline.' if baseline else ''}</p>"
    )


def _row(
    path: str,
    average: str,
    count: str,
    names: Sequence[str],
    values: Mapping[str, float],
    worst: str,
    old: Mapping[str, float],
    kind: str = "",
) -> str:
    cells = []
    for name in names:
        text = number(name, values.get(name))
        if name in values and name in old and math.isfinite(values[name] - old[name]):
            difference = values[name] - old[name]
            is_better = (difference < 0) == (name in LOWER_IS_BETTER)
            style = "" if difference == 0 else "better" if is_better else "worse"
            text += f' <span class="{style}">({change(name, difference)})</span>'
        cells.append(f"<td>{text}</td>")
    first = f"<td>{html.escape(path)}</td><td>{average}</td><td>{count}</td><td>{worst}</td>"
    return f'<tr class="{kind}">{first}{"".join(cells)}</tr>'


def _notes(score: Score, videos: Sequence[VideoScore]) -> str:
    notes = [*score.notes, *(note for video in videos for note in video.notes)]
    notes += [f"{NAMES.get(name, name)} is left out: {reason}" for name, reason in score.left_out.items()]
    return f"<ul>{''.join(f'<li>{html.escape(note)}</li>' for note in notes)}</ul>" if notes else ""


def _curves(videos: Sequence[VideoScore]) -> str:
    """A chart per video and metric; all charts of a metric have one scale."""
    parts = []
    ranges = {}
    for name in _CURVES:
        values = [row[name] for v in videos for row in v.frames if math.isfinite(row.get(name, math.inf))]
        if values:
            low, high = min(values), max(values)
            pad = (high - low) * 0.08 or 0.05 * abs(high) or 1.0
            ranges[name] = (low - pad, high + pad)
    for video in videos:
        charts = "".join(_chart(video, name, *ranges[name]) for name in ranges)
        parts.append(f'<h3>{html.escape(video.path)}</h3><div class="charts">{charts}</div>')
    return "".join(parts)


def _chart(video: VideoScore, name: str, low: float, high: float) -> str:
    points = [(row["timestep"], row[name]) for row in video.frames if math.isfinite(row.get(name, math.inf))]
    if not points:
        return ""
    width, height = _CHART
    left, top, right, bottom = _MARGIN
    first, last = points[0][0], points[-1][0]

    def place(t: float, value: float) -> tuple[float, float]:
        across = (t - first) / (last - first) if last > first else 0.5
        return left + across * width, top + (high - value) / (high - low) * height

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
    worst = (max if name in LOWER_IS_BETTER else min)(points, key=lambda point: point[1])
    x, y = place(*worst)
    unit = f" ({UNITS[name]})" if name in UNITS else ""
    marked = f"{number(name, worst[1])} at {int(worst[0])}"
    label = f"{NAMES[name]} of {video.path} over {len(points)} frames; worst {marked}"
    ticks = "".join(
        f'<line x1="{left}" x2="{left + width}" y1="{place(first, v)[1]:.1f}" y2="{place(first, v)[1]:.1f}"'
        f' stroke="#e3e2de"/><text x="{left - 6}" y="{place(first, v)[1] + 4:.1f}" text-anchor="end">'
        f"{number(name, v)}</text>"
        for v in (low + (high - low) * share for share in (0.1, 0.5, 0.9))
    )
    anchor = "end" if x > left + width - 90 else "start"
    text_x = x - 8 if anchor == "end" else x + 8
    base = top + height
    text_y = y - 8 if y > base - 20 else max(y + 4, top + 10)
    middle = left + width / 2
    return (
        f'<svg viewBox="0 0 {left + width + right} {base + bottom}" role="img" aria-label="{html.escape(label)}"'
        f' font-family="inherit" font-size="11" fill="#63625d"><title>{html.escape(label)}</title>{ticks}'
        f'<polyline points="{line}" fill="none" stroke="#2a78d6" stroke-width="1.6" stroke-linejoin="round"/>'
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="#b3261e"/>'
        f'<text x="{text_x:.1f}" y="{text_y:.1f}" text-anchor="{anchor}" fill="#b3261e" stroke="#fcfcfb"'
        f' stroke-width="3" paint-order="stroke">{marked}</text>'
        f'<text x="{left}" y="{base + 18}">timestep {int(first)}</text>'
        f'<text x="{left + width}" y="{base + 18}" text-anchor="end">{int(last)}</text>'
        f'<text x="{middle}" y="{base + 18}" text-anchor="middle" fill="#1a1a19">{NAMES[name]}{unit}</text>'
        "</svg>"
    )


def _data_uri(image: Image) -> str:
    import cv2

    bgr = np.ascontiguousarray(image[..., ::-1])
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    return f"data:image/jpeg;base64,{base64.b64encode(data.tobytes()).decode()}"


def _pictures(videos: Sequence[VideoScore], jobs: Sequence[Job], n_worst: int) -> str:
    """The worst frames: render, truth and error map, all error maps on one scale."""
    worst = worst_frames(videos, n_worst)
    if not worst or not jobs:
        return ""
    wanted: dict[str, list[int]] = defaultdict(list)
    for video, row in worst:
        wanted[video.path].append(int(row["timestep"]))
    shown: dict[tuple[str, int], str] = {}
    for job in jobs:
        for frame in frames(job, sorted(wanted.get(job.path, ()))):
            pictures = (
                ("render", frame.render), ("truth", frame.truth), ("error", error_map(frame.render, frame.truth))
            )  # fmt: skip
            shown[job.path, frame.timestep] = "".join(
                f'<figure><button class="picture" aria-label="Enlarge the {kind}"><img src="{_data_uri(image)}"'
                f' alt="{kind} of {html.escape(job.path)}, timestep {frame.timestep}"></button>'
                f"<figcaption>{kind}</figcaption></figure>"
                for kind, image in pictures
            )
    which = "The worst frame" if len(worst) == 1 else f"The {len(worst)} worst frames"
    parts = [f"<h2>{which}</h2>", _legend()]
    for video, row in worst:
        t = int(row["timestep"])
        values = ", ".join(f"{NAMES[name]} {number(name, row[name])}" for name in NAMES if name in row)
        parts.append(f"<h3>{html.escape(video.path)}, timestep {t}</h3>")
        parts.append(f'<p class="small">{values}</p><div class="worst">{shown.get((video.path, t), "")}</div>')
    return "".join(parts)


def _legend() -> str:
    levels = np.linspace(0, 255, _LEGEND_STEPS).round().astype(np.uint8)
    spans = "".join(f'<span style="background:rgb({r},{g},{b})"></span>' for r, g, b in _colors(levels[None])[0])
    return (
        f'<div class="scale">{spans}</div><div class="ends axis"><span>equal</span>'
        f"<span>{ERROR_SCALE} and more</span></div>"
        '<p class="small">The error is the sum over red, green and blue of the difference, each from 0 to 1. Click'
        " a picture to enlarge it.</p>"
    )


def write_video(path: Path, jobs: Sequence[Job], progress: Progress | None = None) -> None:
    """Writes render, truth and error map side by side, one video after the other.

    Raises `UsageError` if the videos are of different sizes.
    """
    progress = progress or NullProgress()
    sizes = {(job.width, job.height) for job in jobs}
    if len(sizes) != 1:
        raise UsageError("Videos of different sizes do not fit into one.", "Choose some with -p, -s and -c.")
    ((width, height),) = sizes
    even_width, even_height = 3 * width + 3 * width % 2, height + height % 2
    progress.start("Side by side", sum(len(job.timesteps) for job in jobs), "frames")

    def pictures() -> Iterator[Image]:
        for job in jobs:
            for frame in frames(job, job.timesteps):
                canvas: NDArray[Any] = np.full((even_height, even_width, 3), 255, np.uint8)
                parts = (frame.render, frame.truth, error_map(frame.render, frame.truth))
                canvas[:height, : 3 * width] = np.concatenate(parts, axis=1)
                yield canvas
                progress.advance()

    encode_video(pictures(), path, even_width, even_height, Fraction(jobs[0].fps))
