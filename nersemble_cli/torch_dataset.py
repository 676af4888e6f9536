"""Moved: `from nersemble_cli import NVSDataset, GroupedBatchSampler`. Goes with 0.3."""

from nersemble_cli.core.data.datasets import NVSDataset as NVSDataset
from nersemble_cli.core.data.sampling import GroupedBatchSampler as GroupedBatchSampler
