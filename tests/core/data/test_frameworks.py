"""The sampler under Accelerate and Lightning, which would like to put their own in its place: two real processes."""

from __future__ import annotations

import json
import os
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch.utils.data import DataLoader, Dataset

from nersemble_cli import GroupedBatchSampler

pytestmark = pytest.mark.slow

Epochs = list[list[list[int]]]
N = 74


class Numbers(Dataset[int]):
    """Two videos with a key frame every 10 frames, whose images are their indices."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> int:
        return index

    def key_frame_groups(self) -> list[list[list[int]]]:
        videos = [range(33), range(33, N)]
        return [[list(video[i : i + 10]) for i in range(0, len(video), 10)] for video in videos]


def run_twice(function: Any, place: Path, *arguments: Any) -> tuple[Epochs, Epochs]:
    """What two processes read, by epoch and batch."""
    torch.multiprocessing.spawn(function, (place, *arguments), nprocs=2)
    first, second = (json.loads((place / f"{rank}.json").read_text()) for rank in range(2))
    return first, second


def check_shared(first: Epochs, second: Epochs) -> None:
    for own, other in zip(first, second, strict=True):
        assert len(own) == len(other)
        assert sorted(chain(*own, *other)) == list(range(N))
    assert len({json.dumps(epoch) for epoch in first}) == len(first)  # another order in each epoch


def accelerate(rank: int, place: Path, is_prepared: bool) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{place}/group", rank=rank, world_size=2)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True)
    dataset = Numbers()
    deals = {"rank": 0, "num_replicas": 1} if is_prepared else {}
    loader: Any = DataLoader(dataset, batch_sampler=GroupedBatchSampler(dataset, 5, **deals))
    if is_prepared:
        loader = accelerator.prepare(loader)
    epochs = [[batch.tolist() for batch in loader] for _ in range(3)]
    (place / f"{rank}.json").write_text(json.dumps(epochs))
    accelerator.end_training()


@pytest.mark.parametrize("is_prepared", [True, False])
def test_accelerate_shares_everything_once_an_epoch(tmp_path: Path, is_prepared: bool) -> None:
    pytest.importorskip("accelerate")
    check_shared(*run_twice(accelerate, tmp_path, is_prepared))


def lightning(place: Path, first_epoch: int = 0, **options: Any) -> tuple[Epochs, Epochs]:
    """Trains up to epoch 2 in two processes, with a loader that was made before there were two."""
    import pytorch_lightning

    class Model(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.seen: Epochs = []

        def training_step(self, batch: torch.Tensor, index: int) -> torch.Tensor:
            self.seen += [[]] * (index == 0)
            self.seen[-1] = [*self.seen[-1], batch.tolist()]
            return self.weight.sum()

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), 0.0)

        def on_train_end(self) -> None:
            (place / f"{self.global_rank}.json").write_text(json.dumps(self.seen))

    dataset = Numbers()
    loader = DataLoader(dataset, batch_sampler=GroupedBatchSampler(dataset, 5))
    trainer = pytorch_lightning.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=3, logger=False,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    trainer.fit_loop.epoch_progress.current.processed = first_epoch  # as a checkpoint does
    trainer.fit(Model(), loader)
    first, second = (json.loads((place / f"{rank}.json").read_text()) for rank in range(2))
    return first, second


@pytest.mark.filterwarnings("ignore")  # Lightning's own advice
def test_lightning_shares_everything_once_an_epoch(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    epochs, others = lightning(tmp_path, use_distributed_sampler=False)
    check_shared(epochs, others)
    resumed, _ = lightning(tmp_path, 2, use_distributed_sampler=False)
    assert resumed == epochs[2:]


@pytest.mark.filterwarnings("ignore")
def test_lightning_says_what_to_do_if_it_may_not_replace_the_sampler(tmp_path: Path) -> None:
    pytest.importorskip("pytorch_lightning")
    with pytest.raises(Exception, match="use_distributed_sampler=False"):
        lightning(tmp_path)
