"""Names of unions: where they are parted, and the recipe that they have."""

import pytest

from metabridge import unions
from metabridge.registry import DATASETS, DRAWINGS, NATURAL, register_dataset


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("glyphs", ("glyphs",)),
        ("omniglot+glyphs", ("omniglot", "glyphs")),
        ("folder:A+glyphs+cifar_fs", ("folder:A", "glyphs", "cifar_fs")),
        ("glyphs+folder:/a/b+folder:c", ("glyphs", "folder:/a/b", "folder:c")),
        # A plus in a path.
        ("folder:/a/c++", ("folder:/a/c++",)),
        ("folder:a+b/c+d+glyphs", ("folder:a+b/c+d", "glyphs")),
        ("folder:a+glyphs/", ("folder:a+glyphs/",)),
        ("folder:a+glyphs/b+omniglot", ("folder:a+glyphs/b", "omniglot")),
        ("folder:a+glyphsy", ("folder:a+glyphsy",)),
        # What is no name is reported as one that is not known.
        ("glyphs+", ("glyphs", "")),
        ("glyphs+omniglo", ("glyphs", "omniglo")),
    ],
)
def test_a_name_is_parted_at_names_of_datasets(name: str, parts: tuple) -> None:
    assert unions.split_name(name) == parts
    assert unions.split_name(unions.join_names(parts)) == parts
    # Without its end a path would be taken for a union.
    if name == "folder:a+glyphs/":
        assert unions.join_names(["folder:a+glyphs"]) == name


def test_names_for_people() -> None:
    name = "glyphs+folder:/home/me/birds/+folder:/b/fish"
    assert unions.title_of(name) == "glyphs+birds+fish"
    assert unions.title_of("folder:/home/me/birds") == "birds"
    assert unions.without_folders(name) == "glyphs+folder:birds+folder:fish"
    assert unions.without_folders("folder:/x/a+glyphs/") == "folder:a+glyphs/"
    parts = unions.split_name(name)
    assert unions.labels_of(parts) == ("glyphs", "folder", "folder2")


def test_the_recipe_of_a_union() -> None:
    def recipe(name: str) -> dict:
        return dict(unions.traits_of(name).recipe)

    assert recipe("glyphs") == DRAWINGS
    assert recipe("glyphs+omniglot") == {**DRAWINGS, "images": 600_000}
    assert recipe("cifar_fs+folder:x") == NATURAL
    mixed = {"augmentation": "drawing", "rotations": False, "images": 1_000_000}
    assert recipe("cifar_fs+glyphs") == {**NATURAL, **mixed}
    assert recipe("glyphs+cifar_fs") == {**DRAWINGS, **mixed}
    assert unions.traits_of("glyphs+cifar_fs").needs_data_dir
    assert not unions.traits_of("glyphs+folder:x").needs_data_dir
    with pytest.raises(ValueError, match="unknown dataset 'omniglo'; known are"):
        unions.traits_of("glyphs+omniglo")


def test_data_of_a_user_says_itself_which_classes_there_are() -> None:
    assert unions.is_open("glyphs+folder:x")
    assert not unions.is_open("glyphs+omniglot")
    register_dataset("mine", lambda: None)
    try:
        assert unions.is_open("mine+glyphs")
    finally:
        DATASETS.remove("mine")
