"""The class lists of the package against the counts of the papers."""

import json
from importlib import resources

import pytest

from metabridge.data.datasets.imagenet.form import SPECS


@pytest.mark.parametrize(
    ("name", "classes", "images"),
    [
        ("mini_imagenet", (64, 16, 20), 60_000),
        ("tiered_imagenet", (351, 97, 160), 779_165),
    ],
)
def test_counts(name: str, classes: tuple[int, ...], images: int) -> None:
    spec = SPECS[name]
    assert tuple(len(names) for names in spec.classes.values()) == classes
    every = [n for names in spec.classes.values() for n in names]
    assert len(set(every)) == sum(classes)
    assert all(n[0] == "n" and len(n) == 9 and n[1:].isdigit() for n in every)
    assert sum(spec.totals.values()) == images
    if spec.per_class is not None:
        for split, names in spec.classes.items():
            assert spec.totals[split] == spec.per_class * len(names)


def test_no_category_of_tiered_imagenet_is_in_two_splits() -> None:
    path = resources.files("metabridge.data") / "splits" / "tiered_imagenet.json"
    category = json.loads(path.read_text())["category_of_class"]
    of_split = [
        {category[name] for name in names}
        for names in SPECS["tiered_imagenet"].classes.values()
    ]
    assert [len(found) for found in of_split] == [20, 6, 8]
    assert len(set.union(*of_split)) == 34
