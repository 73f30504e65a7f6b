"""The command on weights that were trained elsewhere: import."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from metabridge.untrusted import shown

_Sides = Annotated[int | tuple[int, int], tyro.conf.arg(metavar="SIDE | HEIGHT WIDTH")]


def import_(
    file: Annotated[Path, tyro.conf.Positional],
    model: Annotated[str, tyro.conf.arg(metavar="BODY")],
    output: Path,
    image_size: _Sides = 224,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    key: str | None = None,
    average_pool: bool = True,
    licence: str | None = None,
    dtype: Literal["float32", "float16"] = "float32",
) -> None:
    """Read a body that was trained in PyTorch, and write it as export does.

    PyTorch is not needed, and nothing in the file is run. The file that is written
    stands for a body wherever a command takes one.

    Args:
      file: State dict of safetensors, or of `torch.save`.
      model: resnet12, resnet18, resnet50, vit_small or vit_base.
      output: NAME.safetensors to write; the card is NAME.md.
      image_size: Side of the images, or height and width, that they are resized to.
      mean: Per channel, of pixels in [0, 1], that images are normalised with.
        Default: ImageNet's.
      std: Standard deviation, likewise.
      key: What the names of the body begin with, if the file holds several bodies.
      average_pool: ResNet-12: average the last map instead of keeping all of it.
      licence: Of the weights, for the card.
      dtype: Of the parameters in the file: float16 takes half the space.
    """
    from metabridge.apply import export_body, import_body
    from metabridge.apply.body_file import check_output_file

    check_output_file(output, licence)
    body = import_body(
        file, model, image_size=image_size, mean=mean, std=std, key=key,
        average_pool=average_pool,
    )  # fmt: skip
    card = export_body(body, output, licence=licence, dtype=dtype)
    about = body.about["imported"]
    before = f" below {about['prefix']!r}" if about["prefix"] else ""
    print(f"{output} holds the {model} of {file}{before}; {card} says what it is")
    if about["num_left_out"]:
        more = about["num_left_out"] - len(about["left_out"])
        listed = ", ".join(map(shown, about["left_out"]))
        listed += f" and {more} more" if more else ""
        print(f"left out, as no part of the body: {listed}")
