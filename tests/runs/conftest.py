"""The whole run that the tests of training share."""

from tests.training.conftest import whole as whole
from tests.training.conftest import whole_runs_promote as whole_runs_promote
