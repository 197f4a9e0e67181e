"""fastai: the same ready weights, fine-tuned by its usual recipe.

Variants: at its usual rates, and at the rate that its ``lr_find`` suggests.
"""

import sys

# user
from fastai.vision.all import *

# end
from exchange import Assignment


# user
def new_learner(frame, weights, side):
    set_seed(0)
    dls = ImageDataLoaders.from_df(
        frame,
        path="/",
        fn_col="path",
        label_col="target",
        valid_pct=0.2,
        seed=0,
        y_block=RegressionBlock(),
        item_tfms=Resize(side, method="squish"),
        batch_tfms=aug_transforms(flip_vert=True),
        bs=32,
        num_workers=0,
    )
    y_range = (frame["target"].min() - 0.5, frame["target"].max() + 0.5)
    architecture = f"local-dir:{weights}"
    return vision_learner(dls, architecture, metrics=rmse, n_out=1, y_range=y_range)


# end
def main() -> None:
    """Run it."""
    todo = Assignment.read()
    train, held_out = todo.train, todo.held_out
    sys.stdout.reconfigure(line_buffering=True)

    def try_out(sample, epochs) -> None:
        learner = new_learner(sample, todo.weights, todo.side)
        learner.unfreeze()
        with learner.no_bar():
            learner.fit(epochs)

    finds_rate = todo.variant == "lr_find"
    # one epoch is of the head alone, and a search for the rate takes about one
    epochs = max(1, todo.epochs_that_fit(try_out) - 1 - finds_rate)
    # user
    learner = new_learner(train, todo.weights, todo.side)
    rate = {"base_lr": learner.lr_find().valley} if finds_rate else {}
    learner.fine_tune(epochs, **rate)
    _, promised = learner.validate()
    y_pred, _ = learner.get_preds(dl=learner.dls.test_dl(held_out))
    # end
    todo.write(
        {"fine-tuned": y_pred.numpy()[:, 0]},
        {"fine-tuned": promised},
        epochs=f"1 + {epochs}",
        rate=rate.get("base_lr", "usual"),
    )


if __name__ == "__main__":
    main()
