"""What a body is, for people: a page of Markdown that goes with it."""

from typing import Any

from metabridge.apply.body import Body
from metabridge.untrusted import shown


def card(body: Body, *, file_name: str) -> str:
    """The page.

    Args:
      body: what it is about; `Body.about` has the numbers.
      file_name: of the file that it stands beside.
    """
    config, about = body.config, body.about
    height, width, channels = body.shapes.image_shape
    model, train = config.model, config.train
    data = about.get("dataset", {})
    rows = {
        "learner": config.algorithm,
        "body": " ".join(
            [model.model, *([f"width {model.width}"] if _has_width(body) else [])]
        ),
        "parameters": f"{about.get('parameters', 0):,}",
        "images": f"{height} x {width}, {'grey' if channels == 1 else 'colour'}",
        "trained on": f"{data.get('name')}, {body.shapes.num_classes} classes",
        "fingerprint of the data": data.get("fingerprint"),
        "training": f"{train.steps} steps, tasks of {train.train_ways} ways and "
        f"{train.train_shots} shots, {train.tasks_per_step} a step, seed {train.seed}",
        "head": config.evaluation.head,
        "accuracy": _accuracy(about.get("result", {})),
        "licence": about.get("licence") or "not stated",
        "versions": ", ".join(
            f"{name} {version}" for name, version in about.get("versions", {}).items()
        ),
    }
    table = "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows.items())
    return f"""# {config.algorithm} on {_cell(data.get("name"))}

A body for few-shot image classification, exported by Metabridge.

| | |
|---|---|
{table}

## Use

```python
import metabridge

classifier = metabridge.FewShotClassifier("{file_name}")
classifier.fit(images, labels)
classifier.predict(new_images)
```

## Limits

The accuracy holds for tasks of unseen classes of the same data. On images of another
kind it can be much worse: try some that you have labels for. A task's classes are known
only from its own examples, and mistakes in their labels count.
"""


def _has_width(body: Body) -> bool:
    return body.config.model.model in ("conv4", "mlp")


def _accuracy(result: dict[str, Any]) -> str:
    if "accuracy" not in result:
        return "not measured"
    return (
        f"{100 * result['accuracy']:.2f} ± {100 * result['ci95']:.2f} % "
        f"({result['ways']}-way {result['shots']}-shot, {result['tasks']} unseen "
        f"tasks, head {result['head']}, 95 % interval)"
    )


def _cell(value: object) -> str:
    return shown(value).replace("|", "\\|")
