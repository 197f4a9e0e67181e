"""Choosing on the mean of several nets a row, as a benchmark shows it."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import averaged_nets
from data_prep.errors import UserError
from tests.stacking.conftest import FakeRun


def test_members_are_averaged_and_chosen_anew(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folders = [
        FakeRun(net_seed=seed).write(tmp_path / f"seed{seed}") for seed in (1, 2)
    ]
    fitted = {folder: averaged_nets.stack_of(folder) for folder in folders}
    stacks = [stacked for _, stacked in fitted.values()]
    means = averaged_nets.mean_of_members(stacks)
    assert not {"blend", "weighted", "constant"} & set(means)
    assert list(means) == [name for name in stacks[0].members if name in means]
    for number in ("oof_pred", "inner_oof"):
        of_runs = [getattr(s.members["ridge"].fit, number) for s in stacks]
        mean = getattr(means["ridge"].fit, number)
        np.testing.assert_allclose(mean, (of_runs[0] + of_runs[1]) / 2)

    monkeypatch.setattr("sys.argv", ["averaged_nets", *map(str, folders)])
    monkeypatch.setattr(averaged_nets, "stack_of", fitted.__getitem__)  # once is enough
    averaged_nets.main()
    out = capsys.readouterr().out
    alone = [
        float(score) for score in out.split("alone: ")[1].splitlines()[0].split(",")
    ]
    averaged = float(out.split("its own choice | ")[1].split(" ")[0])
    assert averaged < min(alone)
    mean_pred = (stacks[0].final.pred + stacks[1].final.pred) / 2
    y_true = stacks[0].data.rows.y
    assert averaged == pytest.approx(
        np.sqrt(np.mean((mean_pred - y_true) ** 2)), abs=1e-4
    )


def test_runs_of_different_folds_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [FakeRun(seed=seed).write(tmp_path / f"of{seed}") for seed in (1, 2)]
    monkeypatch.setattr("sys.argv", ["averaged_nets", *map(str, folders)])
    with pytest.raises(UserError, match="two or more of one preparation"):
        averaged_nets.main()
