"""Processes that work together: what each computes, and what all then know."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from metabridge.parallel import hosts
from tests.training.processes import free_port, last_lines, started

TWO = """
import json, sys
import numpy as np
from metabridge.parallel import hosts

number = int(sys.argv[2])
hosts.connect(f"127.0.0.1:{sys.argv[1]}", 2, number)
hosts.wait("here")
rows = np.arange(10.0, dtype=np.float32).reshape(5, 2)
own = hosts.share(5)
print(json.dumps({
    "first": hosts.is_first(),
    "share": [own.start, own.stop],
    "gathered": np.asarray(hosts.gathered(2 * rows[own], 5)).tolist(),
    "of_first": hosts.of_first(number + 7),
    "any_of": hosts.any_of(number == 1, False),
    "least": hosts.least(2.5 - number),
}))
"""


@pytest.mark.extended
def test_two_processes_share_rows_and_agree() -> None:
    port = str(free_port())
    parts = [started("-c", TWO, port, str(n), devices=1) for n in range(2)]
    told = [json.loads(line) for line in last_lines(*parts)]
    assert [part["first"] for part in told] == [True, False]
    assert [part["share"] for part in told] == [[0, 3], [3, 5]]
    for part in told:
        assert part["gathered"] == (2 * np.arange(10.0).reshape(5, 2)).tolist()
        assert part["of_first"] == 7
        assert part["any_of"] == [True, False]
        assert part["least"] == 1.5


def test_a_process_by_itself_has_everything() -> None:
    rows = jnp.arange(3.0)
    assert hosts.is_first()
    assert hosts.share(3) == slice(0, 3)
    assert hosts.gathered(rows, 3) is rows
    assert hosts.of_first(5) == 5
    assert hosts.any_of(False, True) == (False, True)
    assert hosts.least(2.5) == 2.5
    hosts.wait("nobody")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("host:1", None, None), "`num_processes`, `process_id` must be given as well"),
        ((None, 2, 0), "`coordinator` must be given as well"),
        (("host:1", 2, 2), r"`process_id` is 2, but must be in \[0, 2\)"),
        (("host:1", 0, 0), r"`process_id` is 0, but must be in \[0, 0\)"),
        ((None, None, None), "no cluster was found .*pass --coordinator"),
    ],
)
def test_what_does_not_name_a_cluster_is_refused(options: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hosts.connect(*options)
