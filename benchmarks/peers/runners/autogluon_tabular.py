"""AutoGluon-Tabular on features: frozen ready ones, or those that Tessera stored."""

import os
import shutil

import numpy as np

# user
import pandas as pd
from autogluon.tabular import TabularPredictor

# end
from exchange import Assignment

SOURCES = {"frozen": "frozen", "ours": "tessera_ready"}


def main() -> None:
    """Run it."""
    todo = Assignment.read()
    features = np.load(todo.folder.parent / SOURCES[todo.variant] / "features.npz")
    X, X_new = features["train"], features["held_out"]
    folder = todo.folder / "autogluon"
    shutil.rmtree(folder, ignore_errors=True)
    target, time_limit = todo.train["target"], todo.left_clock_s
    n_cores = len(os.sched_getaffinity(0))
    # user
    table = pd.DataFrame(X).add_prefix("f").assign(target=target.to_numpy())
    predictor = TabularPredictor("target", problem_type="regression", path=folder)
    predictor.fit(table, presets="best", time_limit=time_limit, num_cpus=n_cores)
    y_pred = predictor.predict(pd.DataFrame(X_new).add_prefix("f"))
    best = predictor.leaderboard().iloc[0]
    # end
    todo.write(
        {"AutoGluon": y_pred.to_numpy()},
        {"AutoGluon": -float(best["score_val"])},
        best=str(best["model"]),
        columns=X.shape[1],
    )


if __name__ == "__main__":
    main()
