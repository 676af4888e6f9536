"""Moved: `from nersemble_cli import NVSDataset, GroupedBatchSampler`. Goes with 0.3."""

from nersemble_cli.core.data.datasets import GroupedBatchSampler as GroupedBatchSampler
from nersemble_cli.core.data.datasets import NVSDataset as NVSDataset
