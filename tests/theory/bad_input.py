"""Calls with bad input, and what each must say; see `test_bad_input`.

The tests check types on every call, users do not: so this module also runs by itself,
makes every call and prints what was raised.
"""

import json

from tests.theory import bad_kernels, bad_networks, bad_tasks

CASES = bad_tasks.CASES | bad_kernels.CASES | bad_networks.CASES


def main() -> None:
    """Prints the classes and the message of what each call raised, as JSON."""
    caught = {}
    for name, case in CASES.items():
        try:
            case.call()
        except Exception as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            caught[name] = [kinds, str(error)]
    print(json.dumps(caught))


if __name__ == "__main__":
    main()
