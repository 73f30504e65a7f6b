"""Tables of agreement: what stands under within and between."""

from metabridge.similarity.text import agreement_text


def test_layers_of_the_same_seed_stand_apart() -> None:
    runs = [
        {"name": f"{method}-{seed}", "method": method, "seed": seed}
        for method in ("mtl", "maml")
        for seed in (0, 1)
    ]
    matrix = [
        [1.0, 0.5, 0.9, 0.1],
        [0.5, 1.0, 0.3, 0.7],
        [0.9, 0.3, 1.0, 0.6],
        [0.1, 0.7, 0.6, 1.0],
    ]
    task = {
        "dataset": "glyphs", "ways": 5, "shots": 5, "tasks": 9, "split": "test",
        "evaluation_seed": 0,
    }  # fmt: skip
    found = {"runs": runs, "task": task, "heads": {}, "adapted": {}}
    text = agreement_text(found | {"cka": {"features": matrix}})
    assert "| layer | within | between | same seed |" in text
    assert "| features | 0.550 | 0.200 | 0.800 |" in text
