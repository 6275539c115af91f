"""Harnesses: ways to let a model work in a tree. `registry.Harnesses` is the door."""
