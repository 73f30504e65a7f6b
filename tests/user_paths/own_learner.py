"""A module of the user's, which ``$METABRIDGE_LEARNERS`` names."""

import metabridge
from tests.own import ScaledConfig, scaled

NAME = "scaled"


def register() -> None:
    metabridge.register(NAME, ScaledConfig, scaled)


register()
