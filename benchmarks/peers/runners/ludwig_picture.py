"""Ludwig: a picture to a number and to a class, by its configuration.

Variants: ``scratch``, with its usual convolutions; ``ready``, with the ready weights
through its timm encoder. Of these Ludwig knows one way to scale pictures, that of
ImageNet's mean and deviation; the weights expect another, which is set in its place.
"""

import json
import shutil

# user
from ludwig.api import LudwigModel

# end
from exchange import Assignment, rmse
from ludwig.features import image_feature


# user
def new_model(encoder, side, epochs):
    preprocessing = {"height": side, "width": side, "num_channels": 3}
    if "use_pretrained" in encoder:
        preprocessing["standardize_image"] = "imagenet1k"
    picture = {
        "name": "path",
        "type": "image",
        "preprocessing": preprocessing,
        "encoder": encoder,
        "augmentation": True,
    }
    config = {
        "input_features": [picture],
        "output_features": [
            {"name": "target", "type": "number"},
            {"name": "class", "type": "category"},
        ],
        "trainer": {"epochs": epochs, "batch_size": 32, "early_stop": -1},
        "backend": {"type": "local"},
    }
    return LudwigModel(config)


def with_class(frame):
    names = frame["target"].map("c{:g}".format, na_action="ignore")
    return frame.assign(**{"class": names})


def expected(predictions):
    columns = [c for c in predictions if c.startswith("class_probabilities_c")]
    values = [float(c.removeprefix("class_probabilities_c")) for c in columns]
    return predictions[columns].to_numpy() @ values


# end
def main() -> None:
    """Run it."""
    todo = Assignment.read()
    train, held_out = todo.train, todo.held_out
    encoder = {"type": "stacked_cnn"}
    if todo.variant == "ready":
        encoder = {
            "type": "timm",
            "model_name": f"local-dir:{todo.weights}",
            "use_pretrained": True,
            "trainable": True,
        }
        config = json.loads((todo.weights / "config.json").read_text())
        image_feature.IMAGENET1K_MEAN = config["pretrained_cfg"]["mean"]
        image_feature.IMAGENET1K_STD = config["pretrained_cfg"]["std"]
    output = todo.folder / "ludwig"
    shutil.rmtree(output, ignore_errors=True)

    def try_out(sample, epochs) -> None:
        rows, n_validated = with_class(sample), len(sample) // 5
        new_model(encoder, todo.side, epochs).train(
            training_set=rows[n_validated:],
            validation_set=rows[:n_validated],
            output_directory=output / "try",
        )

    epochs = todo.epochs_that_fit(try_out)
    # user
    train = with_class(train)
    validation = train.sample(frac=0.2, random_state=0)
    model = new_model(encoder, todo.side, epochs)
    model.train(
        training_set=train.drop(index=validation.index),
        validation_set=validation,
        output_directory=output / "run",
    )
    validated, _ = model.predict(validation)
    predicted, _ = model.predict(held_out)
    # end
    todo.write(
        {"number": predicted["target_predictions"], "class": expected(predicted)},
        {
            "number": rmse(validation["target"], validated["target_predictions"]),
            "class": rmse(validation["target"], expected(validated)),
        },
        epochs=epochs,
    )


if __name__ == "__main__":
    main()
