"""The stacks of several deals of folds, put together: in scores, in files, in use.

Each deal has nets, folds and a whole stack of its own: members, weights, what is
selected and the rules after it are chosen within the deal, nested as ever. So no model
that predicts a row in its deal saw the row's label, and the mean over the deals of such
predictions is scored. Nothing is chosen on that mean. A choice for fold k of one deal
would be made on the other rows, and what predicts those in another deal has learned
from labels of fold k: a choice that cannot be nested is not made. Nor are the features
averaged before they are stacked: each net has a scale of its own, and their means
would have one for each combination of nets, which no picture to predict has.

A prediction of later pictures is made of the deals in the same way.

Shapes: N scored rows, M pictures, K nets of all R deals, P columns of pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from data_prep.arrays import Floats
from data_prep.run_folders.damage import read_json
from data_prep.run_folders.runs import write_json
from data_prep.scoring.scores import FoldScores
from data_prep.user_columns import UserColumns
from stacking.ensemble.objective import Objective, ScoringData
from stacking.ensemble.predictor import FILE, Predicted, Predictor
from stacking.ensemble.score_table import Line, Scorer
from stacking.ensemble.stack import Stacked
from stacking.inputs.data import PixelColumns
from stacking.inputs.target_columns import TargetColumns
from stacking.models.stacker import Sees


def over_deals(stacks: Sequence[Stacked]) -> Stacked:
    """Average the predictions of stacks of the same rows, line by line.

    A step that is on in some deals counts in the others by what they go on with. By
    fold there are scores of the deals alone instead.

    Args:
        stacks: Of each deal, in their order.
    """
    first = stacks[0]
    if len(stacks) == 1:
        return first
    off_everywhere = [
        all(line.is_off for line in lines)
        for lines in zip(*(stack.lines for stack in stacks), strict=True)
    ]
    by_deal = [_passed_on(stack.lines, off_everywhere) for stack in stacks]
    scorer = Scorer(
        scoring=ScoringData.of(first.features.rows, first.objective),
        target_columns=first.features.target_columns,
        baseline=_mean([stack.line(first.baseline).pred for stack in stacks]),
        baseline_name=first.baseline,
    )
    averaged = []
    for number, line in enumerate(first.lines):
        of_deals = [lines[number] for lines in by_deal]
        tuned = any(of_deal.apparent_pred is not None for of_deal in of_deals)
        mean = scorer.line(
            line.name,
            _title(of_deals),
            _mean([of_deal.pred for of_deal in of_deals]),
            _mean([_apparent(of_deal) for of_deal in of_deals]) if tuned else None,
            is_off=off_everywhere[number],
        )
        scores = {k: of_deal.scores.pooled for k, of_deal in enumerate(of_deals)}
        averaged.append(
            replace(
                mean,
                scores=FoldScores(
                    pooled=mean.scores.pooled,
                    mean=float(np.mean([*scores.values()])),
                    by_fold=scores,
                ),
            )
        )
    return replace(first, lines=tuple(averaged), deals=tuple(stacks))


def _title(of_deals: Sequence[Line]) -> str:
    """Name a line, and each member that the deals selected where they differ."""
    titles = [line.title for line in of_deals]
    heads, _, names = zip(*(title.partition(": ") for title in titles), strict=True)
    if len({*titles}) == 1 or len({*heads}) > 1:
        return titles[0]
    return f"{heads[0]}: {', '.join(dict.fromkeys(names))} (by deal)"


def _passed_on(lines: Sequence[Line], off_everywhere: Sequence[bool]) -> list[Line]:
    """Put in the place of a step that is off what its deal goes on with."""
    passed: list[Line] = []
    for line, stays_off in zip(lines, off_everywhere, strict=True):
        if line.is_off and not stays_off:  # it is on in another deal
            passed.append(next(before for before in passed[::-1] if not before.is_off))
        else:
            passed.append(line)
    return passed


def _apparent(line: Line) -> Floats:
    return line.pred if line.apparent_pred is None else line.apparent_pred


def _mean(preds: Sequence[Floats]) -> Floats:
    mean: Floats = np.mean(preds, axis=0)
    return mean


@dataclass(frozen=True, kw_only=True)
class DealPredictors:
    """What each deal learned, and together predicts.

    Attributes:
        deals: Of each deal; one where folds are dealt once.
    """

    deals: tuple[Predictor, ...]

    @classmethod
    def of(cls, stacked: Stacked) -> "DealPredictors":
        """Take what the stacks of all deals learned."""
        return cls(deals=tuple(deal.predictor for deal in stacked.by_deal))

    @property
    def target_columns(self) -> TargetColumns:
        """Which columns speak of the target, the same in each deal."""
        return self.deals[0].target_columns

    @property
    def objective(self) -> Objective:
        """What was scored by."""
        return self.deals[0].objective

    @property
    def user_columns(self) -> UserColumns | None:
        """How the user's own columns are made numbers; None: there are none."""
        return self.deals[0].user_columns

    @property
    def n_nets(self) -> int:
        """How many nets each deal knows the scales of."""
        return self.deals[0].n_nets

    @property
    def sees(self) -> set[Sees]:
        """What is needed of a row."""
        return {sort for predictor in self.deals for sort in predictor.sees}

    def predict(
        self,
        nets: Sequence[Floats],
        views: Sequence[Floats] | None = None,
        *,
        pixels: PixelColumns | None = None,
        first: int = 0,
        in_fold: bool = False,
    ) -> Predicted:
        """Predict the same rows by the nets of all deals, averaged, as what was scored.

        Args:
            nets: K arrays (M, C), those of a deal together; or one, for each deal.
            views: K arrays (M, V, F), or one.
            pixels: (M, P) what needs no net, where a member sees that.
            first: See ``Predictor.average``.
            in_fold: See ``Predictor.predict_net``.
        """
        preds = [
            predictor.average(
                self._of_deal(nets, number),
                None if views is None else self._of_deal(views, number),
                pixels=pixels,
                first=first,
                in_fold=in_fold,
            )
            for number, predictor in enumerate(self.deals)
        ]
        names = [
            name for name in preds[0].averaged if all(name in p.averaged for p in preds)
        ]
        probas = [pred.proba for pred in preds if pred.proba is not None]
        together = Predicted(
            averaged={name: _mean([p.averaged[name] for p in preds]) for name in names},
            by_net=np.concatenate([pred.by_net for pred in preds]),
            proba=_mean(probas) if probas else None,
        )
        return together.ended(self.target_columns, self.objective)

    def _of_deal(self, nets: Sequence[Floats], number: int) -> Sequence[Floats]:
        """Give the nets of a deal; a single net serves each of them."""
        if len(nets) == 1:
            return nets
        n_of_deal = len(nets) // len(self.deals)
        return nets[number * n_of_deal : (number + 1) * n_of_deal]

    def save(self, folder: Path) -> None:
        """Write the models; of several deals, each into a folder of its own."""
        if len(self.deals) == 1:
            self.deals[0].save(folder)
            return
        for number, predictor in enumerate(self.deals):
            of_deal = folder / f"deal{number}"
            of_deal.mkdir(exist_ok=True)
            predictor.save(of_deal)
        write_json(folder / FILE, {"deals": len(self.deals)})

    @classmethod
    def load(cls, folder: Path) -> "DealPredictors":
        """Read what ``save`` wrote.

        Raises:
            DamagedFileError: A file is missing, cut or changed.
            UserError: An older version wrote it.
        """
        n_deals = read_json(folder / FILE).get("deals", 1)
        folders = [folder / f"deal{number}" for number in range(n_deals)]
        folders = folders if n_deals > 1 else [folder]
        return cls(deals=tuple(map(Predictor.load, folders)))
