"""Frozen ready features, then ridge and LightGBM: what most people do first."""

# user
import lightgbm
import numpy as np
import timm
import torch
from PIL import Image
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

# end
from exchange import Assignment, cpu_seconds, rmse


# user
def features_of(paths, weights):
    model = timm.create_model(f"local-dir:{weights}", pretrained=True, num_classes=0)
    config = timm.data.resolve_model_data_config(model)
    config |= {"crop_mode": "squash", "crop_pct": 1.0}  # the whole picture
    transform, features = timm.data.create_transform(**config), []
    model.eval()
    for start in range(0, len(paths), 8):
        batch = [Image.open(path).convert("RGB") for path in paths[start : start + 8]]
        with torch.inference_mode():
            features.append(model(torch.stack([transform(image) for image in batch])))
    return torch.cat(features).numpy()


def fit_predict(model, X, y, groups, X_new):
    validated = cross_val_predict(model, X, y, groups=groups, cv=GroupKFold(5))
    return validated, model.fit(X, y).predict(X_new)


# end
def main() -> None:
    """Run it."""
    todo = Assignment.read()
    train, held_out = todo.train, todo.held_out
    # user
    X = features_of(train["path"].tolist(), todo.weights)
    X_new = features_of(held_out["path"].tolist(), todo.weights)
    # end
    np.savez(todo.folder / "features.npz", train=X, held_out=X_new)
    features_minutes = cpu_seconds() / 60
    # user
    models = {
        "ridge": make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 5, 11))),
        "LightGBM": lightgbm.LGBMRegressor(verbose=-1),
    }
    results = {
        name: fit_predict(model, X, train["target"], train["group"], X_new)
        for name, model in models.items()
    }
    # end
    todo.write(
        {name: y_pred for name, (_, y_pred) in results.items()},
        {name: rmse(train["target"], oof) for name, (oof, _) in results.items()},
        columns=X.shape[1],
        features_minutes=round(features_minutes, 2),
    )


if __name__ == "__main__":
    main()
