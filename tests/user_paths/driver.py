"""A process of its own that makes many calls: ``python -m tests.user_paths.driver``.

Standard input holds JSON: ``{"x64_later": bool, "output": PATH, "calls": [[NAME,
[...], {...}], ...]}``. The file gets a list of what each call returned or raised.
"""

import json
import sys
from pathlib import Path


def main() -> None:
    told = json.load(sys.stdin)
    from metabridge.plugins import import_plugins

    import_plugins()
    from tests.user_paths.calls import CALLS

    if told["x64_later"]:
        import jax

        jax.config.update("jax_enable_x64", True)
    found = []
    for name, arguments, options in told["calls"]:
        try:
            found.append(CALLS[name](*arguments, **options))
        except Exception as error:  # as the user would see it
            found.append(f"{type(error).__name__}: {error}")
    Path(told["output"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
