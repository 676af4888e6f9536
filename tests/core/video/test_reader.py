"""The video reader: the right frame, whatever was read before, in threads and in forked processes."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from nersemble_cli.core.errors import InvalidInputError, UsageError
from nersemble_cli.core.video import reader as frames
from nersemble_cli.core.video.encode import encode_video, find_ffmpeg
from nersemble_cli.core.video.pixels import to_rgb
from nersemble_cli.core.video.reader import VideoReader, borrow_reader, close_readers

N = 300  # more than one interval of default key frames
H, W = 54, 70


def _pictures(n: int) -> list[NDArray[np.uint8]]:
    """Noise that moves, so that frames refer to each other in every way."""
    rng = np.random.default_rng(0)
    ground = rng.integers(0, 256, (H + n, W + 40, 3), dtype=np.uint8)
    return [ground[t // 3 : t // 3 + H, (t * 7) % 40 : (t * 7) % 40 + W] for t in range(n)]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "cam.mp4"
    encode_video(_pictures(N), path, W, H, Fraction(73))
    return path


def _by_ffmpeg(path: Path) -> NDArray[np.uint8]:
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, H, W, 3)


@pytest.fixture(scope="module")
def expected(video: Path) -> NDArray[np.uint8]:
    """Every frame as ffmpeg decodes it."""
    return _by_ffmpeg(video)


@pytest.fixture
def reader(video: Path) -> VideoReader:
    return VideoReader(video)


def test_the_number_of_frames_is_that_of_the_header(reader: VideoReader) -> None:
    assert reader.n_frames == N


def test_the_video_has_more_than_one_key_frame_so_that_seeking_is_tested(reader: VideoReader) -> None:
    assert len(reader.index.keys) > 1


def test_frames_in_turn_are_pixel_equal_to_ffmpeg(reader: VideoReader, expected: NDArray[np.uint8]) -> None:
    for number in range(N):
        assert np.array_equal(reader.rgb(number), expected[number]), number


@pytest.mark.slow
def test_frames_at_random_are_pixel_equal_to_ffmpeg(reader: VideoReader, expected: NDArray[np.uint8]) -> None:
    rng = random.Random(0)
    for number in [*rng.choices(range(N), k=60), 0, N - 1, 0]:
        assert np.array_equal(reader.rgb(number), expected[number]), number


@pytest.mark.slow
@pytest.mark.parametrize("step", [2, 3, 10, 100])
def test_every_nth_frame_is_pixel_equal_to_ffmpeg(
    reader: VideoReader, expected: NDArray[np.uint8], step: int
) -> None:
    for number in range(1, N, step):
        assert np.array_equal(to_rgb(reader.frame(number, step)), expected[number]), number


@pytest.mark.slow
def test_steps_and_single_frames_may_be_mixed(reader: VideoReader, expected: NDArray[np.uint8]) -> None:
    rng = random.Random(1)
    for _ in range(40):
        start, step = rng.randrange(N), rng.choice([1, 2, 4, 7])
        for number in range(start, min(N, start + 3 * step), step):
            assert np.array_equal(to_rgb(reader.frame(number, step)), expected[number]), (number, step)


def test_the_next_frame_is_reached_without_a_seek(reader: VideoReader, monkeypatch: pytest.MonkeyPatch) -> None:
    reader.frame(100)
    monkeypatch.setattr(reader._decoder, "_seek", lambda number: pytest.fail(f"seek for {number}"))
    for number in range(101, 140):
        reader.frame(number)


def test_the_same_frame_again_is_not_decoded_again(reader: VideoReader) -> None:
    assert reader.frame(7) is reader.frame(7)


def test_unreferenced_frames_on_the_way_are_not_decoded(reader: VideoReader) -> None:
    came = []
    decoder = reader._open()
    decode = decoder._decode

    def counting():  # type: ignore[no-untyped-def]
        for number, frame in decode():
            came.append(number)
            yield number, frame

    decoder._decode = counting  # type: ignore[method-assign]
    reader.frame(200)
    assert len(came) < 150


def test_a_scaled_frame_is_a_smaller_picture_of_the_same(reader: VideoReader, expected: NDArray[np.uint8]) -> None:
    small = to_rgb(reader.frame(5), scale=0.5)
    means = expected[5].reshape(H // 2, 2, W // 2, 2, 3).mean((1, 3))
    assert small.shape == (H // 2, W // 2, 3)
    assert np.abs(small - means).mean() < 12  # another frame of this noise is 50 away; colours are coarser


def test_frames_at_uneven_times_are_numbered_in_order(video: Path, tmp_path: Path) -> None:
    uneven = tmp_path / "uneven.mp4"
    drop = ["-vf", "select='not(between(n,20,27))'", "-fps_mode", "vfr", "-c:v", "libx264", "-pix_fmt", "yuv420p"]
    command = [find_ffmpeg(), "-v", "error", "-t", "1", "-i", str(video), *drop, "-g", "15", str(uneven)]
    subprocess.run(command, check=True)
    reference = _by_ffmpeg_passthrough(uneven)
    reader = VideoReader(uneven)
    assert reader.n_frames == len(reference)
    for number in (30, 3, 21, 19, 20, len(reference) - 1):
        assert np.array_equal(reader.rgb(number), reference[number]), number


def _by_ffmpeg_passthrough(path: Path) -> NDArray[np.uint8]:
    options = ["-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [find_ffmpeg(), "-v", "error", "-i", str(path), *options]
    raw = subprocess.run(command, check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, H, W, 3)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [["-output_ts_offset", "3"], ["-movflags", "negative_cts_offsets"], ["-ss", "1.5"], ["-f", "matroska"]],
)
def test_a_video_that_does_not_begin_at_zero_has_the_same_frames(
    video: Path, tmp_path: Path, options: list[str]
) -> None:
    moved = tmp_path / "moved.mp4"
    before = options if options[0] == "-ss" else []
    after = [] if before else options
    command = [find_ffmpeg(), "-v", "error", *before, "-i", str(video), "-c", "copy", *after, str(moved)]
    subprocess.run(command, check=True)
    reference = _by_ffmpeg_passthrough(moved)
    reader = VideoReader(moved)
    assert reader.n_frames == len(reference)
    for number in (5, len(reference) - 1, 0, 100):
        assert np.array_equal(reader.rgb(number), reference[number]), number


@pytest.mark.parametrize("number", [-1, N])
def test_a_number_beyond_the_end_is_told_the_range(reader: VideoReader, number: int) -> None:
    with pytest.raises(UsageError, match=rf"no frame {number}\.\n.*0 to {N - 1}"):
        reader.frame(number)


def test_a_video_that_is_cut_short_is_said_to_be_damaged(video: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video.read_bytes()[:5000])
    with pytest.raises(InvalidInputError, match="not a readable video"):
        VideoReader(cut).frame(0)


def _front_indexed(video: Path, target: Path) -> bytes:
    """The same video with its index before its data, so that the data can be cut short."""
    command = [
        find_ffmpeg(),
        "-v",
        "error",
        "-i",
        str(video),
        "-c",
        "copy",
        "-movflags",
        "+faststart",
        str(target),
    ]
    subprocess.run(command, check=True)
    return target.read_bytes()


def test_a_video_whose_data_ends_early_gives_the_frames_that_are_there(
    video: Path, expected: NDArray[np.uint8], tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    data = _front_indexed(video, cut)
    cut.write_bytes(data[: len(data) // 2])
    reader = VideoReader(cut)
    assert np.array_equal(reader.rgb(10), expected[10])
    with pytest.raises(InvalidInputError, match=r"frame 290.*\n.*--verify"):
        reader.rgb(290)
    assert np.array_equal(reader.rgb(10), expected[10])


def test_damaged_data_is_an_error_and_no_patched_up_frame(video: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mp4"
    data = bytearray(_front_indexed(video, damaged))
    middle = len(data) // 2
    data[middle : middle + 4000] = random.Random(0).randbytes(4000)
    damaged.write_bytes(data)
    reader = VideoReader(damaged)
    with pytest.raises(InvalidInputError, match="--verify"):
        for number in range(N):
            reader.frame(number)


def test_a_file_that_is_no_video_is_said_so(tmp_path: Path) -> None:
    page = tmp_path / "cam.mp4"
    page.write_text("<html>not found</html>")
    with pytest.raises(InvalidInputError, match="not a readable video"):
        VideoReader(page).frame(0)


def test_borrowed_readers_come_back_with_their_position(video: Path) -> None:
    close_readers()
    with borrow_reader(video) as first:
        first.frame(40)
    with borrow_reader(video) as second:
        assert second is first


def test_two_users_of_a_video_have_two_readers(video: Path) -> None:
    with borrow_reader(video) as first, borrow_reader(video) as second:
        assert second is not first


def test_the_reader_that_is_nearest_is_taken(video: Path) -> None:
    close_readers()
    with borrow_reader(video) as early, borrow_reader(video) as late:
        early.frame(10)
        late.frame(200)
    with borrow_reader(video, 11) as reader:
        assert reader is early
    with borrow_reader(video, 201) as reader:
        assert reader is late


def test_a_file_that_has_changed_is_opened_anew(video: Path, tmp_path: Path) -> None:
    path = tmp_path / "cam.mp4"
    path.write_bytes(video.read_bytes())
    with borrow_reader(path) as reader:
        assert reader.n_frames == N
    encode_video(_pictures(4), path, W, H, Fraction(73))
    with borrow_reader(path) as reader:
        assert reader.n_frames == 4


def test_idle_decoders_are_bounded(video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    close_readers()
    monkeypatch.setattr(frames, "MAX_IDLE", 2)
    used = []
    for i in range(4):
        copy = tmp_path / f"{i}.mp4"
        copy.hardlink_to(video)
        with borrow_reader(copy) as reader:
            reader.frame(0)
            used.append(reader)
    assert [reader.is_open for reader in used] == [False, False, True, True]


def test_many_threads_get_their_own_frames(video: Path, expected: NDArray[np.uint8]) -> None:
    def read(seed: int) -> bool:
        rng = random.Random(seed)
        for _ in range(6):
            number = rng.randrange(N)
            with borrow_reader(video, number) as reader:
                if not np.array_equal(reader.rgb(number), expected[number]):
                    return False
        return True

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(read, range(12)))


def _cut(video: Path, path: Path, *options: str) -> Path:
    """The video in a new container, not encoded again."""
    command = [find_ffmpeg(), "-v", "error", "-i", str(video), "-c", "copy", *options, str(path)]
    subprocess.run(command, check=True)
    return path


@pytest.mark.slow
@pytest.mark.parametrize("seconds", ["0.3", "0.5", "1", "2.05", "3.9"])
def test_a_trimmed_video_has_every_frame(video: Path, tmp_path: Path, seconds: str) -> None:
    """Its decoding times are even, but the last frames before the cut were shown later."""
    trimmed = _cut(video, tmp_path / "trimmed.mp4", "-t", seconds)
    reference = _by_ffmpeg_passthrough(trimmed)
    reader = VideoReader(trimmed)
    assert reader.n_frames == len(reference)
    for number in reversed(range(len(reference))):
        assert np.array_equal(reader.rgb(number), reference[number]), number


def test_trimmed_videos_that_were_joined_have_every_frame(video: Path, tmp_path: Path) -> None:
    _cut(video, tmp_path / "part.mp4", "-t", "0.5")
    (tmp_path / "list.txt").write_text("file part.mp4\n" * 3)
    joined = tmp_path / "joined.mp4"
    command = [find_ffmpeg(), "-v", "error", "-f", "concat", "-i", str(tmp_path / "list.txt"), "-c", "copy"]
    subprocess.run([*command, str(joined)], check=True)
    reference = _by_ffmpeg_passthrough(joined)
    reader = VideoReader(joined)
    assert reader.n_frames == len(reference)
    for number in range(len(reference)):
        assert np.array_equal(reader.rgb(number), reference[number]), number


def test_the_index_of_an_ordinary_video_takes_no_look_at_all_packets(
    reader: VideoReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    packets = frames._packets

    def counting(*arguments):  # type: ignore[no-untyped-def]
        for packet in packets(*arguments):
            read.append(packet)
            yield packet

    monkeypatch.setattr(frames, "_packets", counting)
    assert reader.n_frames == N
    assert len(read) < 50


@pytest.mark.parametrize(
    "name", ["2024-05-01T12:30/cam.mp4", "-x.mp4", "file:cam.mp4", "pipe:0", "concat:cam.mp4"]
)
def test_any_file_name_will_do(
    video: Path, expected: NDArray[np.uint8], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).hardlink_to(video)
    assert np.array_equal(VideoReader(Path(name)).rgb(3), expected[3])
    encode_video(_pictures(4), Path(f"{name}.mp4"), W, H, Fraction(73))
    assert VideoReader(Path(f"{name}.mp4")).n_frames == 4


def test_tags_of_any_encoding_are_no_matter(video: Path, tmp_path: Path) -> None:
    tagged = _cut(video, tmp_path / "tagged.mp4", "-metadata", "title=XXXXXXXX")
    tagged.write_bytes(tagged.read_bytes().replace(b"XXXXXXXX", b"\xff\xfe\xfd\xfc" * 2))
    assert VideoReader(tagged).n_frames == N


def test_a_playlist_is_not_followed(tmp_path: Path, unused_server: str) -> None:
    playlist = tmp_path / "cam.mp4"
    playlist.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{unused_server}/a.ts\n#EXT-X-ENDLIST\n")
    with pytest.raises(InvalidInputError):
        VideoReader(playlist).frame(0)


@pytest.fixture
def unused_server() -> Iterator[str]:
    """The URL of a server, and a failure if anybody connects to it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def _child(path: Path, numbers: list[int], answers: multiprocessing.SimpleQueue[list[int]]) -> None:
    sums = []
    for number in numbers:
        with borrow_reader(path, number) as reader:
            sums.append(int(reader.rgb(number).sum(dtype=np.int64)))
    answers.put(sums)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_reads_on_its_own(video: Path, expected: NDArray[np.uint8]) -> None:
    numbers = [41, 42, 280, 3]
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    with borrow_reader(video) as held:  # in use while the process forks, as in a loop over `iter_images`
        held.frame(40)
        with borrow_reader(video) as idle:
            idle.frame(40)
        # Another thread may hold the pool's lock at that moment.
        process = context.Process(target=_child, args=(video, numbers, answers))
        holder = threading.Thread(target=_fork_while_locked, args=(process,))
        holder.start()
        holder.join()
        assert _status(process) == 0
        assert answers.get() == [int(expected[n].sum(dtype=np.int64)) for n in numbers]
        assert np.array_equal(held.rgb(41), expected[41])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_decoder_that_was_garbage_does_not_hold_a_forked_process(video: Path) -> None:
    container = av.open(str(video))
    container.streams.video[0].thread_type = "AUTO"
    frames = container.decode(video=0)
    next(frames)
    garbage = [container, frames]
    garbage.append(garbage)  # type: ignore[arg-type]
    gc.disable()
    try:
        del container, frames, garbage
        process = multiprocessing.get_context("fork").Process(target=gc.collect)
        process.start()
    finally:
        gc.enable()
    assert _status(process) == 0


def _status(process: multiprocessing.process.BaseProcess) -> int | None:
    """The exit status of a process; None if it does not end, so that it must not be waited for at the end either."""
    process.join(20)
    status = process.exitcode
    process.kill()
    return status


def _fork_while_locked(process: multiprocessing.process.BaseProcess) -> None:
    with frames._POOL.lock:
        process.start()


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("scale", [None, 0.5])
def test_a_process_forked_by_another_thread_ends(video: Path, scale: float | None) -> None:
    """Its first thread's memory goes when it is gone, what converts frames included."""
    with borrow_reader(video) as reader:
        to_rgb(reader.frame(0), scale)
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=_child, args=(video, [5], answers))
    thread = threading.Thread(target=process.start)
    thread.start()
    thread.join()
    assert _status(process) == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_ends_although_the_parent_had_decoder_threads(video: Path) -> None:
    with borrow_reader(video) as reader:
        reader.frame(0)
        VideoReader(video).frame(0)  # gone before the fork, but its memory may not be
        child = os.fork()
        if child == 0:
            status = 1
            signal.alarm(20)  # the default action ends a process that hangs
            try:
                gc.collect()
                reader.frame(5)
                close_readers()
                status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
