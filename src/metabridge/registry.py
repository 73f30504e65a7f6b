"""Learners, heads, bodies and datasets by name, built-in ones and a user's own alike.

Nothing here imports JAX, so that the command line can list them at once: a built-in
names its factory as "package.module:function", which is imported when it is first used.
"""

import functools
import importlib
import importlib.util
import inspect
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from metabridge.untrusted import quoted


class Entry(NamedTuple):
    """One learner, head, body or dataset."""

    name: str
    factory: Callable[..., Any] | str
    """Makes it, or "package.module:function" that does."""
    traits: Any
    """Properties that the core asks for: the options class of a learner, else one of
    `HeadTraits`, `BodyTraits`, `DatasetTraits`."""
    builtin: bool = False
    """Whether a module of this library has registered it."""

    def load(self) -> Callable[..., Any]:
        """The factory, imported if need be."""
        if not isinstance(self.factory, str):
            return self.factory
        module, _, function = self.factory.partition(":")
        return getattr(importlib.import_module(module), function)

    def make(self, *arguments: Any, **options: Any) -> Any:
        """Call the factory with those of the options that its signature names."""
        factory = self.load()
        names = parameters_of(factory)
        return factory(*arguments, **{k: v for k, v in options.items() if k in names})


class Registry(Mapping[str, Entry]):
    """Entries by name, in the order of their registration.

    Args:
      kind: "learner", "head", "body" or "dataset", for messages.
      package: the package of the built-in ones. A module there that calls `function`
        at its top level registers itself.
      function: name of the public function that adds to this registry.
    """

    def __init__(self, kind: str, package: str, function: str) -> None:
        self.kind = kind
        self._package = package
        self._function = function
        self._entries: dict[str, Entry] = {}
        self._filled = False

    def __getitem__(self, name: str) -> Entry:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._all()))

    def __len__(self) -> int:
        return len(self._all())

    def find(self, name: Any) -> Entry:
        """The entry of a name; one that ends in ":" stands for all it begins.

        Raises:
          TypeError: the name is no string.
          ValueError: an unknown name; the message lists the known ones.
        """
        if not isinstance(name, str):
            raise TypeError(f"`name` must be a string, not {quoted(name)}")
        entries = self._all()
        if name in entries:
            return entries[name]
        for prefix, entry in entries.items():
            if prefix.endswith(":") and name.startswith(prefix):
                return entry
        known = ", ".join(f"{n}PATH" if n.endswith(":") else n for n in entries)
        raise ValueError(
            f"unknown {self.kind} {quoted(name)}; known are {known}, and {self.hint()}"
        )

    def hint(self) -> str:
        """How entries of the user's own become known, for messages."""
        return (
            f"your own once `metabridge.{self._function}` has been called (for the "
            "shell commands in a module that --plugin names)"
        )

    def add(self, name: str, factory: Callable[..., Any] | str, traits: Any) -> None:
        """Add an entry; a user's own takes the place of an earlier one of the name.

        Raises:
          ValueError: no identifier, or the name of a built-in one.
        """
        identifier = name.removesuffix(":") if self.kind == "dataset" else name
        if not identifier.isidentifier():
            raise ValueError(f"`name` is {quoted(name)}, but must be an identifier")
        builtin = _importing_module().startswith("metabridge.")
        if not builtin and name in self and self[name].builtin:
            raise ValueError(
                f"`name` is {name!r}, a built-in {self.kind}: take another"
            )
        self._entries[name] = Entry(name, factory, traits, builtin)

    def remove(self, name: str) -> None:
        """Remove a user's own entry, if there is one of the name."""
        self._entries.pop(name, None)

    def _all(self) -> dict[str, Entry]:
        with _FILLING:  # other threads wait until all are there
            if not self._filled:
                self._filled = True  # first, as what is imported asks for entries
                try:
                    importlib.import_module("metabridge.builtins")
                    for module in self._registering_modules():
                        importlib.import_module(module)
                except BaseException:
                    self._filled = False
                    raise
        return self._entries

    def _registering_modules(self) -> Iterator[str]:
        """Modules of the package that register something as they are imported."""
        spec = importlib.util.find_spec(self._package)
        places = (spec and spec.submodule_search_locations) or ()
        call = re.compile(rf"^(metabridge\.|registry\.)?{self._function}\(", re.M)
        for module in pkgutil.iter_modules(places):
            path = Path(module.module_finder.path) / module.name  # pyright: ignore
            path = path / "__init__.py" if module.ispkg else path.with_suffix(".py")
            if path.is_file() and call.search(path.read_text(encoding="utf-8")):
                yield f"{self._package}.{module.name}"


def _importing_module() -> str:
    """The module at whose top level the call stands, however deep it is by now."""
    frame = sys._getframe()
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    return "" if frame is None else str(frame.f_globals.get("__name__"))


_FILLING = threading.RLock()
LEARNERS = Registry("learner", "metabridge.learners", "register")
HEADS = Registry("head", "metabridge.heads", "register_head")
BODIES = Registry("body", "metabridge.models", "register_body")
DATASETS = Registry("dataset", "metabridge.data.datasets", "register_dataset")


class HeadTraits(NamedTuple):
    """Properties of a head."""

    weight: str | None = None
    """The option that `tune_head` chooses: "C" or "penalty"."""


class BodyTraits(NamedTuple):
    """Properties of a body."""

    defaults: Mapping[str, Any]
    """`width`, `learning_rate` and `augmentation` where the user leaves them open; a
    learning rate of None is the recipe's."""
    min_side: int = 1
    """Pixels that the height and width of an image need at least."""
    takes: str = "images"
    """"images", or "any" for inputs of any shape."""


class Archive(NamedTuple):
    """A file that the authors of a dataset publish, for `metabridge prepare`."""

    url: str
    size: int
    """Bytes."""
    sha256: str
    """Digest of the file, hexadecimal."""

    @property
    def name(self) -> str:
        """The name of the file, the last part of the address."""
        return self.url.rpartition("/")[2]


class DatasetTraits(NamedTuple):
    """Properties of a dataset."""

    summary: str
    """One line."""
    needs_data_dir: bool
    """Whether it is read from data that the user has."""
    recipe: Mapping[str, Any]
    """Options of training where the user leaves them open."""
    archives: tuple[Archive, ...] = ()
    """Files that it is read from once they are in `data_dir`."""


# Tasks wider than the 5 ways of the tests learn faster; small bodies, which underfit,
# do better with larger steps and without colour jitter; measured in docs/results.md.
# Learning rates are those of Conv4.
DRAWINGS: Mapping[str, Any] = {
    "train_ways": 50,
    "train_shots": 4,
    "train_queries": 0,
    "tasks_per_step": 1,
    "learning_rate": 0.03,
    "augmentation": "drawing",
    "rotations": True,
    "images": 200_000,
}
"""Recipe of datasets of drawings."""
NATURAL: Mapping[str, Any] = {
    "train_ways": 20,
    "train_shots": 5,
    "train_queries": 0,
    "tasks_per_step": 1,
    "learning_rate": 0.01,
    "rotations": False,
    "images": 1_000_000,
}
"""Recipe of datasets of photographs."""


def register_head(
    name: str, factory: Callable[..., Any] | str, *, weight: str | None = None
) -> None:
    """Register a test-time head under a name, until the process ends.

    Args:
      name: in configurations and on the command line.
      factory: returns a `metabridge.heads.Head`; of `EvaluationConfig`'s fields it is
        given those that its signature names, such as `C` or `penalty`.
      weight: the one of these that `tune_head` chooses by validation, if any.

    Raises:
      ValueError: no identifier, the name of a built-in head, or an unknown weight.
    """
    if weight not in (None, "C", "penalty"):
        raise ValueError(f"`weight` is {weight!r}, but must be None, C or penalty")
    if name in ("learner", "own", "finetune"):  # adaptations that are no head
        raise ValueError(f"`name` is {name!r}, which is built in: take another")
    HEADS.add(name, factory, HeadTraits(weight))


def register_body(
    name: str,
    factory: Callable[..., Any] | str,
    *,
    width: int = 64,
    learning_rate: float | None = 1e-3,
    augmentation: str = "crop_flip",
    min_side: int = 1,
    takes: str = "images",
) -> None:
    """Register a body under a name, until the process ends.

    Args:
      name: of the body, in configurations and on the command line.
      factory: returns a Flax module ``[N, *X] -> [N, D]``: of Linen, called with
        `train`, or of NNX, set to training or inference. It is given what its signature
        names of `ModelConfig`'s fields, `image_size` (height of the images in pixels)
        and `dtype` (of the computation; a body that does not name it computes in
        float32 only). One that returns an NNX module, such as its class, names `rngs`,
        too, and may name `input_shape`, ``(H, W, channels)``.
      width: default of `ModelConfig.width`.
      learning_rate: default of `TrainConfig.learning_rate`; None for that of the
        dataset's recipe, which suits Conv4.
      augmentation: default of `DataConfig.augmentation` for photographs.
      min_side: pixels that the height and width of an image need at least.
      takes: "images" ``[N, H, W, channels]``, or "any" for inputs ``[N, ...]`` of any
        shape, such as features ``[N, D]``.

    Raises:
      ValueError: no identifier, the name of a built-in body, or unknown `takes`.
    """
    rates = {"learning_rate": learning_rate, "augmentation": augmentation}
    if takes not in ("images", "any"):
        raise ValueError(f"`takes` is {takes!r}, but must be images or any")
    BODIES.add(name, factory, BodyTraits({"width": width, **rates}, min_side, takes))


def register_dataset(
    name: str,
    loader: Callable[..., Any] | str,
    *,
    summary: str = "",
    needs_data_dir: bool = False,
    recipe: Mapping[str, Any] = NATURAL,
    archives: Iterable[Archive] = (),
) -> None:
    """Register a dataset under a name, until the process ends.

    Args:
      name: of the dataset, in configurations and on the command line. One that ends in
        ":" stands for all names that it begins; the loader is given the rest first.
      loader: returns a `metabridge.data.Dataset`; its keywords are the options of
        `load_dataset` that the dataset takes.
      summary: one line for `metabridge datasets`.
      needs_data_dir: whether it is read from data that the user has.
      recipe: options of training where the user leaves them open; `NATURAL` for
        photographs, whose values stand for those left out, or `DRAWINGS`. Its learning
        rate counts with bodies that have none of their own, as Conv4.
      archives: files that `metabridge prepare` downloads to `data_dir`, where the
        loader reads them; without them it raises
        `metabridge.data.forms.MissingDataError`.

    Raises:
      ValueError: no identifier, the name of a built-in dataset, or an unknown option
        in the recipe.
    """
    if unknown := recipe.keys() - (NATURAL.keys() | {"augmentation"}):
        raise ValueError(f"unknown {sorted(unknown)} in `recipe`")
    whole = {**NATURAL, **recipe}
    traits = DatasetTraits(summary, needs_data_dir, whole, tuple(archives))
    DATASETS.add(name, loader, traits)


@functools.cache
def parameters_of(factory: Callable[..., Any]) -> frozenset[str]:
    """Names of the parameters of a function or class."""
    found = inspect.signature(factory).parameters
    open_kinds = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    if isinstance(factory, type) and {p.kind for p in found.values()} == open_kinds:
        # The call of an NNX module takes anything, and hands it on.
        found = inspect.signature(factory.__init__).parameters
    return frozenset(found) - {"self"}
