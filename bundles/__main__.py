"""`python -m loom.bundles REF [--write]`: check a bundle, show its flows, or draw its README's pictures anew."""

from __future__ import annotations

import sys

from loom.bundles import picture, registry
from loom.bundles.archives import BundleError


def main(arguments: list[str]) -> int:
    """0: all is well; 2: the reference or the bundle is not."""
    write = "--write" in arguments
    names = [argument for argument in arguments if not argument.startswith("-")]
    if len(names) != 1:
        print("usage: python -m loom.bundles REF [--write]", file=sys.stderr)
        return 2
    try:
        bundle = registry.load(names[0])
    except BundleError as error:
        print(error, file=sys.stderr)
        return 2
    if write:
        readme = registry.folder_of(names[0]) / "README.md"
        readme.write_text(picture.renewed(readme.read_text(encoding="utf-8"), bundle), encoding="utf-8")
        bundle = registry.load(names[0])
    else:
        print("\n".join(picture.text(bundle, flow) for flow in bundle.flows))
    print(f"{bundle.name} {bundle.version}, digest {bundle.digest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
