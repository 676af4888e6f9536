"""From what is wrong with single files to findings that a person can read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nersemble_cli.core.submission.compare.mesh_signals import MeshSignal
from nersemble_cli.core.submission.findings import Finding

ENOUGH = 20  # meshes from which something can be said of what is usual
FEW = 5  # meshes or people of which a median can be trusted
RULE = 0.9  # the share of meshes that makes something the rule
ONE_BY_ONE = 10  # findings of one kind; if there are more, they become one


class Case(NamedTuple):
    """What is wrong with a file, None for the submission as a whole, and perhaps with `others`."""

    path: str | None
    message: str
    evidence: Mapping[str, float]
    others: Sequence[str] = ()


class Cases:
    """Turns cases into findings.

    A file has one, though it may be wrong in several ways; files that are wrong in the same way share one if they
    are many.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._known: set[str] = set()
        self.findings: list[Finding] = []

    def add(self, code: str, cases: Sequence[Case]) -> None:
        cases = [case for case in cases if case.path is None or case.path not in self._known]
        for case in cases:
            self._known.update((case.path or "", *case.others))
        if len(cases) <= ONE_BY_ONE:
            self.findings += [Finding(code, case.path, case.message, evidence=case.evidence) for case in cases]
            return
        message = f"This concerns {len(cases)} files. The first is {cases[0].path}: {cases[0].message}"
        evidence = {"files": len(cases), "of": self._total, **cases[0].evidence}
        paths = [case.path for case in cases]
        self.findings.append(Finding(code, None, message, actual=paths, evidence=evidence))

    def unknown(self, signals: Sequence[MeshSignal]) -> list[MeshSignal]:
        """Those of which nothing was told."""
        return [signal for signal in signals if signal.slot.path not in self._known]
