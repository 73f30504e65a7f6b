"""The built-in learners, heads and bodies, each with the place of its factory.

They stand here and not beside their factories so that listing them and their options
imports no JAX. A module of `learners/`, `heads/` or `models/` that calls the same
functions itself needs no row here. Datasets register themselves (`data/datasets/`).
"""

from metabridge.config import learners as options
from metabridge.registry import LEARNERS, register_body, register_head

for _name, _options in {
    "mtl": options.MTLConfig,
    "maml": options.MAMLConfig,
    "anil": options.ANILConfig,
    "boil": options.BOILConfig,
    "meta_sgd": options.MetaSGDConfig,
    "reptile": options.ReptileConfig,
    "imaml": options.IMAMLConfig,
    "r2d2": options.R2D2Config,
    "metaoptnet": options.MetaOptNetConfig,
    "protonet": options.ProtoNetConfig,
    "matching": options.MatchingConfig,
    "rfs": options.RFSConfig,
}.items():
    LEARNERS.add(_name, f"metabridge.learners.{_name}:{_name}", _options)

register_head("logistic", "metabridge.heads.logistic:logistic", weight="C")
register_head("ridge", "metabridge.heads.ridge:ridge", weight="penalty")
register_head("svm", "metabridge.heads.svm:svm", weight="C")
register_head("centroid", "metabridge.heads.centroid:centroid")
register_head("attention", "metabridge.heads.attention:attention")

register_body("conv4", "metabridge.models.conv4:Conv4", learning_rate=None, min_side=16)
register_body(
    "conv4_r2d2",
    "metabridge.models.conv4:Conv4R2D2",
    width=512,
    learning_rate=5e-3,
    min_side=16,
)
register_body(
    "resnet12",
    "metabridge.models.resnet12:resnet12",
    width=640,
    augmentation="natural",
    min_side=16,
)
for _name, _width in {"resnet18": 512, "resnet50": 2048}.items():
    _place = f"metabridge.models.resnet:{_name}"
    register_body(_name, _place, width=_width, augmentation="natural")
for _name, _width in {"vit_small": 384, "vit_base": 768}.items():
    _place = f"metabridge.models.vit:{_name}"
    register_body(_name, _place, width=_width, augmentation="natural")
register_body("mlp", "metabridge.models.mlp:MLP", width=512, takes="any")
register_body("linear", "metabridge.models.linear:Linear", width=256, takes="any")
register_body("identity", "metabridge.models.linear:Identity", width=1, takes="any")
