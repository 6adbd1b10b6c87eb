"""Which cell, and which of its seeds, is shipped, and why; never by what was read on test."""

from __future__ import annotations

import re
from dataclasses import dataclass

from kdsweep.config import OBJECTIVES
from kdsweep.errors import UserError
from kdsweep.package.candidates import BASELINE, Candidate, Study, Weights
from kdsweep.package.manifest import listed

BEST, MEDIAN = "best", "median"
_RANKS = {"better": 0, "equivalent": 1, "open": 1, "worse": 3}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """What is shipped."""

    candidate: Candidate
    cell_reason: str
    seed: int
    seed_reason: str

    @property
    def weights(self) -> Weights:
        """Of the chosen seed."""
        return self.candidate.weights[self.seed]


def choose(study: Study, *, cell: str, seed: str) -> Choice:
    """The cell and the seed.

    Args:
        study: with its confirmation.
        cell: ``best``, ``baseline``, or the number of a trial.
        seed: ``best`` or ``median`` by validation, or a seed's number.

    Raises:
        UserError: no such cell or seed, no weights of it any more, or only test could choose.
    """
    candidate, reason = _cell(study, cell)
    chosen, why = _seed(study, candidate, seed)
    file = candidate.weights[chosen].file
    if not file.is_file():
        left = [s for s, one in sorted(candidate.weights.items()) if one.file.is_file()]
        mend = f"seed={left[0]}" if left else "another cell="
        raise UserError(
            f"{file}: the weights of seed {chosen} are gone; of this cell there are those of "
            f"{f'seed {listed(left)}' if left else 'no seed'}: give {mend}, or put the file back"
        )
    return Choice(candidate=candidate, cell_reason=reason, seed=chosen, seed_reason=why)


def _cell(study: Study, given: str) -> tuple[Candidate, str]:
    if given in (BEST, BASELINE):
        best, reason = _best(study)
        if given == BASELINE:
            return study.baseline_of(best), "asked for by cell=baseline"
        return best, reason
    trials = sorted(trial for cell in study.cells for trial in cell.trials)
    allowed = f"best, baseline, or a complete trial of {study.name}: {listed(trials)}"
    if not re.fullmatch("[0-9]{1,9}", given):
        raise UserError(f"cell={given}: allowed is {allowed}")
    for cell in (*study.finalists, *study.cells):
        if int(given) in cell.trials:
            return cell, f"asked for by cell={given}"
    raise UserError(f"cell={given}: no such cell; allowed is {allowed}")


def _best(study: Study) -> tuple[Candidate, str]:
    """The cell that was confirmed best; else the best mean on validation.

    One that was found worse than the baseline is none of these while there is another.
    """
    if study.read_on_test and len(study.cells) > 1:
        raise UserError(
            f"study={study.name}: its cells were read on test (evaluate.protocol=published), by "
            "which none may be chosen; name one: cell=TRIAL"
        )
    sign = 1 if study.maximize else -1
    if study.finalists and not study.worst_confirmed:
        ranked = min(study.finalists, key=lambda one: (_rank(one), -sign * one.value))
        many = len(study.finalists)
        of = "the one that was confirmed"
        if many > 1:
            of = f"the best of {many} that were confirmed: by verdict, then by validation"
        return ranked, of
    harmful = {one.trials: one for one in study.finalists if one.found_worse is not None}
    cells = [harmful.get(cell.trials, cell) for cell in study.cells]
    best = min(cells, key=lambda one: (one.found_worse is not None, -sign * one.value))
    many, worse = len(cells), sum(one.found_worse is not None for one in cells)
    if many == 1:
        return best, "the only cell of the study"
    of = f"{many} cells"
    if 0 < worse < many:
        of = f"the {many - worse} of {many} cells that were not found worse than the baseline"
    return best, f"the best mean of {of} on validation, which is partly luck"


def _rank(candidate: Candidate) -> int:
    """The confirmation's verdict; of what that leaves open, the sweep's."""
    judgement = candidate.judgement
    rank = 1 if judgement is None else _RANKS[judgement.word]
    return max(rank, 2) if candidate.found_worse is not None else rank


def _seed(study: Study, candidate: Candidate, given: str) -> tuple[int, str]:
    seeds = sorted(candidate.weights)
    allowed = f"best, median, or one of {listed(seeds)}"
    if not seeds:
        raise UserError(f"seed={given}: no seed of this cell finished its training")
    if re.fullmatch("[0-9]{1,18}", given):
        if int(given) not in candidate.weights:
            raise UserError(f"seed={given}: is none of this cell's; allowed is {allowed}")
        return int(given), f"asked for by seed={given}"
    if given not in (BEST, MEDIAN):
        raise UserError(f"seed={given}: allowed is {allowed}")
    if len(seeds) == 1:
        return seeds[0], "the only seed"
    if study.read_on_test:
        raise UserError(
            f"seed={given}: this cell was read on test (evaluate.protocol=published), by which no "
            f"seed may be chosen; allowed is one of {listed(seeds)}"
        )
    ranked = sorted(seeds, key=lambda seed: _score(candidate, seed), reverse=True)
    if given == MEDIAN:
        chosen = ranked[len(ranked) // 2]
        return chosen, f"the median of {len(seeds)} seeds on validation"
    return ranked[0], (
        f"the best of {len(seeds)} seeds on validation, so its own accuracy there flatters it"
    )


def _score(candidate: Candidate, seed: int) -> float:
    """What a seed is worth on validation, more being better; of equals the first is kept."""
    record, metrics = candidate.record, candidate.weights[seed].metrics
    objective = record.objectives[0]
    if objective not in metrics:  # a cost, which all seeds share
        return metrics[f"{record.prefix}_accuracy"]
    name = objective.removeprefix(f"{record.prefix}_")
    return metrics[objective] if OBJECTIVES[name] else -metrics[objective]
