"""The model checker: what a bundle's tasks can come to, explored by the kernel itself (docs/model-checker.md)."""
