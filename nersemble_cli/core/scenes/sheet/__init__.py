"""The proof sheet: what a submission looks like, beside what the benchmark folder has of the same moments."""

from nersemble_cli.core.scenes.sheet.page import summary as summary
from nersemble_cli.core.scenes.sheet.write import write_sheet as write_sheet
